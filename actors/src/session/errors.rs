//! What can go wrong with checking a token and logging in, as callers see it. HTTP maps it in one place.

use std::time::Duration;

use crate::store::StoreError;
use crate::users::HashError;

/// Why nobody is calling, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token is no session's, or the session has ended, or its user is disabled. Said only
    /// after the store was asked.
    #[error("not authenticated")]
    Unauthenticated,
    /// It can't be found out now.
    #[error("sessions are unavailable")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

/// Why someone was not logged in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogInError {
    /// There is no such user, or the password is another, or the user is disabled. Which of these
    /// is not told, and takes the same time.
    #[error("these credentials are not right")]
    InvalidCredentials,
    /// Too many passwords are being checked, of all users or of this one. Try again later.
    #[error("too many passwords are being checked")]
    Busy,
    /// Too many were wrong, for this account or from this address. This one was not looked at.
    #[error("too many wrong credentials")]
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// Nobody was logged in; try again later.
    #[error("logging in is unavailable: {0}")]
    Unavailable(String),
}

impl From<StoreError> for LogInError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<HashError> for LogInError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            HashError::Failed(_) => Self::Unavailable(error.to_string()),
        }
    }
}
