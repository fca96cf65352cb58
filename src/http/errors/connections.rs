//! Errors of connections and their runs.

use actix_web::http::StatusCode;
use steward_actors::account_sync::{LinkError, SyncError};

use crate::http::problem::{FieldError, Problem};

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::UnknownProvider(_) => {
                Self::invalid_field("/provider", "unknown_provider", error.to_string())
            }
            LinkError::Refused(ref reason) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "setup_token_refused",
                "The setup token was refused",
            )
            .field(FieldError::new("/setupToken", "refused", reason.clone())),
            LinkError::ProviderUnavailable(_) => Self::unavailable(error),
            LinkError::TooMany(_) => Self::conflict("too_many_connections", "There are too many connections")
                .detail(error.to_string()),
            LinkError::Unavailable { retry_after, .. } => Self::unavailable(error).retry_after(retry_after),
            LinkError::OutcomeUnknown => Self::outcome_unknown(error),
        }
    }
}

impl From<SyncError> for Problem {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::NotFound => Self::not_found(),
            SyncError::Unavailable { retry_after, .. } => Self::unavailable(error).retry_after(retry_after),
            SyncError::OutcomeUnknown => Self::outcome_unknown(error),
        }
    }
}
