//! One batch inside a transaction: first every check, then every change.

use rusqlite::{Connection, OptionalExtension, ffi, params};
use serde_json::Value;
use steward_actors::store::{Batch, Body, Collection, Conflict, Write, words};

use super::schema::{column, quoted, words_table};

/// A write as the writer makes it; what can be computed on the caller's thread has been.
pub(super) struct PreparedWrite {
    collection: &'static Collection,
    id: String,
    change: Change,
}

enum Change {
    Insert(Content),
    Replace(i64, Content),
    Delete(i64),
}

struct Content {
    body: String,
    words: Vec<String>,
}

/// Why a batch was not applied.
#[derive(Debug)]
pub(super) enum Failure {
    Conflict(Conflict),
    Fault(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Fault(error)
    }
}

/// The batch's writes, and their weight in bytes.
pub(super) fn prepare(batch: Batch) -> (Vec<PreparedWrite>, usize) {
    let writes: Vec<PreparedWrite> = batch.writes.into_iter().map(PreparedWrite::of).collect();
    let weight = writes.iter().map(PreparedWrite::weight).sum();
    (writes, weight)
}

/// Makes all writes or returns why not; then the caller has to roll back.
pub(super) fn apply(connection: &Connection, writes: &[PreparedWrite]) -> Result<(), Failure> {
    for write in writes {
        write.check(connection)?;
    }
    // What gives up unique keys comes before what may take them: a batch counts by its end.
    for write in writes {
        match write.change {
            Change::Delete(version) => write.delete(connection, version)?,
            Change::Replace(..) if write.could_be_in_the_way(writes) => write.vacate(connection)?,
            Change::Replace(..) | Change::Insert(_) => {}
        }
    }
    for write in writes {
        match &write.change {
            Change::Insert(content) => write.insert(connection, content)?,
            Change::Replace(version, content) => write.replace(connection, *version, content)?,
            Change::Delete(_) => {}
        }
    }
    Ok(())
}

