//! Events of orders as they happen: `text/event-stream`
//! ([HTML, 9.2](https://html.spec.whatwg.org/multipage/server-sent-events.html)), resumable by
//! `Last-Event-ID`; and as a list.
//!
//! The store is what is streamed (`source.rs`). A commit in this replica wakes a stream at once, one
//! elsewhere is found by looking again (`feed.rs`). What never happens here: a stream that outlives
//! its session, or the permission it was opened with, by more than a second, or that keeps a replica
//! from stopping.

mod feed;
mod source;
mod view;

use actix_web::http::header::{ACCEPT, CACHE_CONTROL, HeaderValue, VARY};
use actix_web::{HttpRequest, HttpResponse, get, web};
use futures_util::stream;
use garde::Validate;
use serde::Deserialize;
use steward_actors::order_saga::{Orders, Watched};
use steward_actors::time::Timestamp;
use utoipa::IntoParams;
use utoipa_actix_web::service_config::ServiceConfig;

pub use feed::Streams;
use feed::{Feed, Opened};
use source::Source;
use view::EventView;

use super::caller::{Caller, bearer};
use super::orders::visible;
use super::page::{Binding, CursorText, Limit, Listed};
use super::problem::{FieldError, Problem};
use super::query::{InPath, PathId, ValidQuery};

const EVENT_STREAM: &str = "text/event-stream";

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(order_events).service(events);
}

/// What happens to an order, from its beginning or behind `Last-Event-ID`, until it is delivered,
/// rejected, cancelled or refunded.
#[utoipa::path(
    tag = "orders",
    params(
        ("id" = String, Path),
        ("Last-Event-ID" = Option<u64>, Header, description = "Go on behind this event"),
    ),
    responses(
        (status = 200, description = "Events as they happen", body = String, content_type = "text/event-stream"),
        (status = 429, description = "Too many streams are open"),
    ),
    security(("bearer" = [])),
)]
#[get("/orders/{id}/events")]
async fn order_events(
    caller: Caller,
    id: InPath<PathId>,
    orders: web::Data<Orders>,
    streams: web::Data<Streams>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let order = visible(&caller, &orders, &id.0.0).await?.value;
    let seen = last_event(&request)?.unwrap_or(0);
    if seen > order.events {
        return Err(no_event_of_this_stream());
    }
    let needs = (order.user_id != caller.user_id).then_some("orders:read");
    let watched = Watched::Order(order.id.clone());
    respond(&request, &caller, needs, orders, &streams, watched, Source::order(order.id, seen))
}

/// Whose events.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventFilter {
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
    #[garde(skip)]
    #[param(inline)]
    cursor: Option<CursorText>,
    /// Of this user's orders, or `*` for everybody's; of mine without it.
    #[garde(length(min = 1, max = 64), pattern(r"^([A-Za-z0-9_-]+|\*)$"))]
    #[param(min_length = 1, max_length = 64, pattern = r"^([A-Za-z0-9_-]+|\*)$")]
    user_id: Option<String>,
}

/// What happens to orders: a page, newest first; or with `Accept: text/event-stream` what happens
/// from now on, or behind `Last-Event-ID`. Others' need `events:read`.
///
/// Each event is told once by a stream, and at least once across an interruption. Events may be found later
/// than younger ones, so a stream that is resumed begins ten seconds before `Last-Event-ID`, and what was
/// told of that time comes again. An event is the same each time: its `id` in the data names it, so drop
/// what has an `id` that you have seen. (The `id:` of the stream only says where to go on; several events
/// may share it.) The stream of one order repeats nothing.
#[utoipa::path(
    tag = "orders",
    params(
        EventFilter,
        ("Last-Event-ID" = Option<u64>, Header, description = "Of a stream: go on behind this event"),
    ),
    responses(
        (status = 200, content((Listed<EventView> = "application/json"), (String = "text/event-stream"))),
        (status = 429, description = "Too many streams are open"),
    ),
    security(("bearer" = [])),
)]
#[get("/events")]
async fn events(
    caller: Caller,
    filter: ValidQuery<EventFilter>,
    orders: web::Data<Orders>,
    streams: web::Data<Streams>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let filter = filter.0;
    let whose = filter.user_id.as_deref().unwrap_or(&caller.user_id);
    let needs = (whose != caller.user_id).then_some("events:read");
    needs.map(|permission| caller.require(permission)).transpose()?;
    let user_id = Some(whose).filter(|whose| *whose != "*").map(str::to_owned);
    let mut response = if wants_stream(&request) {
        let behind = last_event(&request)?.and_then(|at| i64::try_from(at).ok()).map(Timestamp::from_millis);
        let watched = user_id.clone().map_or(Watched::All, Watched::User);
        let source = Source::many(user_id, behind, orders.now());
        respond(&request, &caller, needs, orders, &streams, watched, source)?
    } else {
        let binding = Binding::new("events", &whose);
        let after = binding.after(filter.cursor.as_deref())?;
        let (found, next) = orders.events(user_id.as_deref(), filter.limit.get(), after).await?;
        let found = found.into_iter().map(EventView::of).collect();
        Listed::new(found, next.as_ref(), &binding).respond(&request)
    };
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn wants_stream(request: &HttpRequest) -> bool {
    let accepted = request.headers().get_all(ACCEPT).filter_map(|accept| accept.to_str().ok());
    accepted.flat_map(|accept| accept.split(',')).any(|range| {
        range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(EVENT_STREAM))
    })
}

fn respond(
    request: &HttpRequest,
    caller: &Caller,
    needs: Option<&'static str>,
    orders: web::Data<Orders>,
    streams: &Streams,
    watched: Watched,
    source: Source,
) -> Result<HttpResponse, Problem> {
    let authenticator = request.app_data().cloned();
    let opened = Opened {
        _place: streams.open(&caller.user_id)?,
        watching: orders.watch(watched),
        draining: streams.draining(),
        authenticator: authenticator.ok_or_else(|| Problem::internal("no authenticator in app_data"))?,
        token: bearer(request)?.ok_or_else(Problem::unauthorized)?,
        needs,
    };
    let body = stream::unfold(Feed::new(opened, orders, source), |mut feed| async move {
        let bytes = feed.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), feed))
    });
    Ok(HttpResponse::Ok()
        .content_type(EVENT_STREAM)
        .insert_header((CACHE_CONTROL, "no-store"))
        // nginx would keep it back otherwise.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(Box::pin(body)))
}

/// The number in `Last-Event-ID`; 400 if it is none.
fn last_event(request: &HttpRequest) -> Result<Option<u64>, Problem> {
    let Some(value) = request.headers().get("last-event-id") else { return Ok(None) };
    let text =
        value.to_str().ok().filter(|text| text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).map(Some).ok_or_else(no_event_of_this_stream)
}

fn no_event_of_this_stream() -> Problem {
    Problem::bad_request("malformed_header", "A header cannot be read").field(FieldError::new(
        "Last-Event-ID",
        "invalid",
        "is no id of this stream",
    ))
}
