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
            LinkError::Refused(ref reason) => {
                Self::setup_token_refused(FieldError::new("/setupToken", "refused", reason.clone()))
            }
            LinkError::ProviderUnavailable(_) => Self::unavailable(error),
            LinkError::NotFound => Self::not_found(),
            LinkError::OtherProvider(_) => {
                Self::invalid_field("/provider", "other_provider", error.to_string())
            }
            LinkError::NoPage => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "no_link_page",
                "The provider has no page for this",
            ),
            LinkError::TooMany(_) => Self::conflict("too_many_connections", "There are too many connections")
                .detail(error.to_string()),
            LinkError::KeyReused => Self::key_reused(),
            LinkError::DeletedSince => Self::deleted_since(),
            LinkError::Unavailable { retry_after, .. } => Self::unavailable(error).retry_after(retry_after),
            LinkError::OutcomeUnknown => Self::outcome_unknown(error),
        }
    }
}

impl Problem {
    /// 422: the token is no good; `why` names the field that it came in.
    pub fn setup_token_refused(why: FieldError) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "setup_token_refused", "The setup token was refused").field(why)
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
