//! The order as it is stored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::Event;
use super::refund::Refund;
use super::state::Step;
use crate::inventory::HoldLine;
use crate::money::{AmountError, Currency, Money};
use crate::store::{Body, Collection, Entity, Field, Index, Kind, fields_of};
use crate::time::Timestamp;

pub use super::status::{OrderStatus, Reason};

/// The field by which orders are found by status: see [`OrderStatus::standing`].
const STANDING: &str = "standing";

/// Orders: the projection of [`super::ORDER_EVENTS`].
pub static ORDERS: Collection = Collection {
    name: "orders",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("userId", Kind::Text),
        Field::required("commandKey", Kind::Text),
        Field::required("fingerprint", Kind::Text),
        Field::required("status", Kind::Text),
        Field::optional(STANDING, Kind::Text),
        Field::required("lines", Kind::List),
        Field::required("total", Kind::Object),
        Field::optional("holdId", Kind::Text),
        Field::optional("shippingAddress", Kind::Object),
        Field::required("paymentMethod", Kind::Text),
        Field::required("payment", Kind::Object),
        Field::optional("owner", Kind::Text),
        Field::optional("stuckSince", Kind::Time),
        Field::required("createdAt", Kind::Time),
        Field::required("updatedAt", Kind::Time),
    ],
    indexes: &[
        Index::unique("command", &["commandKey"]),
        Index::by("user", &["userId", "createdAt"]),
        Index::by("userStanding", &["userId", STANDING, "createdAt"]),
        Index::by("created", &["createdAt"]),
        Index::by("standing", &[STANDING, "createdAt"]),
        Index::by("owner", &["owner"]),
        Index::by("stuck", &["stuckSince"]),
    ],
    words: &[],
    expires: None,
};

/// So many units of a SKU at the price of the day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The SKU.
    pub sku: String,
    /// What the variant was called when it was ordered.
    pub name: String,
    /// How many; at least 1.
    pub quantity: i64,
    /// What one costs.
    pub unit_price: Money,
    /// Units that were given back the money of, or are to be.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refunded: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl Line {
    /// What the line costs.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`].
    pub fn total(&self) -> Result<Money, AmountError> {
        self.unit_price.times(self.quantity)
    }
}

/// Where the payment of an order stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// No intent yet.
    #[default]
    Pending,
    /// There is an intent; it may have been confirmed, that is not recorded yet.
    Created,
    /// The total is reserved.
    Authorized,
    /// The total is taken.
    Captured,
    /// Nothing was taken and nothing is reserved.
    Canceled,
    /// All that was taken is given back.
    Refunded,
}

/// The payment of an order. Amounts are in minor units of the order's currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// Where it stands.
    pub status: PaymentStatus,
    /// The provider's name.
    pub provider: String,
    /// The provider's id of the intent, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What is reserved or was taken.
    pub authorized: i64,
    /// What was taken.
    pub captured: i64,
    /// What of it was given back.
    #[serde(default)]
    pub refunded: i64,
    /// What of that was given back at the provider, by refunds that are not ours.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refunded_elsewhere: i64,
    /// How often all that was left was asked to be given back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rests: i64,
    /// How often anything was asked to be given back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asked_back: i64,
}

/// A step that has to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// For what, as the other side put it.
    pub reason: String,
    /// Since when the step is tried.
    pub since: Timestamp,
}

