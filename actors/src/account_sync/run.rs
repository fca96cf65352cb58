//! A run: one attempt to bring a connection's accounts up to date, however often it is cut off.
//! Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::{Collection, Entity, Field, Index, Kind};
use crate::time::Timestamp;

/// Runs of all connections.
pub static RUNS: Collection = Collection {
    name: "runs",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("connectionId", Kind::Text),
        Field::required("status", Kind::Text),
        Field::required("queuedAt", Kind::Time),
        Field::required("forgetAt", Kind::Time),
        Field::optional("unfinishedOf", Kind::Text),
        Field::optional("startedAt", Kind::Time),
        Field::optional("finishedAt", Kind::Time),
    ],
    indexes: &[
        Index::by("connection", &["connectionId", "queuedAt"]),
        Index::unique("unfinished", &["unfinishedOf"]),
    ],
    words: &[],
    expires: Some("forgetAt"),
};

/// How long a run's record is kept.
const REMEMBERED: Duration = Duration::from_secs(90 * 24 * 3600);

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Wanted; nobody has begun.
    Queued,
    /// Begun; if it was cut off, to be resumed.
    Running,
    /// Done, one way or the other.
    Finished,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All accounts were told of, and taken over as far as Steward shows such accounts.
    Complete,
    /// Some were.
    Partial,
    /// The provider wants to be asked less often. What it told before it said so was taken over.
    RateLimited,
    /// The user must link again.
    NeedsReauth,
    /// The provider could not be reached, or made no sense.
    ProviderDown,
}

impl Outcome {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::RateLimited => "rate_limited",
            Self::NeedsReauth => "needs_reauth",
            Self::ProviderDown => "provider_down",
        }
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The connection.
    pub connection_id: String,
    /// Where it stands.
    pub status: RunStatus,
    /// How it ended; `None` until it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Accounts and transactions that appeared.
    pub added: u32,
    /// Accounts and transactions that changed otherwise than by a later "as of".
    pub modified: u32,
    /// Accounts and pending transactions that a whole statement left out for the first time.
    pub removed: u32,
    /// When it was wanted.
    pub queued_at: Timestamp,
    /// When it was first begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Why it did not go well, why it waits, or what it brought that is never shown; in words for the
    /// user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was begun since it was last left alone, or a part of its result was stored: 1, and
    /// one more each time it was cut off and resumed.
    pub attempts: u32,
    /// The connection's id until the run is finished: the store lets a connection have one such
    /// run at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished_of: Option<String>,
    /// The claim that settled it, so that its maker knows its own work when a commit's answer was
    /// lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
    /// When its record may vanish.
    pub forget_at: Timestamp,
}

impl Run {
    /// A run that is wanted.
    pub fn queued(id: String, connection_id: &str, now: Timestamp) -> Self {
        Self {
            id,
            connection_id: connection_id.to_owned(),
            status: RunStatus::Queued,
            outcome: None,
            added: 0,
            modified: 0,
            removed: 0,
            queued_at: now,
            started_at: None,
            finished_at: None,
            reason: None,
            attempts: 0,
            unfinished_of: Some(connection_id.to_owned()),
            settled_by: None,
            forget_at: now.plus(REMEMBERED),
        }
    }

    /// The same run, begun or resumed.
    #[must_use]
    pub fn begun(self, now: Timestamp) -> Self {
        Self {
            status: RunStatus::Running,
            started_at: self.started_at.or(Some(now)),
            attempts: self.attempts.saturating_add(1),
            reason: None,
            ..self
        }
    }

    /// The same run, at its end.
    #[must_use]
    pub fn finished(self, outcome: Outcome, reason: Option<String>, now: Timestamp) -> Self {
        Self {
            status: RunStatus::Finished,
            outcome: Some(outcome),
            reason,
            finished_at: Some(now),
            unfinished_of: None,
            ..self
        }
    }
}

impl Entity for Run {
    fn collection() -> &'static Collection {
        &RUNS
    }
    fn id(&self) -> &str {
        &self.id
    }
}
