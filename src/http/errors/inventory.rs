//! Errors of stock and holds.

use steward_actors::inventory::{AdjustError, HoldError};

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

impl From<HoldError> for Problem {
    fn from(error: HoldError) -> Self {
        match error {
            HoldError::OutOfStock(skus) => {
                Self::conflict("out_of_stock", "There are too few units").with("skus", skus)
            }
            HoldError::TooMany { most } => {
                Self::conflict("too_many_holds", "As many holds are live as a user may have")
                    .with("most", most)
            }
            HoldError::NotFound => Self::not_found(),
            HoldError::WrongState(_) => Self::hold_taken(),
            HoldError::Unavailable { retry_after, .. } => Self::unavailable(error).retry_after(retry_after),
            HoldError::OutcomeUnknown => Self::outcome_unknown(error),
        }
    }
}

impl Problem {
    /// 409: an order has the hold.
    pub fn hold_taken() -> Self {
        Self::conflict("hold_taken", "An order has taken the hold over")
    }
}
