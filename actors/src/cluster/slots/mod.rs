//! Slots: the share of long-lived work that each replica has.
//!
//! Who calls it: the composition root runs [`Slots::run`] in replicas with the role, and
//! [`Slots::release`] when one leaves; account sync asks [`Territory`] before it begins a run. How
//! it works: all slots of a kind are one record. Whoever sees that they are not spread evenly over
//! the replicas that live spreads them and replaces the record at the version it read, so there
//! is no leader and two that do it at once end with one table. A slot that moves gets the next
//! epoch.
//!
//! What never happens here: trust in a slot as a fence. A replica that stood still believes in
//! slots it lost; what it writes is refused by the written record's version, and by the epoch that
//! the new owner has recorded in it.

mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use metrics::{counter, gauge, histogram};
use tokio::sync::{Notify, watch};

use super::{Clock, Membership};
use crate::figures;
use crate::store::{Batch, CommitError, Store, StoreError, load};
use crate::supervision::lock;

pub use table::{SLOT_TABLES, SLOTS, Slot, SlotTable, slot_of};

/// How often the table and the replicas are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How often a spread that conflicts is decided again before the next look.
const ATTEMPTS: usize = 5;

/// Who lives. [`Membership`] in production.
#[async_trait]
pub trait Members: Send + Sync + 'static {
    /// This replica's incarnation.
    fn incarnation(&self) -> String;

    /// Whether this replica's own heartbeat stands.
    fn am_live(&self) -> bool;

    /// The incarnations that live and have this role.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn live_with(&self, role: &str) -> Result<BTreeSet<String>, StoreError>;
}

#[async_trait]
impl Members for Membership {
    fn incarnation(&self) -> String {
        Self::incarnation(self)
    }

    fn am_live(&self) -> bool {
        Self::am_live(self)
    }

    async fn live_with(&self, role: &str) -> Result<BTreeSet<String>, StoreError> {
        let live = self.live().await?.into_iter();
        Ok(live.filter(|one| one.roles.iter().any(|has| has == role)).map(|one| one.id).collect())
    }
}

/// What this replica may begin.
#[async_trait]
pub trait Territory: Send + Sync + 'static {
    /// The epoch under which this replica has the key's slot; `None` if it has not, or if its own
    /// heartbeat does not stand.
    fn epoch_of(&self, key: &str) -> Option<u64>;

    /// Whether that incarnation lived when this replica last looked. What a dead one has claimed
    /// need not be waited for.
    fn lives(&self, incarnation: &str) -> bool;

    /// Returns when slots have arrived since it last did: what their former owner left unfinished
    /// can be looked for now.
    async fn gained(&self);
}

/// What a replica knows of the slots.
#[derive(Default)]
struct View {
    mine: BTreeMap<usize, u64>,
    live: BTreeSet<String>,
}

/// The slots of one kind of work, as one replica has them.
pub struct Slots {
    kind: &'static str,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    members: Arc<dyn Members>,
    view: Mutex<View>,
    gained: Notify,
}

impl Slots {
    /// Slots for the work that replicas with the role `kind` do. Nothing is had until
    /// [`Self::run`] or [`Self::round`] has looked.
    pub fn new(
        kind: &'static str,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        members: Arc<dyn Members>,
    ) -> Self {
        Self { kind, store, clock, members, view: Mutex::default(), gained: Notify::new() }
    }

