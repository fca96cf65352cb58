//! Many at once: nothing is lost, nothing half-done, each is answered for itself.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;
use steward_actors::store::{Batch, Body, CommitError, Conflict, PRIMARY, Query, Store, Write};

use super::Harness;
use super::fixtures::{
    PARTS, THINGS, alone, commit, delete, exists, get, ids, insert, replace, shared, taken, version_conflict,
};

/// The two handles in turn.
fn handle(harness: &Harness, number: usize) -> Arc<dyn Store> {
    Arc::clone(if number.is_multiple_of(2) { &harness.store } else { &harness.other })
}

/// Commits all at once, each from a task of its own.
async fn at_once(harness: &Harness, batches: Vec<Batch>) -> Vec<Result<(), CommitError>> {
    let tasks = batches.into_iter().enumerate().map(|(number, batch)| {
        let store = handle(harness, number);
        tokio::spawn(async move { store.commit(batch).await })
    });
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

/// Adds 1 to a record's rank: reload and decide again until it fits.
async fn increment(store: &dyn Store, id: &str, batch: fn(Vec<Write>) -> Batch) {
    loop {
        let found = get(store, &THINGS, id).await.unwrap();
        let rank = found.body["rank"].as_i64().unwrap();
        let write = replace(&THINGS, id, found.version, json!({"rank": rank + 1}));
        match store.commit(batch(vec![write])).await {
            Ok(()) => return,
            Err(CommitError::Conflict(Conflict::Version { .. })) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

async fn incremented_by_32(harness: &Harness, batch: fn(Vec<Write>) -> Batch) {
    commit(harness.store.as_ref(), [insert(&THINGS, "a", json!({"rank": 0}))]).await;

    let writers = (0..32).map(|number| {
        let store = handle(harness, number);
        tokio::spawn(async move {
            for _ in 0..4 {
                increment(store.as_ref(), "a", batch).await;
            }
        })
    });
    join_all(writers).await.into_iter().for_each(Result::unwrap);

    let found = get(harness.store.as_ref(), &THINGS, "a").await.unwrap();
    assert_eq!(found.body["rank"], 128);
    assert_eq!(found.version, 129);
}

pub async fn parallel_writers_lose_no_increment(harness: &Harness) {
    incremented_by_32(harness, alone).await;
}

pub async fn shared_batches_on_one_record_take_turns(harness: &Harness) {
    incremented_by_32(harness, shared).await;
}

pub async fn of_parallel_inserts_of_one_id_one_wins(harness: &Harness) {
    for round in 0..4 {
        let id = format!("id-{round}");
        let sharing = if round % 2 == 0 { alone } else { shared };
        let batches = (0..16).map(|n| sharing(vec![insert(&THINGS, &id, json!({"rank": n}))])).collect();

        let results = at_once(harness, batches).await;

        let winner = results.iter().position(Result::is_ok).expect("one wins");
        for (number, result) in results.into_iter().enumerate().filter(|(number, _)| *number != winner) {
            assert_eq!(result, Err(exists(&THINGS, &id).into()), "{number}");
        }
        let found = get(harness.store.as_ref(), &THINGS, &id).await.unwrap();
        assert_eq!((found.version, found.body["rank"].as_u64()), (1, Some(winner as u64)));
    }
}

pub async fn of_parallel_inserts_of_one_unique_key_one_wins(harness: &Harness) {
    for round in 0..4 {
        let email = format!("{round}@x");
        let sharing = if round % 2 == 0 { alone } else { shared };
        let batches = (0..16)
            .map(|n| sharing(vec![insert(&THINGS, &format!("{round}-{n:02}"), json!({"email": email}))]))
            .collect();

        let results = at_once(harness, batches).await;

        let winner = results.iter().position(Result::is_ok).expect("one wins");
        for (number, result) in results.into_iter().enumerate().filter(|(number, _)| *number != winner) {
            assert_eq!(result, Err(taken(&THINGS, "email").into()), "{number}");
        }
        let found = ids(harness.store.as_ref(), Query::by(&THINGS, "email").equal(email.as_str())).await;
        assert_eq!(found, [format!("{round}-{winner:02}")]);
    }
}

pub async fn shared_batches_are_answered_each_for_itself(harness: &Harness) {
    let store = harness.store.as_ref();
    let setup =
        [insert(&THINGS, "taken", json!({"email": "taken@x"})), insert(&THINGS, "moved", json!({"rank": 1}))];
    commit(store, setup).await;
    commit(store, [replace(&THINGS, "moved", 1, json!({"rank": 2}))]).await;
    let id = |n: usize| format!("id-{n:03}");
    // Each begins with a good write in another collection, which its own conflict must undo.
    let batch = |n: usize| {
        let first = insert(&PARTS, &id(n), json!({"thing": "all"}));
        let second = match n % 10 {
            3 => insert(&THINGS, "taken", json!({})),
            5 => insert(&THINGS, &id(n), json!({"email": "taken@x"})),
            7 => replace(&THINGS, "moved", 1, json!({"rank": 0})),
            9 => delete(&THINGS, "never", 1),
            _ => insert(&THINGS, &id(n), json!({"rank": 5, "title": "shared"})),
        };
        shared([first, second])
    };
    let expected = |n: usize| match n % 10 {
        3 => Err(exists(&THINGS, "taken").into()),
        5 => Err(taken(&THINGS, "email").into()),
        7 => Err(version_conflict(&THINGS, "moved").into()),
        9 => Err(version_conflict(&THINGS, "never").into()),
        _ => Ok(()),
    };

    let results = at_once(harness, (0..200).map(batch).collect()).await;

    for (n, result) in results.into_iter().enumerate() {
        assert_eq!(result, expected(n), "batch {n}");
    }
    let good: Vec<_> = (0..200).filter(|n| expected(*n).is_ok()).map(id).collect();
    assert_eq!(ids(store, Query::by(&PARTS, "thing").equal("all").limit(1000)).await, good);
    assert_eq!(ids(store, Query::by(&THINGS, "rank").equal(5).limit(1000)).await, good);
    assert_eq!(ids(store, Query::by(&THINGS, PRIMARY).words("shared").limit(1000)).await, good);
    assert_eq!(get(store, &THINGS, "moved").await.unwrap().body["rank"], 2);
}

pub async fn batches_that_cross_each_other_all_get_through(harness: &Harness) {
    let start = ["a", "b"].map(|id| insert(&THINGS, id, json!({"rank": 100})));
    commit(harness.store.as_ref(), start).await;

    let movers = (0..12).map(|number| {
        let store = handle(harness, number);
        tokio::spawn(async move {
            let (from, to) = if number % 2 == 0 { ("a", "b") } else { ("b", "a") };
            for _ in 0..3 {
                loop {
                    let source = get(store.as_ref(), &THINGS, from).await.unwrap();
                    let target = get(store.as_ref(), &THINGS, to).await.unwrap();
                    let rank = |body: &Body| body["rank"].as_i64().unwrap();
                    let moved = alone([
                        replace(&THINGS, from, source.version, json!({"rank": rank(&source.body) - 1})),
                        replace(&THINGS, to, target.version, json!({"rank": rank(&target.body) + 1})),
                    ]);
                    match store.commit(moved).await {
                        Ok(()) => break,
                        Err(CommitError::Conflict(Conflict::Version { .. })) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        })
    });
    join_all(movers).await.into_iter().for_each(Result::unwrap);

    for id in ["a", "b"] {
        let found = get(harness.store.as_ref(), &THINGS, id).await.unwrap();
        assert_eq!((found.body["rank"].as_i64(), found.version), (Some(100), 37), "{id}");
    }
}

pub async fn a_commit_whose_caller_left_is_whole_or_absent(harness: &Harness) {
    let id = |n: usize| format!("id-{n:02}");
    for n in 0..40 {
        let store = handle(harness, n);
        let sharing = if n % 4 < 2 { alone } else { shared };
        let batch = sharing(vec![insert(&THINGS, &id(n), json!({})), insert(&PARTS, &id(n), json!({}))]);
        let left = tokio::spawn(async move { store.commit(batch).await });
        for _ in 0..n % 5 {
            tokio::task::yield_now().await;
        }
        left.abort();
        let _ = left.await;
    }

    // A half that was left behind would stand in the way of one of these inserts.
    let store = harness.store.as_ref();
    let settle =
        |n: usize| alone([insert(&THINGS, &id(n), json!({"rank": 1})), insert(&PARTS, &id(n), json!({}))]);
    for n in 0..40 {
        match store.commit(settle(n)).await {
            Ok(()) => {}
            Err(CommitError::Conflict(conflict)) => assert_eq!(conflict, exists(&THINGS, &id(n))),
            Err(other) => panic!("{other}"),
        }
    }
    let all: Vec<_> = (0..40).map(id).collect();
    assert_eq!(ids(store, Query::by(&THINGS, PRIMARY)).await, all);
    assert_eq!(ids(store, Query::by(&PARTS, PRIMARY)).await, all);
}
