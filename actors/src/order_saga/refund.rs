//! Refunds, as they are stored. Pure.

use serde::{Deserialize, Serialize};

use super::order::Order;
use crate::inventory::HoldLine;
use crate::money::Money;
use crate::store::{Collection, Entity, Field, Index, Kind};
use crate::time::Timestamp;

/// Refunds. One is written twice: when it is asked for, with the order that then owes it, and when
/// it ends, with the order that no longer does; and once more if the provider fails it after that.
pub static REFUNDS: Collection = Collection {
    name: "refunds",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("orderId", Kind::Text),
        Field::required("amount", Kind::Object),
        Field::required("status", Kind::Text),
        Field::required("fingerprint", Kind::Text),
        Field::required("createdAt", Kind::Time),
    ],
    indexes: &[Index::by("order", &["orderId", "createdAt"])],
    words: &[],
    expires: None,
};

/// Refunds that one order may owe at once.
pub const MOST_DUE: usize = 20;
/// Refunds that may be asked for of one order, whatever became of them: the provider is asked for all
/// of them where it must be found out whether one was made.
pub const MOST_ASKED: i64 = 1000;
/// How often all that is left of an order is asked to be given back. More than once only if money
/// came back, and whoever it did not reach twice will hardly get it the third time.
pub(super) const MOST_RESTS: i64 = 2;

/// Where a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// It is owed, and tried until it ends.
    Pending,
    /// The money is given back.
    Succeeded,
    /// The provider refuses it, or took back that it succeeded.
    Failed,
}

impl RefundStatus {
    /// Its name in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// Money that is given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refund {
    /// Its id, made of the command's; also its idempotency key at the provider.
    pub id: String,
    /// The order it is for.
    pub order_id: String,
    /// How much; positive, in the order's currency.
    pub amount: Money,
    /// The units it is for, if it is for units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Vec<HoldLine>>,
    /// Why, in the words of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it stands.
    pub status: RefundStatus,
    /// A digest of the command's body: tells a repeat from another command with the same key.
    pub fingerprint: String,
    /// The provider's id of it, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Refund {
    /// Of all that is left of an order that is being undone. It is made when nothing else is due,
    /// and only ends well; should money come back, the next one has an id of its own, as the
    /// provider knows the former one as failed.
    pub(super) fn of_the_rest(order: &Order, now: Timestamp) -> Self {
        let id = match order.payment.rests {
            0 => format!("{}-rest", order.id),
            before => format!("{}-rest-{}", order.id, before + 1),
        };
        Self {
            id,
            order_id: order.id.clone(),
            amount: order.left_to_refund(),
            lines: None,
            reason: order.reason.map(|reason| reason.to_string()),
            status: RefundStatus::Pending,
            fingerprint: String::new(),
            reference: None,
            failure: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// As it ends.
    #[must_use]
    pub(super) fn ended(&self, outcome: Result<&str, &str>, at: Timestamp) -> Self {
        let (status, reference, failure) = match outcome {
            Ok(reference) => (RefundStatus::Succeeded, Some(reference.to_owned()), None),
            Err(failure) => (RefundStatus::Failed, None, Some(failure.to_owned())),
        };
        Self { status, reference, failure, updated_at: at, ..self.clone() }
    }

    /// As it ends once the provider has failed it after all. Its reference stays: that is what to
    /// look for at the provider.
    #[must_use]
    pub(super) fn reversed(&self, reason: &str, at: Timestamp) -> Self {
        let failure = Some(reason.to_owned());
        Self { status: RefundStatus::Failed, failure, updated_at: at, ..self.clone() }
    }
}

impl Entity for Refund {
    fn collection() -> &'static Collection {
        &REFUNDS
    }
    fn id(&self) -> &str {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collection_is_declared_well_and_names_are_what_is_stored() {
        assert_eq!(REFUNDS.mistakes(), Vec::<String>::new());
        for status in [RefundStatus::Pending, RefundStatus::Succeeded, RefundStatus::Failed] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
    }
}
