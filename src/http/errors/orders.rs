//! Errors of orders.

use steward_actors::inventory::TakeError;
use steward_actors::order_saga::{AcceptError, CommandError, CommandRefusal};

use crate::http::problem::{FieldError, Problem};

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::KeyReused => Self::key_reused(),
            AcceptError::NothingToPay => {
                Self::invalid_field("/lines", "nothing_to_pay", "have nothing that is to be paid")
            }
            AcceptError::Total(_) => Self::invalid_field("/lines", "amount", error.to_string()),
            AcceptError::NotChargeable(_) => {
                Self::invalid_field("/lines", "not_chargeable", error.to_string())
            }
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

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NotFound => Self::not_found(),
            CommandError::MovedOn(_) => Self::precondition_failed(),
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::KeyReused => Self::key_reused(),
            CommandError::Unavailable(_) => Self::unavailable(error),
            CommandError::OutcomeUnknown(_) => Self::outcome_unknown(error),
        }
    }
}

impl From<CommandRefusal> for Problem {
    fn from(refusal: CommandRefusal) -> Self {
        match &refusal {
            CommandRefusal::WrongState { status, next } => {
                let next: Vec<&str> = next.iter().map(|status| status.name()).collect();
                Self::conflict("wrong_state", "The order does not stand so that this can be done")
                    .detail(format!("{refusal}."))
                    .with("orderStatus", status.name())
                    .with("nextStates", next)
            }
            CommandRefusal::TooMuch { left } => {
                Self::conflict("refund_too_large", "Less than that is left to refund")
                    .with("left", left.to_number())
                    .with("currency", left.currency.code())
            }
            CommandRefusal::Amount(_) => Self::invalid_field("/amount", "amount", refusal.to_string()),
            CommandRefusal::NoSuchUnits { line, left } => Self::invalid_field(
                format!("/lines/{line}/quantity"),
                "range",
                format!("is more than the {left} units that are left to refund"),
            ),
            CommandRefusal::NothingPaid => {
                Self::invalid_field("/lines", "nothing_to_refund", "come to nothing: they were free")
            }
            CommandRefusal::NotRefundable { of_lines, .. } => {
                let field = if *of_lines { "/lines" } else { "/amount" };
                Self::invalid_field(field, "not_refundable", refusal.to_string())
            }
            CommandRefusal::TooManyDue | CommandRefusal::TooManyAsked => {
                Self::conflict("too_many_refunds", "No more refunds of the order can be asked for")
                    .detail(format!("{refusal}."))
            }
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
