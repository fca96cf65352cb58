//! Answers in Stripe's form, errors included: <https://docs.stripe.com/api/errors>.

use std::io;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use steward_actors::store::{CommitError, StoreError};

/// Where an endless answer ends.
const ENDLESS: usize = 1 << 30;

/// A gibibyte that begins like an answer, as fast as it is read.
pub(super) fn endless(content_type: &'static str, begin: &'static [u8]) -> HttpResponse {
    let spaces = Bytes::from_static(&[b' '; 64 * 1024]);
    let begin = Ok::<_, io::Error>(Bytes::from_static(begin));
    let rest = std::iter::repeat_n(spaces, ENDLESS / (64 * 1024)).map(Ok);
    HttpResponse::Ok().content_type(content_type).streaming(stream::iter(std::iter::once(begin).chain(rest)))
}

/// A status and a JSON body: what is kept for an idempotency key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn ok(body: Value) -> Self {
        Self { status: 200, body }
    }

    /// An `invalid_request_error`.
    pub(super) fn invalid(code: &str, param: Option<&str>, message: impl Into<String>) -> Self {
        let mut error = json!({"type": "invalid_request_error", "code": code, "message": message.into()});
        if let Some(param) = param {
            error["param"] = param.into();
        }
        Self { status: 400, body: json!({ "error": error }) }
    }

    pub(super) fn missing(what: &str, id: &str) -> Self {
        let message = format!("No such {what}: '{id}'");
        Self { status: 404, ..Self::invalid("resource_missing", Some("id"), message) }
    }

    pub(super) fn error(status: u16, kind: &str, message: &str) -> Self {
        Self { status, body: json!({"error": {"type": kind, "message": message}}) }
    }

    /// Nothing was done, and later it may work.
    pub(super) fn unavailable(message: &str) -> Self {
        Self::error(503, "api_error", message)
    }

    pub(super) fn respond(&self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        if matches!(self.status, 429 | 503) {
            response.insert_header(("Retry-After", "1"));
        }
        response.json(&self.body)
    }
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Self {
        Self::unavailable(&format!("The sandbox cannot read: {error}"))
    }
}

impl From<CommitError> for Answer {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(_) => Self {
                body: json!({"error": {
                    "type": "invalid_request_error", "code": "lock_timeout",
                    "message": "This object cannot be accessed right now because another request is changing it.",
                }}),
                status: 429,
            },
            CommitError::Unavailable(reason) => {
                Self::unavailable(&format!("The sandbox cannot write: {reason}"))
            }
            CommitError::OutcomeUnknown(reason) => {
                Self::error(500, "api_error", &format!("The sandbox may have written or not: {reason}"))
            }
        }
    }
}
