//! A store whose reads a test counts and holds up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::store::{Batch, Collection, CommitError, Page, Query, Record, Store, StoreError};
use crate::time::Timestamp;

/// A store around another. Every call lets others run first, so that calls made at the same time
/// really interleave.
pub struct WatchedStore {
    inner: Arc<dyn Store>,
    reads: AtomicU64,
    holding: watch::Sender<bool>,
    held: watch::Sender<usize>,
}

impl WatchedStore {
    /// A store around `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            reads: AtomicU64::new(0),
            holding: watch::Sender::new(false),
            held: watch::Sender::new(0),
        }
    }

    /// How many reads were begun.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// From now on reads are made, but what they found is not given out.
    pub fn hold_reads(&self) {
        self.holding.send_replace(true);
    }

    /// Gives out what was held.
    pub fn release_reads(&self) {
        self.holding.send_replace(false);
    }

    /// Returns once `count` reads are held.
    ///
    /// # Panics
    /// If that doesn't happen within ten seconds.
    pub async fn held(&self, count: usize) {
        let mut held = self.held.subscribe();
        let enough = timeout(Duration::from_secs(10), held.wait_for(|held| *held >= count)).await;
        assert!(enough.is_ok(), "{count} reads were never held");
    }

    async fn give_out<T>(&self, found: T) -> T {
        if *self.holding.borrow() {
            self.held.send_modify(|held| *held += 1);
            let _ = self.holding.subscribe().wait_for(|holding| !holding).await;
            self.held.send_modify(|held| *held -= 1);
        }
        found
    }
}

#[async_trait]
impl Store for WatchedStore {
    async fn get_many(
        &self,
        collection: &'static Collection,
        ids: &[String],
    ) -> Result<Vec<Record>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        yield_now().await;
        let found = self.inner.get_many(collection, ids).await;
        self.give_out(found).await
    }

    async fn find(&self, query: Query) -> Result<Page, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        yield_now().await;
        let found = self.inner.find(query).await;
        self.give_out(found).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        yield_now().await;
        self.inner.commit(batch).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time().await
    }
}
