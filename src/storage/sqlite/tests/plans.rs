//! The plans of every query that can be asked of what Steward really keeps.

use serde_json::Value;
use steward_actors::store::{Collection, Cursor, Kind, PRIMARY, Query};

use super::{Database, connection, json, plan, schema};
use crate::app::schema::SCHEMA;

/// Something that a field of this collection may hold.
fn value(collection: &Collection, field: &str) -> Value {
    match collection.fields.iter().find(|declared| declared.name == field).map(|declared| declared.kind) {
        Some(Kind::Integer | Kind::Time) => json!(5),
        Some(Kind::Boolean) => json!(true),
        _ => json!("a"),
    }
}

/// Every query by this index: so many fields fixed, with and without a range and a cursor, both ways.
fn queries(collection: &'static Collection, index: &'static str) -> Vec<Query> {
    let fields = Query::by(collection, index).fields();
    let mut queries = Vec::new();
    for fixed in 0..=fields.len() {
        let mut query = Query::by(collection, index).limit(20);
        query.equal = fields[..fixed].iter().map(|field| value(collection, field)).collect();
        let keys: Vec<Value> = query.sort_fields().iter().map(|field| value(collection, field)).collect();
        let from = keys.first().cloned().unwrap_or(json!("a"));
        let cursor = Cursor { keys, id: "a".to_owned() };
        for query in [query.clone(), query.range(Some(from), None)] {
            for query in [query.clone(), query.after(Some(cursor.clone()))] {
                queries.extend([query.clone(), query.descending()]);
            }
        }
    }
    queries
}

#[test]
fn every_query_of_every_collection_is_one_walk_through_its_index_without_sorting() {
    let database = Database::new();
    let mut connection = connection::create(&database.path()).unwrap();
    schema::migrate(&mut connection, SCHEMA).unwrap();
    for collection in SCHEMA {
        for index in [PRIMARY].into_iter().chain(collection.indexes.iter().map(|index| index.name)) {
            let name = match collection.index(index) {
                Some(index) => schema::index_name(collection, index),
                None => schema::primary_index_name(collection),
            };
            for query in queries(collection, index) {
                let walk = plan(&connection, &query, None);
                assert!(walk.contains(&format!("USING INDEX {name}")), "{query:?}\n{walk}");
                assert!(!walk.contains("TEMP B-TREE"), "{query:?}\n{walk}");
                let bounded = !query.equal.is_empty() || query.range.is_some() || query.after.is_some();
                assert!(!bounded || walk.starts_with("SEARCH t "), "{query:?}\n{walk}");
                if collection.words.is_empty() {
                    continue;
                }
                // Words are checked on the way, or looked up; never searched for in what they stand in.
                for driver in [None, Some(0)] {
                    let searched = plan(&connection, &query.clone().words("ada lo"), driver);
                    assert!(
                        !searched.lines().any(|line| line.starts_with("SCAN w")),
                        "{query:?}\n{searched}"
                    );
                    if driver.is_none() {
                        assert!(!searched.contains("TEMP B-TREE"), "{query:?}\n{searched}");
                    }
                }
            }
        }
    }
}
