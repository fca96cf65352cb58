//! An order's events as its timeline shows them. Pure.

use serde::Serialize;

use super::event::Event;
use super::order_event::OrderEvent;
use super::state::Step;
use crate::time::Timestamp;

/// How a step stands after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimelineStatus {
    /// It is done.
    Done,
    /// It undid an earlier one.
    Compensated,
    /// The other side said no.
    Refused,
    /// It was tried for as long as we wait.
    GaveUp,
    /// It has to wait, and is tried again.
    Waiting,
    /// Waiting alone will hardly help; it is tried all the same.
    Stuck,
    /// Another replica goes on with it.
    TakenOver,
    /// Somebody asked for it.
    Requested,
    /// It did not work, and is not tried again.
    Failed,
}

/// A line of an order's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// The step's name; `accept` for the first.
    pub step: &'static str,
    /// How it stands.
    pub status: TimelineStatus,
    /// How often it had been tried.
    pub attempt: u32,
    /// What there is to say about it.
    pub detail: Option<String>,
}

/// What happened to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Oldest first; 10,000 at most.
    pub entries: Vec<TimelineEntry>,
    /// Whether nothing else happened.
    pub is_whole: bool,
}

/// An event of an order, as those who watch orders see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventEntry {
    /// The event's id, unique among all orders.
    pub id: String,
    /// The order.
    pub order_id: String,
    /// Where it stands among those of all orders ([`OrderEvent::at`]).
    pub at: Timestamp,
    /// 1 for the order's first.
    pub number: u64,
    /// What happened, by the event's name.
    pub kind: String,
    /// As the timeline shows it.
    pub entry: TimelineEntry,
}

impl EventEntry {
    pub(super) fn of(happened: OrderEvent) -> Self {
        let kind = serde_json::to_value(&happened.event).ok();
        let kind = kind.as_ref().and_then(|event| event["type"].as_str()).unwrap_or_default().to_owned();
        let (id, entry) = (happened.id(), entry(&happened));
        Self { id, order_id: happened.order_id, at: happened.at, number: happened.number, kind, entry }
    }
}

/// The entry of one event.
pub(super) fn entry(happened: &OrderEvent) -> TimelineEntry {
    use TimelineStatus as S;
    let done = if happened.step.is_some_and(Step::is_compensation) { S::Compensated } else { S::Done };
    let (status, detail) = match &happened.event {
        Event::Accepted
        | Event::StockHeld
        | Event::Authorized
        | Event::StockCommitted
        | Event::Captured
        | Event::Confirmed => (S::Done, None),
        Event::IntentCanceled | Event::StockReleased | Event::AllRefunded => (done, None),
        Event::CancelRequested { reason } => (S::Requested, Some(reason.to_string())),
        Event::ChargedLate { .. } => (S::Done, Some("the payment was taken late".to_owned())),
        Event::RefundRequested { refund } => (S::Requested, Some(refund.amount.to_string())),
        Event::RefundSucceeded { reference, .. } => (S::Compensated, Some(reference.clone())),
        Event::RefundedElsewhere { amount, .. } => {
            (S::Compensated, Some(format!("{amount} was given back at the provider")))
        }
        Event::RefundFailed { reason, .. } | Event::RefundReversed { reason, .. } => {
            (S::Failed, Some(reason.clone()))
        }
        Event::Shipped { tracking_number } => (S::Done, tracking_number.clone()),
        Event::Delivered => (S::Done, None),
        Event::IntentCreated { intent_id } => (S::Done, Some(intent_id.clone())),
        Event::Rejected { reason } | Event::Cancelled { reason } => (S::Done, Some(reason.to_string())),
        Event::StockRefused { skus } => (S::Refused, Some(format!("out_of_stock: {}", skus.join(", ")))),
        Event::Declined { code } => (S::Refused, Some(code.clone())),
        Event::AuthenticationRequired => (S::Refused, Some("authentication_required".to_owned())),
        Event::GaveUp { reason } => (S::GaveUp, Some(reason.to_string())),
        Event::Waiting { reason, .. } => (S::Waiting, Some(reason.clone())),
        Event::Stuck { reason } => (S::Stuck, Some(reason.clone())),
        Event::Adopted { .. } => (S::TakenOver, None),
    };
    let step = match &happened.event {
        Event::CancelRequested { .. } => "cancel",
        // One that comes back does so at rest as well.
        Event::RefundRequested { .. } | Event::RefundReversed { .. } | Event::RefundedElsewhere { .. } => {
            "refund"
        }
        Event::ChargedLate { .. } => "capture",
        Event::Shipped { .. } => "ship",
        Event::Delivered => "deliver",
        _ => happened.step.map_or("accept", Step::name),
    };
    TimelineEntry { at: happened.decided_at, step, status, attempt: happened.attempt, detail }
}
