//! MongoDB slow, gone and killed: answers within the deadline, and recovery by itself.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use steward::storage::mongo::{Deadlines, MongoStore};
use steward_actors::ids;
use steward_actors::store::{Batch, CommitError, PRIMARY, Query, Store, StoreError};

use super::proxy::Proxy;
use super::{Database, uri};
use crate::contract::SCHEMA;
use crate::contract::fixtures::{PARTS, THINGS, alone, commit, find, get, insert, shared};

const SHORT: Deadlines = Deadlines {
    read: Duration::from_millis(700),
    commit: Duration::from_millis(2000),
    primary: Duration::from_millis(500),
};

/// Deadlines are met this closely on a busy machine.
const GRACE: Duration = Duration::from_secs(2);

/// Asks again and again until the store answers.
async fn recovered(store: &MongoStore) {
    let begun = Instant::now();
    while store.get(&THINGS, "any").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the store does not come back by itself");
        tokio::task::yield_now().await;
    }
}

/// In turn one record, a transaction, and one that may be shared.
fn batch(round: usize, id: &str) -> Batch {
    let writes = [insert(&THINGS, id, json!({})), insert(&PARTS, id, json!({}))];
    match round % 3 {
        0 => alone(writes.into_iter().take(1)),
        1 => alone(writes),
        _ => shared(writes),
    }
}

