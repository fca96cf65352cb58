//! The one form in which anything goes wrong: `application/problem+json`
//! ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! Handlers and extractors return a [`Problem`]; [`super::errors`] turns the errors of the domain
//! into one; the frame adds what only the request knows (`instance`, `requestId`) and logs
//! it. What never happens here: a stack, a query or the name of an internal part in an answer. What
//! an operator needs goes to [`Problem::because`], which is logged and never sent.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The media type of every error.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// When to come back if nothing better is known.
pub const SOON: Duration = Duration::from_secs(1);

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// For bodies a JSON Pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)), such as
    /// `/lines/0/quantity`, otherwise the parameter's name.
    pub field: String,
    /// What is wrong, for programs: `missing`, `unknown`, `type`, `invalid`, or a route's own.
    pub code: Cow<'static, str>,
    /// What is wrong, for people.
    pub message: String,
}

impl FieldError {
    /// `field` is a JSON Pointer for bodies, the parameter's name otherwise.
    pub fn new(
        field: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }
}

/// An answer that is no success.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Option<String>,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
    allow: Option<String>,
    cause: Option<String>,
}

/// The body as it is sent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProblemDocument<'a> {
    /// `{public_url}/problems/{code}`.
    #[serde(rename = "type")]
    kind: String,
    /// What went wrong, the same words each time.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// The path that was asked.
    instance: &'a str,
    /// What went wrong, for programs; stable.
    code: &'a str,
    /// What the logs know this request by.
    request_id: &'a str,
    /// What is wrong with the request, field by field.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// What some codes add, such as `nextStates`.
    #[serde(flatten)]
    #[schema(ignore)]
    members: &'a Map<String, Value>,
}

