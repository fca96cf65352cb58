//! Stock, as those who use it see it: real actors in a real registry, the store in memory.

mod bundles;
mod decisions;
mod ended_holds;
mod fairness;
mod groups;
mod linearizable;
mod selling;
mod shopping;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::{
    AdjustError, Adjusted, Adjustment, HOLDS, Hold, HoldError, HoldLine, HoldRequest, HoldStatus, Holds,
    Inventory, Movement, MovementKind, STOCK, Sku, Stock,
};
use crate::cluster::Clock;
use crate::store::{Batch, CommitError, PRIMARY, Query, Sharing, Store, Versioned, find};
use crate::supervision::{Arbiters, Tree, lock};
use crate::testing::{AtCommit, ManualClock, MemoryStore};
use crate::time::Timestamp;

/// A store that several replicas share.
struct Shop {
    clock: Arc<ManualClock>,
    memory: Arc<MemoryStore>,
    store: Arc<Gate>,
    arbiters: Arc<Arbiters>,
    tree: Tree,
}

impl Shop {
    /// A shop with these SKUs and so many units of each on hand.
    async fn with(stock: &[(&str, i64)]) -> Self {
        let clock = Arc::new(ManualClock::default());
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        let store = Arc::new(Gate::open(memory.clone()));
        let (arbiters, tree) = (Arc::new(Arbiters::start(2)), Tree::new(clock.clone()));
        let shop = Self { clock, memory, store, arbiters, tree };
        let replica = shop.replica();
        for (sku, units) in stock {
            let none = Stock::none_of(&Sku::parse(*sku).unwrap());
            shop.memory.commit(Batch::new().insert(&none)).await.unwrap();
            adjust(&replica, &format!("delivery-{sku}"), sku, *units).await.unwrap();
        }
        shop
    }

    fn replica(&self) -> Inventory {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Inventory::new(store, clock, self.arbiters.clone(), self.tree.clone(), Inventory::OPTIONS)
    }

    async fn stock(&self, sku: &str) -> Stock {
        self.replica().stock(sku).await.unwrap().unwrap().value
    }

    /// The invariant: on hand = available + held, available ≥ 0, and the ledger and the live holds
    /// say the same as the counters.
    async fn check(&self) {
        let stocks = all::<Stock>(&self.memory).await;
        let holds = all::<Hold>(&self.memory).await;
        let movements = all::<Movement>(&self.memory).await;
        for stock in stocks {
            let sum = |kinds: &[MovementKind]| -> i64 {
                let of_sku = movements.iter().filter(|m| m.sku == stock.sku() && kinds.contains(&m.kind));
                of_sku.map(|movement| movement.delta).sum()
            };
            let live = holds.iter().filter(|hold| hold.status == HoldStatus::Held);
            let held: i64 = live
                .flat_map(|hold| &hold.lines)
                .filter(|line| line.sku == stock.sku())
                .map(|line| line.quantity)
                .sum();
            use MovementKind::{Adjusted, Held, Released, Returned, Sold};
            assert!(stock.available() >= 0, "{stock:?}");
            assert_eq!(stock.on_hand(), stock.available() + stock.held(), "{stock:?}");
            assert_eq!(stock.held(), held, "live holds of {stock:?}");
            assert_eq!(stock.on_hand(), sum(&[Adjusted, Sold, Returned]), "ledger of {stock:?}");
            let available = sum(&[Adjusted, Held, Released, Returned]);
            assert_eq!(stock.available(), available, "ledger of {stock:?}");
        }
    }
}

async fn all<T: crate::store::Entity>(store: &MemoryStore) -> Vec<T> {
    let mut query = Query::by(T::collection(), PRIMARY).limit(1000);
    let mut found = Vec::new();
    loop {
        let (page, next) = find::<T>(store, query.clone()).await.unwrap();
        found.extend(page.into_iter().map(|record| record.value));
        match next {
            None => return found,
            next => query = query.after(next),
        }
    }
}

fn lines(lines: &[(&str, i64)]) -> Vec<HoldLine> {
    lines.iter().map(|(sku, quantity)| HoldLine { sku: (*sku).to_owned(), quantity: *quantity }).collect()
}

