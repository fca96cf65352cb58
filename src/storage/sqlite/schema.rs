//! The declared schema as tables and indexes.
//!
//! A collection is a table of `id`, `version` and `body` (JSON text). It has a rowid: bodies are
//! as long as a good part of a page, and without a rowid they would fill the inner pages of the
//! tree that is searched by id. Each indexed field is a virtual column computed from the body, so
//! a field can be indexed later without touching a record; the columns rather than bare
//! expressions because SQLite bounds an index by `(a, b, id) > (?, ?, ?)` only with columns.
//!
//! Indexes are partial, so they hold only the records that have all of their fields, and end with
//! the id, but for unique ones, where no two records are left to sort. Words are in a table of
//! their own. The names of indexes and word tables tell all of their definition, also the way in which
//! words are made: a changed one is another one, is made at the next start, and replaces the former.
//! Nothing else is ever dropped.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use steward_actors::store::{Body, Collection, Index, words};

/// The number of the way in which things are stored; later ways get higher ones.
const FORMAT: i64 = 1;

/// Why the schema could not be brought up to date. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrateError {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error("format {0} is newer than {FORMAT}")]
    Newer(i64),
    #[error("{0}")]
    Schema(String),
}

/// An identifier for SQL text.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The column of an indexed field.
pub(super) fn column(field: &str) -> String {
    quoted(&format!("f_{field}"))
}

/// The name of the index that a declared index has become.
pub(super) fn index_name(collection: &Collection, index: &Index) -> String {
    let kind = if index.unique { "unique" } else { "index" };
    format!("{}.{kind} {}({})", collection.name, index.name, index.fields.join(","))
}

/// The name of the index by id.
pub(super) fn primary_index_name(collection: &Collection) -> String {
    format!("sqlite_autoindex_{}_1", collection.name)
}

/// The name of the table of a collection's words.
pub(super) fn words_table(collection: &Collection) -> String {
    format!("{}.words({}) {}", collection.name, searched_fields(collection), words::FORM)
}

/// The name of the index that looks up words in that table.
pub(super) fn words_index_name(collection: &Collection) -> String {
    format!("{}.by word({}) {}", collection.name, searched_fields(collection), words::FORM)
}

fn searched_fields(collection: &Collection) -> String {
    collection.words.iter().copied().chain(collection.label_fields()).collect::<Vec<_>>().join(",")
}

/// The name of the index by the time of expiry.
pub(super) fn expiry_index_name(collection: &Collection, field: &str) -> String {
    format!("{}.expires({field})", collection.name)
}

/// Makes whatever of `schema` is missing, in one transaction. Running it again changes nothing.
pub(super) fn migrate(
    connection: &mut Connection,
    schema: &[&'static Collection],
) -> Result<(), MigrateError> {
    for collection in schema {
        check(collection)?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = transaction.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))?;
    if found > FORMAT {
        return Err(MigrateError::Newer(found));
    }
    transaction.pragma_update(None, "user_version", FORMAT)?;
    for collection in schema {
        make_table(&transaction, collection)?;
        make_indexes(&transaction, collection)?;
        make_words(&transaction, collection)?;
        drop_what_is_derived_and_not_declared(&transaction, collection)?;
    }
    transaction.commit()?;
    Ok(())
}

fn check(collection: &Collection) -> Result<(), MigrateError> {
    let mistakes = collection.mistakes();
    if !mistakes.is_empty() {
        return Err(MigrateError::Schema(mistakes.join("; ")));
    }
    let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let fields = collection.fields.iter().map(|field| field.name);
    match std::iter::once(collection.name).chain(fields).find(|name| !plain(name)) {
        Some(name) => Err(MigrateError::Schema(format!("{name:?} is not a plain name"))),
        None if collection.name.starts_with("sqlite_") => {
            Err(MigrateError::Schema(format!("{:?} belongs to SQLite", collection.name)))
        }
        None => Ok(()),
    }
}

