//! Errors of stock and holds.

use steward_actors::inventory::AdjustError;

use crate::http::problem::Problem;

impl From<AdjustError> for Problem {
    fn from(error: AdjustError) -> Self {
        match error {
            AdjustError::UnknownSku => Self::not_found(),
            AdjustError::BelowHeld { held } => {
                Self::conflict("below_held", "Less would be on hand than is held").with("held", held)
            }
            AdjustError::TooMany { .. } => Self::invalid_field("/delta", "too_many", error.to_string()),
            AdjustError::Unavailable { retry_after, .. } => Self::unavailable(error).retry_after(retry_after),
            AdjustError::OutcomeUnknown => Self::outcome_unknown(error),
        }
    }
}
