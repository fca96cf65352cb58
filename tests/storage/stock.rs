//! Stock on the stores that users have: a hundred units, thousands of buyers.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use steward::app::schema::SCHEMA;
use steward::storage::sqlite::SqliteStore;
use steward_actors::cluster::StoreClock;
use steward_actors::inventory::{
    Adjustment, HoldError, HoldLine, HoldRequest, Holds, Inventory, Movement, MovementKind, Sku, Stock,
};
use steward_actors::store::{Batch, Store};
use steward_actors::supervision::{Arbiters, Tree};

use crate::mongo::{Database, uri};

const UNITS: i64 = 100;
const BUYERS: usize = 5000;
/// Buyers that wait at the same time.
const AT_ONCE: usize = 1000;

async fn replica(store: Arc<dyn Store>) -> Inventory {
    let clock = Arc::new(StoreClock::start(store.as_ref()).await.unwrap());
    let tree = Tree::new(clock.clone());
    Inventory::new(store, clock, Arc::new(Arbiters::start(1)), tree, Inventory::OPTIONS)
}

/// A buyer wants one unit, every other one together with something there is enough of.
async fn buy(replica: &Inventory, n: usize) -> bool {
    let line = |sku: &str| HoldLine { sku: sku.to_owned(), quantity: 1 };
    let lines = if n.is_multiple_of(2) { vec![line("hot")] } else { vec![line("hot"), line("plenty")] };
    let request = HoldRequest { id: format!("buyer-{n}"), user_id: format!("u{n}"), lines, ttl: None };
    loop {
        match replica.hold(request.clone()).await {
            Ok(_) => return true,
            Err(HoldError::OutOfStock(skus)) => {
                assert_eq!(skus, ["hot"]);
                return false;
            }
            // Whoever is told to come back does, with the same id.
            Err(HoldError::Unavailable { .. } | HoldError::OutcomeUnknown) => tokio::task::yield_now().await,
            Err(other) => panic!("{other:?}"),
        }
    }
}

async fn a_hundred_units_are_sold_to_a_hundred_of_thousands(stores: [Arc<dyn Store>; 2]) {
    let replicas = [replica(stores[0].clone()).await, replica(stores[1].clone()).await];
    for (sku, units) in [("hot", UNITS), ("plenty", 1_000_000)] {
        let none = Stock::none_of(&Sku::parse(sku).unwrap());
        stores[0].commit(Batch::new().insert(&none)).await.unwrap();
        let (id, sku, reason) = ("delivery".to_owned(), sku.to_owned(), "received".to_owned());
        replicas[0].adjust(Adjustment { id, sku, delta: units, reason, reference: None }).await.unwrap();
    }
    let asked = stream::iter(0..BUYERS).map(|n| {
        let replica = replicas[n / 2 % 2].clone();
        async move { (n, buy(&replica, n).await) }
    });
    let told: Vec<(usize, bool)> = asked.buffer_unordered(AT_ONCE).collect().await;
    let sold = told.iter().filter(|(_, sold)| *sold).count();
    assert_eq!(sold, 100);

    for replica in &replicas {
        for (n, _) in told.iter().filter(|(_, sold)| *sold) {
            replica.commit(&format!("buyer-{n}")).await.unwrap();
        }
    }
    let stock = |sku: &'static str| {
        let replica = &replicas[0];
        async move { replica.stock(sku).await.unwrap().unwrap().value }
    };
    let (hot, plenty) = (stock("hot").await, stock("plenty").await);
    let bundles = told.iter().filter(|(n, sold)| *sold && n % 2 == 1).count();
    assert_eq!((hot.on_hand(), hot.held()), (0, 0));
    assert_eq!((plenty.on_hand(), plenty.held()), (1_000_000 - i64::try_from(bundles).unwrap(), 0));
    let (ledger, next) = replicas[0].movements("hot", 1000, None).await.unwrap();
    let of = |kind: MovementKind| ledger.iter().filter(|m: &&Movement| m.kind == kind).count();
    assert_eq!((of(MovementKind::Held), of(MovementKind::Sold), next), (100, 100, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(&directory.path().join("steward.db"), SCHEMA).unwrap());
    in_actix(move || a_hundred_units_are_sold_to_a_hundred_of_thousands([store.clone(), store])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_mongodb() {
    let database = Database::new();
    let store = database.connect(&uri(), SCHEMA).await;
    store.migrate().await.unwrap();
    let stores: [Arc<dyn Store>; 2] = [Arc::new(store), Arc::new(database.connect(&uri(), SCHEMA).await)];
    in_actix(move || a_hundred_units_are_sold_to_a_hundred_of_thousands(stores)).await;
}

/// Actors need an actix `System`, whatever runtime the stores are on.
async fn in_actix<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || actix_rt::System::new().block_on(test()));
    let ended = tokio::task::spawn_blocking(move || thread.join()).await.unwrap();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}
