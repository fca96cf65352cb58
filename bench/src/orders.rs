//! Orders from accepted to confirmed: how many a second, how soon, at what cost, and whether that
//! stays as the store grows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use secrecy::{ExposeSecret, SecretString};
use steward::app::schema::SCHEMA;
use steward::storage::mongo::MongoStore;
use steward_actors::order_saga::{EventRecord, ORDERS, Order, OrderEvent, OrderStatus};
use steward_actors::store::{Query, Store, find};
use steward_actors::supervision::lock;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::growth;
use crate::raw::{Raw, crowd, fresh};
use crate::report::print;
use crate::server::{Place, Server, cpu};
use crate::shop::{Identity, crowd_of, register, stock_up};
use crate::wire::Wire;

/// SKUs that the orders are spread over.
const SKUS: usize = 64;
/// Orders whose steps are looked at, in each measurement.
const LOOKED_AT: usize = 300;
/// How long a measurement may take to come to its end.
const PATIENCE: Duration = Duration::from_secs(300);
/// What confirmed orders a second should be of bare inserts a second.
const AIM: f64 = 0.15;
/// The span between two looks for orders that have ended: one look serves all clients, because
/// each asking for itself would be most of the load.
const LOOK: Duration = Duration::from_millis(10);

/// What is to be run.
pub struct Plan {
    pub uri: SecretString,
    pub redis: SecretString,
    pub binary: Option<PathBuf>,
    pub orders: usize,
    pub clients: usize,
    pub sizes: Vec<usize>,
}

struct World {
    store: Arc<dyn Store>,
    raw: Raw,
    server: Server,
    sandbox: Server,
    people: Vec<Identity>,
    skus: Vec<String>,
}

/// What a measurement came to.
struct Measured {
    confirmed: usize,
    others: usize,
    took: Duration,
    /// From accepted to confirmed, by the orders' own times, sorted.
    latencies: Vec<Duration>,
    /// Processor time by process.
    cpu: Vec<(&'static str, Duration)>,
    steps: BTreeMap<String, (u32, Duration)>,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.confirmed as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    fn quantile(&self, q: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * q).round() as usize;
        self.latencies.get(at).copied().unwrap_or_default().as_secs_f64() * 1000.0
    }

    fn line(&self, name: &str) -> String {
        let each = |used: Duration| used.as_secs_f64() * 1e6 / self.confirmed.max(1) as f64;
        let cpu: Vec<String> =
            self.cpu.iter().map(|(who, used)| format!("{who} {:.0}", each(*used))).collect();
        let all: Duration = self.cpu.iter().map(|(_, used)| *used).sum();
        let others = if self.others > 0 { format!(", {} NOT confirmed", self.others) } else { String::new() };
        format!(
            "{name:<34}{:>8.0}{:>9.0}{:>9.0}{:>10.0}   {}{others}\n",
            self.rate(),
            self.quantile(0.5),
            self.quantile(0.99),
            each(all),
            cpu.join(", ")
        )
    }
}

