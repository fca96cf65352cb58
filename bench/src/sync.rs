//! Linked connections on one process: what an idle one and a live actor cost, how late runs begin
//! when connections are due evenly, how many a second; and how long slots take to change hands.
//!
//! Each is synced twice: for the first time, when all of its accounts and transactions are new, and once
//! more, when little is, as it is ever after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bson::{DateTime, Document, doc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use steward::app::schema::SCHEMA;
use steward::storage::mongo::MongoStore;
use steward_actors::account_sync::{Connection, Outcome, RUNS, Run};
use steward_actors::cluster::SlotTable;
use steward_actors::store::{Batch, PRIMARY, Query, Store, find, load};
use steward_actors::time::Timestamp;
use tokio::time::{Instant, interval, sleep};

use crate::Failure;
use crate::raw::Raw;
use crate::report::print;
use crate::server::{Place, Server, cpu, resident};
use crate::wire::Wire;

/// What is measured.
pub struct Plan {
    /// A MongoDB replica set.
    pub uri: SecretString,
    /// A Redis, which two processes on one database need.
    pub redis: SecretString,
    /// The server's program; the one next to this one if absent.
    pub binary: Option<std::path::PathBuf>,
    /// Connections of each measurement.
    pub sizes: Vec<usize>,
    /// How often each is synced, once or twice.
    pub turns: usize,
    /// Over which they are due.
    pub span: Duration,
}

/// Slots of all replicas together.
const SLOTS: usize = 256;
/// How long runs that are late are waited for.
const LATE: Duration = Duration::from_secs(60);
/// KiB that an idle connection and a live actor may cost.
const AIM_KIB: f64 = 2.0;

struct World {
    plan: Arc<Plan>,
    database: String,
    store: MongoStore,
    raw: Raw,
    sandbox: Server,
    _data: tempfile::TempDir,
}

struct Measured {
    turn: &'static str,
    connections: usize,
    runs: usize,
    complete: usize,
    /// How other runs ended, and how many.
    others: BTreeMap<String, usize>,
    idle_kib: f64,
    actors: usize,
    /// Sorted.
    delays: Vec<Duration>,
    rate: f64,
    server_cpu: Duration,
}

impl Measured {
    fn quantile(&self, q: f64) -> f64 {
        let last = self.delays.len().saturating_sub(1);
        let at = (last as f64 * q).round() as usize;
        self.delays.get(at).copied().unwrap_or_default().as_secs_f64() * 1000.0
    }

    fn line(&self) -> String {
        format!(
            "{:>11}{:>7}{:>9}{:>10}{:>10.2}{:>10}{:>9.0}{:>9.0}{:>9.0}{:>9.1}{:>9.1}\n",
            self.connections,
            self.turn,
            self.runs,
            self.complete,
            self.idle_kib,
            self.actors,
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0),
            self.rate,
            self.server_cpu.as_secs_f64() * 1000.0 / self.runs.max(1) as f64,
        )
    }
}

/// Runs all measurements.
pub async fn run(plan: Plan) -> Result<String, Failure> {
    let plan = Arc::new(plan);
    let mut text = format!("sync: connections of one process, due evenly over {:?}\n", plan.span);
    text.push_str(&format!(
        "{:>11}{:>7}{:>9}{:>10}{:>10}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "connections",
        "turn",
        "runs",
        "complete",
        "KiB/idle",
        "actors",
        "p50 ms",
        "p99 ms",
        "max ms",
        "runs/s",
        "CPU ms"
    ));
    let met = |good: bool| if good { "met" } else { "MISSED" };
    for &size in &plan.sizes {
        let world = World::new(plan.clone()).await?;
        for measured in world.measure(size.clamp(1, 1_000_000)).await? {
            text.push_str(&measured.line());
            if measured.runs < measured.connections {
                text.push_str(&format!("  {} were not run in time\n", measured.connections - measured.runs));
            }
            for (end, count) in &measured.others {
                text.push_str(&format!("  {count} ended as {end}\n"));
            }
            text.push_str(&format!(
                "  aims: idle within {AIM_KIB} KiB: {}; p99 within 1 s: {}\n",
                met(measured.idle_kib <= AIM_KIB),
                met(measured.quantile(0.99) <= 1000.0),
            ));
        }
    }
    text.push_str(
        "KiB/idle: growth of the process by connections that are not due. actors: alive at once at most. \
         ms: from due to begun. CPU: of the server, a run.\n",
    );
    let (idle, running) = crate::sync_memory::measure().await?;
    text.push_str(&format!(
        "a live actor: {idle:.2} KiB, and {running:.2} KiB while it waits for its bank (aim: {AIM_KIB} KiB: {}, {})\n",
        met(idle <= AIM_KIB),
        met(running <= AIM_KIB),
    ));
    text.push_str(&World::new(plan).await?.hand_over().await?);
    Ok(text)
}

