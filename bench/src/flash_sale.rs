//! Many buyers, one SKU.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use steward::app::schema::SCHEMA;
use steward::storage::mongo::MongoStore;
use steward::storage::sqlite::SqliteStore;
use steward_actors::catalog::{Catalog, NewProduct, Variant};
use steward_actors::cluster::StoreClock;
use steward_actors::inventory::{Adjustment, HoldLine, HoldRequest, Holds, Inventory, Sku};
use steward_actors::money::{Currency, Money};
use steward_actors::store::Store;
use steward_actors::supervision::{Arbiters, Tree};

use crate::raw::{Raw, SKU, crowd};
use crate::report::{Row, table};

const UNITS: i64 = 100_000_000;

type Failure = Box<dyn Error + Send + Sync>;

/// Runs all contenders, one after the other, and checks the stock after each.
pub async fn run(uri: &SecretString, buyers: usize, span: Duration) -> Result<String, Failure> {
    let mut rows = vec![alone(uri, buyers, span).await?, grouped(uri, buyers, span).await?];
    for replicas in [1, 2, 3, 6] {
        let database = fresh();
        let mut stores: Vec<Arc<dyn Store>> = Vec::new();
        for _ in 0..replicas {
            let store = MongoStore::connect(uri, &database, SCHEMA).await?;
            store.migrate().await?;
            stores.push(Arc::new(store));
        }
        let name = match replicas {
            1 => "(c) the actor, MongoDB".to_owned(),
            n => format!("    the actor, MongoDB, {n} replicas on the SKU"),
        };
        rows.push(actors(name, stores, buyers, span).await?);
        Raw::connect(uri, &database).await?.database.drop().await?;
    }
    let data = tempfile::tempdir()?;
    let embedded: Arc<dyn Store> = Arc::new(SqliteStore::open(&data.path().join("bench.db"), SCHEMA)?);
    rows.push(actors("    the actor, embedded SQLite".to_owned(), vec![embedded], buyers, span).await?);
    Ok(table(&format!("flash sale: {buyers} buyers, one SKU, {} s each", span.as_secs()), &rows))
}

fn fresh() -> String {
    format!("bench{}", uuid::Uuid::new_v4().simple())
}

async fn alone(uri: &SecretString, buyers: usize, span: Duration) -> Result<Row, Failure> {
    let raw = Raw::connect(uri, &fresh()).await?;
    raw.stock_up(UNITS).await?;
    let (done, took, latencies) = crowd(buyers, span, |until| {
        let raw = raw.clone();
        async move { raw.reserve_alone(until).await.unwrap_or(false) }
    })
    .await;
    let remark = exact(raw.held().await?, done)?;
    raw.database.drop().await?;
    Ok(Row { name: "(a) one transaction a reservation".to_owned(), done, took, latencies, remark })
}

async fn grouped(uri: &SecretString, buyers: usize, span: Duration) -> Result<Row, Failure> {
    let raw = Raw::connect(uri, &fresh()).await?;
    raw.stock_up(UNITS).await?;
    let queue = raw.group_committer();
    let (done, took, latencies) = crowd(buyers, span, |_| {
        let queue = queue.clone();
        async move {
            let (answer, answered) = tokio::sync::oneshot::channel();
            queue.send(answer).await.is_ok() && answered.await.is_ok()
        }
    })
    .await;
    let remark = exact(raw.held().await?, done)?;
    raw.database.drop().await?;
    Ok(Row { name: "(b) a bare loop, 256 a transaction".to_owned(), done, took, latencies, remark })
}

/// One inventory for each store, as replicas that share the SKU.
async fn actors(
    name: String,
    stores: Vec<Arc<dyn Store>>,
    buyers: usize,
    span: Duration,
) -> Result<Row, Failure> {
    let mut replicas = Vec::new();
    for store in &stores {
        let clock = Arc::new(StoreClock::start(store.as_ref()).await?);
        let tree = Tree::new(clock.clone());
        let arbiters = Arc::new(Arbiters::start(1));
        replicas.push(Inventory::new(store.clone(), clock, arbiters, tree, Inventory::OPTIONS));
    }
    let first = replicas.first().ok_or("no replica")?.clone();
    let clock = Arc::new(StoreClock::start(stores[0].as_ref()).await?);
    let catalog = Catalog::new(stores[0].clone(), clock);
    let price = Money::new(100, Currency::from_code("USD").ok_or("USD")?);
    let variant =
        Variant { sku: Sku::parse(SKU)?, name: "Hot".to_owned(), price, attributes: Default::default() };
    let product = NewProduct {
        id: "hot".to_owned(),
        command: None,
        name: "Hot".to_owned(),
        description: None,
        category_id: None,
        image_urls: Vec::new(),
        attributes: Default::default(),
        variants: vec![variant],
    };
    catalog.create(product).await?;
    let received = Adjustment {
        id: "received".to_owned(),
        sku: SKU.to_owned(),
        delta: UNITS,
        reason: "received".to_owned(),
        reference: None,
    };
    first.adjust(received).await?;

    let next = AtomicUsize::new(0);
    let refused = Arc::new(AtomicUsize::new(0));
    let (done, took, latencies) = crowd(buyers, span, |_| {
        let inventory = replicas[next.fetch_add(1, Ordering::Relaxed) % replicas.len()].clone();
        let refused = refused.clone();
        async move {
            let request = HoldRequest {
                id: uuid::Uuid::now_v7().to_string(),
                user_id: "buyer".to_owned(),
                lines: vec![HoldLine { sku: SKU.to_owned(), quantity: 1 }],
                ttl: None,
            };
            let held = inventory.hold(request).await.is_ok();
            refused.fetch_add(usize::from(!held), Ordering::Relaxed);
            held
        }
    })
    .await;
    let stock = first.stock(SKU).await?.ok_or("no stock")?.value;
    let refused = refused.load(Ordering::Relaxed);
    let mut remark = exact(stock.held(), done)?;
    if refused > 0 {
        remark.push_str(&format!(", {refused} told to come back"));
    }
    Ok(Row { name, done, took, latencies, remark })
}

/// The stock must tell of exactly what was answered with yes.
fn exact(held: i64, done: u64) -> Result<String, Failure> {
    let answered = i64::try_from(done)?;
    if held == answered {
        return Ok("stock exact".to_owned());
    }
    // A yes whose answer was lost is held, and its buyer was told to ask again with the same id.
    if held > answered {
        return Ok(format!("{} held without an answer", held - answered));
    }
    Err(format!("{answered} were told yes, {held} are held").into())
}
