//! Decisions about stock. Pure: no clock, no I/O, no async.
//!
//! Who calls it: [`super::round`], for one SKU's queue and for bundles alike. A [`Plan`] starts
//! from what is known of the store, takes commands one after the other, each on top of those
//! before it, and ends as one batch.

use std::collections::BTreeMap;
use std::time::Duration;

use super::adjustment::{AdjustError, Adjusted, Adjustment};
use super::holds::{Hold, HoldError, HoldRequest, HoldStatus, Placed, totals};
use super::records::{Movement, MovementKind};
use super::shopper::{MOST_LIVE, Shopper};
use super::state::{MOST_ON_HAND, NotAdjustable, Stock};
use crate::store::{Batch, Entity, Sharing, Versioned};
use crate::time::Timestamp;

/// Why a command is refused, and what that rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal<E> {
    /// On what others change too, counters above all: it stands only when the store has confirmed
    /// these since the command came.
    ByStock(E),
    /// On the command's own record, which only ever moves on.
    ByRecord(E),
}

/// How a hold is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    /// Its units are sold.
    Commit,
    /// Its units become available.
    Release,
    /// Its units become available, as its shopper wishes: unless an order took it over.
    Withdraw,
    /// Its units become available, if its time has come.
    Lapse,
    /// Its units become available, sold ones too.
    GiveBack,
}

impl Settlement {
    /// Whether a hold that stands so has been settled like this.
    pub(super) const fn is_done(self, status: HoldStatus) -> bool {
        use HoldStatus as S;
        match self {
            Self::Commit => matches!(status, S::Committed),
            Self::Release | Self::Withdraw | Self::Lapse => matches!(status, S::Released),
            Self::GiveBack => matches!(status, S::Released | S::Returned),
        }
    }
}

/// The records as they become.
pub(super) struct Plan {
    stocks: BTreeMap<String, Planned<Stock>>,
    holds: BTreeMap<String, Planned<Hold>>,
    movements: BTreeMap<String, Planned<Movement>>,
    shoppers: BTreeMap<String, Planned<Shopper>>,
}

struct Planned<T> {
    value: T,
    from: Origin<T>,
}

/// Where a planned record comes from.
enum Origin<T> {
    /// It is as it was read at this version.
    Unchanged(u64),
    /// It was read like this.
    Changed(Versioned<T>),
    /// The plan makes it.
    Made,
}

impl<T> Planned<T> {
    fn read(record: Versioned<T>) -> Self {
        Self { value: record.value, from: Origin::Unchanged(record.version) }
    }

    fn made(value: T) -> Self {
        Self { value, from: Origin::Made }
    }

    fn become_(&mut self, value: T) {
        let before = std::mem::replace(&mut self.value, value);
        if let Origin::Unchanged(version) = self.from {
            self.from = Origin::Changed(Versioned { value: before, version });
        }
    }

    fn is_changed(&self) -> bool {
        !matches!(self.from, Origin::Unchanged(_))
    }

    /// The version of the record once the plan is committed.
    fn version(&self) -> u64 {
        match &self.from {
            Origin::Unchanged(version) => *version,
            Origin::Changed(before) => before.version + 1,
            Origin::Made => 1,
        }
    }
}

impl Plan {
    /// A plan that changes nothing yet. `stocks` has those of the SKUs in question that exist,
    /// `holds` and `movements` the records of commands that are known to have come before,
    /// `shoppers` those of the users who ask for holds, as far as they have one.
    pub(super) fn on(
        stocks: impl IntoIterator<Item = Versioned<Stock>>,
        holds: impl IntoIterator<Item = Versioned<Hold>>,
        movements: impl IntoIterator<Item = Versioned<Movement>>,
        shoppers: impl IntoIterator<Item = Versioned<Shopper>>,
    ) -> Self {
        fn by_id<T: Entity>(records: impl IntoIterator<Item = Versioned<T>>) -> BTreeMap<String, Planned<T>> {
            records.into_iter().map(|r| (r.value.id().to_owned(), Planned::read(r))).collect()
        }
        Self {
            stocks: by_id(stocks),
            holds: by_id(holds),
            movements: by_id(movements),
            shoppers: by_id(shoppers),
        }
    }