impl World {
    async fn new(plan: Arc<Plan>) -> Result<Self, Failure> {
        let database = format!("bench{}", uuid::Uuid::now_v7().simple());
        let data = tempfile::tempdir()?;
        let mut place = Place::new(plan.binary.clone(), data.path())?;
        place.set("SANDBOX__BIND", "127.0.0.1:0");
        let sandbox = place.start("sandbox").await?;
        let store = MongoStore::connect(&plan.uri, &database, SCHEMA).await?;
        let raw = Raw::connect(&plan.uri, &database).await?;
        Ok(Self { plan, database, store, raw, sandbox, _data: data })
    }

    async fn server(&self, data: &tempfile::TempDir) -> Result<Server, Failure> {
        let mut place = Place::new(self.plan.binary.clone(), data.path())?;
        place.set("MONGODB__URI", self.plan.uri.expose_secret());
        place.set("MONGODB__DATABASE", &self.database);
        place.set("REDIS__URI", self.plan.redis.expose_secret());
        place.set("REDIS__PREFIX", format!("{}:", self.database));
        place.set("SANDBOX__URL", &self.sandbox.sandbox);
        place.set("HTTP__DRAIN_SECONDS", 0);
        // Each is due once.
        place.set("SYNC__INTERVAL_SECONDS", 7 * 24 * 3600);
        place.start("serve").await
    }

    async fn measure(&self, count: usize) -> Result<Vec<Measured>, Failure> {
        let data = tempfile::tempdir()?;
        let server = self.server(&data).await?;
        sleep(Duration::from_secs(3)).await;
        let empty = resident(server.pid);
        print(&format!("  linking {count} connections\n"));
        self.link(count).await?;
        sleep(Duration::from_secs(3)).await;
        let idle_kib = (resident(server.pid) - empty).max(0.0) / count as f64;
        let mut turns = Vec::new();
        for turn in ["first", "later"].into_iter().take(self.plan.turns) {
            let measured = Measured { idle_kib, ..self.turn(turn, count, &server).await? };
            print(&measured.line());
            turns.push(measured);
        }
        server.end().await?;
        self.raw.database.drop().await?;
        Ok(turns)
    }

    /// Makes each connection due once, evenly, and waits for their runs.
    async fn turn(&self, turn: &'static str, count: usize, server: &Server) -> Result<Measured, Failure> {
        let step = self.plan.span.as_secs_f64() * 1000.0 / count as f64;
        // Later than the update below takes.
        let begin = self.store.time().await?.plus(Duration::from_secs(2 + count as u64 / 5000));
        let due = doc! { "$add": [DateTime::from_millis(begin.as_millis()), {
            "$floor": { "$multiply": [{ "$toLong": "$createdAt" }, step] }
        }] };
        let connections = self.raw.database.collection::<Document>("connections");
        // As a write of Steward's, so that nobody takes what was read before it for the present.
        let change = vec![doc! { "$set": { "dueAt": due, "_version": { "$add": ["$_version", 1_i64] } } }];
        connections.update_many(doc! {}, change).await?;
        let used = cpu(server.pid);
        let mut actors = 0;
        let until = Instant::now() + begin.since(self.store.time().await?) + self.plan.span;
        let mut tick = interval(Duration::from_secs(1));
        let soon = DateTime::from_millis(begin.plus(self.plan.span + LATE * 2).as_millis());
        while Instant::now() < until + LATE {
            tick.tick().await;
            actors = actors.max(live_actors(server).await.unwrap_or(0));
            let left = connections.count_documents(doc! { "dueAt": { "$lt": soon } });
            if Instant::now() > until && left.await? == 0 {
                break;
            }
        }
        let server_cpu = cpu(server.pid).saturating_sub(used);
        let runs = self.runs(begin).await?;
        let due_at = |run: &Run| -> Option<Timestamp> {
            let n: usize = run.connection_id.strip_prefix("b-")?.parse().ok()?;
            Some(begin.plus(Duration::from_secs_f64(n as f64 * step / 1000.0)))
        };
        let delay = |run: &Run| Some(run.started_at?.since(due_at(run)?));
        let mut delays: Vec<Duration> = runs.iter().filter_map(delay).collect();
        delays.sort_unstable();
        let last = runs.iter().filter_map(|run| run.finished_at).max().unwrap_or(begin);
        let mut others = BTreeMap::new();
        for run in runs.iter().filter(|run| run.outcome != Some(Outcome::Complete)) {
            *others.entry(format!("{:?}: {:?}", run.outcome, run.reason)).or_default() += 1;
        }
        Ok(Measured {
            turn,
            connections: count,
            runs: runs.len(),
            others,
            complete: runs.iter().filter(|run| run.outcome == Some(Outcome::Complete)).count(),
            idle_kib: 0.0,
            actors,
            delays,
            rate: runs.len() as f64 / last.since(begin).as_secs_f64().max(0.001),
            server_cpu,
        })
    }

