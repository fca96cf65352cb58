//! The embedded default.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use steward::storage::sqlite::{OpenError, SqliteStore};
use steward_actors::store::{CommitError, PRIMARY, Query, Store, StoreError};

use crate::contract::fixtures::{PARTS, THINGS, alone, commit, get, ids, insert, replace};
use crate::contract::{self, Harness, SCHEMA};

fn open(directory: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(&directory.join("data").join("steward.db"), SCHEMA)
}

async fn harness() -> Option<Harness> {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()).unwrap());
    Some(Harness { keep: Some(Box::new(directory)), ..Harness::of(store) })
}

contract::suite!(harness);

#[tokio::test]
async fn what_was_committed_is_there_after_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=3_u64 {
        let store = open(directory.path()).unwrap();
        if round == 1 {
            commit(&store, [insert(&THINGS, "a", json!({"rank": 1, "title": "blue"}))]).await;
        } else {
            assert_eq!(get(&store, &THINGS, "a").await.unwrap().version, round - 1);
            commit(&store, [replace(&THINGS, "a", round - 1, json!({"rank": round, "title": "blue"}))]).await;
        }
        assert_eq!(ids(&store, Query::by(&THINGS, "rank").equal(round).words("bl")).await, ["a"]);
    }
}

#[tokio::test]
async fn a_database_in_use_is_refused_and_the_refusal_names_it_and_its_process() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();

    let refused = open(directory.path()).map(|_| ()).unwrap_err();

    assert!(matches!(refused, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()));
    let text = refused.to_string();
    assert!(text.contains("steward.db") && text.contains(&std::process::id().to_string()), "{text}");
    commit(&store, [insert(&THINGS, "a", json!({}))]).await;
    drop(store);
    assert!(get(&open(directory.path()).unwrap(), &THINGS, "a").await.is_some());
}

#[tokio::test]
async fn two_databases_can_be_in_one_directory() {
    let directory = tempfile::tempdir().unwrap();
    let one = SqliteStore::open(&directory.path().join("one.db"), SCHEMA).unwrap();
    let two = SqliteStore::open(&directory.path().join("two.db"), SCHEMA).unwrap();
    commit(&one, [insert(&THINGS, "a", json!({}))]).await;
    assert_eq!(get(&two, &THINGS, "a").await, None);
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();

    store.close();
    store.close();

    let committed = store.commit(alone([insert(&THINGS, "a", json!({}))])).await;
    assert!(matches!(committed, Err(CommitError::Unavailable(_))), "{committed:?}");
    let found = store.get(&THINGS, "a").await;
    assert!(matches!(found, Err(StoreError::Unavailable(_))), "{found:?}");
}

#[tokio::test]
async fn closing_finishes_what_was_handed_over_and_leaves_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()).unwrap());
    let mut commits: Vec<_> = (0..100)
        .map(|n| {
            let store = Arc::clone(&store);
            let writes =
                [insert(&THINGS, &n.to_string(), json!({})), insert(&PARTS, &n.to_string(), json!({}))];
            Box::pin(async move { store.commit(alone(writes)).await })
        })
        .collect();
    for commit in &mut commits {
        assert!(!matches!(futures_util::poll!(commit), std::task::Poll::Ready(Err(_))));
    }

    store.close();
    drop((commits, store));

    assert!(!directory.path().join("data").join("steward.db-wal").exists());
    let store = open(directory.path()).unwrap();
    for collection in [&THINGS, &PARTS] {
        assert_eq!(ids(&store, Query::by(collection, PRIMARY)).await.len(), 100);
    }
}

#[test]
fn it_serves_any_runtime_and_thread_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                actix_rt::System::new().block_on(async move {
                    commit(store.as_ref(), [insert(&THINGS, &format!("{number}"), json!({}))]).await;
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let found = actix_rt::System::new().block_on(ids(store.as_ref(), Query::by(&THINGS, PRIMARY)));
    assert_eq!(found, ["0", "1", "2", "3"]);
}
