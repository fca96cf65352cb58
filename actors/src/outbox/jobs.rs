//! Jobs as operators see them: listed; dead ones tried again or dropped.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Performer;
use super::handed::Waker;
use super::job::{JOBS, Job, JobStatus};
use crate::audit::{AuditEntry, By};
use crate::cluster::Clock;
use crate::store::{
    Batch, CommitError, Conflict, Cursor, PRIMARY, Query, Store, StoreError, Versioned, find, load,
};

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

/// What stands for a part of a payload that is not for operators.
const HIDDEN: &str = "(hidden)";
/// How often an act is decided anew when others change the job.
const ATTEMPTS: usize = 3;

/// The jobs of all replicas. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    waker: Waker,
    shown: Arc<HashMap<&'static str, &'static [&'static str]>>,
}

impl Jobs {
    /// Looks after the jobs in `store`; `waker` tells the outbox of one to try again; `performers`
    /// say what of a payload may be shown.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        waker: Waker,
        performers: &[Arc<dyn Performer>],
    ) -> Self {
        let shown = performers.iter().map(|performer| (performer.kind(), performer.shown())).collect();
        Self { store, clock, waker, shown: Arc::new(shown) }
    }

    /// The query for jobs with this status, the one due first first; for all of them by id.
    pub fn query(status: Option<JobStatus>) -> Query {
        match status {
            Some(status) => Query::by(&JOBS, "status").equal(status.name()),
            None => Query::by(&JOBS, PRIMARY),
        }
    }

    /// A page of jobs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, query: Query) -> Result<(Vec<Versioned<Job>>, Option<Cursor>), StoreError> {
        find(self.store.as_ref(), query).await
    }

    /// The job with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, id: &str) -> Result<Option<Versioned<Job>>, StoreError> {
        load(self.store.as_ref(), id).await
    }

    /// The job's payload, without what its performer does not name as fit to be shown.
    pub fn shown(&self, job: &Job) -> Map<String, Value> {
        let shown = self.shown.get(job.kind()).copied().unwrap_or_default();
        let show = |(name, value): (&String, &Value)| {
            let value = if shown.contains(&name.as_str()) { value.clone() } else { HIDDEN.into() };
            (name.clone(), value)
        };
        job.raw_payload().iter().map(show).collect()
    }

    /// Makes a dead letter due now, with all its attempts; the job as it is then.
    ///
    /// # Errors
    /// [`DeadLetterError`].
    pub async fn retry(&self, id: &str, by: &By) -> Result<Versioned<Job>, DeadLetterError> {
        let retried = self.act(id, by, "job.retry", |dead, batch| {
            let revived = dead.value.revived(self.clock.now());
            (batch.replace(&revived, dead.version), Versioned { value: revived, version: dead.version + 1 })
        });
        let retried = retried.await?;
        self.waker.wake();
        Ok(retried)
    }

    /// Forgets a dead letter: its effect never happens.
    ///
    /// # Errors
    /// [`DeadLetterError`].
    pub async fn discard(&self, id: &str, by: &By) -> Result<(), DeadLetterError> {
        self.act(id, by, "job.drop", |dead, batch| (batch.delete(dead), ())).await
    }

    /// Decides on a dead letter and commits that with its entry in the audit log.
    async fn act<T>(
        &self,
        id: &str,
        by: &By,
        act: &'static str,
        decide: impl Fn(&Versioned<Job>, Batch) -> (Batch, T),
    ) -> Result<T, DeadLetterError> {
        for _ in 0..ATTEMPTS {
            let found = self.get(id).await?.ok_or(DeadLetterError::NotFound)?;
            let job = &found.value;
            if job.status() != JobStatus::Dead {
                return Err(DeadLetterError::NotDead(job.status()));
            }
            let entry = AuditEntry::new(by, act, &format!("job/{id}"), self.clock.now())
                .with("kind", job.kind())
                .with("attempts", u64::from(job.attempts()));
            let (batch, outcome) = decide(&found, Batch::new().insert(&entry));
            match self.store.commit(batch).await {
                Ok(()) => return Ok(outcome),
                // Another operator, or an outbox, was at it: look again.
                Err(CommitError::Conflict(Conflict::Version { .. })) => {}
                Err(CommitError::Conflict(conflict)) => {
                    return Err(DeadLetterError::Unavailable(conflict.to_string()));
                }
                Err(CommitError::Unavailable(reason)) => return Err(DeadLetterError::Unavailable(reason)),
                Err(CommitError::OutcomeUnknown(reason)) => {
                    return Err(DeadLetterError::OutcomeUnknown(reason));
                }
            }
        }
        Err(DeadLetterError::Unavailable("others change the job all the time".to_owned()))
    }
}
