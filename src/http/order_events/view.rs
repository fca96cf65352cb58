//! An event of an order as clients see it.

use serde::Serialize;
use serde_json::Value;
use steward_actors::order_saga::{EventEntry, TimelineStatus};
use utoipa::ToSchema;

use crate::http::values::Time;

/// Something that happened to an order.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventView {
    /// Unique among all events.
    id: String,
    order_id: String,
    /// 1 for the order's first.
    number: u64,
    at: Time,
    /// `accepted`, `stock_held`, `confirmed`, `refund_succeeded`, …
    #[serde(rename = "type")]
    kind: String,
    /// As in the order's timeline.
    step: &'static str,
    #[schema(value_type = String)]
    status: TimelineStatus,
    /// How often the step had been tried, this time included.
    attempt: u32,
    #[schema(required = true)]
    detail: Option<String>,
}

impl EventView {
    pub(super) fn of(event: EventEntry) -> Self {
        let EventEntry { id, order_id, at: _, number, kind, entry } = event;
        let at = entry.at.into();
        let (step, status, attempt, detail) = (entry.step, entry.status, entry.attempt, entry.detail);
        Self { id, order_id, number, at, kind, step, status, attempt, detail }
    }

    /// As an event of a stream, in which it has this id.
    pub(super) fn framed(&self, id: impl std::fmt::Display) -> String {
        // JSON has no line breaks of its own.
        let data = serde_json::to_value(self).as_ref().map_or_else(|_| String::new(), Value::to_string);
        format!("id: {id}\nevent: {}\ndata: {data}\n\n", self.kind)
    }
}
