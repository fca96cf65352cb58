//! Linked connections over processes that are killed, or stand still beyond their lease: every
//! connection keeps its interval, no transaction is missing or there twice against the sandbox's own
//! word, no two runs count at once, epochs only rise, and what comes too late is refused.
//!
//! `STEWARD_CHAOS_CONNECTIONS`, `STEWARD_CHAOS_INTERVAL` and `STEWARD_CHAOS_SECONDS` make it larger;
//! `STEWARD_CHAOS_LATE` asks for more late writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use steward::app::schema::SCHEMA;
use steward::storage::mongo::MongoStore;
use steward_actors::account_sync::{CONNECTIONS, Connection, Outcome, RUNS, Run};
use steward_actors::accounts::{ACCOUNTS, Account, TRANSACTIONS, Transaction};
use steward_actors::cluster::SlotTable;
use steward_actors::store::{Batch, Collection, Entity, PRIMARY, Query, Store, Versioned, find, load};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, interval};

use crate::support::{Backend, Client, DataDir, Replica, SHORT_LEASE, Sandbox, asked, eventually};

/// A bank that outlives all replicas, and the store as a witness sees it.
struct World {
    backend: Backend,
    store: MongoStore,
    bank: Sandbox,
}

impl World {
    async fn new() -> Self {
        let backend = Backend::cluster();
        let Backend::Cluster { mongodb, database, .. } = &backend else { unreachable!() };
        let uri = SecretString::from(mongodb.as_str());
        let store = MongoStore::connect(&uri, database, SCHEMA).await.unwrap();
        Self { backend, store, bank: Sandbox::start().await }
    }

    async fn replica(&self, data: &DataDir, interval_seconds: u64) -> Replica {
        let interval = interval_seconds.to_string();
        let mut more = SHORT_LEASE.to_vec();
        more.push(("STEWARD__SANDBOX__URL", &self.bank.url));
        more.push(("STEWARD__SYNC__INTERVAL_SECONDS", &interval));
        Replica::start(&data.path(), &self.backend, &more).await
    }

    /// Access to the bank, as a connection has it.
    async fn access(&self, token: &str) -> String {
        let url = format!("{}/simplefin/claim/{token}?user=crowd", self.bank.url);
        let claimed = reqwest::Client::new().post(url).send().await.unwrap().error_for_status().unwrap();
        claimed.text().await.unwrap()
    }

    /// By the bank's id of the account, the ids of the transactions that it tells of since then.
    async fn ledger(&self, access: &str, since_millis: i64) -> BTreeMap<String, BTreeSet<String>> {
        let url = format!("{access}/accounts?pending=1&start-date={}", since_millis / 1000);
        let told: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let ids = |account: &Value| {
            let all = account["transactions"].as_array().unwrap().iter();
            all.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
        };
        let accounts = told["accounts"].as_array().unwrap().iter();
        accounts.map(|account| (account["id"].as_str().unwrap().to_owned(), ids(account))).collect()
    }

    /// Connections that were last synced just now, due one after the other within `spread`.
    async fn link(&self, name: &str, count: usize, access: &str, spread: Duration) {
        let now = self.store.time().await.unwrap();
        for first in (0..count).step_by(200) {
            let batch = (first..count.min(first + 200)).fold(Batch::new(), |batch, n| {
                let due = now.plus(spread.mul_f64(n as f64 / count as f64));
                let connection = json!({
                    "id": format!("{name}-{n}"), "userId": format!("u-{name}-{n}"),
                    "listedFor": format!("u-{name}-{n}"), "provider": "sandbox", "status": "active",
                    "credential": {"keyId": "plain", "sealed": access},
                    "lastSuccessAt": now, "dueAt": due, "createdAt": now, "failures": 0,
                });
                batch.insert(&serde_json::from_value::<Connection>(connection).unwrap())
            });
            self.store.commit(batch).await.unwrap();
        }
    }

