//! The saga as a table: at this step, after this event, that step comes next.
//!
//! Pure. An order is always at one [`Step`]; doing the step yields events
//! ([`decide`](super::decide::decide)); [`apply`] takes the order on. A crash loses nothing but
//! time: the order is at the step the store says, and every step done twice counts once.
//!
//! ```text
//!  hold ──────► create_intent ──► authorize ──► commit_stock ──► capture ──► confirm
//!   │ refused:      │ declined,       │ declined,       ▲
//!   │ reject        │ auth. required, │ auth. required, │ found captured after all
//!   │ gave up       │ gave up         ▼ gave up         │
//!   └──────────► release_stock ◄── cancel_intent ───────┘
//!                   └─► reject
//! ```
//! `authorize` → `commit_stock` is the point of no return: before it everything can be undone,
//! after it everything is carried through. So no owner ever cancels what another captures.

use serde::{Deserialize, Serialize};

use super::order::{Order, OrderEvent, OrderStatus, PaymentStatus, Reason, Waiting};
use crate::time::Timestamp;

/// What is to be done next for an order. Each is one call to the outside that counts once however
/// often it is made, or (`Confirm`, `Reject`) only a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Hold the lines' stock, all or nothing, under the order's id.
    Hold,
    /// Create the payment intent, unconfirmed, with the order's id as the key.
    CreateIntent,
    /// Confirm the intent by its id: reserves the total.
    Authorize,
    /// Turn the held units into sold ones.
    CommitStock,
    /// Take the reserved total.
    Capture,
    /// Record the good end, and the e-mail about it.
    Confirm,
    /// Undo: end the intent and what it may have reserved.
    CancelIntent,
    /// Undo: make the held units available again.
    ReleaseStock,
    /// Record the bad end.
    Reject,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 9] = [
        Self::Hold,
        Self::CreateIntent,
        Self::Authorize,
        Self::CommitStock,
        Self::Capture,
        Self::Confirm,
        Self::CancelIntent,
        Self::ReleaseStock,
        Self::Reject,
    ];

    /// Its name in the timeline, in the store and in keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::CreateIntent => "create_intent",
            Self::Authorize => "authorize",
            Self::CommitStock => "commit_stock",
            Self::Capture => "capture",
            Self::Confirm => "confirm",
            Self::CancelIntent => "cancel_intent",
            Self::ReleaseStock => "release_stock",
            Self::Reject => "reject",
        }
    }

    /// Why the order is rejected if this step cannot be done for too long; `None` for the steps
    /// past the point of no return and for the undoing, which are never given up.
    pub const fn gives_up_with(self) -> Option<Reason> {
        match self {
            Self::Hold => Some(Reason::StockUnavailable),
            Self::CreateIntent | Self::Authorize => Some(Reason::PaymentUnavailable),
            _ => None,
        }
    }

    /// Whether this step undoes an earlier one.
    pub const fn is_compensation(self) -> bool {
        matches!(self, Self::CancelIntent | Self::ReleaseStock)
    }
}

/// What happened to an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Event {
    /// The order is in the store.
    Accepted,
    /// Its stock is held.
    StockHeld,
    /// These SKUs have too few units; nothing is held.
    StockRefused {
        /// The SKUs.
        skus: Vec<String>,
    },
    /// There is an intent, unconfirmed.
    IntentCreated {
        /// The provider's id of it.
        intent_id: String,
    },
    /// The total is reserved.
    Authorized,
    /// The payment was declined, or the provider refuses it as it is.
    Declined {
        /// The provider's code or words.
        code: String,
    },
    /// The customer would have to act at their bank.
    AuthenticationRequired,
    /// A step could not be done for as long as we wait.
    GaveUp {
        /// What the order is rejected with.
        reason: Reason,
    },
    /// The units are sold.
    StockCommitted,
    /// The total is taken.
    Captured,
    /// The good end.
    Confirmed,
    /// The intent is ended; nothing is reserved.
    IntentCanceled,
    /// Nothing is held any more.
    StockReleased,
    /// The bad end.
    Rejected {
        /// Why.
        reason: Reason,
    },
    /// A note: the step has to wait. Recorded once; the event that ends the wait tells how often
    /// it was tried.
    Waiting {
        /// For what.
        reason: String,
        /// Since when the step is tried.
        since: Timestamp,
    },
    /// A note: waiting alone will hardly help. Recorded once; the step is still tried.
    Stuck {
        /// Why.
        reason: String,
    },
    /// A note: another incarnation runs the saga from here on.
    Adopted {
        /// The incarnation.
        by: String,
    },
}

impl Event {
    /// Whether the next step may be done before this event is in the store: doing the step that
    /// led to it again finds the same. All other events are decisions, or carry what only the
    /// store remembers, and are committed before anything else is done outside.
    pub const fn is_repeatable(&self) -> bool {
        matches!(
            self,
            Self::StockHeld
                | Self::StockCommitted
                | Self::Captured
                | Self::IntentCanceled
                | Self::StockReleased
        )
    }

