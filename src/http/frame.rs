//! What surrounds every request: its id, a deadline, the catching of panics, headers for browsers,
//! the form of errors, and one line in the log.
//!
//! Called by [`super::server`], outermost of all. What never happens here: anything that differs by
//! route, except what a response says of itself (a `Cache-Control` or a policy of its own stays).

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse};
use futures_util::FutureExt;
use steward_actors::span_in_trace;
use tokio::time::timeout;
use tracing::{Instrument, field};

use super::address::{ClientAddress, TrustedProxies};
use super::cors::Cors;
use super::exchange::Exchange;
use super::limiting::{Count, Limiting};
use super::measure;
use super::problem::Problem;
use super::request_id::{RequestId, X_REQUEST_ID};
use super::server::door::Door;

/// Bytes of a path that the log keeps.
const MAX_LOGGED_PATH: usize = 256;

/// What the frame has to know. One for all worker threads.
#[derive(Debug)]
pub(super) struct Frame {
    /// Without a slash at the end.
    pub(super) public_url: String,
    /// Which pages may call from a browser.
    pub(super) cors: Cors,
    /// How long until an answer must have begun.
    pub(super) deadline: Duration,
    /// Who says when a connection is to end.
    pub(super) door: Arc<Door>,
    /// Whose word on a client's address counts.
    pub(super) trusted: TrustedProxies,
    /// How often clients may ask.
    pub(super) limiting: Option<Arc<Limiting>>,
}

/// What is known of a request after it has been handed on.
struct Asked {
    id: RequestId,
    method: Method,
    path: String,
    origin: Option<HeaderValue>,
    authorised: bool,
    at: Instant,
    exchange: Exchange,
    count: Option<Rc<Count>>,
}

impl Asked {
    fn of(request: &mut ServiceRequest) -> Self {
        Self {
            exchange: Exchange::begin(request),
            count: None,
            id: RequestId::of(request.headers()),
            method: request.method().clone(),
            path: request.path().to_owned(),
            origin: request.headers().get(header::ORIGIN).cloned(),
            authorised: request.headers().contains_key(header::AUTHORIZATION),
            at: Instant::now(),
        }
    }
}

impl Frame {
    /// The middleware.
    pub(super) async fn surround(
        self: Arc<Self>,
        mut request: ServiceRequest,
        next: Next<impl MessageBody + 'static>,
    ) -> Result<ServiceResponse<BoxBody>, Error> {
        let mut asked = Asked::of(&mut request);
        let client = request.peer_addr().map(|peer| self.trusted.client(peer.ip(), request.headers()));
        if let Some(client) = client {
            request.extensions_mut().insert(ClientAddress(client));
        }
        if let Some(count) = Count::of(self.limiting.as_ref(), client, &asked.path).map(Rc::new) {
            request.extensions_mut().insert(count.clone());
            asked.count = Some(count);
        }
        let _in_flight = measure::InFlight::begin();
        request.extensions_mut().insert(asked.id.clone());
        if asked.method == Method::HEAD {
            // The same answer; the encoder leaves the body out by the method that came in.
            request.head_mut().method = Method::GET;
        }
        let traceparent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        let span = span_in_trace!(
            traceparent,
            "request",
            request_id = asked.id.0,
            method = %asked.method,
            user_id = field::Empty,
        );
        self.answer(asked, request, next).instrument(span).await
    }

    async fn answer(
        &self,
        asked: Asked,
        request: ServiceRequest,
        next: Next<impl MessageBody + 'static>,
    ) -> Result<ServiceResponse<BoxBody>, Error> {
        if let Some(preflight) = self.cors.preflight(request.request()) {
            let (request, _) = request.into_parts();
            let preflight = self.finish(&asked, None, None, preflight);
            return Ok(ServiceResponse::new(request, preflight));
        }
        if let Some(count) = &asked.count
            && let Err(refused) = count.begin(!asked.authorised).await
        {
            let (request, _) = request.into_parts();
            let refused = self.finish(&asked, None, Some(refused), HttpResponse::Ok().finish());
            return Ok(ServiceResponse::new(request, refused));
        }
        let answered = self.guarded(&asked, request, next).await;
        if let Some(count) = &asked.count {
            // Who brought credentials that nobody looked at; the next one is refused.
            let _ = count.on_address().await;
        }
        asked.exchange.finish_body().await;
        match answered {
            Ok(response) => {
                let route = response.request().match_pattern();
                let (request, response) = response.into_parts();
                let problem = response.error().map(problem_of);
                let response = self.finish(&asked, route, problem, response.map_into_boxed_body());
                Ok(ServiceResponse::new(request, response))
            }
            // Without the request there is no `ServiceResponse`, so the answer travels in an error.
            Err(error) => {
                let response =
                    self.finish(&asked, None, Some(problem_of(&error)), HttpResponse::Ok().finish());
                Err(InternalError::from_response("", response).into())
            }
        }
    }

