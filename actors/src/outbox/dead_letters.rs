//! Jobs as operators see them: listed; dead ones tried again or dropped.

use std::sync::Arc;

use super::job::{JOBS, Job, JobStatus};
use super::pump::Waker;
use crate::cluster::Clock;
use crate::store::{Batch, CommitError, Conflict, Cursor, Query, Store, StoreError, Versioned, find, load};

/// Why a dead letter was left as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterError {
    /// There is no such job (any more).
    #[error("there is no such job")]
    NotFound,
    /// The job is not dead.
    #[error("the job is {}", .0.name())]
    NotDead(JobStatus),
    /// Nothing was changed.
    #[error("jobs are unavailable for now: {0}")]
    Unavailable(String),
    /// It may have been changed; look.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
}

impl From<StoreError> for DeadLetterError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<CommitError> for DeadLetterError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(Conflict::Version { .. }) => Self::NotFound,
            CommitError::Conflict(conflict) => Self::Unavailable(conflict.to_string()),
            CommitError::Unavailable(reason) => Self::Unavailable(reason),
            CommitError::OutcomeUnknown(reason) => Self::OutcomeUnknown(reason),
        }
    }
}

/// The jobs of all replicas.
pub struct DeadLetters {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    waker: Waker,
}

impl DeadLetters {
    /// Looks after the jobs in `store`; `waker` tells the outbox of one to try again.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, waker: Waker) -> Self {
        Self { store, clock, waker }
    }

    /// Jobs with this status, the one due first first; `limit` 1 to 1,000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &self,
        status: JobStatus,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<(Vec<Versioned<Job>>, Option<Cursor>), StoreError> {
        let query = Query::by(&JOBS, "status").equal(status.name()).limit(limit).after(after);
        find(self.store.as_ref(), query).await
    }

    /// Makes a dead letter due now.
    ///
    /// # Errors
    /// [`DeadLetterError`].
    pub async fn retry(&self, id: &str) -> Result<(), DeadLetterError> {
        let dead = self.dead(id).await?;
        let revived = dead.value.revived(self.clock.now());
        self.store.commit(Batch::new().replace(&revived, dead.version)).await?;
        self.waker.wake();
        Ok(())
    }

    /// Forgets a dead letter: its effect never happens.
    ///
    /// # Errors
    /// [`DeadLetterError`].
    pub async fn drop(&self, id: &str) -> Result<(), DeadLetterError> {
        let dead = self.dead(id).await?;
        self.store.commit(Batch::new().delete(&dead)).await?;
        Ok(())
    }

    async fn dead(&self, id: &str) -> Result<Versioned<Job>, DeadLetterError> {
        let found = load::<Job>(self.store.as_ref(), id).await?.ok_or(DeadLetterError::NotFound)?;
        match found.value.status() {
            JobStatus::Dead => Ok(found),
            other => Err(DeadLetterError::NotDead(other)),
        }
    }
}
