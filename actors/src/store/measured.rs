//! A store that tells how long it takes and what goes wrong.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use metrics::{counter, histogram};
use tracing::{Instrument, debug_span};

use super::{Batch, Collection, CommitError, Page, Query, Record, Store, StoreError, Tally};
use crate::figures;
use crate::time::Timestamp;

/// A store around another. What it does is what the other does.
pub struct MeasuredStore {
    inner: Arc<dyn Store>,
}

impl MeasuredStore {
    /// Measures `inner`.
    pub fn around(inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Self { inner })
    }
}

fn took(op: &'static str, collection: &'static str, begun: Instant) {
    histogram!(figures::STORE_SECONDS, "op" => op, "collection" => collection).record(begun.elapsed());
}

fn read<T>(
    op: &'static str,
    collection: &'static str,
    begun: Instant,
    found: Result<T, StoreError>,
) -> Result<T, StoreError> {
    took(op, collection, begun);
    if let Err(StoreError::Unavailable(_)) = &found {
        counter!(figures::STORE_UNAVAILABLE, "op" => op).increment(1);
    }
    found
}

#[async_trait]
impl Store for MeasuredStore {
    async fn get_many(
        &self,
        collection: &'static Collection,
        ids: &[String],
    ) -> Result<Vec<Record>, StoreError> {
        let begun = Instant::now();
        let span = debug_span!("store", op = "get", collection = collection.name);
        read("get", collection.name, begun, self.inner.get_many(collection, ids).instrument(span).await)
    }

    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Record>, StoreError> {
        let begun = Instant::now();
        let span = debug_span!("store", op = "get", collection = collection.name);
        read("get", collection.name, begun, self.inner.get(collection, id).instrument(span).await)
    }

    async fn find(&self, query: Query) -> Result<Page, StoreError> {
        let (begun, collection) = (Instant::now(), query.collection.name);
        let span = debug_span!("store", op = "find", collection);
        read("find", collection, begun, self.inner.find(query).instrument(span).await)
    }

    async fn tally(&self, query: Query, prefix: &str) -> Result<Tally, StoreError> {
        let (begun, collection) = (Instant::now(), query.collection.name);
        read("tally", collection, begun, self.inner.tally(query, prefix).await)
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let collection = batch.writes.first().map_or("none", |write| write.collection().name);
        let begun = Instant::now();
        let span = debug_span!("store", op = "commit", collection, writes = batch.writes.len());
        let committed = self.inner.commit(batch).instrument(span).await;
        took("commit", collection, begun);
        match &committed {
            Ok(()) => {}
            Err(CommitError::Conflict(_)) => {
                counter!(figures::STORE_CONFLICTS, "collection" => collection).increment(1);
            }
            Err(CommitError::OutcomeUnknown(_)) => {
                counter!(figures::STORE_UNKNOWN, "collection" => collection).increment(1);
            }
            Err(CommitError::Unavailable(_)) => {
                counter!(figures::STORE_UNAVAILABLE, "op" => "commit").increment(1);
            }
        }
        committed
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time().await
    }
}