    /// Connections that are due in a far time, with their numbers as the time at which they were made.
    async fn link(&self, count: usize) -> Result<(), Failure> {
        let address = self.sandbox.sandbox.trim_start_matches("http://").to_owned();
        let mut wire = Wire::connect(&address).await?;
        let claim = "/simplefin/claim/sandbox?user=crowd";
        let (status, body) = wire.ask("POST", claim, None, None, "").await?;
        if status != 200 {
            return Err(format!("the sandbox bank gives no access: {status}").into());
        }
        // It names the host by which we came.
        let access = String::from_utf8(body)?.replace("@bench/", &format!("@{address}/"));
        let now = self.store.time().await?;
        for first in (0..count).step_by(500) {
            let mut batch = Batch::new();
            for n in first..count.min(first + 500) {
                let connection = json!({
                    "id": format!("b-{n}"), "userId": format!("u-{n}"), "listedFor": format!("u-{n}"),
                    "provider": "sandbox", "status": "active", "failures": 0,
                    "credential": {"keyId": "plain", "sealed": access},
                    "lastSuccessAt": now, "createdAt": n, "dueAt": now.plus(Duration::from_secs(365 * 24 * 3600)),
                });
                batch = batch.insert(&serde_json::from_value::<Connection>(connection)?);
            }
            self.store.commit(batch).await?;
        }
        Ok(())
    }

    /// Those that have ended and were begun since then.
    async fn runs(&self, since: Timestamp) -> Result<Vec<Run>, Failure> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = Query::by(&RUNS, PRIMARY).limit(1000).after(after);
            let (page, next) = find::<Run>(&self.store, query).await?;
            let ended = |run: &Run| run.finished_at.is_some() && run.started_at >= Some(since);
            all.extend(page.into_iter().map(|run| run.value).filter(ended));
            after = next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Two processes that share the slots; one leaves, comes again, and is killed.
    async fn hand_over(&self) -> Result<String, Failure> {
        let data = [tempfile::tempdir()?, tempfile::tempdir()?];
        let stays = self.server(&data[0]).await?;
        let mut text = String::from("slots: from the signal to the other's having all of them\n");
        for (how, sent) in [("clean stop", "-TERM"), ("kill", "-KILL")] {
            let leaves = self.server(&data[1]).await?;
            self.until_spread(&[SLOTS / 2, SLOTS / 2]).await?;
            let begun = Instant::now();
            leaves.signal(sent).await?;
            self.until_spread(&[SLOTS]).await?;
            text.push_str(&format!("  {how:<12}{:>8.0} ms\n", begun.elapsed().as_secs_f64() * 1000.0));
            leaves.ended().await?;
        }
        text.push_str(
            "  (the lease is 10 s, a heartbeat every 3 s: a killed one is missed after 7 to 10 s)\n",
        );
        stays.end().await?;
        self.raw.database.drop().await?;
        Ok(text)
    }

    async fn until_spread(&self, shares: &[usize]) -> Result<(), Failure> {
        let (until, mut tick) =
            (Instant::now() + Duration::from_secs(60), interval(Duration::from_millis(5)));
        while Instant::now() < until {
            tick.tick().await;
            let Some(table) = load::<SlotTable>(&self.store, "sync").await? else { continue };
            let mut owners = BTreeMap::<&str, usize>::new();
            for owner in table.value.slots.iter().filter_map(|slot| slot.owner.as_deref()) {
                *owners.entry(owner).or_default() += 1;
            }
            if owners.values().copied().eq(shares.iter().copied()) {
                return Ok(());
            }
        }
        Err("the slots were not spread within 60 s".into())
    }
}

/// Actors of connections that are alive, by the server's own figure.
async fn live_actors(server: &Server) -> Result<usize, Failure> {
    let (_, body) = Wire::connect(server.address()).await?.ask("GET", "/metrics", None, None, "").await?;
    let text = String::from_utf8_lossy(&body);
    let lines = text.lines().filter(|line| line.starts_with("steward_actors{kind=\"account-sync\""));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum())
}