fn request(id: &str, held: &[(&str, i64)]) -> HoldRequest {
    HoldRequest { id: id.to_owned(), user_id: "u1".to_owned(), lines: lines(held), ttl: None }
}

async fn hold(replica: &Inventory, id: &str, held: &[(&str, i64)]) -> Result<Hold, HoldError> {
    replica.hold(request(id, held)).await
}

fn hold_in_background(
    replica: &Inventory,
    id: String,
    held: &'static [(&str, i64)],
) -> JoinHandle<Result<Hold, HoldError>> {
    let replica = replica.clone();
    actix_rt::spawn(async move { hold(&replica, &id, held).await })
}

async fn adjust(replica: &Inventory, id: &str, sku: &str, delta: i64) -> Result<Adjusted, AdjustError> {
    let reason = "counted".to_owned();
    let (id, sku) = (id.to_owned(), sku.to_owned());
    replica.adjust(Adjustment { id, sku, delta, reason, reference: None }).await
}

/// Polls until `true`: for what others are about to do.
async fn until(mut happened: impl FnMut() -> bool) {
    while !happened() {
        tokio::task::yield_now().await;
    }
}

/// What a panic of the test comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Panic {
    BeforeCommit,
    AfterCommit,
}

/// The store in memory behind a gate that a test can close, so that it knows what is in flight.
struct Gate {
    inner: Arc<MemoryStore>,
    passes: Semaphore,
    begun: watch::Sender<usize>,
    conflicts: watch::Sender<usize>,
    yields: Mutex<usize>,
    panics: Mutex<VecDeque<Panic>>,
    /// Which commits might have shared a transaction, in their order.
    sharings: Mutex<Vec<Sharing>>,
}

impl Gate {
    fn open(inner: Arc<MemoryStore>) -> Self {
        Self {
            inner,
            passes: Semaphore::new(Semaphore::MAX_PERMITS / 2),
            begun: watch::Sender::new(0),
            conflicts: watch::Sender::new(0),
            yields: Mutex::new(0),
            panics: Mutex::default(),
            sharings: Mutex::default(),
        }
    }

    /// Which commits since the last time that this was asked might have shared a transaction.
    fn sharings(&self) -> Vec<Sharing> {
        std::mem::take(&mut lock(&self.sharings))
    }

    /// From now on commits wait until they are let through.
    fn close(&self) {
        self.passes.forget_permits(Semaphore::MAX_PERMITS);
        self.begun.send_replace(0);
    }

    fn let_through(&self, commits: usize) {
        self.passes.add_permits(commits);
    }

    /// Waits until so many commits have arrived since the gate was closed.
    async fn arrived(&self, commits: usize) {
        self.begun.subscribe().wait_for(|begun| *begun >= commits).await.unwrap();
    }

    /// Commits give way to other tasks so often, so that replicas meet.
    fn dawdle(&self, yields: usize) {
        *lock(&self.yields) = yields;
    }

    fn panic_next(&self, panic: Panic) {
        lock(&self.panics).push_back(panic);
    }
}

#[async_trait]
impl AtCommit for Gate {
    fn store(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn at_commit(&self, batch: Batch) -> Result<(), CommitError> {
        lock(&self.sharings).push(batch.sharing);
        self.begun.send_modify(|begun| *begun += 1);
        self.passes.acquire().await.unwrap().forget();
        let yields = *lock(&self.yields);
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        let panic = lock(&self.panics).pop_front();
        assert_ne!(panic, Some(Panic::BeforeCommit), "as the test wants it");
        let committed = self.inner.commit(batch).await;
        assert_ne!(panic, Some(Panic::AfterCommit), "as the test wants it");
        if matches!(committed, Err(CommitError::Conflict(_))) {
            self.conflicts.send_modify(|conflicts| *conflicts += 1);
        }
        committed
    }
}

#[test]
fn the_collections_are_declared_without_mistakes() {
    for collection in [&STOCK, &HOLDS, &super::MOVEMENTS] {
        assert_eq!(collection.mistakes(), Vec::<String>::new());
    }
}