/// An order: what its events add up to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id; also that of its own hold, and its payment's idempotency key.
    pub id: String,
    /// Who ordered.
    pub user_id: String,
    /// The user and their Idempotency-Key: unique, so that the command counts once.
    pub command_key: String,
    /// A digest of the command's body: tells a repeat from another command with the same key.
    pub fingerprint: String,
    /// Where it stands.
    pub status: OrderStatus,
    /// Why it is being undone or was rejected; absent while all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was ordered; no SKU twice.
    pub lines: Vec<Line>,
    /// The shopper's hold that it took over; absent if it holds stock under its own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_id: Option<String>,
    /// What it costs.
    pub total: Money,
    /// Where to, as the client put it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Map<String, Value>>,
    /// The provider's name of the payment method.
    pub payment_method: String,
    /// Where the payment stands.
    pub payment: Payment,
    /// Refunds that are asked for and have not ended, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds_due: Vec<Refund>,
    /// When it was shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipped_at: Option<Timestamp>,
    /// The carrier's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<String>,
    /// When it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// What the saga does next; absent at rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Why that step has not gone through yet, if it had to wait for longer than a moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Since when the step is beyond what waiting can be expected to help. Still tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck_since: Option<Timestamp>,
    /// The incarnation that runs the saga, empty if none does yet; absent once the saga is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How many owners it has had; only rises.
    pub epoch: u64,
    /// How many events it has.
    pub events: u64,
    /// The trace in which it was accepted, a `traceparent`: its steps go on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Order {
    /// The currency of all its amounts.
    pub fn currency(&self) -> Currency {
        self.total.currency
    }

    /// The id of the hold that keeps its stock.
    pub fn stock_hold(&self) -> &str {
        self.hold_id.as_deref().unwrap_or(&self.id)
    }

    /// Its lines as stock sees them.
    pub fn hold_lines(&self) -> Vec<HoldLine> {
        let line = |line: &Line| HoldLine { sku: line.sku.clone(), quantity: line.quantity };
        self.lines.iter().map(line).collect()
    }

    /// What was taken and is neither given back nor due to be.
    pub fn left_to_refund(&self) -> Money {
        let due: i64 = self.refunds_due.iter().map(|refund| refund.amount.minor).sum();
        Money::new(self.payment.captured - self.payment.refunded - due, self.currency())
    }

    /// The refund that is due and that `event` ends.
    pub(super) fn refund_of(&self, event: &Event) -> Option<&Refund> {
        let (Event::RefundSucceeded { refund_id, .. }
        | Event::RefundFailed { refund_id, .. }
        | Event::RefundedElsewhere { refund_id: Some(refund_id), .. }) = event
        else {
            return None;
        };
        self.refunds_due.iter().find(|refund| refund.id == *refund_id)
    }

    pub(super) fn take_due(&mut self, refund_id: &str) -> Option<Refund> {
        let place = self.refunds_due.iter().position(|refund| refund.id == refund_id)?;
        Some(self.refunds_due.remove(place))
    }

    /// Counts a refund's units, `times` 1 when it is asked for and -1 when it fails.
    pub(super) fn count_refunded_units(&mut self, refund: &Refund, times: i64) {
        for units in refund.lines.iter().flatten() {
            if let Some(line) = self.lines.iter_mut().find(|line| line.sku == units.sku) {
                line.refunded += times * units.quantity;
            }
        }
    }

    /// Whether it is being undone, or was: its goods are, or will be, with the shop.
    pub(super) fn is_undone(&self) -> bool {
        self.reason.is_some() || (self.status == OrderStatus::Refunded && self.shipped_at.is_none())
    }

    /// The status of a paid order by how far its goods have come.
    pub(super) fn fulfilment(&self) -> OrderStatus {
        match (self.shipped_at, self.delivered_at) {
            (_, Some(_)) => OrderStatus::Delivered,
            (Some(_), None) => OrderStatus::Shipped,
            (None, None) => OrderStatus::Confirmed,
        }
    }
}

impl Entity for Order {
    fn collection() -> &'static Collection {
        &ORDERS
    }
    fn id(&self) -> &str {
        &self.id
    }
    fn body(&self) -> Body {
        let mut body = fields_of(self);
        body.insert(STANDING.to_owned(), self.status.standing().into());
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collection_is_declared_well() {
        assert_eq!(ORDERS.mistakes(), Vec::<String>::new());
    }
}
