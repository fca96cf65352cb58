//! The plans of every query that can be asked of what Steward really keeps, as MongoDB tells them.

use serde_json::{Map, Value, json};
use steward::app::schema::SCHEMA;
use steward_actors::store::{Collection, Cursor, Kind, PRIMARY, Query, Write};

use super::plans::{stages, took};
use super::{Database, uri};
use crate::contract::fixtures::commit;

/// Records of each collection: more than a page.
const RECORDS: usize = 120;

fn value(kind: Kind, n: usize) -> Value {
    match kind {
        Kind::Text => json!(format!("a{n:04}")),
        Kind::Integer | Kind::Time => json!(n),
        Kind::Boolean => json!(true),
        Kind::Object => json!({}),
        Kind::List => json!([]),
        Kind::Labels => json!([format!("a{n:04}")]),
    }
}

/// The n-th record: its declared fields, and nothing else.
fn record(collection: &'static Collection, n: usize) -> Write {
    let id = format!("a{n:04}");
    let mut body: Map<String, Value> =
        collection.fields.iter().map(|field| (field.name.to_owned(), value(field.kind, n))).collect();
    if let Some(expires) = collection.expires {
        // Not to be forgotten meanwhile: a date far off.
        body.insert(expires.to_owned(), json!(9_000_000_000_000_i64 + n as i64));
    }
    if body.contains_key("id") {
        body.insert("id".to_owned(), json!(id));
    }
    Write::Insert { collection, id, body }
}

fn field(collection: &'static Collection, name: &str) -> Value {
    let declared = collection.fields.iter().find(|declared| declared.name == name);
    value(declared.map_or(Kind::Text, |declared| declared.kind), RECORDS / 2)
}

fn queries(collection: &'static Collection) -> Vec<Query> {
    let mut queries = Vec::new();
    for index in [PRIMARY].into_iter().chain(collection.indexes.iter().map(|index| index.name)) {
        let fields = Query::by(collection, index).fields();
        for fixed in 0..=fields.len() {
            let mut query = Query::by(collection, index).limit(10);
            query.equal = fields[..fixed].iter().map(|name| field(collection, name)).collect();
            let keys: Vec<Value> = query.sort_fields().iter().map(|name| field(collection, name)).collect();
            let from = keys.first().cloned().unwrap_or(json!("a"));
            let cursor = Cursor { keys, id: format!("a{:04}", RECORDS / 2) };
            for query in [query.clone(), query.range(Some(from), None)] {
                for query in [query.clone(), query.after(Some(cursor.clone()))] {
                    queries.extend([query.clone(), query.descending()]);
                }
            }
        }
    }
    queries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_every_collection_is_one_walk_through_its_index_without_sorting() {
    let database = Database::new();
    let store = database.connect(&uri(), SCHEMA).await;
    store.migrate().await.unwrap();
    for collection in SCHEMA {
        commit(&store, (0..RECORDS).map(|n| record(collection, n))).await;
        for query in queries(collection) {
            let explained = store.explain(&query).await.unwrap();
            let found = stages(&explained);
            let walks =
                |stage: &String| ["IXSCAN", "EXPRESS_IXSCAN", "IDHACK", "EOF"].contains(&stage.as_str());
            assert!(found.iter().any(walks), "{query:?}: {found:?}");
            let sorts = |stage: &String| ["SORT", "COLLSCAN"].contains(&stage.as_str());
            assert!(!found.iter().any(sorts), "{query:?}: {found:?}");
            let keys = took(&explained, "totalKeysExamined");
            assert!(keys <= 25, "{query:?} examined {keys} keys: {found:?}");
            if !collection.words.is_empty() {
                let found = stages(&store.explain(&query.words("a00 a0")).await.unwrap());
                assert!(!found.iter().any(|stage| stage == "COLLSCAN"), "words: {found:?}");
            }
        }
    }
}
