//! What happens to orders. Pure.

use serde::{Deserialize, Serialize};

use super::order::Reason;
use super::refund::Refund;
use crate::money::Money;
use crate::time::Timestamp;

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
        /// The provider's code or words; of a method that is none, the name of
        /// [`Reason::PaymentMethodInvalid`].
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
    /// Somebody who may wants the order undone.
    CancelRequested {
        /// Who.
        reason: Reason,
    },
    /// The intent is ended; nothing is reserved.
    IntentCanceled,
    /// Money was taken for an order that had ended without, or not the total of one that is being undone.
    ChargedLate {
        /// How much, in minor units of the order's currency.
        amount: i64,
    },
    /// This much is to be given back.
    RefundRequested {
        /// The refund as its record begins.
        refund: Box<Refund>,
    },
    /// It was given back.
    RefundSucceeded {
        /// The refund.
        refund_id: String,
        /// The provider's id of it.
        reference: String,
    },
    /// It will not be given back.
    RefundFailed {
        /// The refund.
        refund_id: String,
        /// What the provider said.
        reason: String,
    },
    /// Money was given back at the provider by somebody else, and is no longer ours to give.
    RefundedElsewhere {
        /// The refund of ours that there is not enough left for: it ends as failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refund_id: Option<String>,
        /// What of it was not recorded before.
        amount: Money,
    },
    /// It was given back, and came back: the provider failed it after all.
    RefundReversed {
        /// The refund as its record was until then.
        refund: Box<Refund>,
        /// What the provider said.
        reason: String,
    },
    /// Nothing is held or sold any more.
    StockReleased,
    /// The bad end.
    Rejected {
        /// Why.
        reason: Reason,
    },
    /// The end that was asked for, before money was taken.
    Cancelled {
        /// By whom.
        reason: Reason,
    },
    /// The end of an order whose money was all given back.
    AllRefunded,
    /// A remark: the goods are on their way.
    Shipped {
        /// The carrier's number, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tracking_number: Option<String>,
    },
    /// A remark: the goods arrived.
    Delivered,
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
    /// A note: another incarnation runs the saga from here on, or none until one takes it.
    Adopted {
        /// The incarnation; empty for none.
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

    /// Whether this leaves the order at its step, and the step where it was.
    pub const fn is_note(&self) -> bool {
        matches!(
            self,
            Self::Waiting { .. }
                | Self::Stuck { .. }
                | Self::Adopted { .. }
                | Self::Shipped { .. }
                | Self::Delivered
        )
    }
}
