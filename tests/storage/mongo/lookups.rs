//! Lookups that share a query are answered each for itself.

use std::time::Duration;

use bson::doc;
use futures_util::future::join_all;
use mongodb::Client;
use serde_json::json;
use steward::storage::mongo::Deadlines;
use steward_actors::store::{Store, StoreError};

use super::proxy::Proxy;
use super::{Database, uri};
use crate::contract::SCHEMA;
use crate::contract::fixtures::{THINGS, commit, insert};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_is_no_concern_of_who_asks_for_another() {
    let database = Database::new();
    let store = database.migrated().await;
    commit(&store, (0..20).map(|n| insert(&THINGS, &format!("a{n}"), json!({})))).await;
    // Written past the adapter: it has no version.
    let things = Client::with_uri_str(uri()).await.unwrap().database(&database.name);
    let bypass = doc! {
        "insert": THINGS.name, "documents": [{ "_id": "bad" }], "bypassDocumentValidation": true,
    };
    things.run_command(bypass).await.unwrap();

    let ids: Vec<String> = (0..20).map(|n| format!("a{n}")).chain(["bad".to_owned()]).collect();
    let found = join_all(ids.iter().map(|id| store.get(&THINGS, id))).await;
    for (id, found) in ids.iter().zip(found) {
        match found {
            Ok(Some(record)) => assert_eq!(&record.id, id),
            Err(StoreError::Corrupt { .. }) => assert_eq!(id, "bad"),
            other => panic!("{id}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_that_are_never_answered_do_not_stand_in_the_way_of_the_next() {
    let database = Database::new();
    let store = database.migrated().await;
    commit(&store, [insert(&THINGS, "a", json!({}))]).await;
    let deadlines = Deadlines { read: Duration::from_millis(700), ..Deadlines::default() };
    let proxy = Proxy::start(&uri()).await;
    let through = database.connect_within(&proxy.uri(), SCHEMA, deadlines).await;
    assert!(through.get(&THINGS, "a").await.unwrap().is_some());

    proxy.freeze();
    let lost = join_all((0..50).map(|_| through.get(&THINGS, "a"))).await;
    assert!(lost.iter().all(Result::is_err));

    proxy.open();
    let found = async {
        while through.get(&THINGS, "a").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap();
    let found = join_all((0..50).map(|_| through.get(&THINGS, "a"))).await;
    assert!(found.into_iter().all(|found| found.unwrap().is_some()));
}