/// Runs all measurements.
pub async fn run(plan: &Plan) -> Result<String, Failure> {
    let database = fresh();
    let (data, beside) = (tempfile::tempdir()?, tempfile::tempdir()?);
    // A process and a store of its own, so that what the faked provider costs is not counted as ours.
    let sandbox = Place::new(plan.binary.clone(), beside.path())?.start("sandbox").await?;
    let mut place = Place::new(plan.binary.clone(), data.path())?;
    place.set("MONGODB__URI", plan.uri.expose_secret());
    place.set("MONGODB__DATABASE", &database);
    place.set("REDIS__URI", plan.redis.expose_secret());
    place.set("REDIS__PREFIX", format!("{database}:"));
    place.set("SANDBOX__URL", &sandbox.sandbox);
    let server = place.start("serve").await?;
    register(server.address()).await?;
    let store: Arc<dyn Store> = Arc::new(MongoStore::connect(&plan.uri, &database, SCHEMA).await?);
    let skus: Vec<String> = (0..SKUS).map(|n| format!("WARE-{n}")).collect();
    stock_up(store.clone(), &skus, 1_000_000_000).await?;
    let people = crowd_of(store.as_ref(), plan.clients).await?;
    let raw = Raw::connect(&plan.uri, &database).await?;
    let world = World { store, raw, server, sandbox, people, skus };

    let span = Duration::from_secs(5);
    let bare = crowd(64, span, |_, _| {
        let raw = world.raw.clone();
        async move { raw.insert().await }
    });
    let (done, took, _) = bare.await;
    let bare = done as f64 / took.as_secs_f64();

    let mut text = format!("orders: {} from {} clients, each measurement\n", plan.orders, plan.clients);
    text.push_str(&format!(
        "{:<34}{:>8}{:>9}{:>9}{:>10}   {}\n",
        "", "done/s", "p50 ms", "p99 ms", "µs CPU", "of these by process"
    ));
    text.push_str(&format!("{:<34}{bare:>8.0}\n", "bare majority inserts, 64 clients"));
    // The first orders warm everything up, and are what the store is filled with copies of.
    let warm = world.measure(plan.orders.div_ceil(4), plan.clients).await?;
    let calm = world.measure(plan.orders.div_ceil(10), 4).await?;
    text.push_str(&calm.line("calm: 4 clients, one after another"));
    let first = world.measure(plan.orders, plan.clients).await?;
    text.push_str(&first.line("as many at once as there are clients"));
    text.push_str(&steps("calm", &calm));
    text.push_str(&steps("busy", &first));
    let mut in_store = warm.confirmed + calm.confirmed + first.confirmed;
    for &size in &plan.sizes {
        print(&format!("  filling the store up to {size} orders\n"));
        in_store += growth::fill(&world.raw, size.saturating_sub(in_store)).await?;
        let measured = world.measure(plan.orders, plan.clients).await?;
        text.push_str(&measured.line(&format!("with {in_store} orders in the store")));
        in_store += measured.confirmed;
    }
    text.push_str(&crate::report::aims(&[("confirmed / bare inserts", first.rate() / bare, AIM)]));
    let World { server, sandbox, raw, .. } = world;
    server.end().await?;
    sandbox.end().await?;
    raw.database.drop().await?;
    Ok(text)
}

fn steps(what: &str, measured: &Measured) -> String {
    let mut steps: Vec<_> = measured.steps.iter().collect();
    steps.sort_by_key(|(_, (_, sum))| std::cmp::Reverse(*sum));
    let each = |(name, (count, sum)): &(&String, &(u32, Duration))| {
        format!("{name} {:.1}", sum.as_secs_f64() * 1000.0 / f64::from((*count).max(1)))
    };
    let steps: Vec<String> = steps.iter().map(each).collect();
    format!("  ms until each event since the one before, {what}: {}\n", steps.join(", "))
}

impl World {
    /// Places so many orders, each client one after the other, and waits until all have ended.
    async fn measure(&self, orders: usize, clients: usize) -> Result<Measured, Failure> {
        let processes = [
            ("server", Some(self.server.pid)),
            ("MongoDB", self.raw.pid().await),
            ("provider", Some(self.sandbox.pid)),
            ("clients", Some(std::process::id())),
        ];
        let used = || processes.map(|(who, pid)| (who, pid.map_or(Duration::ZERO, cpu)));
        let before = used();
        let next = Arc::new(AtomicUsize::new(0));
        let waiting = Waiting::default();
        let placed = (0..clients).map(|n| self.client(n, orders, next.clone(), &waiting));
        let ids: Vec<String> = tokio::select! {
            placed = try_join_all(placed) => placed?.concat(),
            failed = waiting.look(&self.raw) => return Err(failed),
        };
        self.all_ended().await?;
        let cpu = used()
            .into_iter()
            .zip(before)
            .map(|((who, after), (_, before))| (who, after.saturating_sub(before)))
            .collect();
        self.read(&ids, cpu).await
    }