    /// Looks every second until `stop` becomes true.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(kind = self.kind, %error, "slots could not be looked at");
            }
            tokio::select! {
                () = self.clock.sleep(EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Looks at the table and the replicas once, and spreads the slots if they are not spread.
    ///
    /// # Errors
    /// [`StoreError`]; the view of before stays.
    pub async fn round(&self) -> Result<(), StoreError> {
        let live = self.members.live_with(self.kind).await?;
        if !self.members.am_live() || !live.contains(&self.members.incarnation()) {
            self.see(View { mine: BTreeMap::new(), live });
            return Ok(());
        }
        let table = self.spread_over(&live).await?;
        let mine = table.epochs_of(&self.members.incarnation());
        if self.see(View { mine, live }) > 0 {
            let since = self.clock.now().since(table.moved_at);
            histogram!(figures::SLOT_TAKE_UP_SECONDS, "kind" => self.kind).record(since.as_secs_f64());
            self.gained.notify_one();
        }
        Ok(())
    }

    /// Goes by this view from now on. Returns how many slots it has got.
    fn see(&self, view: View) -> usize {
        let have = view.mine.len();
        let (lost, got) = {
            let mut before = lock(&self.view);
            let moved = moved(&before.mine, &view.mine);
            *before = view;
            moved
        };
        gauge!(figures::SLOTS_OWNED, "kind" => self.kind).set(have as f64);
        for (direction, count) in [("lost", lost), ("got", got)] {
            counter!(figures::SLOTS_MOVED, "kind" => self.kind, "direction" => direction)
                .increment(count as u64);
        }
        if lost + got > 0 {
            tracing::info!(kind = self.kind, lost, got, have, "slots have moved");
        }
        got
    }

    /// Hands this replica's slots over to the others at once. Call it when nothing is begun any
    /// more.
    ///
    /// # Errors
    /// [`StoreError`]; the slots lapse with the heartbeat then.
    pub async fn release(&self) -> Result<(), StoreError> {
        lock(&self.view).mine.clear();
        let mut live = self.members.live_with(self.kind).await?;
        live.remove(&self.members.incarnation());
        if live.is_empty() {
            return Ok(());
        }
        self.spread_over(&live).await.map(|_| ())
    }

    /// The table as it is stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn table(&self) -> Result<SlotTable, StoreError> {
        let found = load::<SlotTable>(self.store.as_ref(), self.kind).await?;
        Ok(found.map_or_else(|| SlotTable::empty(self.kind, self.clock.now()), |found| found.value))
    }

    async fn spread_over(&self, live: &BTreeSet<String>) -> Result<SlotTable, StoreError> {
        for _ in 0..ATTEMPTS {
            let found = load::<SlotTable>(self.store.as_ref(), self.kind).await?;
            let now = self.clock.now();
            let (table, version) = match found {
                Some(found) => (found.value, found.version),
                None => (SlotTable::empty(self.kind, now), 0),
            };
            let Some(spread) = table.spread(live, now) else { return Ok(table) };
            match self.store.commit(Batch::new().put(&spread, version)).await {
                Ok(()) => return Ok(spread),
                // Somebody else has spread them, or this one has and does not know it.
                Err(CommitError::Conflict(_) | CommitError::OutcomeUnknown(_)) => {}
                Err(CommitError::Unavailable(reason)) => return Err(StoreError::Unavailable(reason)),
            }
        }
        self.table().await
    }
}

impl Slots {
    /// How many slots this replica has: none while its own heartbeat does not stand.
    pub fn held(&self) -> usize {
        if self.members.am_live() { lock(&self.view).mine.len() } else { 0 }
    }
}

#[async_trait]
impl Territory for Slots {
    fn epoch_of(&self, key: &str) -> Option<u64> {
        let epoch = lock(&self.view).mine.get(&slot_of(key)).copied();
        epoch.filter(|_| self.members.am_live())
    }

    fn lives(&self, incarnation: &str) -> bool {
        lock(&self.view).live.contains(incarnation)
    }

    async fn gained(&self) {
        self.gained.notified().await;
    }
}

/// How many slots were lost and how many were got.
fn moved(before: &BTreeMap<usize, u64>, after: &BTreeMap<usize, u64>) -> (usize, usize) {
    let missing = |from: &BTreeMap<usize, u64>, of: &BTreeMap<usize, u64>| {
        of.iter().filter(|(slot, epoch)| from.get(slot) != Some(epoch)).count()
    };
    (missing(after, before), missing(before, after))
}
