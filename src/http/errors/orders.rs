//! Errors of orders.

use steward_actors::inventory::TakeError;
use steward_actors::order_saga::AcceptError;

use crate::http::problem::{FieldError, Problem};

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::KeyReused => Self::key_reused(),
            AcceptError::NothingToPay => {
                Self::invalid_field("/lines", "nothing_to_pay", "have nothing that is to be paid")
            }
            AcceptError::Total(_) => Self::invalid_field("/lines", "amount", error.to_string()),
            AcceptError::Hold(TakeError::NotFound) => {
                Self::invalid_field("/holdId", "unknown_hold", "is no hold of yours")
            }
            AcceptError::Hold(TakeError::OtherLines) => {
                Self::invalid_field("/lines", "not_as_held", "are not what the hold is over")
            }
            AcceptError::Hold(TakeError::Ended) => Self::conflict("hold_expired", "The hold has ended"),
            AcceptError::Hold(TakeError::Taken) => Self::hold_taken(),
            AcceptError::TooManyLive | AcceptError::Unavailable(_) => Self::unavailable(error),
            AcceptError::OutcomeUnknown(_) => Self::outcome_unknown(error),
        }
    }
}

impl Problem {
    /// 422: the Idempotency-Key was used for a command that said something else.
    pub fn key_reused() -> Self {
        Self::new(
            actix_web::http::StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "The Idempotency-Key was used for another command",
        )
        .field(FieldError::new("Idempotency-Key", "reused", "was used for another command"))
    }
}
