//! The suite's collections, and short ways to write and read them.

use serde_json::{Value, json};
use steward_actors::store::{
    Batch, Body, Collection, CommitError, Conflict, Field, Index, Kind, Page, Query, Record, Sharing, Store,
    Write,
};

/// Every collection that the cases use.
pub static SCHEMA: &[&Collection] = &[&THINGS, &PARTS];

/// Records with fields and indexes of every kind.
pub static THINGS: Collection = Collection {
    name: "contract_things",
    fields: &[
        Field::required("id", Kind::Text),
        Field::optional("owner", Kind::Text),
        Field::optional("label", Kind::Text),
        Field::optional("rank", Kind::Integer),
        Field::optional("at", Kind::Time),
        Field::optional("open", Kind::Boolean),
        Field::optional("email", Kind::Text),
        Field::optional("number", Kind::Integer),
        Field::optional("title", Kind::Text),
        Field::optional("note", Kind::Text),
        Field::optional("details", Kind::Object),
        Field::optional("tags", Kind::List),
        Field::optional("labels", Kind::Labels),
    ],
    indexes: &[
        Index::by("owner_rank", &["owner", "rank"]),
        Index::by("owner_open_at", &["owner", "open", "at"]),
        Index::by("label", &["label"]),
        Index::by("rank", &["rank"]),
        Index::by("at", &["at"]),
        Index::unique("email", &["email"]),
        Index::unique("owner_number", &["owner", "number"]),
    ],
    words: &["title", "note"],
    expires: None,
};

/// A second collection, for batches over several.
pub static PARTS: Collection = Collection {
    name: "contract_parts",
    fields: &[
        Field::required("id", Kind::Text),
        Field::optional("thing", Kind::Text),
        Field::optional("serial", Kind::Text),
    ],
    indexes: &[Index::by("thing", &["thing"]), Index::unique("serial", &["serial"])],
    words: &[],
    expires: None,
};

/// A body of these fields and, as every body has it, the id.
pub fn body(id: &str, fields: Value) -> Body {
    let Value::Object(mut body) = fields else { panic!("a body is an object") };
    body.insert("id".to_owned(), json!(id));
    body
}

pub fn insert(collection: &'static Collection, id: &str, fields: Value) -> Write {
    Write::Insert { collection, id: id.to_owned(), body: body(id, fields) }
}

pub fn replace(collection: &'static Collection, id: &str, version: u64, fields: Value) -> Write {
    Write::Replace { collection, id: id.to_owned(), version, body: body(id, fields), before: None }
}

pub fn delete(collection: &'static Collection, id: &str, version: u64) -> Write {
    Write::Delete { collection, id: id.to_owned(), version }
}

pub fn alone(writes: impl IntoIterator<Item = Write>) -> Batch {
    Batch { writes: writes.into_iter().collect(), sharing: Sharing::Alone }
}

pub fn shared(writes: impl IntoIterator<Item = Write>) -> Batch {
    Batch { writes: writes.into_iter().collect(), sharing: Sharing::Shared }
}

/// Commits what must succeed.
pub async fn commit(store: &dyn Store, writes: impl IntoIterator<Item = Write>) {
    store.commit(alone(writes)).await.expect("a batch without a conflict");
}

/// Commits what must be a conflict.
pub async fn conflict(store: &dyn Store, writes: impl IntoIterator<Item = Write>) -> Conflict {
    match store.commit(alone(writes)).await {
        Err(CommitError::Conflict(conflict)) => conflict,
        other => panic!("a conflict, not {other:?}"),
    }
}

pub fn version_conflict(collection: &'static Collection, id: &str) -> Conflict {
    Conflict::Version { collection: collection.name, id: id.to_owned() }
}

pub fn exists(collection: &'static Collection, id: &str) -> Conflict {
    Conflict::Exists { collection: collection.name, id: id.to_owned() }
}

pub fn taken(collection: &'static Collection, index: &'static str) -> Conflict {
    Conflict::Unique { collection: collection.name, index }
}

/// The record, with absent and null fields made the same.
pub async fn get(store: &dyn Store, collection: &'static Collection, id: &str) -> Option<Record> {
    store.get(collection, id).await.unwrap().map(normal)
}

/// A page, with absent and null fields made the same.
pub async fn find(store: &dyn Store, query: Query) -> Page {
    let page = store.find(query).await.unwrap();
    Page { records: page.records.into_iter().map(normal).collect(), next: page.next }
}

/// The ids of a page.
pub async fn ids(store: &dyn Store, query: Query) -> Vec<String> {
    find(store, query).await.records.into_iter().map(|record| record.id).collect()
}

fn normal(mut record: Record) -> Record {
    record.body.retain(|_, value| !value.is_null());
    record
}

#[test]
fn the_suites_collections_are_well_declared() {
    for collection in SCHEMA {
        assert!(collection.mistakes().is_empty(), "{:?}", collection.mistakes());
    }
}