    /// Holds all lines or none. A hold that is known already is returned as it stands.
    pub(super) fn hold(
        &mut self,
        request: &HoldRequest,
        now: Timestamp,
    ) -> Result<Placed, Refusal<HoldError>> {
        if let Some(known) = self.holds.get(&request.id) {
            // Of another command with this id the stock is not at hand; who asked is told of the
            // difference.
            let is_it = known.value.lines == request.lines;
            let hold = match is_it && known.value.has_lapsed(now) {
                true => self.end(&request.id, HoldStatus::Released, now)?,
                false => known.value.clone(),
            };
            return Ok(Placed { hold, replayed: true });
        }
        let wanted = totals(&request.lines);
        let mut held = Vec::with_capacity(wanted.len());
        let mut short = Vec::new();
        for (&sku, units) in &wanted {
            let after = self.stocks.get(sku).zip(*units).and_then(|(stock, n)| stock.value.holding(n));
            match after {
                Some(after) => held.push((after, units.unwrap_or(0))),
                None => short.push(sku.to_owned()),
            }
        }
        if !short.is_empty() {
            return Err(Refusal::ByStock(HoldError::OutOfStock(short)));
        }
        let expires_at = request.ttl.map(|ttl| now.plus(ttl));
        if let Some(expires_at) = expires_at {
            self.count(request, expires_at, now)?;
        }
        for (after, units) in held {
            let movement = Movement::of_hold(&request.id, after.sku(), MovementKind::Held, -units, now);
            self.move_stock(after, movement);
        }
        let hold = Hold {
            id: request.id.clone(),
            user_id: request.user_id.clone(),
            lines: request.lines.clone(),
            status: HoldStatus::Held,
            expires_at,
            created_at: now,
            order_id: None,
        };
        self.holds.insert(hold.id.clone(), Planned::made(hold.clone()));
        Ok(Placed { hold, replayed: false })
    }

