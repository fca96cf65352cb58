//! The saga as a table: at this step, after this event, that step comes next.
//!
//! Pure. A live order is always at one [`Step`]; doing the step yields events
//! ([`decide`](super::decide::decide)); [`apply`] takes the order on. A crash loses nothing but
//! time: the order is at the step the store says, and every step done twice counts once.
//!
//! ```text
//!  hold ──────► create_intent ──► authorize ──► commit_stock ──► capture ──► confirm ──► at rest
//!   │ refused:      │ declined,       │ declined,     │ cancel       │ cancel              │ cancel,
//!   │ close         │ gave up,        │ gave up,      │              │                     │ refund,
//!   │ gave up,      │ cancel          ▼ cancel        ▼              │ gone                │ charged
//!   │ cancel        │             cancel_intent ◄────────────────────┘                     │ late
//!   ▼               ▼                 │      │ found captured                              ▼
//!  release_stock ◄────────────────────┘      └───────────────────────────────────────►  refund
//!   │    ▲                                          all refunded, not shipped              │
//!   ▼    └─────────────────────────────────────────────────────────────────────────────────┤
//!  close ◄──────────────────────────────── all refunded, shipped ──────────────────────────┘
//!   │
//!   └──► at rest ──── all refunded, not shipped, and money came back ────► refund
//! ```
//! Forward, only `authorize` and the steps before it give up; what comes after is carried through
//! unless somebody asks for the order to be undone, or the provider shows that nothing can be captured
//! any more (the authorisation is gone). `cancel_intent` settles whether that comes in
//! time: the provider either cancels or shows that the money was taken, and then it is refunded.
//! A part that is refunded leaves an order as it is; `close` comes when nothing is left.
//!
//! **Money that comes back.** A provider may fail a refund after it succeeded. An order that was undone
//! owes it again: `refund` has the rest given back anew, and what follows finds its stock given back
//! already. Any other order is as if the refund had failed at once, and it can be asked for again. While
//! `release_stock` or `close` is to come, the provider has to say so again.
//!
//! **Refunds by hand.** Somebody may give money back at the provider. What they gave back counts as
//! refunded, once the provider says so unasked or refuses a refund of ours that there is not enough left for.
//!
//! **Stock.** `release_stock` gives back whatever the order has: held units become available, sold
//! ones come back on hand, each with its movement. It is part of every undoing before shipping. A
//! refund of lines, and any refund after shipping, leaves stock alone: what comes back is booked
//! by an adjustment when it does.

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::order::{Order, OrderStatus, PaymentStatus, Reason, Waiting};
use super::order_event::OrderEvent;
use crate::time::Timestamp;

/// What is to be done next for an order. Each is one call to the outside that counts once however
/// often it is made, or (`Confirm`, `Close`) only a commit.
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
    /// Give back the refund that is due first; of an order that is being undone, all that is left.
    Refund,
    /// Undo: make the units available again, held or sold.
    ReleaseStock,
    /// Record the end of what was undone.
    Close,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 10] = [
        Self::Hold,
        Self::CreateIntent,
        Self::Authorize,
        Self::CommitStock,
        Self::Capture,
        Self::Confirm,
        Self::CancelIntent,
        Self::Refund,
        Self::ReleaseStock,
        Self::Close,
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
            Self::Refund => "refund",
            Self::ReleaseStock => "release_stock",
            Self::Close => "close",
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
        matches!(self, Self::CancelIntent | Self::ReleaseStock | Self::Refund)
    }
}

/// An event that cannot happen at that step: a record that this version does not understand, or a
/// mistake in the code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen at {at:?}")]
pub struct Impossible {
    /// The step the order is at; `None` at rest.
    pub at: Option<Step>,
    /// The event.
    pub event: Event,
}