    /// One client: places an order, waits until it is confirmed, places the next.
    async fn client(
        &self,
        n: usize,
        orders: usize,
        next: Arc<AtomicUsize>,
        waiting: &Waiting,
    ) -> Result<Vec<String>, Failure> {
        let person = &self.people[n % self.people.len()];
        let mut wire = Wire::connect(self.server.address()).await?;
        let mut ids = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= orders {
                return Ok(ids);
            }
            let sku = &self.skus[number % self.skus.len()];
            let body =
                format!(r#"{{"lines":[{{"sku":"{sku}","quantity":1}}],"paymentMethod":"pm_card_visa"}}"#);
            let key = uuid::Uuid::now_v7().to_string();
            let token = Some(person.token.as_str());
            let (status, body) = wire.ask("POST", "/v1/orders", token, Some(&key), &body).await?;
            if status != 202 {
                return Err(format!(
                    "an order was answered with {status}: {}",
                    String::from_utf8_lossy(&body)
                )
                .into());
            }
            let order: serde_json::Value = serde_json::from_slice(&body)?;
            let id = order["id"].as_str().ok_or("an order without an id")?.to_owned();
            let ended = waiting.add(&id);
            if timeout(PATIENCE, ended).await.is_err() {
                return Err(format!("order {id} does not end").into());
            }
            ids.push(id);
        }
    }

    async fn all_ended(&self) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            let owned = Query::by(&ORDERS, "owner").limit(1);
            if self.store.find(owned).await?.records.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                return Err("orders do not end".into());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn read(&self, ids: &[String], cpu: Vec<(&'static str, Duration)>) -> Result<Measured, Failure> {
        let mut orders: Vec<Order> = Vec::new();
        for some in ids.chunks(500) {
            let found = steward_actors::store::load_many::<Order>(self.store.as_ref(), some).await?;
            orders.extend(found.into_iter().map(|order| order.value));
        }
        let confirmed: Vec<&Order> =
            orders.iter().filter(|order| order.status == OrderStatus::Confirmed).collect();
        let mut latencies: Vec<Duration> =
            confirmed.iter().map(|order| order.updated_at.since(order.created_at)).collect();
        latencies.sort_unstable();
        let first = orders.iter().map(|order| order.created_at).min().ok_or("no order")?;
        let last = orders.iter().map(|order| order.updated_at).max().ok_or("no order")?;
        let mut steps: BTreeMap<String, (u32, Duration)> = BTreeMap::new();
        for order in confirmed.iter().take(LOOKED_AT) {
            let query = EventRecord::behind(&order.id, 0).limit(100);
            let (found, _) = find::<EventRecord>(self.store.as_ref(), query).await?;
            let events: Vec<OrderEvent> =
                found.into_iter().flat_map(|record| record.value.events()).collect();
            for two in events.windows(2) {
                let name = serde_json::to_value(&two[1].event)?["type"].as_str().unwrap_or("?").to_owned();
                let entry = steps.entry(name).or_default();
                entry.0 += 1;
                entry.1 += two[1].decided_at.since(two[0].decided_at);
            }
        }
        Ok(Measured {
            confirmed: confirmed.len(),
            others: ids.len() - confirmed.len(),
            took: last.since(first),
            latencies,
            cpu,
            steps,
        })
    }
}

/// Orders whose clients wait for their end.
#[derive(Default)]
struct Waiting(Mutex<HashMap<String, oneshot::Sender<()>>>);

impl Waiting {
    fn add(&self, id: &str) -> oneshot::Receiver<()> {
        let (end, ended) = oneshot::channel();
        self.waiting().insert(id.to_owned(), end);
        ended
    }

    /// Tells clients of the ends of their orders, until the store fails. Orders that have not ended
    /// have an owner: what is asked for are the ids in that index, and no order is read.
    async fn look(&self, raw: &Raw) -> Failure {
        let mut owner = None;
        loop {
            sleep(LOOK).await;
            let mut waiting: BTreeSet<String> = self.waiting().keys().cloned().collect();
            let Some(oldest) = waiting.first().cloned() else { continue };
            let live = async {
                if owner.is_none() {
                    owner = raw.owner().await?;
                }
                match &owner {
                    Some(owner) => raw.owned(owner, &oldest).await,
                    // All have ended.
                    None => Ok(HashSet::new()),
                }
            };
            match live.await {
                Ok(live) => waiting.retain(|id| !live.contains(id)),
                Err(error) => return error.into(),
            }
            for id in waiting {
                // A client that has given up does not listen.
                let _ = self.waiting().remove(&id).map(|end| end.send(()));
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        lock(&self.0)
    }
}
