//! The order and its events, as they are stored.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::state::{Event, Step};
use crate::inventory::HoldLine;
use crate::money::{AmountError, Currency, Money};
use crate::store::{Collection, Entity, Field, Index, Kind};
use crate::time::Timestamp;

/// Orders: the projection of [`ORDER_EVENTS`].
pub static ORDERS: Collection = Collection {
    name: "orders",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("userId", Kind::Text),
        Field::required("commandKey", Kind::Text),
        Field::required("fingerprint", Kind::Text),
        Field::required("status", Kind::Text),
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
        Index::by("status", &["status", "createdAt"]),
        Index::by("owner", &["owner"]),
        Index::by("stuck", &["stuckSince"]),
    ],
    words: &[],
    expires: None,
};

/// What happened to orders, one record an event, numbered from 1 in each order.
pub static ORDER_EVENTS: Collection = Collection {
    name: "order_events",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("orderId", Kind::Text),
        Field::required("number", Kind::Integer),
        Field::required("at", Kind::Time),
        Field::required("attempt", Kind::Integer),
        Field::required("event", Kind::Object),
    ],
    indexes: &[Index::unique("order", &["orderId", "number"])],
    words: &[],
    expires: None,
};

/// Where an order stands, as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Accepted.
    Pending,
    /// Its stock is held.
    StockHeld,
    /// Its total is reserved at the payment provider.
    PaymentAuthorized,
    /// Paid and sold.
    Confirmed,
    /// Ended without money taken or stock sold; [`Order::reason`] says why.
    Rejected,
}

impl OrderStatus {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::StockHeld, Self::PaymentAuthorized, Self::Confirmed, Self::Rejected];

    /// Whether the saga is done with it.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Confirmed | Self::Rejected)
    }

    /// The statuses that may follow this one.
    pub const fn next_states(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::StockHeld, Self::Rejected],
            Self::StockHeld => &[Self::PaymentAuthorized, Self::Rejected],
            Self::PaymentAuthorized => &[Self::Confirmed],
            Self::Confirmed | Self::Rejected => &[],
        }
    }

    /// Its name in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::StockHeld => "stock_held",
            Self::PaymentAuthorized => "payment_authorized",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
        }
    }
}

/// Why an order is being undone, or was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Too few units.
    OutOfStock,
    /// The payment method was declined.
    PaymentDeclined,
    /// The customer would have to act at their bank.
    AuthenticationRequired,
    /// The payment provider could not be reached for as long as we wait.
    PaymentUnavailable,
    /// Stock could not be asked for as long as we wait.
    StockUnavailable,
}

impl Reason {
    /// Its name in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutOfStock => "out_of_stock",
            Self::PaymentDeclined => "payment_declined",
            Self::AuthenticationRequired => "authentication_required",
            Self::PaymentUnavailable => "payment_unavailable",
            Self::StockUnavailable => "stock_unavailable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
    /// What the saga does next; absent once it is done.
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
}

impl Entity for Order {
    fn collection() -> &'static Collection {
        &ORDERS
    }
    fn id(&self) -> &str {
        &self.id
    }
}

/// One event of one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderEvent {
    /// `{orderId}:{number}`, the number padded so that ids sort.
    pub id: String,
    /// The order.
    pub order_id: String,
    /// 1 for the first.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// The step that the order was at; absent for its acceptance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// How often the owner had tried that step, this time included.
    pub attempt: u32,
    /// What happened.
    pub event: Event,
}

impl OrderEvent {
    pub(super) fn new(order: &Order, at: Timestamp, attempt: u32, event: Event) -> Self {
        let number = order.events + 1;
        let id = format!("{}:{number:06}", order.id);
        Self { id, order_id: order.id.clone(), number, at, step: order.step, attempt, event }
    }
}

impl Entity for OrderEvent {
    fn collection() -> &'static Collection {
        &ORDER_EVENTS
    }
    fn id(&self) -> &str {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collections_are_declared_well() {
        assert_eq!(ORDERS.mistakes(), Vec::<String>::new());
        assert_eq!(ORDER_EVENTS.mistakes(), Vec::<String>::new());
    }

    #[test]
    fn names_are_what_is_stored() {
        for status in OrderStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
        for reason in [
            Reason::OutOfStock,
            Reason::PaymentDeclined,
            Reason::AuthenticationRequired,
            Reason::PaymentUnavailable,
            Reason::StockUnavailable,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