/// The table of a live order. `None` inside `Ok`: the order is at rest.
///
/// # Errors
/// [`Impossible`] for every pair that is not in the table.
pub fn after(order: &Order, event: &Event) -> Result<Option<Step>, Impossible> {
    use Event as E;
    use Step as S;
    let Some(at) = order.step else { return after_rest(order, event) };
    Ok(Some(match (at, event) {
        (S::Hold, E::StockHeld) => S::CreateIntent,
        (S::Hold, E::StockRefused { .. }) => S::Close,
        (S::Hold, E::GaveUp { .. } | E::CancelRequested { .. }) => S::ReleaseStock,

        (S::CreateIntent, E::IntentCreated { .. }) => S::Authorize,
        (S::CreateIntent, E::Declined { .. } | E::AuthenticationRequired) => S::ReleaseStock,
        (S::CreateIntent, E::GaveUp { .. } | E::CancelRequested { .. }) => S::ReleaseStock,

        (S::Authorize, E::Authorized) => S::CommitStock,
        (S::Authorize, E::Declined { .. } | E::AuthenticationRequired) => S::CancelIntent,
        (S::Authorize, E::GaveUp { .. } | E::CancelRequested { .. }) => S::CancelIntent,

        (S::CommitStock, E::StockCommitted) => S::Capture,
        (S::Capture, E::Captured) => S::Confirm,
        (S::CommitStock | S::Capture, E::CancelRequested { .. }) => S::CancelIntent,
        (S::Capture, E::Declined { .. }) => S::CancelIntent,
        (S::Confirm, E::Confirmed) => return Ok(None),

        (S::CancelIntent, E::IntentCanceled) => S::ReleaseStock,
        (S::CancelIntent, E::Captured | E::ChargedLate { .. }) => S::Refund,

        (S::Refund, E::CancelRequested { .. }) if order.status == OrderStatus::Confirmed => S::Refund,
        (S::Refund, E::RefundRequested { .. } | E::RefundReversed { .. }) => S::Refund,
        (S::Refund, E::RefundSucceeded { .. } | E::RefundFailed { .. } | E::RefundedElsewhere { .. }) => {
            return Ok(after_refund(order, event));
        }

        (S::Refund, E::Shipped { .. }) if order.status == OrderStatus::Confirmed => S::Refund,
        (S::Refund, E::Delivered) if order.status == OrderStatus::Shipped => S::Refund,

        (S::ReleaseStock, E::StockReleased) => S::Close,
        (S::Close, E::Rejected { .. } | E::Cancelled { .. } | E::AllRefunded) => return Ok(None),

        (at, E::Waiting { .. } | E::Stuck { .. } | E::Adopted { .. }) => at,
        (at, event) => return Err(Impossible { at: Some(at), event: event.clone() }),
    }))
}

/// The table of an order at rest.
fn after_rest(order: &Order, event: &Event) -> Result<Option<Step>, Impossible> {
    use Event as E;
    use OrderStatus as O;
    match (order.status, event) {
        (O::Confirmed, E::CancelRequested { .. }) => Ok(Some(Step::Refund)),
        (O::Confirmed | O::Shipped | O::Delivered, E::RefundRequested { .. }) => Ok(Some(Step::Refund)),
        (O::Confirmed | O::Shipped | O::Delivered, E::RefundedElsewhere { .. }) => {
            Ok(after_refund(order, event))
        }
        (O::Rejected | O::Cancelled, E::ChargedLate { .. }) => Ok(Some(Step::Refund)),
        (O::Refunded, E::RefundReversed { .. }) if order.is_undone() => Ok(Some(Step::Refund)),
        (O::Confirmed | O::Shipped | O::Delivered | O::Refunded, E::RefundReversed { .. }) => Ok(None),
        (O::Confirmed, E::Shipped { .. }) | (O::Shipped, E::Delivered) => Ok(None),
        _ => Err(Impossible { at: None, event: event.clone() }),
    }
}

/// A refund has ended: the next one that is due, what is left of an order that is being undone, the
/// end of an order of which nothing is left, or rest.
fn after_refund(order: &Order, event: &Event) -> Option<Step> {
    let ends = order.refund_of(event);
    let given_back = match event {
        Event::RefundSucceeded { .. } => ends.map_or(0, |refund| refund.amount.minor),
        Event::RefundedElsewhere { amount, .. } => amount.minor,
        _ => 0,
    };
    let all = order.payment.refunded + given_back == order.payment.captured;
    let still_due = order.refunds_due.len() > usize::from(ends.is_some());
    match (all, order.reason.is_some()) {
        _ if still_due => Some(Step::Refund),
        (true, _) if order.shipped_at.is_some() => Some(Step::Close),
        (true, _) => Some(Step::ReleaseStock),
        (false, true) => Some(Step::Refund),
        (false, false) => None,
    }
}

