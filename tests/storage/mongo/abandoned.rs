//! A replica dies or freezes inside a transaction; others need its records.

use bson::{Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, ClientSession};
use serde_json::json;
use steward_actors::store::{CommitError, Store};

use super::{Database, uri};
use crate::contract::fixtures::{PARTS, THINGS, alone, commit, get, insert, replace};

/// A transaction that has written a record and then stands still.
async fn leave_open(database: &Database, app_name: String) -> ClientSession {
    let mut options = ClientOptions::parse(uri()).await.unwrap();
    options.app_name = Some(app_name);
    let client = Client::with_options(options).unwrap();
    let mut session = client.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let things = client.database(&database.name).collection::<Document>(THINGS.name);
    let written = things
        .update_one(doc! { "_id": "hot" }, doc! { "$set": { "rank": 7_i64 } })
        .session(&mut session)
        .await
        .unwrap();
    assert_eq!(written.matched_count, 1);
    session
}

/// Commits that were refused before one went through, 6 at most; each gives up after about a
/// second. The server would end the transaction after its life time only, ten seconds or more.
async fn refusals(store: &dyn Store) -> usize {
    for refused in 0..6 {
        let id = format!("part-{refused}");
        let writes = [insert(&PARTS, &id, json!({})), replace(&THINGS, "hot", 1, json!({"rank": 1}))];
        match store.commit(alone(writes)).await {
            Ok(()) => return refused,
            Err(CommitError::Unavailable(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_left_open_is_ended_by_who_needs_its_records() {
    let database = Database::new();
    let store = database.migrated().await;
    commit(&store, [insert(&THINGS, "hot", json!({"rank": 0}))]).await;
    let mut frozen = leave_open(&database, format!("steward {}", database.name)).await;

    assert!(refusals(&store).await < 6, "the record is still locked");

    // The one that comes back learns it, and its write never was.
    frozen.commit_transaction().await.unwrap_err();
    let hot = get(&store, &THINGS, "hot").await.unwrap();
    assert_eq!((hot.version, &hot.body["rank"]), (2, &json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_programs_transaction_is_left_alone() {
    let database = Database::new();
    let store = database.migrated().await;
    commit(&store, [insert(&THINGS, "hot", json!({"rank": 0}))]).await;
    let mut theirs = leave_open(&database, "another program".to_owned()).await;
    let writes = || [insert(&PARTS, "part", json!({})), replace(&THINGS, "hot", 1, json!({"rank": 1}))];
    for _ in 0..4 {
        let refused = store.commit(alone(writes())).await;
        assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    }
    theirs.commit_transaction().await.unwrap();
}
