//! What changes of users and roles have in common: why one was not made, and trying again when
//! another write came first.

use std::time::Duration;

use super::HashError;
use super::user::{BY_EMAIL, BY_USERNAME};
use crate::backoff::Backoff;
use crate::store::{Batch, CommitError, Conflict, Store, StoreError};

/// Why a user or a role was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no such user.
    #[error("there is no such user")]
    NotFound,
    /// It is no longer the version that the change was based on.
    #[error("it has changed meanwhile")]
    Moved,
    /// Another user has this address.
    #[error("this mail address is taken")]
    EmailTaken,
    /// Another user has this username.
    #[error("this username is taken")]
    UsernameTaken,
    /// The current password was not given, and this needs it.
    #[error("this needs the current password")]
    PasswordNeeded,
    /// The current password is another.
    #[error("this is not the current password")]
    WrongPassword,
    /// Too many current passwords were wrong in this session, and this one was not looked at; or
    /// the address was to become another too often.
    #[error("too many tries")]
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// The new password is one that anyone would guess.
    #[error("this password is the first that anyone would guess")]
    WeakPassword,
    /// The token was never given out, was used, or is too old.
    #[error("this token is not, or no longer, good")]
    BadToken,
    /// Who wants the change does not hold this permission.
    #[error("this needs the permission {0}")]
    Lacks(String),
    /// There is no such role.
    #[error("there is no role {0}")]
    UnknownRole(String),
    /// Nobody would be left who may do everything.
    #[error("this is the last admin")]
    LastAdmin,
    /// The role `admin` permits everything, always.
    #[error("this role cannot be changed")]
    Fixed,
    /// There are as many roles as there may be.
    #[error("there are too many roles")]
    TooMany,
    /// Too many passwords are being checked. Nothing was changed; try again later.
    #[error("too many passwords are being checked")]
    Busy,
    /// Nothing was changed; try again later.
    #[error("users are unavailable: {0}")]
    Unavailable(String),
    /// It may have been changed; try again.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<HashError> for ChangeError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            HashError::Failed(_) => Self::Unavailable(error.to_string()),
        }
    }
}

/// Attempts at a write that others were faster with, or whose outcome is unknown.
const ATTEMPTS: u32 = 8;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// Committed.
    Done,
    /// Read again and decide again.
    Again,
}

/// The attempts at one change.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    made: u32,
    unknown: bool,
}

impl Attempts {
    /// Whether an attempt may have counted without saying so.
    pub(crate) fn unknown(&self) -> bool {
        self.unknown
    }

    /// Why the change is given up, when the store can't be read: after an attempt whose outcome is
    /// unknown, a later failure doesn't make it known.
    pub(crate) fn failed(&self, error: StoreError) -> ChangeError {
        self.gave_up(error.to_string())
    }

    fn gave_up(&self, reason: String) -> ChangeError {
        if self.unknown { ChangeError::OutcomeUnknown(reason) } else { ChangeError::Unavailable(reason) }
    }

    /// Commits, and says whether to decide again.
    ///
    /// # Errors
    /// [`ChangeError`]: a key is taken, the store is away, or it was tried too often.
    pub(crate) async fn commit(&mut self, store: &dyn Store, batch: Batch) -> Result<Tried, ChangeError> {
        let reason = match store.commit(batch).await {
            Ok(()) => return Ok(Tried::Done),
            Err(CommitError::Conflict(Conflict::Unique { index: BY_EMAIL, .. })) => {
                return Err(ChangeError::EmailTaken);
            }
            Err(CommitError::Conflict(Conflict::Unique { index: BY_USERNAME, .. })) => {
                return Err(ChangeError::UsernameTaken);
            }
            Err(CommitError::Conflict(_)) => "others keep changing it".to_owned(),
            Err(CommitError::Unavailable(reason)) => return Err(self.gave_up(reason)),
            Err(CommitError::OutcomeUnknown(reason)) => {
                self.unknown = true;
                reason
            }
        };
        self.made += 1;
        if self.made >= ATTEMPTS {
            return Err(self.gave_up(reason));
        }
        Backoff::CONTENTION.wait(self.made).await;
        Ok(Tried::Again)
    }
}
