//! A job as it is stored, and its changes. Pure: the present is passed in.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::JobError;
use crate::backoff::Backoff;
use crate::store::{Collection, Entity, Field, Index, Kind};
use crate::time::Timestamp;
use crate::trace;

/// Jobs that are not done.
pub static JOBS: Collection = Collection {
    name: "jobs",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("kind", Kind::Text),
        Field::required("status", Kind::Text),
        Field::required("dueAt", Kind::Time),
        Field::required("attempts", Kind::Integer),
        Field::required("payload", Kind::Object),
        Field::optional("lastError", Kind::Text),
        Field::optional("owner", Kind::Text),
        Field::required("createdAt", Kind::Time),
    ],
    indexes: &[Index::by("status", &["status", "dueAt"])],
    words: &[],
    expires: None,
};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waits for its time.
    Due,
    /// A replica is at it.
    Running,
    /// A dead letter: it failed for good, or too often.
    Dead,
}

impl JobStatus {
    /// Its name in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Running => "running",
            Self::Dead => "dead",
        }
    }
}

/// Something that must still be done outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    id: String,
    kind: String,
    status: JobStatus,
    due_at: Timestamp,
    attempts: u32,
    payload: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    created_at: Timestamp,
    /// The trace that it goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

fn stored(payload: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(payload) {
        Ok(Value::Object(payload)) => payload,
        other => unreachable!("a payload is a struct of serialisable fields, not {other:?}"),
    }
}

impl Job {
    /// A job that is due at once. `id` names the effect, `[A-Za-z0-9._-]+`; `payload` is a struct.
    pub fn new(id: String, kind: &str, payload: &impl Serialize, now: Timestamp) -> Self {
        Self {
            id,
            kind: kind.to_owned(),
            status: JobStatus::Due,
            due_at: now,
            attempts: 0,
            payload: stored(payload),
            last_error: None,
            owner: None,
            created_at: now,
            trace: trace::current(),
        }
    }

    /// The same job with another payload, a struct.
    #[must_use]
    pub(crate) fn with_payload(&self, payload: &impl Serialize) -> Self {
        Self { payload: stored(payload), ..self.clone() }
    }

    /// The same job, due so much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self { due_at: self.due_at.plus(span), ..self }
    }

    /// The `traceparent` of what made it.
    pub fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// Names the effect.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is to be done.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Where it stands.
    pub fn status(&self) -> JobStatus {
        self.status
    }

    /// When it is due; of a running job, when its lease lapses; of a dead letter, since when.
    pub fn due_at(&self) -> Timestamp {
        self.due_at
    }

    /// How often it was begun.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Why it was not done last time.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// The incarnation that is at it.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// When it was made.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Its payload as it is stored.
    pub(super) fn raw_payload(&self) -> &Map<String, Value> {
        &self.payload
    }

    /// Its payload.
    ///
    /// # Errors
    /// [`JobError::Permanent`] if it is not what its kind should have.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        serde_json::from_value(Value::Object(self.payload.clone()))
            .map_err(|error| JobError::Permanent(format!("the payload cannot be read: {error}")))
    }

    /// The job as `owner` takes it, with a lease until `lapses`. The attempt counts from here, so
    /// that a job that brings down whoever does it ends as a dead letter too.
    #[must_use]
    pub(super) fn claimed(&self, owner: &str, lapses: Timestamp) -> Self {
        Self {
            status: JobStatus::Running,
            due_at: lapses,
            attempts: self.attempts + 1,
            owner: Some(owner.to_owned()),
            ..self.clone()
        }
    }

    /// The job after a failed attempt: due again after a pause, or a dead letter.
    #[must_use]
    pub(super) fn failed(&self, error: &JobError, now: Timestamp, retry: &Retry, jitter: f64) -> Self {
        let (status, due_at) = match error {
            JobError::Retry { after, .. } if self.attempts < retry.attempts => {
                (JobStatus::Due, now.plus(retry.pause(self.attempts, *after, jitter)))
            }
            _ => (JobStatus::Dead, now),
        };
        Self { status, due_at, owner: None, last_error: Some(kept(error)), ..self.clone() }
    }

    /// A dead letter that an operator wants tried again, with all its attempts.
    #[must_use]
    pub(super) fn revived(&self, now: Timestamp) -> Self {
        Self { status: JobStatus::Due, due_at: now, attempts: 0, owner: None, ..self.clone() }
    }
}

impl Entity for Job {
    fn collection() -> &'static Collection {
        &JOBS
    }
    fn id(&self) -> &str {
        &self.id
    }
}

/// What is kept of an error: the other side may say a lot.
fn kept(error: &JobError) -> String {
    error.to_string().chars().take(500).collect()
}

/// How a failed job is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) backoff: Backoff,
    pub(super) attempts: u32,
}

impl Retry {
    /// The pause after the `attempts`-th attempt: doubled each time, jittered, at least what was
    /// asked for (a day at most).
    fn pause(&self, attempts: u32, asked: Option<Duration>, jitter: f64) -> Duration {
        const LONGEST_ASKED: Duration = Duration::from_secs(24 * 3600);
        self.backoff.pause(attempts, jitter).max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }
}
