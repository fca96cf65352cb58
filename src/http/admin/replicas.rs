//! The replicas of the cluster.

use actix_web::{get, web};
use serde::Serialize;
use steward_actors::cluster::{Membership, Replica};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::problem::Problem;
use crate::http::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_replicas);
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
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/replicas")]
async fn list_replicas(membership: web::Data<Membership>) -> Result<web::Json<Replicas>, Problem> {
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
