//! Where an order stands, and why it is undone. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// On its way.
    Shipped,
    /// Arrived.
    Delivered,
    /// Ended without money taken or stock sold; [`Order::reason`](super::Order::reason) says why.
    Rejected,
    /// The same, because somebody asked for it.
    Cancelled,
    /// All that was paid is being given back.
    Refunding,
    /// All that was paid is given back.
    Refunded,
}

impl OrderStatus {
    /// Every status.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::StockHeld,
        Self::PaymentAuthorized,
        Self::Confirmed,
        Self::Shipped,
        Self::Delivered,
        Self::Rejected,
        Self::Cancelled,
        Self::Refunding,
        Self::Refunded,
    ];

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether an order that stands so may stay so.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Pending | Self::StockHeld | Self::PaymentAuthorized | Self::Refunding)
    }

    /// The status as indexes have it: one for all that pass, as each change of an indexed value costs
    /// as much as the rest of the write, and an order passes three before it is confirmed. Those that
    /// stand so are few, and are told apart when they are read.
    pub(super) const fn standing(self) -> &'static str {
        match self.is_settled() {
            true => self.name(),
            false => "open",
        }
    }

    /// Whether nothing follows any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Delivered | Self::Rejected | Self::Cancelled | Self::Refunded)
    }

    /// The statuses that may follow this one. (Also, a refund that the provider refuses, or fails
    /// after all, puts an order back to where it was, or has it refunded once more; and money that
    /// was taken late is refunded.)
    pub const fn next_states(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::StockHeld, Self::Rejected, Self::Cancelled],
            Self::StockHeld => &[Self::PaymentAuthorized, Self::Rejected, Self::Cancelled],
            Self::PaymentAuthorized => &[Self::Confirmed, Self::Cancelled, Self::Refunding],
            Self::Confirmed => &[Self::Shipped, Self::Refunding],
            Self::Shipped => &[Self::Delivered, Self::Refunding],
            Self::Delivered => &[Self::Refunding],
            Self::Refunding => &[Self::Refunded],
            Self::Rejected | Self::Cancelled | Self::Refunded => &[],
        }
    }

    /// Its name in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::StockHeld => "stock_held",
            Self::PaymentAuthorized => "payment_authorized",
            Self::Confirmed => "confirmed",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Refunding => "refunding",
            Self::Refunded => "refunded",
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
    /// The payment provider knows no such method, or it is none that can pay.
    PaymentMethodInvalid,
    /// The customer would have to act at their bank.
    AuthenticationRequired,
    /// The payment provider could not be reached for as long as we wait.
    PaymentUnavailable,
    /// Stock could not be asked for as long as we wait.
    StockUnavailable,
    /// The customer asked for it.
    RequestedByCustomer,
    /// The shop asked for it.
    RequestedByShop,
}

impl Reason {
    /// Its name in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutOfStock => "out_of_stock",
            Self::PaymentDeclined => "payment_declined",
            Self::PaymentMethodInvalid => "payment_method_invalid",
            Self::AuthenticationRequired => "authentication_required",
            Self::PaymentUnavailable => "payment_unavailable",
            Self::StockUnavailable => "stock_unavailable",
            Self::RequestedByCustomer => "requested_by_customer",
            Self::RequestedByShop => "requested_by_shop",
        }
    }

    /// Whether somebody asked for the order to be undone.
    pub const fn is_request(self) -> bool {
        matches!(self, Self::RequestedByCustomer | Self::RequestedByShop)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_is_stored() {
        for status in OrderStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
        for reason in [
            Reason::OutOfStock,
            Reason::PaymentDeclined,
            Reason::PaymentMethodInvalid,
            Reason::AuthenticationRequired,
            Reason::PaymentUnavailable,
            Reason::StockUnavailable,
            Reason::RequestedByCustomer,
            Reason::RequestedByShop,
        ] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
