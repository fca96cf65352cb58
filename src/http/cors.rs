//! Which pages may call from a browser
//! ([the CORS protocol](https://fetch.spec.whatwg.org/#http-cors-protocol)): those whose origin is
//! listed in `http.cors_origins`, without cookies.

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

const EXPOSED: &str = "Authorization, ETag, Link, Location, Retry-After, RateLimit, RateLimit-Policy, \
                       X-Request-Id, Idempotency-Replayed";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, \
                       Last-Event-ID, X-Request-Id, traceparent, tracestate";

#[derive(Debug, Default)]
pub(super) struct Cors {
    origins: Vec<String>,
}

impl Cors {
    pub(super) fn new(origins: Vec<String>) -> Self {
        Self { origins }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|listed| origin == listed.as_str())
    }

    /// The answer to a browser that asks before it sends; `None` for every other request.
    pub(super) fn preflight(&self, request: &HttpRequest) -> Option<HttpResponse> {
        let headers = request.headers();
        if request.method() != Method::OPTIONS
            || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
            || !headers.get(header::ORIGIN).is_some_and(|origin| self.allows(origin))
        {
            return None;
        }
        Some(
            HttpResponse::NoContent()
                .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
                .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS))
                .insert_header((header::ACCESS_CONTROL_MAX_AGE, "600"))
                .finish(),
        )
    }

    pub(super) fn add_headers(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}
