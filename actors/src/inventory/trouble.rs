//! Why a command on stock comes back without having been decided, and what its caller hears of it.

use std::time::Duration;

use super::adjustment::AdjustError;
use super::holds::HoldError;
use crate::store::StoreError;
use crate::supervision::AskError;

/// Why a command comes back without having been decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing was done.
    Unavailable(String),
    /// It may have been done.
    OutcomeUnknown,
}

/// When to come again after [`Trouble::Unavailable`].
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<AskError> for Trouble {
    fn from(error: AskError) -> Self {
        match error {
            AskError::OutcomeUnknown => Self::OutcomeUnknown,
            // A customer reads it in the timeline.
            AskError::Unavailable { retry_after } => {
                Self::Unavailable(format!("it is asked again in {} s", retry_after.as_secs().max(1)))
            }
            AskError::Full | AskError::Leaving => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<Trouble> for HoldError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unavailable(reason) => Self::Unavailable { reason, retry_after: RETRY_AFTER },
            Trouble::OutcomeUnknown => Self::OutcomeUnknown,
        }
    }
}

impl From<Trouble> for AdjustError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unavailable(reason) => Self::Unavailable { reason, retry_after: RETRY_AFTER },
            Trouble::OutcomeUnknown => Self::OutcomeUnknown,
        }
    }
}