fn make_table(transaction: &Transaction<'_>, collection: &Collection) -> rusqlite::Result<()> {
    let table = quoted(collection.name);
    transaction.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {table} (
            id TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL)"
    ))?;
    let mut columns = transaction.prepare("SELECT name FROM pragma_table_xinfo(?1)")?;
    let columns: BTreeSet<String> =
        columns.query_map([collection.name], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let indexed: BTreeSet<&str> = collection
        .indexes
        .iter()
        .flat_map(|index| index.fields)
        .chain(&collection.expires)
        .copied()
        .filter(|field| !columns.contains(&format!("f_{field}")))
        .collect();
    for field in indexed {
        transaction.execute_batch(&format!(
            "ALTER TABLE {table} ADD COLUMN {} AS (body ->> '$.\"{field}\"') VIRTUAL",
            column(field)
        ))?;
    }
    Ok(())
}

fn make_indexes(transaction: &Transaction<'_>, collection: &Collection) -> Result<(), MigrateError> {
    let table = quoted(collection.name);
    for index in collection.indexes {
        let name = quoted(&index_name(collection, index));
        let columns: Vec<String> = index.fields.iter().map(|field| column(field)).collect();
        let present: Vec<String> = columns.iter().map(|column| format!("{column} IS NOT NULL")).collect();
        let (unique, id) = if index.unique { ("UNIQUE ", "") } else { ("", ", id") };
        let made = transaction.execute_batch(&format!(
            "CREATE {unique}INDEX IF NOT EXISTS {name} ON {table} ({}{id}) WHERE {}",
            columns.join(", "),
            present.join(" AND ")
        ));
        made.map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => MigrateError::Schema(format!(
                "{}: records that have the same {} exist, so it cannot be unique",
                collection.name, index.name
            )),
            _ => error.into(),
        })?;
    }
    if let Some(field) = collection.expires {
        let (name, column) = (quoted(&expiry_index_name(collection, field)), column(field));
        transaction.execute_batch(&format!(
            "CREATE INDEX IF NOT EXISTS {name} ON {table} ({column}) WHERE {column} IS NOT NULL"
        ))?;
    }
    Ok(())
}

fn make_words(transaction: &Transaction<'_>, collection: &'static Collection) -> Result<(), MigrateError> {
    let name = words_table(collection);
    if !collection.is_searched() || names(transaction, collection)?.contains(&name) {
        return Ok(());
    }
    let (words, by_word) = (quoted(&name), quoted(&words_index_name(collection)));
    transaction.execute_batch(&format!(
        "CREATE TABLE {words} (id TEXT NOT NULL, word TEXT NOT NULL, PRIMARY KEY (id, word)) WITHOUT ROWID;
         CREATE INDEX {by_word} ON {words} (word, id)"
    ))?;
    let mut records = transaction.prepare(&format!("SELECT id, body FROM {}", quoted(collection.name)))?;
    let mut insert = transaction.prepare(&format!("INSERT INTO {words} (id, word) VALUES (?1, ?2)"))?;
    let mut records = records.query([])?;
    while let Some(record) = records.next()? {
        let (id, body): (String, String) = (record.get(0)?, record.get(1)?);
        let body: Body = serde_json::from_str(&body)
            .map_err(|error| MigrateError::Schema(format!("{}/{id}: {error}", collection.name)))?;
        for word in words::of_record(collection, &body) {
            insert.execute(params![id, word])?;
        }
    }
    Ok(())
}

/// Names of the indexes and word tables that were made for a collection: all that begin with its
/// name and a dot.
fn names(transaction: &Transaction<'_>, collection: &Collection) -> rusqlite::Result<BTreeSet<String>> {
    let prefix = format!("{}.", collection.name);
    let mut names = transaction
        .prepare("SELECT name FROM sqlite_schema WHERE substr(name, 1, length(?1)) = ?1 ORDER BY type")?;
    names.query_map([prefix], |row| row.get(0))?.collect()
}

fn drop_what_is_derived_and_not_declared(
    transaction: &Transaction<'_>,
    collection: &Collection,
) -> rusqlite::Result<()> {
    let mut declared: BTreeSet<String> =
        collection.indexes.iter().map(|index| index_name(collection, index)).collect();
    declared.extend(collection.expires.map(|field| expiry_index_name(collection, field)));
    if collection.is_searched() {
        declared.extend([words_table(collection), words_index_name(collection)]);
    }
    let kind = |name: &str| {
        let words = format!("{}.words(", collection.name);
        if name.starts_with(&words) { "TABLE" } else { "INDEX" }
    };
    for name in names(transaction, collection)?.difference(&declared) {
        transaction.execute_batch(&format!("DROP {} IF EXISTS {}", kind(name), quoted(name)))?;
    }
    Ok(())
}
