//! What operators see.

use actix_web::{get, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::cluster::{Membership, Replica};
use steward_actors::supervision::{Listing, NodeState, Tree};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::caller::Caller;
use super::page::Limit;
use super::problem::Problem;
use super::query::ValidQuery;
use super::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_actors).service(list_replicas);
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

/// The actors that live in the replica that answers.
#[utoipa::path(
    tag = "operations",
    params(ActorFilter),
    responses((status = 200, body = Actors)),
    security(("bearer" = [])),
)]
#[get("/admin/actors")]
async fn list_actors(
    caller: Caller,
    filter: ValidQuery<ActorFilter>,
    tree: web::Data<Tree>,
) -> Result<web::Json<Actors>, Problem> {
    caller.require("admin:read")?;
    let listed = tree.list(filter.0.kind.as_deref(), filter.0.limit.get());
    let items = listed.into_iter().map(ActorView::of).collect();
    Ok(web::Json(Actors { items, total: tree.len() }))
}

/// The replicas that the store remembers.
#[derive(Serialize, ToSchema)]
struct Replicas {
    /// Newest first.
    items: Vec<ReplicaView>,
}

/// One incarnation of a replica.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReplicaView {
    /// The incarnation.
    id: String,
    host: String,
    roles: Vec<String>,
    started_at: Time,
    heartbeat_at: Time,
    /// Whether its heartbeat stands.
    live: bool,
}

/// The replicas.
#[utoipa::path(
    tag = "operations",
    responses((status = 200, body = Replicas)),
    security(("bearer" = [])),
)]
#[get("/admin/replicas")]
async fn list_replicas(
    caller: Caller,
    membership: web::Data<Membership>,
) -> Result<web::Json<Replicas>, Problem> {
    caller.require("admin:read")?;
    let all = membership.all().await?;
    let view = |replica: Replica| ReplicaView {
        live: membership.stands(&replica),
        id: replica.id,
        host: replica.host,
        roles: replica.roles,
        started_at: replica.started_at.into(),
        heartbeat_at: replica.heartbeat_at.into(),
    };
    Ok(web::Json(Replicas { items: all.into_iter().map(view).collect() }))
}
