//! A store at whose commits a test does something.

use async_trait::async_trait;

use crate::store::{Batch, Collection, CommitError, Page, Query, Record, Store, StoreError};
use crate::time::Timestamp;

/// What a test does at the commits of a store. Whatever implements this is a store itself: that one,
/// but for its commits.
#[async_trait]
pub trait AtCommit: Send + Sync + 'static {
    /// The store that is read.
    fn store(&self) -> &dyn Store;

    /// Stands in for [`Store::commit`]; it is for this to hand the batch on.
    ///
    /// # Errors
    /// [`CommitError`].
    async fn at_commit(&self, batch: Batch) -> Result<(), CommitError>;
}

#[async_trait]
impl<T: AtCommit> Store for T {
    async fn get_many(
        &self,
        collection: &'static Collection,
        ids: &[String],
    ) -> Result<Vec<Record>, StoreError> {
        self.store().get_many(collection, ids).await
    }

    async fn find(&self, query: Query) -> Result<Page, StoreError> {
        self.store().find(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.at_commit(batch).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.store().time().await
    }
}