    async fn all<T: Entity>(&self, collection: &'static Collection) -> Vec<Versioned<T>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = Query::by(collection, PRIMARY).limit(1000).after(after);
            let (page, next) = find::<T>(&self.store, query).await.unwrap();
            all.extend(page);
            after = next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// The finished runs of each connection, in the order in which they began.
    async fn runs(&self) -> BTreeMap<String, Vec<Run>> {
        let mut runs: BTreeMap<String, Vec<Run>> = BTreeMap::new();
        for run in self.all::<Run>(&RUNS).await {
            runs.entry(run.value.connection_id.clone()).or_default().push(run.value);
        }
        for of in runs.values_mut() {
            of.retain(|run| run.finished_at.is_some());
            of.sort_by_key(|run| run.started_at);
        }
        runs
    }

    /// What is missing, and what is there that the bank never told or is there twice.
    async fn compare(&self, access: &str, since_millis: i64) -> (usize, usize, usize) {
        const DAY: i64 = 24 * 3600 * 1000;
        let everything = self.ledger(access, 0).await;
        // A run asks for two weeks before the last one: the day at the edge may be in or out.
        let surely = self.ledger(access, since_millis - 13 * DAY).await;
        let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in self.all::<Transaction>(&TRANSACTIONS).await {
            kept.entry(one.value.account_id).or_default().push(one.value.external_id.unwrap());
        }
        let (mut missing, mut wrong, mut checked) = (0, 0, 0);
        for account in self.all::<Account>(&ACCOUNTS).await {
            let ids = kept.remove(&account.value.id).unwrap_or_default();
            let external = account.value.external_id.unwrap();
            let distinct: BTreeSet<String> = ids.iter().cloned().collect();
            wrong += ids.len() - distinct.len() + distinct.difference(&everything[&external]).count();
            missing += surely[&external].difference(&distinct).count();
            checked += ids.len();
        }
        (missing, wrong + kept.len(), checked)
    }
}

/// Watches the slot table: whether an epoch ever fell, and the highest there was.
async fn watch_epochs(store: Arc<MongoStore>, mut stop: watch::Receiver<bool>) -> (u64, u64) {
    let (mut highest, mut looks) = (BTreeMap::new(), 0);
    let mut tick = interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return (looks, highest.values().copied().max().unwrap_or(0)),
        }
        let Ok(Some(table)) = load::<SlotTable>(store.as_ref(), "sync").await else { continue };
        looks += 1;
        for (number, slot) in table.value.slots.iter().enumerate() {
            let before = highest.insert(number, slot.epoch).unwrap_or(0);
            assert!(slot.epoch >= before, "slot {number} fell from {before} to {}", slot.epoch);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "for a quiet machine and a release build (STEWARD_BINARY): a debug sandbox is slower than runs wait for it"]
async fn connections_keep_their_interval_while_replicas_are_killed() {
    let count = asked("STEWARD_CHAOS_CONNECTIONS", 300);
    let every = Duration::from_secs(asked("STEWARD_CHAOS_INTERVAL", 20));
    let span = Duration::from_secs(asked("STEWARD_CHAOS_SECONDS", 50));
    // Given connections spread over three processes,
    let world = World::new().await;
    let access = world.access("sandbox").await;
    let data = [DataDir::new(), DataDir::new(), DataDir::new()];
    let mut replicas = Vec::new();
    for data in &data {
        replicas.push(world.replica(data, every.as_secs()).await);
    }
    let Backend::Cluster { mongodb, database, .. } = &world.backend else { unreachable!() };
    let witness = MongoStore::connect(&SecretString::from(mongodb.as_str()), database, SCHEMA).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let epochs = tokio::spawn(watch_epochs(Arc::new(witness), stopped));
    let since = world.store.time().await.unwrap();
    world.link("c", count, &access, every).await;

    // when one of them is killed every few seconds and started again,
    let (until, mut kills, mut turn) = (Instant::now() + span, 0, interval(Duration::from_secs(6)));
    turn.tick().await;
    while Instant::now() < until {
        turn.tick().await;
        let victim = kills % replicas.len();
        replicas.remove(victim).kill().await;
        replicas.insert(victim, world.replica(&data[victim], every.as_secs()).await);
        kills += 1;
    }
    eventually("what was cut off is resumed", Duration::from_secs(60), async || {
        let unfinished = world.all::<Run>(&RUNS).await.into_iter().filter(|run| run.value.attempts > 1);
        let mut unfinished = unfinished.filter(|run| run.value.finished_at.is_none());
        unfinished.next().is_none().then_some(())
    })
    .await;
    for replica in replicas {
        assert_eq!(replica.terminate().await, Some(0));
    }
    let ended = world.store.time().await.unwrap();
    stop.send_replace(true);
    let (looks, highest) = epochs.await.expect("no epoch fell");

    // then each connection was synced in time,
    let runs = world.runs().await;
    assert_eq!(runs.len(), count, "connections that were synced");
    // An interval has its jitter; a replica that died is missed after a lease and found in a second.
    let (least, most) = (every.mul_f64(0.9), every.mul_f64(1.1) + Duration::from_secs(20));
    let (mut finished, mut resumed, mut longest, mut good) = (0, 0, Duration::ZERO, 0);
    for (connection, runs) in &runs {
        for pair in runs.windows(2) {
            let (end, begin) = (pair[0].finished_at.unwrap(), pair[1].started_at.unwrap());
            // and never by two at once,
            assert!(begin >= end, "{connection}: two runs at once: {pair:?}");
            let gap = begin.since(end);
            longest = longest.max(gap);
            assert!(
                gap <= most && gap >= least.saturating_sub(Duration::from_secs(1)),
                "{connection}: {gap:?}"
            );
        }
        let last = runs.last().and_then(|run| run.finished_at).unwrap();
        assert!(ended.since(last) <= most, "{connection} was left alone since {last}");
        finished += runs.len();
        resumed += runs.iter().filter(|run| run.attempts > 1).count();
        good += runs.iter().filter(|run| run.outcome == Some(Outcome::Complete)).count();
    }
    assert!(good * 10 >= finished * 9, "{good} of {finished} runs were complete");
    // and has what the bank told, once.
    let (missing, wrong, checked) = world.compare(&access, since.as_millis()).await;
    assert_eq!((missing, wrong), (0, 0), "of {checked}");
    eprintln!(
        "{count} connections, {kills} kills: {finished} runs, {good} complete, {resumed} resumed, longest gap \
         {longest:?} of {every:?}; {checked} transactions, 0 missing, 0 twice; {looks} looks at epochs, highest \
         {highest}"
    );
}

/// Sends a signal; the process is this test's own.
async fn signal(replica: &Replica, name: &str) {
    let sent = Command::new("kill").args([name, &replica.pid().to_string()]).status().await.unwrap();
    assert!(sent.success());
}

async fn too_late(replica: &Replica) -> usize {
    let figures = reqwest::get(format!("{}/metrics", replica.url)).await.unwrap().text().await.unwrap();
    let line = figures.lines().find(|line| line.starts_with("steward_sync_runs_total{outcome=\"too_late\"}"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "for a quiet machine: on a busy one a debug sandbox answers later than runs wait for it"]
async fn what_a_replica_writes_that_stood_still_beyond_its_lease_is_refused() {
    let wanted = asked("STEWARD_CHAOS_LATE", 20);
    let world = World::new().await;
    let (access, slow) = (world.access("sandbox").await, world.access("sandbox-slow").await);
    let data = [DataDir::new(), DataDir::new()];
    let (first, second) = (world.replica(&data[0], 3600).await, world.replica(&data[1], 3600).await);
    let admin = Client::admin(&second.url).await;
    let shown = admin.get("/v1/admin/replicas").await.expect(200);
    let pid = format!(":{}", first.pid());
    let mut shown = shown["items"].as_array().unwrap().iter();
    let me = shown.find(|replica| replica["host"].as_str().unwrap().ends_with(&pid)).unwrap();
    let me = me["id"].as_str().unwrap().to_owned();
    let since = world.store.time().await.unwrap();
    let (mut refused, mut round) = (0, 0);
    while refused < wanted {
        // Given a replica that is in the middle of many runs,
        round += 1;
        world.link(&format!("r{round}"), 80, &slow, Duration::from_secs(1)).await;
        let claimed_by_me = async || {
            let all = world.all::<Connection>(&CONNECTIONS).await.into_iter();
            let mine = all.filter(|one| one.value.claim.as_ref().is_some_and(|claim| claim.owner == me));
            mine.map(|one| (one.value.id.clone(), one.value)).collect::<BTreeMap<_, _>>()
        };
        eventually("it has claimed some", Duration::from_secs(60), async || {
            (claimed_by_me().await.len() >= 10).then_some(())
        })
        .await;
        // when it stands still until another has taken over and finished what it was at,
        signal(&first, "-STOP").await;
        let held = claimed_by_me().await;
        let settled = eventually("the other finishes", Duration::from_secs(60), async || {
            let all = world.all::<Connection>(&CONNECTIONS).await.into_iter();
            let over: BTreeMap<String, Versioned<Connection>> = all
                .filter(|one| held.contains_key(&one.value.id))
                .map(|one| (one.value.id.clone(), one))
                .collect();
            let done = |one: &Versioned<Connection>| {
                one.value.claim.is_none() && one.value.last_outcome == Some(Outcome::Complete)
            };
            over.values().all(done).then_some(over)
        })
        .await;
        let runs = world.runs().await;
        // The figure never falls: it has counted those of the rounds before.
        let before = refused;
        // and goes on then,
        signal(&first, "-CONT").await;
        eventually("it notices that it is late", Duration::from_secs(60), async || {
            (too_late(&first).await >= before + held.len()).then_some(())
        })
        .await;
        // then nothing of what it brings counts, and the epochs have risen.
        let after = world.runs().await;
        for (id, one) in &settled {
            let now = load::<Connection>(&world.store, id).await.unwrap().unwrap();
            assert_eq!(
                (now.version, &runs[id]),
                (one.version, &after[id]),
                "{id} was written by the late one"
            );
            assert!(one.value.epoch > held[id].epoch, "{id}: {} after {}", one.value.epoch, held[id].epoch);
            assert_eq!((runs[id].len(), runs[id][0].attempts), (1, 2), "{id}");
        }
        refused += held.len();
    }
    eventually("the rest is done", Duration::from_secs(60), async || {
        let unfinished = world.all::<Run>(&RUNS).await.into_iter().any(|run| run.value.finished_at.is_none());
        (!unfinished).then_some(())
    })
    .await;
    let (missing, wrong, checked) = world.compare(&access, since.as_millis()).await;
    assert_eq!((missing, wrong), (0, 0), "of {checked}");
    eprintln!("{refused} late writes refused in {round} rounds; {checked} transactions, 0 missing, 0 twice");
}
