//! Errors of what operators do.

use steward_actors::outbox::DeadLetterError;

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
