//! The replicas of the cluster, and which share of the long-lived work each has.

use std::collections::BTreeMap;

use actix_web::{get, web};
use serde::Serialize;
use steward_actors::cluster::{Membership, Replica, SlotTable, Slots};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::problem::Problem;
use crate::http::values::Time;

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(list_replicas);
}

/// The replicas that the store remembers, and the slots of long-lived work.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Replicas {
    /// Newest first.
    items: Vec<ReplicaView>,
    /// When a slot last moved.
    slots_moved_at: Time,
    /// Slots that no replica has that the store remembers: nobody with the role has come yet, or
    /// their owner is long gone.
    unowned_slots: Vec<SlotView>,
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
    /// The slots that it has by the store's word, by number. One that is not live has lost them,
    /// whether or not others have taken them yet.
    slots: Vec<SlotView>,
}

/// One of 256 slots.
#[derive(Serialize, ToSchema)]
struct SlotView {
    /// The kind of work: `sync`.
    kind: String,
    /// Its number, from 0.
    slot: usize,
    /// It rises each time the slot gets another owner.
    epoch: u64,
}

/// The replicas.
#[utoipa::path(
    tag = "operations",
    responses((status = 200, body = Replicas)),
    security(("bearer" = ["admin:read"])),
)]
#[get("/admin/replicas")]
async fn list_replicas(
    membership: web::Data<Membership>,
    slots: web::Data<Slots>,
) -> Result<web::Json<Replicas>, Problem> {
    let all = membership.all().await?;
    let table = slots.table().await?;
    let slots_moved_at = table.moved_at.into();
    let mut owned = by_owner(table);
    let view = |replica: Replica| ReplicaView {
        live: membership.stands(&replica),
        slots: owned.remove(&Some(replica.id.clone())).unwrap_or_default(),
        id: replica.id,
        host: replica.host,
        roles: replica.roles,
        started_at: replica.started_at.into(),
        heartbeat_at: replica.heartbeat_at.into(),
    };
    let items = all.into_iter().map(view).collect();
    let mut unowned_slots: Vec<SlotView> = owned.into_values().flatten().collect();
    unowned_slots.sort_by_key(|slot| slot.slot);
    Ok(web::Json(Replicas { items, slots_moved_at, unowned_slots }))
}

fn by_owner(table: SlotTable) -> BTreeMap<Option<String>, Vec<SlotView>> {
    let mut owned: BTreeMap<Option<String>, Vec<SlotView>> = BTreeMap::new();
    for (slot, held) in table.slots.into_iter().enumerate() {
        let view = SlotView { kind: table.id.clone(), slot, epoch: held.epoch };
        owned.entry(held.owner).or_default().push(view);
    }
    owned
}
