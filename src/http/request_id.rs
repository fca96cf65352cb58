//! What a request is known by, in answers and in the log: `X-Request-Id`.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use steward_actors::ids;

use super::problem::Problem;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The request's id: the client's own if it is 1 to 128 of `A-Z a-z 0-9 . _ -`, otherwise a new
/// one. An extractor, for handlers that pass it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

impl RequestId {
    /// A new one.
    pub(super) fn fresh() -> Self {
        Self(ids::new_id())
    }

    pub(super) fn of(headers: &HeaderMap) -> Self {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let sane = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(legal);
        let given = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane);
        Self(given.map_or_else(ids::new_id, str::to_owned))
    }
}

impl FromRequest for RequestId {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = request.extensions().get::<Self>().cloned();
        ready(id.ok_or_else(|| Problem::internal("the frame is missing")))
    }
}
