//! Every page is one walk through its index: MongoDB says so itself.

use bson::{Bson, Document};
use serde_json::json;
use steward_actors::store::{Collection, Cursor, PRIMARY, Query, Range, Store};

use super::Database;
use crate::contract::SCHEMA;
use crate::contract::fixtures::{THINGS, commit, insert};

/// The stages of the plan that won, from the top.
pub(super) fn stages(explained: &Document) -> Vec<String> {
    let mut found = Vec::new();
    let plan = explained.get_document("queryPlanner").unwrap().get_document("winningPlan").unwrap();
    collect(plan, &mut found);
    found
}

fn collect(plan: &Document, found: &mut Vec<String>) {
    for (name, value) in plan {
        match value {
            Bson::String(stage) if name == "stage" => found.push(stage.clone()),
            Bson::Document(inner) if name != "parsedQuery" => collect(inner, found),
            Bson::Array(inner) if name != "rejectedPlans" => {
                inner.iter().filter_map(Bson::as_document).for_each(|inner| collect(inner, found));
            }
            _ => {}
        }
    }
}

/// What it took, by one of the figures of the execution.
pub(super) fn took(explained: &Document, name: &str) -> i64 {
    match explained.get_document("executionStats").unwrap().get(name) {
        Some(Bson::Int32(number)) => (*number).into(),
        Some(Bson::Int64(number)) => *number,
        other => panic!("{name} is {other:?}"),
    }
}

/// Queries by each index: nothing fixed up to all fields fixed, with and without a cursor and a
/// range, in both orders.
fn queries(collection: &'static Collection) -> Vec<Query> {
    let value = |field: &str| match field {
        "owner" => json!("ann"),
        "open" => json!(true),
        "email" => json!("0150@x"),
        "number" => json!(150),
        _ => json!(3),
    };
    let mut queries = Vec::new();
    for index in [PRIMARY].into_iter().chain(collection.indexes.iter().map(|index| index.name)) {
        let fields = Query::by(collection, index).fields();
        for fixed in 0..=fields.len() {
            let mut query = Query::by(collection, index).limit(10);
            query.equal = fields[..fixed].iter().map(|field| value(field)).collect();
            let keys: Vec<_> = query.sort_fields().iter().map(|field| value(field)).collect();
            let from = keys.first().cloned().unwrap_or(json!("0100"));
            let cursor = Cursor { keys, id: "0150".to_owned() };
            let ranged = query.clone().range(Some(from), None);
            for query in [query, ranged] {
                for query in [query.clone(), query.after(Some(cursor.clone()))] {
                    queries.extend([query.clone(), query.descending()]);
                }
            }
        }
    }
    queries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_one_walk_through_its_index_without_sorting() {
    let database = Database::new();
    let store = database.migrated().await;
    let records = (0..300).map(|n| {
        let fields = json!({
            "owner": if n % 2 == 0 { "ann" } else { "bob" }, "rank": n % 7, "label": "x", "at": n % 5,
            "open": n % 3 == 0, "email": format!("{n:04}@x"), "number": n, "title": "blue shirt",
        });
        insert(&THINGS, &format!("{n:04}"), fields)
    });
    commit(&store, records).await;

    for query in queries(&THINGS) {
        let explained = store.explain(&query).await.unwrap();
        let found = stages(&explained);
        assert!(found.iter().any(|stage| stage == "IXSCAN"), "{query:?}: {found:?}");
        assert!(!found.iter().any(|stage| stage == "SORT" || stage == "COLLSCAN"), "{query:?}: {found:?}");
        // A page costs what it shows, however deep it lies: each branch of a cursor looks one key
        // ahead.
        let keys = took(&explained, "totalKeysExamined");
        assert!(keys <= 20, "{query:?} examined {keys} keys: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rare_word_is_looked_up_rather_than_searched_for() {
    let database = Database::new();
    let store = database.migrated().await;
    for chunk in 0..4 {
        let records = (chunk * 500..(chunk + 1) * 500).map(|n| {
            let title = if n % 700 == 0 { "blue rarity" } else { "blue shirt" };
            insert(&THINGS, &format!("{n:04}"), json!({"rank": n % 7, "title": title}))
        });
        commit(&store, records).await;
    }
    for query in [Query::by(&THINGS, "rank"), Query::by(&THINGS, PRIMARY)] {
        let explained = store.explain(&query.words("rari").limit(20)).await.unwrap();
        let examined = took(&explained, "totalDocsExamined");
        assert!(examined < 100, "{examined} records were read to find 3");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rare_label_is_looked_up_rather_than_searched_for() {
    let database = Database::new();
    let store = database.migrated().await;
    for chunk in 0..4 {
        let records = (chunk * 500..(chunk + 1) * 500).map(|n| {
            let label = if n % 700 == 0 { "rare" } else { "usual" };
            insert(&THINGS, &format!("{n:04}"), json!({"rank": n % 7, "labels": [label, "common"]}))
        });
        commit(&store, records).await;
    }
    let labelled = |any_of: &[&str]| {
        Query::by(&THINGS, "rank").labels(any_of.iter().map(|label| (*label).to_owned())).limit(20)
    };
    for (query, most) in [
        (labelled(&["rare"]), 100),
        (labelled(&["rare", "none"]), 100),
        // What all have is found on the way through the order that was asked for.
        (labelled(&["common"]), 100),
        (labelled(&["none"]), 10),
    ] {
        let explained = store.explain(&query).await.unwrap();
        let found = stages(&explained);
        assert!(!found.iter().any(|stage| stage == "COLLSCAN"), "{query:?}: {found:?}");
        let examined = took(&explained, "totalDocsExamined");
        assert!(examined <= most, "{query:?} read {examined} records: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_cursor_finds_nothing_it_should_not() {
    let database = Database::new();
    let store = database.connect(&super::uri(), SCHEMA).await;
    store.migrate().await.unwrap();
    commit(&store, [insert(&THINGS, "a", json!({"owner": "ann", "rank": 1}))]).await;
    for forged in [json!({"$gt": ""}), json!({"$ne": null}), json!(null), json!([1]), json!("\0")] {
        for keys in [vec![forged.clone()], vec![forged.clone(), forged.clone()], vec![]] {
            let mut query = Query::by(&THINGS, "owner_rank").equal("bob");
            query.after = Some(Cursor { keys, id: "$ne".to_owned() });
            assert!(store.find(query.clone()).await.unwrap().records.is_empty());
            query.range = Some(Range { from: Some(forged.clone()), until: None });
            assert!(store.find(query).await.unwrap().records.is_empty());
        }
        assert!(store.find(Query::by(&THINGS, "owner_rank").equal(forged)).await.unwrap().records.is_empty());
    }
}
