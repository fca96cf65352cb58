//! The actors of the replica that answers.

use actix_web::{get, web};
use garde::Validate;
use serde::{Deserialize, Serialize};
use steward_actors::supervision::{Listing, NodeState, Tree};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::page::Limit;
use crate::http::problem::Problem;
use crate::http::query::ValidQuery;
use crate::http::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_actors);
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
