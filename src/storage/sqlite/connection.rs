//! Connections as each thread needs them, and the lock that keeps other processes out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::OpenError;

/// How long SQLite waits for a lock that only a foreign program can have; less than a caller's
/// deadline.
const BUSY: Duration = Duration::from_secs(2);

/// Statements that a connection keeps prepared: some ten for each collection.
const STATEMENTS: usize = 512;

/// The lock on a database. It is the operating system's, on an open file, so it ends with the
/// process however that ends; the file itself stays.
pub(super) struct DirectoryLock(#[expect(dead_code, reason = "held, not used")] File);

impl DirectoryLock {
    pub(super) fn acquire(database: &Path) -> Result<Self, OpenError> {
        let directory = database.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(directory) = directory {
            let at = |source| OpenError::Io { path: directory.to_owned(), source };
            fs::create_dir_all(directory).map_err(at)?;
        }
        let path = lock_path(database);
        let at = |source| OpenError::Io { path: path.clone(), source };
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(at)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(OpenError::InUse { path: database.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        let note = file.set_len(0).and_then(|()| file.rewind());
        note.and_then(|()| writeln!(file, "{}", std::process::id())).map_err(at)?;
        Ok(Self(file))
    }
}

/// Beside the database, not of the whole directory: the sandbox keeps its own database there.
fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    database.with_file_name(name)
}

/// The writer's first connection: makes the file if there is none.
pub(super) fn create(path: &Path) -> rusqlite::Result<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
}

/// A further connection of the writer. A file that has vanished is an error, not an empty store.
pub(super) fn reopen(path: &Path) -> rusqlite::Result<Connection> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// A reader's connection.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    // One thread uses a connection at a time, so SQLite need not lock it.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // On macOS a plain fsync does not reach the disk; elsewhere these change nothing.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "cache_size", -8000)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}
