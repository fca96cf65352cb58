//! The storage port on SQLite: the embedded default, one file in the data directory.
//!
//! Who calls it: the composition root opens a [`SqliteStore`]; everyone else sees the port. One
//! thread writes (`writer`) and commits what has gathered in one transaction, a few read
//! (`reader`); callers wait for either with a deadline, on any Tokio runtime. WAL and
//! `synchronous=FULL`, so that a commit that was acknowledged survives power loss. A lock file
//! keeps other processes out: versions are checked by one writer, and it is here.
//!
//! What never happens here: SQL with a caller's value in its text, blocking I/O on a caller's
//! thread after opening, a page without an index (`INDEXED BY` makes that an error).

mod apply;
mod connection;
mod copy;
mod find;
mod queue;
mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod transactions;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use steward_actors::store::{Batch, Collection, CommitError, Page, Query, Record, Store, StoreError, Tally};
use steward_actors::time::Timestamp;

pub use copy::{dump, load};

use connection::DirectoryLock;
use reader::Readers;
use transactions::Transactions;
use writer::Writer;

/// How long a caller waits for an answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or this one, has it open.
    #[error(
        "the database {} is in use by {}; stop it, or choose another data directory",
        .path.display(),
        .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The database file.
        path: PathBuf,
        /// The process that has it open, if it left its number in the lock file.
        pid: Option<u32>,
    },
    /// A file or directory cannot be made or opened.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What is the matter.
        source: io::Error,
    },
    /// SQLite cannot use the file.
    #[error("the database {}: {source}", .path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What is the matter.
        source: rusqlite::Error,
    },
    /// The file was written by a later version of Steward.
    #[error("the database has format {found}, which this version does not know")]
    Newer {
        /// The format's number.
        found: i64,
    },
    /// A collection is declared wrongly, or what is stored does not fit an index that is new.
    #[error("the schema: {0}")]
    Schema(String),
}

/// The storage port on an SQLite file. Dropping it is the same as [`SqliteStore::close`].
pub struct SqliteStore {
    // In the order in which they are dropped: the directory stays locked until the last thread
    // has ended.
    readers: Readers,
    writer: Writer,
    latest: AtomicI64,
    _lock: DirectoryLock,
}

impl SqliteStore {
    /// Opens the database at `path`, making the file, its directory and whatever of `schema` is
    /// missing. Blocks; meant for start-up.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, schema: &[&'static Collection]) -> Result<Self, OpenError> {
        let lock = DirectoryLock::acquire(path)?;
        let at = |source| OpenError::Database { path: path.to_owned(), source };
        let mut connection = connection::create(path).map_err(at)?;
        schema::migrate(&mut connection, schema).map_err(|error| match error {
            schema::MigrateError::Database(source) => at(source),
            schema::MigrateError::Newer(found) => OpenError::Newer { found },
            schema::MigrateError::Schema(text) => OpenError::Schema(text),
        })?;
        let threads = |source| OpenError::Io { path: path.to_owned(), source };
        let writer = Writer::start(Transactions::new(path, connection, schema)).map_err(threads)?;
        let readers = Readers::start(path).map_err(threads)?;
        Ok(Self { readers, writer, latest: AtomicI64::new(i64::MIN), _lock: lock })
    }

    /// Takes no more work, finishes what is queued, moves the log into the database file and ends
    /// the threads. Later calls are answered with "unavailable". Blocks for as long as that takes.
    pub fn close(&self) {
        self.readers.close();
        self.writer.close();
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get_many(
        &self,
        collection: &'static Collection,
        ids: &[String],
    ) -> Result<Vec<Record>, StoreError> {
        let ids = ids.to_vec();
        self.readers.read(DEADLINE, move |connection| find::get_many(connection, collection, &ids)).await
    }

    async fn find(&self, query: Query) -> Result<Page, StoreError> {
        self.readers.read(DEADLINE, move |connection| find::find(connection, &query)).await
    }

    async fn tally(&self, query: Query, prefix: &str) -> Result<Tally, StoreError> {
        let prefix = prefix.to_owned();
        self.readers.read(DEADLINE, move |connection| find::tally(connection, &query, &prefix)).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.writer.commit(batch, DEADLINE).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        let now = system_time().as_millis();
        Ok(Timestamp::from_millis(self.latest.fetch_max(now, Ordering::AcqRel).max(now)))
    }
}

/// The computer's clock, which is this store's.
fn system_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
