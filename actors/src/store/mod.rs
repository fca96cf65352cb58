//! The storage port: versioned records, pages by declared indexes, atomic batches.
//!
//! Who calls it: the actors and the plain services. Who implements it: the server's SQLite and
//! MongoDB adapters and `testing::MemoryStore`; one contract suite runs over all three.
//! What never happens here: a query that no declared index serves, a partial batch, a refusal that
//! hides an unknown outcome.

mod batch;
mod entity;
mod measured;
mod query;
mod schema;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::{Map, Value};

pub use batch::{Batch, Sharing, Write, difference};
pub use entity::{Entity, Versioned, fields_of, find, load, load_many};
pub use measured::MeasuredStore;
pub use query::{Cursor, MOST_TALLIED, Order, Page, Query, Range, Tally};
pub use schema::{Collection, Field, Index, Kind, PRIMARY};

use crate::time::Timestamp;

/// The body of a record: a JSON object without the names that start with `_`, which belong to the
/// adapters. An absent field and a null one are the same; adapters may keep either.
pub type Body = Map<String, Value>;

/// One stored document.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Unique in its collection.
    pub id: String,
    /// 1 when inserted, one more with each replace.
    pub version: u64,
    /// What is stored.
    pub body: Body,
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or is too slow. Trying again later may help.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// A record is not what its collection holds. Trying again does not help.
    #[error("{collection}/{id} cannot be read: {reason}")]
    Corrupt {
        /// The collection's name.
        collection: &'static str,
        /// The record's id.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The page was to begin behind a cursor of another list, or of none.
    #[error("the cursor is not one of this list")]
    BadCursor,
}

/// Why a batch was not committed, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written: another write came first. Reload and decide again.
    #[error("conflict: {0}")]
    Conflict(Conflict),
    /// Nothing was written: the store cannot be reached.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It may or may not have been written. Only a read begun later, or the same command sent
    /// again, can tell.
    #[error("the outcome of a commit is unknown: {0}")]
    OutcomeUnknown(String),
}

/// What stood in the way of a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// An inserted id is taken.
    #[error("{collection}/{id} exists")]
    Exists {
        /// The collection's name.
        collection: &'static str,
        /// The id that is taken.
        id: String,
    },
    /// A replaced or deleted record has another version, or is gone.
    #[error("{collection}/{id} has moved on")]
    Version {
        /// The collection's name.
        collection: &'static str,
        /// The record that moved on.
        id: String,
    },
    /// A unique index has the inserted or replaced record's key already.
    #[error("{collection} has the same {index} already")]
    Unique {
        /// The collection's name.
        collection: &'static str,
        /// The index's name.
        index: &'static str,
    },
}

impl From<Conflict> for CommitError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict(conflict)
    }
}

/// A store of versioned records. Cheap to share; every method may be called from any thread and
/// runtime, and a future that is dropped half-way leaves nothing half-done.
///
/// Reads see every commit that was acknowledged before they began, whichever replica made it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The records of `collection` with these ids, in any order; those that don't exist are left
    /// out. At most 1,000 ids.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn get_many(
        &self,
        collection: &'static Collection,
        ids: &[String],
    ) -> Result<Vec<Record>, StoreError>;

    /// One record, or `None`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Record>, StoreError> {
        let found = self.get_many(collection, &[id.to_owned()]).await?;
        Ok(found.into_iter().next())
    }

    /// A page of records by a declared index.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn find(&self, query: Query) -> Result<Page, StoreError>;

    /// How often labels that begin with `prefix` occur among the first `query.limit` records of the
    /// query: what facets are made of. Adapters do better than this, which reads the records.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tally(&self, query: Query, prefix: &str) -> Result<Tally, StoreError> {
        let collection = query.collection;
        let page = self.find(query).await?;
        let mut counts = BTreeMap::<&str, u64>::new();
        for record in &page.records {
            let labels: BTreeSet<&str> = words::labels(collection, &record.body).collect();
            for label in labels.into_iter().filter(|label| label.starts_with(prefix)) {
                *counts.entry(label).or_default() += 1;
            }
        }
        let mut labels: Vec<(String, u64)> =
            counts.into_iter().map(|(label, count)| (label.to_owned(), count)).collect();
        labels.sort_by(|(_, a), (_, b)| b.cmp(a));
        labels.truncate(MOST_TALLIED);
        Ok(Tally { labels, counted: page.records.len() as u64, complete: page.next.is_none() })
    }

    /// Commits all writes of the batch or none. When this returns `Ok`, they survive a crash
    /// (MongoDB: majority; SQLite: `synchronous=FULL`) and every later read sees them.
    ///
    /// # Errors
    /// [`CommitError`].
    async fn commit(&self, batch: Batch) -> Result<(), CommitError>;

    /// The store's own clock, for [`crate::cluster`].
    ///
    /// # Errors
    /// [`StoreError`].
    async fn time(&self) -> Result<Timestamp, StoreError>;
}