    /// Runs the handler so that neither a panic nor a wait without end gets past here.
    async fn guarded<B: MessageBody + 'static>(
        &self,
        asked: &Asked,
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<B>, Error> {
        let handled = AssertUnwindSafe(async move { next.call(request).await }).catch_unwind();
        match timeout(self.deadline, handled).await {
            Ok(Ok(answer)) => answer,
            // The panic hook has logged what and where.
            Ok(Err(_panic)) => Err(Problem::internal("a handler panicked").into()),
            Err(_) if asked.method.is_safe() => Err(Problem::unavailable("the deadline passed").into()),
            Err(_) => Err(Problem::outcome_unknown("the deadline passed").into()),
        }
    }

    fn finish(
        &self,
        asked: &Asked,
        route: Option<String>,
        problem: Option<Problem>,
        response: HttpResponse,
    ) -> HttpResponse {
        let mut response = match &problem {
            None => response,
            Some(problem) => problem.render(&self.public_url, &asked.path, &asked.id.0),
        };
        self.add_headers(asked, response.headers_mut());
        measure::answered(&asked.method, route.as_deref(), response.status(), asked.at.elapsed());
        log(asked, route.as_deref(), problem.as_ref(), response.status());
        asked.exchange.answer(self.door.shows_out(), response)
    }

    fn add_headers(&self, asked: &Asked, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_str(&asked.id.0) {
            headers.insert(X_REQUEST_ID, id);
        }
        self.cors.add_headers(asked.origin.as_ref(), headers);
        if let Some(count) = &asked.count {
            count.add_headers(headers);
        }
        let mut put = |name, value| {
            if !headers.contains_key(&name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        };
        put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        put(header::X_FRAME_OPTIONS, "DENY");
        put(header::REFERRER_POLICY, "no-referrer");
        put(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
        if self.public_url.starts_with("https://") {
            put(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains");
        }
        if asked.authorised && asked.method.is_safe() {
            put(header::CACHE_CONTROL, "private, no-cache");
            if headers.get_all(header::VARY).all(|named| named != "Authorization") {
                headers.append(header::VARY, HeaderValue::from_static("Authorization"));
            }
        }
    }
}

/// The problem behind an error: ours, or what actix itself refuses.
fn problem_of(error: &Error) -> Problem {
    if let Some(problem) = error.as_error::<Problem>() {
        return problem.clone();
    }
    match error.as_response_error().status_code() {
        StatusCode::NOT_FOUND => Problem::not_found(),
        status if status.is_client_error() => {
            Problem::new(status, "bad_request", "The request cannot be read")
        }
        _ => Problem::internal(error),
    }
}

fn log(asked: &Asked, route: Option<&str>, problem: Option<&Problem>, status: StatusCode) {
    let took_ms = u64::try_from(asked.at.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Where no route is known, what was asked: a panic's place, a stranger's probe.
    let route = route.unwrap_or_else(|| asked.path.get(..MAX_LOGGED_PATH).unwrap_or(&asked.path));
    let code = problem.map(|problem| field::display(problem.code().to_owned()));
    let cause = problem.and_then(Problem::cause);
    let status = status.as_u16();
    // The request's span carries its id and method.
    match status {
        503 => tracing::warn!(route, status, took_ms, code, cause, "answered"),
        500.. => tracing::error!(route, status, took_ms, code, cause, "answered"),
        _ => tracing::info!(route, status, took_ms, code, cause, "answered"),
    }
}
