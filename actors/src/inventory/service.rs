//! The way to stock: finds the actors, and reads what needs none.
//!
//! Who calls it: the routes, and the order saga through [`Holds`]. Cheap to clone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use moka::sync::Cache;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::actor::{PlaceHold, SettleHold, StockActor};
use super::adjustment::{AdjustError, Adjusted, Adjustment};
use super::bundle::BundleActor;
use super::decide::Settlement;
use super::holds::{Hold, HoldError, HoldLine, HoldRequest, HoldStatus, Holds, LapsedHolds, Placed};
use super::pending::DEADLINE;
use super::records::{BY_SKU, HOLDS, LAPSING, MOVEMENTS, Movement};
use super::state::Stock;
use super::trouble::Trouble;
use crate::cluster::Clock;
use crate::store::{Batch, CommitError, Cursor, Query, Store, StoreError, Versioned, find, load, load_many};
use crate::supervision::{Arbiters, Registry, RegistryOptions, Tree};
use crate::time::Timestamp;

/// The key of the one actor of all bundles.
pub(super) const BUNDLES: &str = "all";

/// Placed holds that are remembered, and for how long.
const PLACED: (u64, Duration) = (10_000, Duration::from_secs(60));

/// Stock, as this replica serves it.
#[derive(Clone)]
pub struct Inventory {
    pub(super) registry: Registry<StockActor>,
    pub(super) bundles: Registry<BundleActor>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lapses: Arc<Lapses>,
    /// Holds of orders that were placed here lately. A hint, read instead of the store where the
    /// commit that follows states the version.
    placed: Cache<String, Versioned<Hold>>,
}

/// Looks for lapsed holds that somebody waits for: one look serves all who asked before it began.
pub(super) struct Lapses {
    begun: AtomicU64,
    /// The number of the last look that came to its end, and how many holds it ended.
    last: Mutex<(u64, Result<usize, StoreError>)>,
}

impl Inventory {
    /// The bounds that suit a shop: 4,096 commands wait on one SKU, 50,000 SKUs are in use at
    /// once, and one that nobody asked about for a minute leaves memory.
    pub const OPTIONS: RegistryOptions = RegistryOptions {
        kind: "inventory",
        mailbox: 4096,
        capacity: 50_000,
        idle: Duration::from_secs(60),
        drain: Duration::from_secs(5),
    };