/// Takes `order` on by one event and returns it with its number.
///
/// # Errors
/// [`Impossible`]; the order is as it was.
pub fn apply(order: &mut Order, event: Event, attempt: u32, at: Timestamp) -> Result<OrderEvent, Impossible> {
    let next = after(order, &event)?;
    let happened = OrderEvent::new(order, at, attempt, event);
    project(order, &happened.event, at);
    if !happened.event.is_note() {
        order.waiting = None;
        order.stuck_since = None;
    }
    order.step = next;
    if next.is_none() {
        order.owner = None;
    }
    order.events = happened.number;
    order.updated_at = at;
    Ok(happened)
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
        Event::Declined { code } if code == Reason::PaymentMethodInvalid.name() => {
            order.reason = Some(Reason::PaymentMethodInvalid);
        }
        Event::Declined { .. } => order.reason = Some(Reason::PaymentDeclined),
        Event::AuthenticationRequired => order.reason = Some(Reason::AuthenticationRequired),
        Event::GaveUp { reason } => order.reason = Some(*reason),
        Event::Captured => {
            payment.status = PaymentStatus::Captured;
            payment.authorized = total;
            payment.captured = total;
            if order.reason.is_some() {
                order.status = OrderStatus::Refunding;
            }
        }
        Event::Confirmed => order.status = OrderStatus::Confirmed,
        Event::CancelRequested { reason } => {
            order.reason = Some(*reason);
            if payment.captured > 0 {
                order.status = OrderStatus::Refunding;
            }
        }
        Event::IntentCanceled => {
            payment.status = PaymentStatus::Canceled;
            payment.authorized = 0;
        }
        Event::ChargedLate { amount } => {
            payment.status = PaymentStatus::Captured;
            payment.captured = *amount;
            order.status = OrderStatus::Refunding;
        }
        Event::RefundRequested { refund } => {
            // Of an order that is being undone nobody asks for one but its saga, for the rest.
            payment.rests += i64::from(order.reason.is_some());
            payment.asked_back += 1;
            order.count_refunded_units(refund, 1);
            order.refunds_due.push((**refund).clone());
            if order.left_to_refund().minor == 0 {
                order.status = OrderStatus::Refunding;
            }
        }
        Event::RefundSucceeded { refund_id, .. } => {
            if let Some(refund) = order.take_due(refund_id) {
                order.payment.refunded += refund.amount.minor;
            }
            if order.payment.refunded == order.payment.captured {
                order.payment.status = PaymentStatus::Refunded;
            }
        }
        Event::RefundFailed { refund_id, .. } => {
            if let Some(refund) = order.take_due(refund_id) {
                order.count_refunded_units(&refund, -1);
            }
            if order.reason.is_none() {
                order.status = order.fulfilment();
            }
        }
        Event::RefundedElsewhere { refund_id, amount } => {
            payment.refunded += amount.minor;
            payment.refunded_elsewhere += amount.minor;
            if let Some(refund) = refund_id.as_ref().and_then(|id| order.take_due(id)) {
                order.count_refunded_units(&refund, -1);
            }
            if order.payment.refunded == order.payment.captured {
                order.payment.status = PaymentStatus::Refunded;
                order.status = OrderStatus::Refunding;
            } else if order.reason.is_none() {
                order.status = order.fulfilment();
            }
        }
        Event::RefundReversed { refund, .. } => {
            payment.refunded -= refund.amount.minor;
            payment.status = PaymentStatus::Captured;
            order.count_refunded_units(refund, -1);
            if order.is_undone() {
                // Only the shop refunds all of an order that nobody cancelled.
                order.reason = order.reason.or(Some(Reason::RequestedByShop));
                // Whatever gave the money back before, what follows is another try.
                order.payment.rests = order.payment.rests.max(1);
                order.status = OrderStatus::Refunding;
            } else {
                order.status = order.fulfilment();
            }
        }
        Event::Rejected { reason } => {
            order.status = OrderStatus::Rejected;
            order.reason = Some(*reason);
        }
        Event::Cancelled { .. } => order.status = OrderStatus::Cancelled,
        Event::AllRefunded => order.status = OrderStatus::Refunded,
        Event::Shipped { tracking_number } => {
            order.shipped_at = Some(at);
            order.tracking_number = tracking_number.clone();
            order.status = OrderStatus::Shipped;
        }
        Event::Delivered => {
            order.delivered_at = Some(at);
            order.status = OrderStatus::Delivered;
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
