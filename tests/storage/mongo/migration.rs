//! `steward migrate`: what it makes, again and by several at once.

use bson::{Document, doc};
use serde_json::json;
use steward::storage::mongo::{MigrateError, MongoStore};
use steward_actors::store::{Collection, CommitError, Field, Index, Kind, PRIMARY, Query, Store};

use super::{Database, uri};
use crate::contract::SCHEMA;
use crate::contract::fixtures::{alone, commit, get, ids, insert};

static PEOPLE: Collection = Collection {
    name: "people",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("name", Kind::Text),
        Field::optional("age", Kind::Integer),
        Field::optional("forgetAt", Kind::Time),
    ],
    indexes: &[Index::by("name", &["name"]), Index::by("age", &["age"])],
    words: &[],
    expires: Some("forgetAt"),
};

/// The same collection as a later release declares it.
static PEOPLE_LATER: Collection = Collection {
    name: "people",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("name", Kind::Text),
        Field::optional("age", Kind::Text),
        Field::optional("forgetAt", Kind::Time),
    ],
    indexes: &[Index::unique("name", &["name"]), Index::by("age", &["age", "name"])],
    words: &["name"],
    expires: None,
};

async fn raw(database: &Database) -> mongodb::Database {
    mongodb::Client::with_uri_str(uri()).await.unwrap().database(&database.name)
}

async fn index_names(database: &Database, collection: &str) -> Vec<String> {
    let mut names = raw(database).await.collection::<Document>(collection).list_index_names().await.unwrap();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_finds_nothing_to_do() {
    let database = Database::new();
    let store = database.connect(&uri(), &[&PEOPLE]).await;
    assert!(store.missing().await.unwrap().contains(&"create collection people".to_owned()));

    let first = store.migrate().await.unwrap();
    let second = store.migrate().await.unwrap();

    assert!(first.changes.contains(&"create index age of people".to_owned()), "{first:?}");
    assert_eq!(second.changes, [""; 0]);
    assert_eq!(store.missing().await.unwrap(), [""; 0]);
    assert_eq!(index_names(&database, "people").await, ["_expires", "_id_", "age", "name"]);
    assert_eq!(index_names(&database, "_commits").await, ["_expires", "_id_"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_at_once_make_the_same_and_none_fails() {
    for _ in 0..3 {
        let database = Database::new();
        let mut replicas: Vec<MongoStore> = Vec::new();
        for _ in 0..4 {
            replicas.push(database.connect(&uri(), SCHEMA).await);
        }

        let migrating = replicas.iter().map(MongoStore::migrate);
        let reports = futures_util::future::join_all(migrating).await;

        for report in reports {
            report.unwrap();
        }
        assert_eq!(replicas[0].missing().await.unwrap(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_use_is_migrated_to_a_changed_schema() {
    let database = Database::new();
    let store = database.connect(&uri(), &[&PEOPLE]).await;
    store.migrate().await.unwrap();
    commit(&store, [insert(&PEOPLE, "a", json!({"name": "Ann"}))]).await;
    let own = doc! { "createIndexes": "people", "indexes": [{ "key": { "x": 1 }, "name": "somebody's" }] };
    raw(&database).await.run_command(own).await.unwrap();
    let later = database.connect(&uri(), &[&PEOPLE_LATER]).await;

    let changed = later.missing().await.unwrap();

    let (migrated, mut done) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn(async move {
        let mut written = 1;
        loop {
            // By transactions too: the schema changes under them.
            let person = |n: usize| {
                insert(&PEOPLE, &format!("{n:05}"), json!({"name": format!("person {n}"), "note": "old"}))
            };
            commit(&store, [person(written)]).await;
            commit(&store, [person(written + 1), person(written + 2)]).await;
            written += 3;
            if *done.borrow_and_update() {
                return written;
            }
        }
    });
    let report = later.migrate().await.unwrap();
    migrated.send_replace(true);
    let written = writing.await.unwrap();

    assert_eq!(report.changes, changed);
    assert!(changed.contains(&"drop index name of people, which has changed".to_owned()), "{changed:?}");
    assert_eq!(
        index_names(&database, "people").await,
        ["_expires", "_id_", "_words", "age", "name", "somebody's"],
        "what is not declared stays"
    );
    let kept = ids(&later, Query::by(&PEOPLE_LATER, PRIMARY).limit(1000)).await;
    assert_eq!(kept.len(), written.min(1000));
    let by_word = Query::by(&PEOPLE_LATER, PRIMARY).words("ann");
    assert_eq!(ids(&later, by_word).await, ["a"], "what is searched from now on has its words");
    let same = later.commit(alone([insert(&PEOPLE_LATER, "b", json!({"name": "Ann"}))])).await;
    assert!(matches!(same, Err(CommitError::Conflict(_))), "{same:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_were_made_in_another_way_are_made_anew() {
    let database = Database::new();
    let store = database.connect(&uri(), &[&PEOPLE_LATER]).await;
    store.migrate().await.unwrap();
    commit(&store, [insert(&PEOPLE_LATER, "a", json!({"name": "Cafe\u{301}"}))]).await;
    let stored = get(&store, &PEOPLE_LATER, "a").await;
    let inside = raw(&database).await;
    let before = doc! { "$set": { "_words": ["cafe"] } };
    inside.collection::<Document>("people").update_one(doc! { "_id": "a" }, before).await.unwrap();
    inside.run_command(doc! { "collMod": "people", "validator": {} }).await.unwrap();

    let report = store.migrate().await.unwrap();

    assert_eq!(report.changes, ["make the words of people anew", "set the validator of people"]);
    assert_eq!(ids(&store, Query::by(&PEOPLE_LATER, PRIMARY).words("café")).await, ["a"]);
    assert_eq!(get(&store, &PEOPLE_LATER, "a").await, stored);
    assert_eq!(store.missing().await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_index_over_what_is_not_unique_is_refused_by_name() {
    let database = Database::new();
    let store = database.connect(&uri(), &[&PEOPLE]).await;
    store.migrate().await.unwrap();
    commit(&store, ["a", "b"].map(|id| insert(&PEOPLE, id, json!({"name": "Ann"})))).await;

    let refused = database.connect(&uri(), &[&PEOPLE_LATER]).await.migrate().await;

    let Err(MigrateError::Refused { change, reason }) = refused else { panic!("{refused:?}") };
    assert_eq!(change, "create index name of people");
    assert!(reason.contains("duplicate key"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_as_declared_is_refused_by_the_database_itself() {
    let database = Database::new();
    let store = database.connect(&uri(), &[&PEOPLE]).await;
    store.migrate().await.unwrap();
    for (number, fields) in [
        json!({}),
        json!({"name": 5}),
        json!({"name": "x", "age": "5"}),
        json!({"name": "x", "forgetAt": "y"}),
    ]
    .into_iter()
    .enumerate()
    {
        let id = number.to_string();
        let good = insert(&PEOPLE, &format!("good-{id}"), json!({"name": "good"}));
        for writes in
            [vec![insert(&PEOPLE, &id, fields.clone())], vec![good, insert(&PEOPLE, &id, fields.clone())]]
        {
            let refused = store.commit(alone(writes)).await;
            assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
        }
        assert_eq!(get(&store, &PEOPLE, &id).await, None);
        assert_eq!(get(&store, &PEOPLE, &format!("good-{id}")).await, None);
    }
    commit(&store, [insert(&PEOPLE, "a", json!({"name": "Ann", "age": null, "forgetAt": 5, "more": []}))])
        .await;
}
