//! The actors of the replica that answers, and those that an operator holds back everywhere.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize};
use steward_actors::pauses::{Pause, Pauses};
use steward_actors::supervision::{Listing, NodeState, Tree};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::caller::Caller;
use crate::http::json::ValidJson;
use crate::http::page::Limit;
use crate::http::problem::Problem;
use crate::http::query::{InPath, ValidQuery};
use crate::http::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(list_actors)
        .service(list_pauses)
        .service(pause_actor)
        .service(resume_actor)
        .service(get_actor);
}

/// What narrows the list.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ActorFilter {
    /// `session`, `inventory`, `order-saga`, `account-sync`, or a task of the infrastructure.
    #[garde(length(chars, max = 64))]
    #[param(max_length = 64)]
    kind: Option<String>,
    #[serde(default)]
    #[garde(skip)]
    #[param(inline)]
    limit: Limit,
}

/// The actors of this replica.
#[derive(Serialize, ToSchema)]
struct Actors {
    /// Oldest first.
    items: Vec<ActorView>,
    /// How many live, listed or not.
    total: usize,
}

/// A supervised actor.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActorView {
    kind: &'static str,
    key: String,
    /// `starting`, `running`, `restarting`, `suspended` or `draining`.
    #[schema(value_type = String)]
    state: NodeState,
    /// Commands accepted and not yet answered.
    mailbox: usize,
    /// Incarnations that fell.
    restarts: u64,
    /// Since when this incarnation lives.
    since: Time,
    #[schema(required = true)]
    last_error: Option<String>,
}

impl ActorView {
    fn of(listing: Listing) -> Self {
        let Listing { kind, key, state, mailbox, restarts, since, last_error } = listing;
        Self { kind, key, state, mailbox, restarts, since: since.into(), last_error }
    }
}

/// A part of what names an actor, in a path: 1 to 128 of `A-Z a-z 0-9 . _ -`.
pub(super) struct Name(pub(super) String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=128).contains(&name.len()) && name.bytes().all(legal) {
            Ok(Self(name))
        } else {
            Err(serde::de::Error::custom("no name"))
        }
    }
}

/// The kinds whose actors have a key of their own.
const PAUSABLE: [&str; 3] = ["inventory", "order-saga", "account-sync"];

/// The actors that live in the replica that answers.
#[utoipa::path(
    tag = "operations",
    params(ActorFilter),
    responses((status = 200, body = Actors)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/actors")]
async fn list_actors(
    filter: ValidQuery<ActorFilter>,
    tree: web::Data<Tree>,
) -> Result<web::Json<Actors>, Problem> {
    let listed = tree.list(filter.0.kind.as_deref(), filter.0.limit.get());
    let items = listed.into_iter().map(ActorView::of).collect();
    Ok(web::Json(Actors { items, total: tree.len() }))
}

/// One actor of the replica that answers.
#[utoipa::path(
    tag = "operations",
    params(("kind" = String, Path), ("key" = String, Path)),
    responses((status = 200, body = ActorView)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/actors/{kind}/{key}")]
async fn get_actor(
    path: InPath<(Name, Name)>,
    tree: web::Data<Tree>,
) -> Result<web::Json<ActorView>, Problem> {
    let (kind, key) = path.0;
    let found = tree.look_up(&kind.0, &key.0).ok_or_else(Problem::not_found)?;
    Ok(web::Json(ActorView::of(found)))
}

/// Why it is paused.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PauseInput {
    /// For whoever wonders later.
    #[garde(length(chars, max = 200))]
    #[schema(max_length = 200)]
    pub(super) reason: Option<String>,
}

/// An actor that is held back on every replica.
#[derive(Serialize, ToSchema)]
struct PauseView {
    kind: String,
    key: String,
    #[schema(required = true)]
    reason: Option<String>,
    /// Who did it.
    by: String,
    since: Time,
}

impl PauseView {
    fn of(pause: Pause) -> Self {
        let Pause { kind, key, reason, by, since, .. } = pause;
        Self { kind, key, reason, by, since: since.into() }
    }
}

/// What is paused.
#[derive(Serialize, ToSchema)]
struct PauseViews {
    items: Vec<PauseView>,
}

/// The actors and providers that are paused.
#[utoipa::path(
    tag = "operations",
    responses((status = 200, body = PauseViews)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/pauses")]
async fn list_pauses(pauses: web::Data<Pauses>) -> Result<web::Json<PauseViews>, Problem> {
    let items = pauses.all().await?.into_iter().map(PauseView::of).collect();
    Ok(web::Json(PauseViews { items }))
}

/// Pauses an actor on every replica, within a second: it finishes what it is at, and whoever asks
/// it is answered 503.
#[utoipa::path(
    tag = "operations",
    params(("kind" = String, Path, description = "inventory, order-saga or account-sync"), ("key" = String, Path)),
    request_body = PauseInput,
    responses((status = 200, body = PauseView)),
    security(("bearer" = ["admin:write"])),
)]
#[post("/admin/actors/{kind}/{key}/pause")]
async fn pause_actor(
    request: HttpRequest,
    caller: Caller,
    path: InPath<(Name, Name)>,
    body: ValidJson<PauseInput>,
    pauses: web::Data<Pauses>,
) -> Result<web::Json<PauseView>, Problem> {
    let (kind, key) = path.0;
    if !PAUSABLE.contains(&kind.0.as_str()) {
        return Err(Problem::not_found());
    }
    let pause = pauses.pause(&kind.0, &key.0, body.0.reason.as_deref(), &caller.by(&request)).await?;
    Ok(web::Json(PauseView::of(pause)))
}

/// Lets a paused actor work again.
#[utoipa::path(
    tag = "operations",
    params(("kind" = String, Path), ("key" = String, Path)),
    responses((status = 204), (status = 409, description = "It is not paused")),
    security(("bearer" = ["admin:write"])),
)]
#[post("/admin/actors/{kind}/{key}/resume")]
async fn resume_actor(
    request: HttpRequest,
    caller: Caller,
    path: InPath<(Name, Name)>,
    pauses: web::Data<Pauses>,
) -> Result<HttpResponse, Problem> {
    let (kind, key) = path.0;
    pauses.resume(&kind.0, &key.0, &caller.by(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}
