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
            LinkError::ProviderUnavailable { retry_after, .. } => {
                // Whoever asked is to see that it is the bank and not this service.
                let problem = Self::unavailable(&error).detail(error.to_string());
                match retry_after {
                    Some(span) => problem.retry_after(span),
                    None => problem,
                }
            }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_bank_that_takes_no_claim_now_is_said_to_be_it_and_when_to_come_again() {
        for (retry_after, header) in [(Some(Duration::from_secs(77)), "77"), (None, "1")] {
            let reason = "the bank answered with status 429".to_owned();
            let problem = Problem::from(LinkError::ProviderUnavailable { reason, retry_after });
            assert_eq!((problem.status().as_u16(), problem.code()), (503, "unavailable"));
            let (headers, body) = problem.document("https://steward.example", "/v1/connections", "r1");
            assert!(headers.contains(&("retry-after", header.to_owned())), "{headers:?}");
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["detail"], "the provider is unavailable: the bank answered with status 429");
        }
    }
}
