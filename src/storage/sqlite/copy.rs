//! The whole database into a backup, beside the server that has it open; and a database made of
//! one, where no server is.

use std::io::{BufRead, Write};
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};
use steward_actors::store::{Collection, Record, words};

use super::connection::{self, DirectoryLock};
use super::schema::{self, quoted, words_table};
use super::system_time;
use crate::storage::backup::{BackupError, Reader, Writer};

/// Writes every record, as of one moment: a reader of a WAL sees the database as it was when it
/// began, and holds up no writer. Blocks for as long as that takes.
///
/// # Errors
/// [`BackupError`].
pub fn dump<W: Write>(path: &Path, schema: &[&Collection], to: W) -> Result<(u64, W), BackupError> {
    if !path.is_file() {
        return Err(BackupError::Store(format!("there is no database at {}", path.display())));
    }
    let connection = connection::open_reader(path)?;
    let moment = connection.unchecked_transaction()?;
    // The first read fixes the moment.
    let tables: Vec<String> = moment
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut writer = Writer::begin(to, system_time())?;
    // One that an earlier version did not have yet is empty.
    for collection in schema.iter().filter(|collection| tables.iter().any(|name| name == collection.name)) {
        let sql = format!("SELECT id, version, body FROM {}", quoted(collection.name));
        let mut statement = moment.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, version, body): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let broken = |reason: String| BackupError::Store(format!("{}/{id}: {reason}", collection.name));
            let body = serde_json::from_str(&body).map_err(|error| broken(error.to_string()))?;
            let version = u64::try_from(version).map_err(|error| broken(error.to_string()))?;
            writer.add(collection, Record { id, version, body })?;
        }
    }
    writer.end()
}

/// Makes a database of those records of a backup whose collections are to be kept, or none at all.
/// How many there were. Blocks.
///
/// # Errors
/// [`BackupError`]; also if a server has the database open, or if there is something in it.
pub fn load<R: BufRead>(
    path: &Path,
    schema: &'static [&'static Collection],
    from: &mut Reader<R>,
    keep: impl Fn(&Collection) -> bool,
) -> Result<u64, BackupError> {
    let _lock = DirectoryLock::acquire(path).map_err(|error| BackupError::Store(error.to_string()))?;
    let mut connection = connection::create(path)?;
    schema::migrate(&mut connection, schema).map_err(|error| BackupError::Store(error.to_string()))?;
    let all = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for collection in schema {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", quoted(collection.name));
        if all.query_row(&sql, [], |row| row.get(0))? {
            return Err(BackupError::NotEmpty(collection.name));
        }
    }
    let mut records = 0;
    while let Some((collection, record)) = from.next()? {
        if keep(collection) {
            insert(&all, collection, record)?;
            records += 1;
        }
    }
    all.commit()?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(records)
}

fn insert(to: &Connection, collection: &'static Collection, record: Record) -> Result<(), BackupError> {
    let Record { id, version, body } = record;
    let version = i64::try_from(version).map_err(|error| BackupError::Store(format!("{id}: {error}")))?;
    let words = words::of_record(collection, &body);
    let sql = format!("INSERT INTO {} (id, version, body) VALUES (?1, ?2, ?3)", quoted(collection.name));
    let body = serde_json::Value::Object(body).to_string();
    to.prepare_cached(&sql)?.execute(params![id, version, body])?;
    if collection.is_searched() {
        let sql = format!("INSERT INTO {} (id, word) VALUES (?1, ?2)", quoted(&words_table(collection)));
        let mut statement = to.prepare_cached(&sql)?;
        for word in words {
            statement.execute(params![id, word])?;
        }
    }
    Ok(())
}
