//! What can go wrong, as callers see it. HTTP maps it in one place.

use std::time::Duration;

use crate::store::{CommitError, StoreError};
use crate::supervision::AskError;

/// Why a connection was not linked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no such provider; these are there.
    #[error("there is no such provider; there are: {}", .0.join(", "))]
    UnknownProvider(Vec<String>),
    /// The token is malformed, used up, or points where Steward does not go. Nothing was made.
    #[error("the setup token was refused: {0}")]
    Refused(String),
    /// The provider could not be reached, or takes nothing now. Nothing was made, the token is still
    /// good.
    #[error("the provider is unavailable: {reason}")]
    ProviderUnavailable {
        /// What is the matter, in words that are fit for users.
        reason: String,
        /// When to try again, if the provider said so; a day at most.
        retry_after: Option<Duration>,
    },
    /// The user has no connection with this id.
    #[error("there is no such connection")]
    NotFound,
    /// The connection is with this provider.
    #[error("the connection is with {0}")]
    OtherProvider(String),
    /// The provider has no page of its own for this; its token is asked for instead.
    #[error("the provider has no page for this")]
    NoPage,
    /// The id was made by a command that said something else.
    #[error("the command was another one")]
    KeyReused,
    /// The command was done before, and the connection was deleted since.
    #[error("what the command made was deleted since")]
    DeletedSince,
    /// The user has as many connections as a user may have: this many.
    #[error("there are {0} connections already")]
    TooMany(usize),
    /// The store cannot be reached. Nothing was made; try again later.
    #[error("unavailable for now: {reason}")]
    Unavailable {
        /// What is the matter.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The connection may have been made; list them, or ask again with the same id.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
}

/// Why a connection did not do as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The user has no connection, or the connection no run, with this id.
    #[error("there is no such connection")]
    NotFound,
    /// Nothing was done; try again later.
    #[error("unavailable for now: {reason}")]
    Unavailable {
        /// What is the matter.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// It may have been done; ask again: what was done counts once.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
}

const SOON: Duration = Duration::from_secs(1);

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { reason: error.to_string(), retry_after: SOON }
    }
}

impl From<CommitError> for SyncError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::OutcomeUnknown(_) => Self::OutcomeUnknown,
            CommitError::Conflict(_) | CommitError::Unavailable(_) => {
                Self::Unavailable { reason: error.to_string(), retry_after: SOON }
            }
        }
    }
}

impl From<AskError> for SyncError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::OutcomeUnknown => Self::OutcomeUnknown,
            AskError::Unavailable { retry_after } => {
                Self::Unavailable { reason: error.to_string(), retry_after }
            }
            AskError::Full | AskError::Leaving => {
                Self::Unavailable { reason: error.to_string(), retry_after: SOON }
            }
        }
    }
}

impl From<StoreError> for LinkError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { reason: error.to_string(), retry_after: SOON }
    }
}

impl From<CommitError> for LinkError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::OutcomeUnknown(_) => Self::OutcomeUnknown,
            CommitError::Conflict(_) | CommitError::Unavailable(_) => {
                Self::Unavailable { reason: error.to_string(), retry_after: SOON }
            }
        }
    }
}
