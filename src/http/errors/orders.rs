//! Errors of orders.

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