    /// Counts a hold among its shopper's live ones.
    fn count(
        &mut self,
        request: &HoldRequest,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Refusal<HoldError>> {
        let before = self.shoppers.get(&request.user_id).map(|known| &known.value);
        let before = before.cloned().unwrap_or_else(|| Shopper::new(&request.user_id));
        let Some(after) = before.with(&request.id, expires_at, now) else {
            return Err(Refusal::ByStock(HoldError::TooMany { most: MOST_LIVE }));
        };
        match self.shoppers.get_mut(&request.user_id) {
            Some(known) => known.become_(after),
            None => drop(self.shoppers.insert(request.user_id.clone(), Planned::made(after))),
        }
        Ok(())
    }

    /// Ends a hold; ending it the same way again changes nothing. A lapsed hold cannot be
    /// committed: it is released instead, and that is the answer.
    pub(super) fn settle(
        &mut self,
        id: &str,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<Hold, Refusal<HoldError>> {
        let Some(known) = self.holds.get(id) else {
            return Err(Refusal::ByRecord(HoldError::NotFound));
        };
        let (hold, lapsed) = (&known.value, known.value.has_lapsed(now));
        match (hold.status, settlement) {
            (HoldStatus::Held, Settlement::Commit) if lapsed => {
                let hold = self.end(id, HoldStatus::Released, now)?;
                Err(Refusal::ByRecord(HoldError::WrongState(hold.status)))
            }
            (HoldStatus::Held, Settlement::Commit) => self.end(id, HoldStatus::Committed, now),
            (HoldStatus::Held, Settlement::Release | Settlement::GiveBack) => {
                self.end(id, HoldStatus::Released, now)
            }
            (HoldStatus::Held, Settlement::Withdraw) if hold.lapses_at().is_some() => {
                self.end(id, HoldStatus::Released, now)
            }
            (HoldStatus::Held, Settlement::Lapse) if lapsed => self.end(id, HoldStatus::Released, now),
            (HoldStatus::Committed, Settlement::GiveBack) => self.end(id, HoldStatus::Returned, now),
            (status, settlement) if settlement.is_done(status) => Ok(hold.clone()),
            (status, _) => Err(Refusal::ByRecord(HoldError::WrongState(status))),
        }
    }

    /// Changes what is on hand.
    pub(super) fn adjust(
        &mut self,
        adjustment: &Adjustment,
        now: Timestamp,
    ) -> Result<Adjusted, Refusal<AdjustError>> {
        let Some(stock) = self.stocks.get(&adjustment.sku) else {
            return Err(Refusal::ByStock(AdjustError::UnknownSku));
        };
        if let Some(known) = self.movements.get(&adjustment.movement_id()) {
            return Ok(Adjusted {
                movement: known.value.clone(),
                stock: stock.value.clone(),
                replayed: true,
            });
        }
        let after = stock.value.adjusted(adjustment.delta).map_err(|why| {
            Refusal::ByStock(match why {
                NotAdjustable::BelowHeld => AdjustError::BelowHeld { held: stock.value.held() },
                NotAdjustable::TooMany => AdjustError::TooMany { most: MOST_ON_HAND },
            })
        })?;
        let movement = adjustment.movement(now);
        self.move_stock(after.clone(), movement.clone());
        Ok(Adjusted { movement, stock: after, replayed: false })
    }

    /// Whether it changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        !self.stocks.values().any(Planned::is_changed) && !self.holds.values().any(Planned::is_changed)
    }

    /// What is to be committed.
    pub(super) fn batch(&self, sharing: Sharing) -> Batch {
        fn put<T: Entity>(batch: Batch, records: &BTreeMap<String, Planned<T>>) -> Batch {
            records.values().fold(batch, |batch, record| match &record.from {
                Origin::Unchanged(_) => batch,
                Origin::Changed(before) => batch.change(before, &record.value),
                Origin::Made => batch.insert(&record.value),
            })
        }
        let batch = Batch { sharing, ..Batch::default() };
        put(put(put(put(batch, &self.stocks), &self.holds), &self.movements), &self.shoppers)
    }

    /// The counters once the batch is committed.
    pub(super) fn committed(self) -> impl Iterator<Item = Versioned<Stock>> {
        self.stocks.into_values().map(|stock| Versioned { version: stock.version(), value: stock.value })
    }

    fn end(&mut self, id: &str, status: HoldStatus, now: Timestamp) -> Result<Hold, Refusal<HoldError>> {
        // A hold tells of units that its stock record does not: memory is older than the hold.
        // If the store says so too, somebody has tampered with it.
        let amiss = || {
            Refusal::ByStock(HoldError::Unavailable {
                reason: format!("the stock record lacks what hold {id} holds"),
                retry_after: Duration::from_secs(5),
            })
        };
        let Some(mut hold) = self.holds.get(id).map(|known| known.value.clone()) else {
            return Err(Refusal::ByRecord(HoldError::NotFound));
        };
        let mut ended = Vec::with_capacity(hold.lines.len());
        for (sku, units) in totals(&hold.lines) {
            let (stock, units) = self.stocks.get(sku).zip(units).ok_or_else(amiss)?;
            let (after, kind, delta) = match status {
                HoldStatus::Committed => (stock.value.sold(units), MovementKind::Sold, -units),
                HoldStatus::Returned => (stock.value.returned(units), MovementKind::Returned, units),
                _ => (stock.value.released(units), MovementKind::Released, units),
            };
            ended.push((after.ok_or_else(amiss)?, kind, delta));
        }
        for (after, kind, delta) in ended {
            let movement = Movement::of_hold(id, after.sku(), kind, delta, now);
            self.move_stock(after, movement);
        }
        hold.status = status;
        if let Some(known) = self.holds.get_mut(id) {
            known.become_(hold.clone());
        }
        Ok(hold)
    }

    /// The counters become `after`, and the ledger says why.
    fn move_stock(&mut self, after: Stock, movement: Movement) {
        if let Some(stock) = self.stocks.get_mut(after.sku()) {
            stock.become_(after);
        }
        self.movements.insert(movement.id.clone(), Planned::made(movement));
    }
}
