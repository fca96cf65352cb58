//! What can go wrong with accounts and transactions, as callers see it. HTTP maps it in one place.

use super::details::DetailsError;
use crate::store::{CommitError, StoreError};

/// Why something was not made, changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The user has none with this id.
    #[error("there is no such account")]
    NotFound,
    /// The record is not the one that the edit was based on.
    #[error("the account has changed meanwhile")]
    Changed,
    /// A text is empty or too long.
    #[error("the text is empty or too long")]
    BadName,
    /// The details don't fit the account's type.
    #[error(transparent)]
    Details(#[from] DetailsError),
    /// A provider tells of this account; only its name and whether it is hidden are the user's.
    #[error("the account is synced from its provider")]
    Synced,
    /// The user has as many accounts as a user may have: this many.
    #[error("there are {0} accounts already")]
    TooMany(usize),
    /// The id was made by a command that said something else.
    #[error("the command was another one")]
    KeyReused,
    /// The command was done before, and what it made was deleted since.
    #[error("what the command made was deleted since")]
    DeletedSince,
    /// Nothing was merged into this transaction.
    #[error("nothing was merged into this transaction")]
    NothingMerged,
    /// The provider tells of another transaction under the id that the merged telling had.
    #[error("another transaction has the id of what was merged")]
    FormerIsBack,
    /// Nothing was changed; try again later.
    #[error("{0}")]
    Unavailable(String),
    /// It may have been changed; read, or make the same edit again.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
}

impl From<StoreError> for EditError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<CommitError> for EditError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(_) => Self::Changed,
            CommitError::Unavailable(reason) => Self::Unavailable(reason),
            CommitError::OutcomeUnknown(_) => Self::OutcomeUnknown,
        }
    }
}