    /// Stock in `store`. No actor lives until it is asked.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        arbiters: Arc<Arbiters>,
        tree: Tree,
        options: RegistryOptions,
    ) -> Self {
        let registry = Registry::new(options, arbiters.clone(), tree.clone(), {
            let (store, clock) = (store.clone(), clock.clone());
            move |sku, lifeline| {
                let actor = StockActor::new(sku, store.clone(), clock.clone(), lifeline);
                async move { Ok(actor) }
            }
        });
        let bundles = RegistryOptions { kind: "bundles", capacity: 1, ..options };
        let bundles = Registry::new(bundles, arbiters, tree, {
            let (registry, store, clock) = (registry.clone(), store.clone(), clock.clone());
            move |_, _| {
                let actor = BundleActor::new(registry.clone(), store.clone(), clock.clone());
                async move { Ok(actor) }
            }
        });
        let lapses = Arc::new(Lapses { begun: AtomicU64::new(0), last: Mutex::new((0, Ok(0))) });
        let placed = Cache::builder().max_capacity(PLACED.0).time_to_live(PLACED.1).build();
        Self { registry, bundles, store, clock, lapses, placed }
    }

    /// Takes no more commands, and waits until those taken are answered, `deadline` at most.
    pub async fn drain(&self, deadline: Duration) {
        let until = Instant::now() + deadline;
        self.bundles.drain(deadline).await;
        self.registry.drain(until.saturating_duration_since(Instant::now())).await;
    }

    /// Changes what is on hand. The same id again for the same SKU counts once and has the first
    /// one's movement as its answer.
    ///
    /// # Errors
    /// [`AdjustError`].
    pub async fn adjust(&self, adjustment: Adjustment) -> Result<Adjusted, AdjustError> {
        let below_held = |error: &AdjustError| matches!(error, AdjustError::BelowHeld { .. });
        self.unless_lapsed(below_held, || self.try_to_adjust(adjustment.clone())).await
    }

    /// Units of holds whose time has come are there for the next one, ended or not: what is refused
    /// for want of them is tried once more when some were ended.
    async fn unless_lapsed<T, E: From<Trouble>, F: Future<Output = Result<T, E>>>(
        &self,
        wants_units: impl Fn(&E) -> bool,
        attempt: impl Fn() -> F,
    ) -> Result<T, E> {
        match attempt().await {
            Err(refused) if wants_units(&refused) => match self.end_lapsed().await.map_err(Trouble::from)? {
                0 => Err(refused),
                _ => attempt().await,
            },
            answered => answered,
        }
    }

    async fn try_to_adjust(&self, adjustment: Adjustment) -> Result<Adjusted, AdjustError> {
        let sku = adjustment.sku.clone();
        let asked = self.registry.ask(&sku, adjustment, DEADLINE).await;
        asked.unwrap_or_else(|error| Err(Trouble::from(error).into()))
    }

    /// The counters of a SKU as they are now, from the store: holds whose time has come are ended
    /// first. `None` if there is no such SKU.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stock_now(&self, sku: &str) -> Result<Option<Versioned<Stock>>, StoreError> {
        self.end_lapsed().await?;
        self.stock(sku).await
    }

    /// The counters of a SKU, from the store; `None` if there is no such SKU. Units of a hold whose
    /// time has come count as held until it is ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stock(&self, sku: &str) -> Result<Option<Versioned<Stock>>, StoreError> {
        load(self.store.as_ref(), sku).await
    }

    /// The counters of those SKUs that exist, in any order, from the store; 1,000 at most.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stocks(&self, skus: &[String]) -> Result<Vec<Versioned<Stock>>, StoreError> {
        load_many(self.store.as_ref(), skus).await
    }

    /// A page of a SKU's ledger, newest first; `limit` is 1 to 1,000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn movements(
        &self,
        sku: &str,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<(Vec<Movement>, Option<Cursor>), StoreError> {
        let query = Query::by(&MOVEMENTS, BY_SKU).equal(sku).descending().limit(limit).after(after);
        let (movements, next) = find::<Movement>(self.store.as_ref(), query).await?;
        Ok((movements.into_iter().map(|movement| movement.value).collect(), next))
    }

    /// Ends holds whose time had come at `now`, `limit` (1 to 1,000) at most; how many it ended.
    /// For the schedule: nobody relies on it, as a lapsed hold is ended also when it is asked for.
    ///
    /// # Errors
    /// [`StoreError`], if the lapsed holds cannot be found. One that cannot be ended now is left
    /// for the next time.
    pub async fn release_expired(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let until = now.plus(Duration::from_millis(1)).as_millis();
        let query = Query::by(&HOLDS, LAPSING).range(None, Some(until.into())).limit(limit);
        let (lapsed, _) = find::<Hold>(self.store.as_ref(), query).await?;
        let ends = join_all(lapsed.into_iter().map(|hold| self.settle(hold, Settlement::Lapse))).await;
        Ok(ends.iter().filter(|end| end.is_ok()).count())
    }

    /// Places a hold, or finds the one that an earlier arrival of the command placed.
    pub(super) async fn place(&self, request: HoldRequest) -> Result<Placed, HoldError> {
        let out_of_stock = |error: &HoldError| matches!(error, HoldError::OutOfStock(_));
        self.unless_lapsed(out_of_stock, || self.try_to_place(request.clone())).await
    }

    async fn try_to_place(&self, request: HoldRequest) -> Result<Placed, HoldError> {
        let asked = match only_sku(&request.lines) {
            Some(sku) => self.registry.ask(&sku, PlaceHold(request), DEADLINE).await,
            None => self.bundles.ask(BUNDLES, PlaceHold(request), DEADLINE).await,
        };
        let placed: Placed = asked.unwrap_or_else(|error| Err(Trouble::from(error).into()))?;
        if !placed.replayed && !placed.hold.is_shoppers() {
            let hold = Versioned { value: placed.hold.clone(), version: 1 };
            self.placed.insert(placed.hold.id.clone(), hold);
        }
        Ok(placed)
    }

    async fn read_and_settle(&self, id: &str, settlement: Settlement) -> Result<Hold, HoldError> {
        let hold = match self.placed.remove(id) {
            // Whatever has become of it, its end is refused at this version and decided again.
            Some(placed) => Some(placed),
            None => load::<Hold>(self.store.as_ref(), id).await.map_err(Trouble::from)?,
        };
        self.settle(hold.ok_or(HoldError::NotFound)?, settlement).await
    }

    pub(super) async fn settle(
        &self,
        hold: Versioned<Hold>,
        settlement: Settlement,
    ) -> Result<Hold, HoldError> {
        match (hold.value.status, settlement) {
            (HoldStatus::Held, _) | (HoldStatus::Committed, Settlement::GiveBack) => {}
            (status, settlement) if settlement.is_done(status) => return Ok(hold.value),
            (status, _) => return Err(HoldError::WrongState(status)),
        }
        let asked = match only_sku(&hold.value.lines) {
            Some(sku) => self.registry.ask(&sku, SettleHold { hold, settlement }, DEADLINE).await,
            None => self.bundles.ask(BUNDLES, SettleHold { hold, settlement }, DEADLINE).await,
        };
        asked.unwrap_or_else(|error| Err(Trouble::from(error).into()))
    }
}

