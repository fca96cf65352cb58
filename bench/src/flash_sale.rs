//! Many buyers, one SKU.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use steward::app::schema::SCHEMA;
use steward::storage::mongo::MongoStore;
use steward::storage::sqlite::SqliteStore;
use steward_actors::inventory::{HoldLine, HoldRequest, Holds};
use steward_actors::store::Store;

use crate::Failure;
use crate::raw::{Raw, SKU, crowd, fresh};
use crate::report::{Row, aims, table};
use crate::sale_over_http::OverHttp;
use crate::shop::{UNITS, exact, inventory, stock_up};

/// What is to be run.
pub struct Sale {
    /// Buyers that wait for an answer at the same time.
    pub buyers: usize,
    /// How long each contender has.
    pub span: Duration,
    /// What (d) needs, unless it is left out.
    pub http: Option<OverHttp>,
}

/// Replicas or processes that share the SKU, in turn.
const REPLICAS: [usize; 4] = [1, 2, 3, 6];

/// Runs all contenders, one after the other, and checks the stock after each.
pub async fn run(uri: &SecretString, sale: &Sale) -> Result<String, Failure> {
    let (buyers, span) = (sale.buyers, sale.span);
    let mut rows = vec![alone(uri, buyers, span).await?, grouped(uri, buyers, span).await?];
    let actor = rows.len();
    for replicas in REPLICAS {
        rows.push(on_mongo(uri, replicas, buyers, span).await?);
    }
    let data = tempfile::tempdir()?;
    let embedded: Arc<dyn Store> = Arc::new(SqliteStore::open(&data.path().join("bench.db"), SCHEMA)?);
    rows.push(actors("    the actor, embedded SQLite".to_owned(), vec![embedded], buyers, span).await?);
    let over_http = rows.len();
    if let Some(http) = &sale.http {
        for processes in REPLICAS {
            rows.push(http.on_mongo(uri, processes).await?);
        }
        rows.push(http.embedded().await?);
    }
    let title = format!("flash sale: {buyers} buyers, one SKU, {} s each", span.as_secs());
    let mut text = table(&title, &rows);
    let rate = |n: usize| rows.get(n).map_or(f64::NAN, Row::rate);
    // Three replicas are the third of REPLICAS.
    text.push_str(&aims(&[
        ("(c) / (b)", rate(actor) / rate(1), 0.8),
        ("(c) / (a)", rate(actor) / rate(0), 100.0),
        ("the actor, 3 replicas / 1", rate(actor + 2) / rate(actor), 0.6),
    ]));
    if sale.http.is_some() {
        text.push_str(&aims(&[
            ("(d) / (a)", rate(over_http) / rate(0), 40.0),
            ("over HTTP, 3 processes / 1", rate(over_http + 2) / rate(over_http), 0.6),
        ]));
        let slowest =
            rows.get(over_http + 2).and_then(|row| row.latencies.last()).copied().unwrap_or_default();
        text.push_str(&format!(
            "  slowest answer of 3 processes: {:.2} s (aim: 2 s)\n",
            slowest.as_secs_f64()
        ));
    }
    Ok(text)
}

async fn on_mongo(
    uri: &SecretString,
    replicas: usize,
    buyers: usize,
    span: Duration,
) -> Result<Row, Failure> {
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
    let row = actors(name, stores, buyers, span).await?;
    Raw::connect(uri, &database).await?.database.drop().await?;
    Ok(row)
}

/// A database with the collections of the service, their indexes and validators, and stock.
async fn stocked(uri: &SecretString) -> Result<Raw, Failure> {
    let database = fresh();
    MongoStore::connect(uri, &database, SCHEMA).await?.migrate().await?;
    let raw = Raw::connect(uri, &database).await?;
    raw.stock_up(UNITS).await?;
    Ok(raw)
}

async fn alone(uri: &SecretString, buyers: usize, span: Duration) -> Result<Row, Failure> {
    let raw = stocked(uri).await?;
    let (done, took, latencies) = crowd(buyers, span, |_, until| {
        let raw = raw.clone();
        async move { raw.reserve_alone(until).await.unwrap_or(false) }
    })
    .await;
    let remark = exact(raw.held().await?, done)?;
    raw.database.drop().await?;
    Ok(Row { name: "(a) one transaction a reservation".to_owned(), done, took, latencies, remark })
}

async fn grouped(uri: &SecretString, buyers: usize, span: Duration) -> Result<Row, Failure> {
    let raw = stocked(uri).await?;
    let queue = raw.group_committer();
    let (done, took, latencies) = crowd(buyers, span, |_, _| {
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
    stock_up(stores.first().ok_or("no replica")?.clone(), &[SKU.to_owned()], UNITS).await?;
    let mut replicas = Vec::new();
    for store in &stores {
        replicas.push(inventory(store.clone()).await?);
    }
    let refused = Arc::new(AtomicUsize::new(0));
    let (done, took, latencies) = crowd(buyers, span, |n, _| {
        let inventory = replicas[n % replicas.len()].clone();
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
    let stock = replicas[0].stock(SKU).await?.ok_or("no stock")?.value;
    let refused = refused.load(Ordering::Relaxed);
    let mut remark = exact(stock.held(), done)?;
    if refused > 0 {
        remark.push_str(&format!(", {refused} told to come back"));
    }
    Ok(Row { name, done, took, latencies, remark })
}