    /// Whether this is a remark that leaves the order at its step.
    pub const fn is_note(&self) -> bool {
        matches!(self, Self::Waiting { .. } | Self::Stuck { .. } | Self::Adopted { .. })
    }
}

/// An event that cannot happen at that step: a record that this version does not understand, or a
/// mistake in the code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen at {at:?}")]
pub struct Impossible {
    /// The step the order is at; `None` once it is settled.
    pub at: Option<Step>,
    /// The event.
    pub event: Event,
}

/// The table. `None` inside `Ok`: the order is settled.
///
/// # Errors
/// [`Impossible`] for every pair that is not in the table.
pub fn after(order: &Order, event: &Event) -> Result<Option<Step>, Impossible> {
    use Event as E;
    use Step as S;
    let Some(at) = order.step else { return Err(Impossible { at: None, event: event.clone() }) };
    let paid = order.payment.status == PaymentStatus::Captured;
    Ok(Some(match (at, event) {
        (S::Hold, E::StockHeld) => S::CreateIntent,
        (S::Hold, E::StockRefused { .. }) => S::Reject,
        (S::Hold, E::GaveUp { .. }) => S::ReleaseStock,

        (S::CreateIntent, E::IntentCreated { .. }) => S::Authorize,
        (S::CreateIntent, E::Declined { .. } | E::AuthenticationRequired | E::GaveUp { .. }) => {
            S::ReleaseStock
        }

        (S::Authorize, E::Authorized) => S::CommitStock,
        (S::Authorize, E::Declined { .. } | E::AuthenticationRequired | E::GaveUp { .. }) => S::CancelIntent,

        (S::CommitStock, E::StockCommitted) if paid => S::Confirm,
        (S::CommitStock, E::StockCommitted) => S::Capture,
        (S::Capture, E::Captured) => S::Confirm,
        (S::Confirm, E::Confirmed) => return Ok(None),

        (S::CancelIntent, E::IntentCanceled) => S::ReleaseStock,
        (S::CancelIntent, E::Captured) => S::CommitStock,
        (S::ReleaseStock, E::StockReleased) => S::Reject,
        (S::Reject, E::Rejected { .. }) => return Ok(None),

        (at, E::Waiting { .. } | E::Stuck { .. } | E::Adopted { .. }) => at,
        (at, event) => return Err(Impossible { at: Some(at), event: event.clone() }),
    }))
}

/// Takes `order` on by one event and returns the event's record.
///
/// # Errors
/// [`Impossible`]; the order is as it was.
pub fn apply(order: &mut Order, event: Event, attempt: u32, at: Timestamp) -> Result<OrderEvent, Impossible> {
    let next = after(order, &event)?;
    let record = OrderEvent::new(order, at, attempt, event);
    project(order, &record.event, at);
    if !record.event.is_note() {
        order.waiting = None;
        order.stuck_since = None;
    }
    order.step = next;
    if next.is_none() {
        order.owner = None;
    }
    order.events = record.number;
    order.updated_at = at;
    Ok(record)
}

fn project(order: &mut Order, event: &Event, at: Timestamp) {
    let total = order.total.minor;
    let payment = &mut order.payment;
    match event {
        Event::Accepted | Event::StockCommitted | Event::StockReleased => {}
        Event::StockHeld => order.status = OrderStatus::StockHeld,
        Event::StockRefused { .. } => order.reason = Some(Reason::OutOfStock),
        Event::IntentCreated { intent_id } => {
            payment.status = PaymentStatus::Created;
            payment.reference = Some(intent_id.clone());
        }
        Event::Authorized => {
            payment.status = PaymentStatus::Authorized;
            payment.authorized = total;
            order.status = OrderStatus::PaymentAuthorized;
        }
        Event::Declined { .. } => order.reason = Some(Reason::PaymentDeclined),
        Event::AuthenticationRequired => order.reason = Some(Reason::AuthenticationRequired),
        Event::GaveUp { reason } => order.reason = Some(*reason),
        Event::Captured => {
            payment.status = PaymentStatus::Captured;
            payment.authorized = total;
            payment.captured = total;
            // Whatever it was being undone for: money was taken, so the order stands.
            order.reason = None;
            order.status = OrderStatus::PaymentAuthorized;
        }
        Event::Confirmed => order.status = OrderStatus::Confirmed,
        Event::IntentCanceled => {
            payment.status = PaymentStatus::Canceled;
            payment.authorized = 0;
        }
        Event::Rejected { reason } => {
            order.status = OrderStatus::Rejected;
            order.reason = Some(*reason);
        }
        Event::Waiting { reason, since } => {
            order.waiting = Some(Waiting { reason: reason.clone(), since: *since });
        }
        Event::Stuck { reason } => {
            let since = order.waiting.as_ref().map_or(at, |waiting| waiting.since);
            order.waiting = Some(Waiting { reason: reason.clone(), since });
            order.stuck_since = Some(at);
        }
        Event::Adopted { by } => {
            order.owner = Some(by.clone());
            order.epoch += 1;
        }
    }
}