async fn within<T>(limit: Duration, asked: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let answer = asked.await;
    assert!(begun.elapsed() < limit + GRACE, "answered after {:?}", begun.elapsed());
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_is_unavailable_within_the_deadline_and_recovers() {
    let database = Database::new();
    let store = database.migrated().await;
    let proxy = Proxy::start(&uri()).await;
    let through = database.connect_within(&proxy.uri(), SCHEMA, SHORT).await;
    commit(&through, [insert(&THINGS, "warm", json!({}))]).await;

    proxy.freeze();
    let read = within(SHORT.read, through.get(&THINGS, "warm")).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let page = within(SHORT.read, through.find(Query::by(&THINGS, PRIMARY))).await;
    assert!(matches!(page, Err(StoreError::Unavailable(_))), "{page:?}");
    let mut open = Vec::new();
    for round in 0..6 {
        let id = format!("hung-{round}");
        match within(SHORT.commit, through.commit(batch(round, &id))).await {
            Err(CommitError::Unavailable(_)) => {}
            Err(CommitError::OutcomeUnknown(_)) => open.push(id),
            other => panic!("{other:?}"),
        }
    }

    proxy.open();
    recovered(&through).await;
    commit(&through, [insert(&THINGS, "after", json!({})), insert(&PARTS, "after", json!({}))]).await;
    let found = find(&store, Query::by(&THINGS, PRIMARY)).await.records;
    for id in found.iter().map(|record| &record.id).filter(|id| id.starts_with("hung")) {
        assert!(open.contains(id), "{id} was denied, but is there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_gone_is_unavailable_and_recovers() {
    let database = Database::new();
    let store = database.migrated().await;
    let proxy = Proxy::start(&uri()).await;
    let through = database.connect_within(&proxy.uri(), SCHEMA, SHORT).await;
    commit(&through, [insert(&THINGS, "warm", json!({}))]).await;

    proxy.close();
    for round in 0..9 {
        let id = format!("gone-{round}");
        // Nothing can reach it, so nothing is unknown, unless the first was under way.
        match within(SHORT.commit, through.commit(batch(round, &id))).await {
            Err(CommitError::Unavailable(_)) => {}
            Err(CommitError::OutcomeUnknown(_)) => assert!(round < 3, "round {round} is still unsure"),
            other => panic!("{other:?}"),
        }
        assert_eq!(get(&store, &THINGS, &id).await, None);
    }
    assert!(matches!(within(SHORT.read, through.time()).await, Err(StoreError::Unavailable(_))));

    proxy.open();
    recovered(&through).await;
    commit(&through, [insert(&THINGS, "after", json!({}))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_the_store_takes_are_turned_away_at_once() {
    let database = Database::new();
    database.migrated().await;
    let proxy = Proxy::start(&uri()).await;
    let through = Arc::new(database.connect_within(&proxy.uri(), SCHEMA, SHORT).await);
    proxy.freeze();
    let mut under_way = tokio::task::JoinSet::new();
    for n in 0..2048 {
        let store = Arc::clone(&through);
        let batch = if n % 2 == 0 { alone } else { shared }(vec![insert(&THINGS, &n.to_string(), json!({}))]);
        under_way.spawn(async move { store.commit(batch).await });
    }
    let begun = Instant::now();
    loop {
        let turned_away = through.commit(alone([insert(&THINGS, "one more", json!({}))]));
        match tokio::time::timeout(Duration::from_millis(200), turned_away).await {
            Ok(Err(CommitError::Unavailable(reason))) if reason.contains("too many") => break,
            _ => assert!(begun.elapsed() < SHORT.commit, "nothing is turned away"),
        }
    }

    proxy.open();
    while under_way.join_next().await.is_some() {}
    recovered(&through).await;
}

#[test]
fn a_caller_needs_no_clock_and_no_threads_of_its_own() {
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let database = Database::new();
    let store = server.block_on(database.migrated());
    // Time that stands still jumps to the next time-out as soon as the runtime has nothing to do.
    let caller =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    caller.block_on(async {
        for n in 0..20 {
            let id = n.to_string();
            commit(&store, [insert(&THINGS, &id, json!({}))]).await;
            let both = [insert(&THINGS, &format!("{id}a"), json!({})), insert(&PARTS, &id, json!({}))];
            store.commit(shared(both)).await.unwrap();
            assert_eq!(get(&store, &THINGS, &id).await.unwrap().version, 1);
        }
    });
}

/// A MongoDB of the test's own, ended at its end.
pub(super) struct Own {
    directory: tempfile::TempDir,
    uri: String,
}

impl Own {
    fn services(directory: &tempfile::TempDir, argument: &str) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services"));
        command
            .arg(argument)
            .env("STEWARD_SERVICES_RUN", directory.path().join("run"))
            .env_remove("STEWARD_TEST_MONGODB_URI")
            .env("STEWARD_TEST_REDIS_URI", "redis://not.needed/");
        command
    }

    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let started = Self::services(&directory, "start").output().unwrap();
        let printed = String::from_utf8_lossy(&started.stdout).into_owned();
        let uri = printed.lines().find_map(|line| line.strip_prefix("export STEWARD_TEST_MONGODB_URI="));
        let uri = uri.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&started.stderr)));
        Self { uri: uri.replace('\\', ""), directory }
    }

    fn pid(&self) -> String {
        let file = self.directory.path().join("run/mongod-1/pid");
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }

    fn kill(&self) {
        assert!(Command::new("kill").args(["-KILL", &self.pid()]).status().unwrap().success());
    }

    /// Starts it again as it was started.
    fn start_again(command_line: &[String]) {
        let begun = Instant::now();
        // The port and the data's lock are free once the process is gone.
        while !Command::new(&command_line[0]).args(&command_line[1..]).output().unwrap().status.success() {
            assert!(begun.elapsed() < Duration::from_secs(30), "mongod does not start again");
        }
    }

    pub(super) fn command_line(&self) -> Vec<String> {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid())).unwrap();
        let parts = line.split(|byte| *byte == 0).filter(|part| !part.is_empty());
        parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = Self::services(&self.directory, "stop").status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_mongodb_keeps_what_was_acknowledged_and_nothing_by_half() {
    let own = tokio::task::spawn_blocking(Own::start).await.unwrap();
    let deadlines = Deadlines {
        read: Duration::from_secs(2),
        commit: Duration::from_secs(3),
        primary: Duration::from_secs(1),
    };
    let uri = own.uri.as_str().into();
    let store = MongoStore::connect_within(&uri, "steward_test", SCHEMA, deadlines).await.unwrap();
    store.migrate().await.unwrap();
    for _ in 0..2 {
        let command_line = own.command_line();
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let store = store.clone();
                tokio::spawn(async move {
                    let (mut acknowledged, mut failures) = (Vec::new(), 0);
                    while failures < 2 {
                        let id = ids::new_id();
                        let both = [insert(&THINGS, &id, json!({})), insert(&PARTS, &id, json!({}))];
                        let batch = if number % 2 == 0 { alone(both) } else { shared(both) };
                        match store.commit(batch).await {
                            Ok(()) => acknowledged.push(id),
                            Err(CommitError::Conflict(conflict)) => panic!("{conflict}"),
                            Err(_) => failures += 1,
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        let begun = find(&store, Query::by(&THINGS, PRIMARY).descending().limit(1)).await.records;
        while find(&store, Query::by(&THINGS, PRIMARY).descending().limit(1)).await.records == begun {}
        own.kill();
        let acknowledged: Vec<String> =
            futures_util::future::join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
        tokio::task::spawn_blocking(move || Own::start_again(&command_line)).await.unwrap();
        recovered(&store).await;

        assert!(!acknowledged.is_empty());
        for ids in acknowledged.chunks(1000) {
            assert_eq!(store.get_many(&THINGS, ids).await.unwrap().len(), ids.len());
            assert_eq!(store.get_many(&PARTS, ids).await.unwrap().len(), ids.len());
        }
        let mut next = Query::by(&THINGS, PRIMARY).limit(1000);
        loop {
            let page = find(&store, next.clone()).await;
            let ids: Vec<_> = page.records.into_iter().map(|record| record.id).collect();
            assert_eq!(store.get_many(&PARTS, &ids).await.unwrap().len(), ids.len(), "half a batch");
            next.after = page.next;
            if next.after.is_none() {
                break;
            }
        }
    }
}
