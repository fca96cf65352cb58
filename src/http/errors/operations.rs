//! Errors of what operators do.

use steward_actors::flags::FlagError;
use steward_actors::order_saga::RetryError;
use steward_actors::outbox::DeadLetterError;
use steward_actors::pauses::PauseError;

use crate::http::problem::Problem;

impl From<DeadLetterError> for Problem {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::NotFound => Self::not_found(),
            DeadLetterError::NotDead(status) => {
                Self::conflict("not_dead", "Only a dead letter can be tried again or dropped")
                    .detail(format!("The job is {}.", status.name()))
            }
            DeadLetterError::Unavailable(_) => Self::unavailable(error),
            DeadLetterError::OutcomeUnknown(_) => Self::outcome_unknown(error),
        }
    }
}

impl From<FlagError> for Problem {
    fn from(error: FlagError) -> Self {
        match error {
            FlagError::Changed => Self::precondition_failed(),
            FlagError::TooMany => Self::conflict("too_many_flags", "There are as many flags as there may be"),
            FlagError::Commit(error) => error.into(),
            FlagError::Store(error) => error.into(),
        }
    }
}

impl From<PauseError> for Problem {
    fn from(error: PauseError) -> Self {
        match error {
            PauseError::NotPaused => Self::conflict("not_paused", "It is not paused"),
            PauseError::TooMany => Self::conflict("too_many_pauses", "As much is paused as may be"),
            PauseError::Commit(error) => error.into(),
            PauseError::Store(error) => error.into(),
        }
    }
}

impl From<RetryError> for Problem {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::NotFound => Self::not_found(),
            RetryError::Settled => Self::conflict("no_step", "The order has no step to try"),
            RetryError::Commit(error) => error.into(),
            RetryError::Store(error) => error.into(),
        }
    }
}
