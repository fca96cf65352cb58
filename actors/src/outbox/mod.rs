//! The outbox: effects that must still happen outside, as durable jobs.
//!
//! Who calls it: whoever decides on an effect inserts a [`Job`] in the batch that makes it due;
//! the composition root runs [`Outbox`] under [`crate::supervision::supervise_task`] with a
//! [`Performer`] for each kind; operators look after jobs through [`Jobs`]. Work that
//! recurs is a [`Schedule`].
//!
//! **A job may be performed twice**, when a replica dies between doing it and saying so. Its id
//! names the effect, and performers hand it on, so that it counts once. **A done job is deleted:**
//! what it was made for is recorded where it was decided, under the fence of that record, so the
//! same job is never inserted again and nothing need remember it.
//!
//! What never happens here: an effect before the commit of its job, a job lost, an endless retry.

mod handed;
mod job;
mod jobs;
mod pump;
mod schedule;
mod survey;

use async_trait::async_trait;

pub use handed::Waker;
pub use job::{JOBS, Job, JobStatus};
pub use jobs::{DeadLetterError, Jobs};
pub use pump::{Outbox, OutboxOptions};
pub use schedule::{SCHEDULES, Schedule, ScheduleState, Schedules, TurnError};
pub use survey::{Survey, survey};

use crate::store::StoreError;

/// Why a job was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// It may work later.
    #[error("{reason}")]
    Retry {
        /// What went wrong.
        reason: String,
        /// When the other side wants to be asked again, if it said so.
        after: Option<std::time::Duration>,
    },
    /// It will never work: a dead letter at once.
    #[error("{0}")]
    Permanent(String),
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Retry { reason: error.to_string(), after: None },
            StoreError::Corrupt { .. } | StoreError::BadCursor => Self::Permanent(error.to_string()),
        }
    }
}

/// Does the jobs of one kind.
#[async_trait]
pub trait Performer: Send + Sync + 'static {
    /// The kind.
    fn kind(&self) -> &'static str;

    /// The fields of its payload that operators may see. Whatever is not named is hidden, so a
    /// secret needs no care.
    fn shown(&self) -> &'static [&'static str] {
        &[]
    }

    /// Does the job. It may have been done before: the job's id must make it count once.
    ///
    /// # Errors
    /// [`JobError`].
    async fn perform(&self, job: &Job) -> Result<(), JobError>;
}

/// Whom mail goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The account's address.
    pub email: String,
    /// How to call them.
    pub name: String,
}

/// Where users get their mail.
#[async_trait]
pub trait Recipients: Send + Sync + 'static {
    /// The user's address; `None` if there is no such user.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn address(&self, user_id: &str) -> Result<Option<Recipient>, StoreError>;
}

#[cfg(test)]
mod schedule_tests;
#[cfg(test)]
mod tests;
