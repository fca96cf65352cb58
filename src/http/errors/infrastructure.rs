//! Errors that any route can meet: the store, the way to an actor, who is calling.

use steward_actors::session::AuthError;
use steward_actors::store::{CommitError, StoreError};
use steward_actors::supervision::AskError;

use crate::http::problem::Problem;

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Unavailable { retry_after } => Self::unavailable(error).retry_after(retry_after),
            AskError::Full | AskError::Leaving => Self::unavailable(error),
            AskError::OutcomeUnknown => Self::outcome_unknown(error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable(error),
            StoreError::Corrupt { .. } => Self::internal(error),
            StoreError::BadCursor => Self::bad_cursor(),
        }
    }
}

/// A conflict that nobody has translated: the domain decides again on conflicts, so this one came
/// too often in a row. Nothing was written.
impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(_) => {
                Self::conflict("conflict", "Another change came first").because(error)
            }
            CommitError::Unavailable(_) => Self::unavailable(error),
            CommitError::OutcomeUnknown(_) => Self::outcome_unknown(error),
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Unauthenticated => Self::unauthorized(),
            AuthError::Unavailable { retry_after } => Self::unavailable(error).retry_after(retry_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_done_and_maybe_done_are_told_apart() {
        let code = |problem: Problem| (problem.status().as_u16(), problem.code().to_owned());
        let unavailable = (503, "unavailable".to_owned());
        let unknown = (503, "outcome_unknown".to_owned());
        assert_eq!(code(AskError::Full.into()), unavailable);
        assert_eq!(code(AskError::Leaving.into()), unavailable);
        assert_eq!(code(AskError::Unavailable { retry_after: Duration::from_secs(3) }.into()), unavailable);
        assert_eq!(code(StoreError::Unavailable("x".into()).into()), unavailable);
        assert_eq!(code(CommitError::Unavailable("x".into()).into()), unavailable);
        assert_eq!(code(AskError::OutcomeUnknown.into()), unknown);
        assert_eq!(code(CommitError::OutcomeUnknown("x".into()).into()), unknown);
    }
}