/// The one SKU of these lines, unless they have several.
fn only_sku(lines: &[HoldLine]) -> Option<String> {
    let (first, others) = lines.split_first()?;
    others.iter().all(|line| line.sku == first.sku).then(|| first.sku.clone())
}

#[async_trait]
impl LapsedHolds for Inventory {
    async fn end_lapsed(&self) -> Result<usize, StoreError> {
        const PAGE: usize = 500;
        const PAGES: usize = 20;
        let seen = self.lapses.begun.load(Ordering::SeqCst);
        let mut last = self.lapses.last.lock().await;
        if last.0 > seen {
            return last.1.clone();
        }
        let number = self.lapses.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let mut ended = Ok(0);
        for _ in 0..PAGES {
            let page = self.release_expired(self.clock.now(), PAGE).await;
            ended = ended.and_then(|before: usize| page.clone().map(|now| before + now));
            if page.is_ok_and(|now| now == PAGE) {
                continue;
            }
            break;
        }
        *last = (number, ended.clone());
        ended
    }
}

#[async_trait]
impl Holds for Inventory {
    async fn hold(&self, request: HoldRequest) -> Result<Hold, HoldError> {
        self.place(request).await.map(|placed| placed.hold)
    }

    async fn commit(&self, id: &str) -> Result<Hold, HoldError> {
        self.read_and_settle(id, Settlement::Commit).await
    }

    async fn release(&self, id: &str) -> Result<Hold, HoldError> {
        self.read_and_settle(id, Settlement::Release).await
    }

    async fn give_back(&self, request: HoldRequest) -> Result<Hold, HoldError> {
        if let Some(hold) = load::<Hold>(self.store.as_ref(), &request.id).await.map_err(Trouble::from)? {
            return self.settle(hold, Settlement::GiveBack).await;
        }
        // Whoever comes later to make this hold finds it ended.
        let HoldRequest { id, user_id, lines, .. } = request;
        let created_at = self.clock.now();
        let hold = Hold {
            id,
            user_id,
            lines,
            status: HoldStatus::Released,
            expires_at: None,
            created_at,
            order_id: None,
        };
        match self.store.commit(Batch::shared().insert(&hold)).await {
            Ok(()) => Ok(hold),
            Err(CommitError::Conflict(_)) => self.read_and_settle(&hold.id, Settlement::GiveBack).await,
            Err(CommitError::Unavailable(reason)) => Err(Trouble::Unavailable(reason).into()),
            Err(CommitError::OutcomeUnknown(_)) => Err(HoldError::OutcomeUnknown),
        }
    }
}