impl PreparedWrite {
    fn of(write: Write) -> Self {
        // A version that SQLite cannot hold is one that no record has; nor has any the largest.
        let stored = |version: u64| i64::try_from(version).unwrap_or(i64::MAX);
        let content = |collection: &'static Collection, body: Body| Content {
            words: words::of_record(collection, &body),
            body: Value::Object(body).to_string(),
        };
        match write {
            Write::Insert { collection, id, body } => {
                Self { collection, id, change: Change::Insert(content(collection, body)) }
            }
            Write::Replace { collection, id, version, body, .. } => {
                let change = Change::Replace(stored(version), content(collection, body));
                Self { collection, id, change }
            }
            Write::Delete { collection, id, version } => {
                Self { collection, id, change: Change::Delete(stored(version)) }
            }
        }
    }

    fn weight(&self) -> usize {
        self.id.len()
            + match &self.change {
                Change::Insert(content) | Change::Replace(_, content) => content.body.len(),
                Change::Delete(_) => 0,
            }
    }

    fn check(&self, connection: &Connection) -> Result<(), Failure> {
        let sql = format!("SELECT version FROM {} WHERE id = ?1", quoted(self.collection.name));
        let mut statement = connection.prepare_cached(&sql)?;
        let found = statement.query_row([&self.id], |row| row.get::<_, i64>(0)).optional()?;
        match self.change {
            Change::Insert(_) if found.is_some() => Err(self.exists()),
            Change::Replace(version, _) | Change::Delete(version) if found != Some(version) => {
                Err(self.moved_on())
            }
            _ => Ok(()),
        }
    }

    /// Whether another write of the batch could take a unique key that this one gives up.
    fn could_be_in_the_way(&self, writes: &[Self]) -> bool {
        self.collection.indexes.iter().any(|index| index.unique)
            && writes.iter().any(|other| {
                other.collection.name == self.collection.name
                    && other.id != self.id
                    && !matches!(other.change, Change::Delete(_))
            })
    }

    /// Takes a record that is about to be replaced out of all indexes.
    fn vacate(&self, connection: &Connection) -> Result<(), Failure> {
        let sql = format!("UPDATE {} SET body = '{{}}' WHERE id = ?1", quoted(self.collection.name));
        connection.prepare_cached(&sql)?.execute([&self.id])?;
        Ok(())
    }

    fn delete(&self, connection: &Connection, version: i64) -> Result<(), Failure> {
        let sql = format!("DELETE FROM {} WHERE id = ?1 AND version = ?2", quoted(self.collection.name));
        let changed = connection.prepare_cached(&sql)?.execute(params![self.id, version])?;
        if changed == 0 {
            return Err(self.moved_on());
        }
        self.set_words(connection, &[])
    }

    fn insert(&self, connection: &Connection, content: &Content) -> Result<(), Failure> {
        let sql =
            format!("INSERT INTO {} (id, version, body) VALUES (?1, 1, ?2)", quoted(self.collection.name));
        let inserted = connection.prepare_cached(&sql)?.execute(params![self.id, content.body]);
        inserted.map_err(|error| self.refused(error))?;
        self.set_words(connection, &content.words)
    }

    fn replace(&self, connection: &Connection, version: i64, content: &Content) -> Result<(), Failure> {
        let sql = format!(
            "UPDATE {} SET version = ?2 + 1, body = ?3 WHERE id = ?1 AND version = ?2",
            quoted(self.collection.name)
        );
        let replaced = connection.prepare_cached(&sql)?.execute(params![self.id, version, content.body]);
        if replaced.map_err(|error| self.refused(error))? == 0 {
            return Err(self.moved_on());
        }
        self.set_words(connection, &content.words)
    }

    /// Most replaces leave the words as they are; then only they are read.
    fn set_words(&self, connection: &Connection, words: &[String]) -> Result<(), Failure> {
        if !self.collection.is_searched() {
            return Ok(());
        }
        let table = quoted(&words_table(self.collection));
        let sql = format!("SELECT word FROM {table} WHERE id = ?1 ORDER BY word");
        let mut statement = connection.prepare_cached(&sql)?;
        let found: Vec<String> =
            statement.query_map([&self.id], |row| row.get(0))?.collect::<Result<_, _>>()?;
        if found == words {
            return Ok(());
        }
        let sql = format!("DELETE FROM {table} WHERE id = ?1");
        connection.prepare_cached(&sql)?.execute([&self.id])?;
        let sql = format!("INSERT INTO {table} (id, word) VALUES (?1, ?2)");
        let mut statement = connection.prepare_cached(&sql)?;
        for word in words {
            statement.execute(params![self.id, word])?;
        }
        Ok(())
    }

    fn exists(&self) -> Failure {
        Failure::Conflict(Conflict::Exists { collection: self.collection.name, id: self.id.clone() })
    }

    fn moved_on(&self) -> Failure {
        Failure::Conflict(Conflict::Version { collection: self.collection.name, id: self.id.clone() })
    }

    /// Which unique index refused the record: SQLite names its columns.
    fn refused(&self, error: rusqlite::Error) -> Failure {
        let rusqlite::Error::SqliteFailure(ffi::Error { extended_code, .. }, Some(message)) = &error else {
            return Failure::Fault(error);
        };
        if *extended_code == ffi::SQLITE_CONSTRAINT_PRIMARYKEY {
            return self.exists();
        }
        if *extended_code != ffi::SQLITE_CONSTRAINT_UNIQUE {
            return Failure::Fault(error);
        }
        let columns = |fields: &[&str]| {
            let column = |field: &&str| format!("{}.f_{field}", self.collection.name);
            fields.iter().map(column).collect::<Vec<_>>().join(", ")
        };
        let named = |fields: &[&str]| {
            message.strip_prefix("UNIQUE constraint failed: ").is_some_and(|named| named == columns(fields))
        };
        match self.collection.indexes.iter().find(|index| index.unique && named(index.fields)) {
            Some(index) => {
                Failure::Conflict(Conflict::Unique { collection: self.collection.name, index: index.name })
            }
            None => Failure::Fault(error),
        }
    }
}

/// Deletes at most `most` records that expired before `now`, in milliseconds, with their words;
/// returns how many.
pub(super) fn delete_expired(
    connection: &Connection,
    collection: &Collection,
    now: i64,
    most: u32,
) -> rusqlite::Result<usize> {
    let Some(field) = collection.expires else { return Ok(0) };
    let (table, column) = (quoted(collection.name), column(field));
    let index = quoted(&super::schema::expiry_index_name(collection, field));
    // `column` is a number in every record that the collection's writers made; text sorts after
    // all numbers, so what is not a number never expires.
    let expired =
        format!("SELECT id FROM {table} INDEXED BY {index} WHERE {column} < ?1 ORDER BY {column} LIMIT ?2");
    let mut statement = connection.prepare_cached(&expired)?;
    let ids: Vec<String> =
        statement.query_map(params![now, most], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for id in &ids {
        connection.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?.execute([id])?;
        if collection.is_searched() {
            let words = quoted(&words_table(collection));
            connection.prepare_cached(&format!("DELETE FROM {words} WHERE id = ?1"))?.execute([id])?;
        }
    }
    Ok(ids.len())
}