impl Problem {
    /// A problem of any status. Prefer one of the constructors below, which know their headers.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        let retry_after = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(SOON),
            _ => None,
        };
        Self(Box::new(Inner {
            status,
            code: code.into(),
            title: title.into(),
            detail: None,
            errors: Vec::new(),
            members: Map::new(),
            retry_after,
            allow: None,
            cause: None,
        }))
    }

    /// 400: the request cannot be read at all.
    pub fn bad_request(code: &'static str, title: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, title)
    }

    /// 400: a required key or parameter is missing.
    pub fn missing(field: impl Into<String>) -> Self {
        Self::bad_request("missing_field", "A required field is missing").field(FieldError::new(
            field,
            "missing",
            "is required",
        ))
    }

    /// 422: the values of these fields won't do.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let mut problem =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_fields", "Some fields are not valid");
        problem.0.errors = errors;
        problem
    }

    /// 422: the value of one field won't do; `code` says why, for programs.
    pub fn invalid_field(
        field: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self::invalid(vec![FieldError::new(field, code, message)])
    }

    /// 401: no credentials, or none that are good. Says nothing about which.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Authentication is required")
    }

    /// 403: the caller lacks this permission, whatever the id in the path.
    pub fn forbidden(permission: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_required", "A permission is missing")
            .detail(format!("This needs the permission {permission}."))
    }

    /// 404: there is no such thing, or it belongs to another.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such resource")
    }

    /// 405, with the methods that would do, such as `GET, HEAD`.
    pub fn method_not_allowed(allow: impl Into<String>) -> Self {
        let mut problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This resource has no such method",
        );
        problem.0.allow = Some(allow.into());
        problem
    }

    /// 409: what is asked does not fit the state of the resource, or a key is taken.
    pub fn conflict(code: &'static str, title: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, code, title)
    }

    /// 412: the resource is no longer what the caller based the change on.
    pub fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition_failed",
            "The resource has changed meanwhile",
        )
    }

    /// 413: the body is larger than the `limit` bytes that this route reads.
    pub fn too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large")
            .detail(format!("At most {limit} bytes are read."))
    }

    /// 415: the body is of another kind than this route reads.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "The body is of the wrong media type",
        )
        .detail(detail)
    }

    /// 429: too many requests of one kind.
    pub fn too_many(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests").retry_after(retry_after)
    }

    /// 503: nothing was done; trying again later may help. `cause` is only logged.
    pub fn unavailable(cause: impl fmt::Display) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "A part of the service is unavailable for the moment",
        )
        .because(cause)
    }

    /// 503: it may or may not have been done; sending the same request again is safe where the
    /// route has an id or an Idempotency-Key. `cause` is only logged.
    pub fn outcome_unknown(cause: impl fmt::Display) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "outcome_unknown",
            "Whether this was done is not known yet",
        )
        .because(cause)
    }

    /// 500: a fault of ours. `cause` is only logged.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side")
            .because(cause)
    }

    /// Says what went wrong this time, in a sentence for the client.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Names one more field.
    #[must_use]
    pub fn field(mut self, error: FieldError) -> Self {
        self.0.errors.push(error);
        self
    }

    /// Adds an extension member, such as `nextStates`.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        self.0.members.insert(member.to_owned(), value.into());
        self
    }

    /// Says when to come back; rounded up to whole seconds, one at least.
    #[must_use]
    pub fn retry_after(mut self, span: Duration) -> Self {
        self.0.retry_after = Some(span);
        self
    }

    /// Says to the log, and only to the log, what was behind it.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What went wrong, for programs.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The fields that are wrong.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// What only the log is told.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The answer, for a request on path `instance` with the id `request_id`.
    pub(super) fn render(&self, public_url: &str, instance: &str, request_id: &str) -> HttpResponse {
        let (headers, body) = self.document(public_url, instance, request_id);
        let mut response = HttpResponseBuilder::new(self.0.status);
        for header in headers {
            response.insert_header(header);
        }
        response.body(body)
    }

    /// The answer's headers and body.
    pub(super) fn document(
        &self,
        public_url: &str,
        instance: &str,
        request_id: &str,
    ) -> (Vec<(&'static str, String)>, Vec<u8>) {
        let inner = &*self.0;
        let document = ProblemDocument {
            kind: format!("{public_url}/problems/{}", inner.code),
            title: &inner.title,
            status: inner.status.as_u16(),
            detail: inner.detail.as_deref(),
            instance,
            code: &inner.code,
            request_id,
            errors: &inner.errors,
            members: &inner.members,
        };
        let mut headers =
            vec![("content-type", MEDIA_TYPE.to_owned()), ("cache-control", "no-store".to_owned())];
        if let Some(span) = inner.retry_after {
            let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
            headers.push(("retry-after", seconds.max(1).to_string()));
        }
        if inner.status == StatusCode::UNAUTHORIZED {
            headers.push(("www-authenticate", "Bearer".to_owned()));
        }
        if let Some(allow) = &inner.allow {
            headers.push(("allow", allow.clone()));
        }
        (headers, serde_json::to_vec(&document).unwrap_or_default())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.code)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    // The frame renders it anew with what only the request knows.
    fn error_response(&self) -> HttpResponse {
        self.render("", "", "")
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header;

    use super::*;

    fn header(problem: &Problem, name: header::HeaderName) -> Option<String> {
        let response = problem.render("https://api.example", "/v1/things", "r1");
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_retry_is_never_asked_for_at_once_or_too_early() {
        let after = |millis| {
            let problem = Problem::too_many(Duration::from_millis(millis));
            header(&problem, header::RETRY_AFTER).unwrap()
        };
        assert_eq!(after(0), "1");
        assert_eq!(after(1000), "1");
        assert_eq!(after(1001), "2");
    }

    #[test]
    fn every_503_says_when_to_come_back() {
        assert_eq!(header(&Problem::unavailable("x"), header::RETRY_AFTER).as_deref(), Some("1"));
        assert_eq!(header(&Problem::outcome_unknown("x"), header::RETRY_AFTER).as_deref(), Some("1"));
        assert_eq!(header(&Problem::internal("x"), header::RETRY_AFTER), None);
    }

    #[test]
    fn the_cause_is_for_the_log_only() {
        let problem = Problem::internal("canary in a query");
        let document = problem.render("", "", "");
        let body = format!("{document:?} {problem}");
        assert!(!body.contains("canary"));
        assert_eq!(problem.cause(), Some("canary in a query"));
    }
}
