//! A payment intent: <https://docs.stripe.com/api/payment_intents/object>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_actors::money::Currency;
use steward_actors::store::{Collection, Entity, Field, Index, Kind};
use steward_actors::time::Timestamp;

use crate::providers::stripe_amounts::multiple;
use crate::sandbox::answer::Answer;

/// The ledger: every intent that was ever made.
pub(in crate::sandbox) static INTENTS: Collection = Collection {
    name: "sandbox_intents",
    fields: &[
        Field::optional("orderId", Kind::Text),
        Field::required("created", Kind::Time),
        Field::required("status", Kind::Text),
        Field::required("amount", Kind::Integer),
    ],
    indexes: &[Index::by("created", &["created"]), Index::by("order", &["orderId"])],
    words: &[],
    expires: None,
};

/// <https://docs.stripe.com/payments/paymentintents/lifecycle>; nothing here is ever `processing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::sandbox) enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Succeeded,
    Canceled,
}

/// A payment intent with manual capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::sandbox) struct Intent {
    pub(in crate::sandbox) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::sandbox) order_id: Option<String>,
    pub(in crate::sandbox) created: Timestamp,
    pub(in crate::sandbox) status: Status,
    /// Minor units, as all amounts here.
    pub(in crate::sandbox) amount: i64,
    /// Lower case.
    pub(in crate::sandbox) currency: String,
    /// Reserved at present.
    pub(in crate::sandbox) capturable: i64,
    pub(in crate::sandbox) received: i64,
    pub(in crate::sandbox) refunded: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::sandbox) payment_method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::sandbox) last_error: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::sandbox) canceled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::sandbox) cancellation_reason: Option<String>,
    pub(in crate::sandbox) metadata: BTreeMap<String, String>,
    /// How often an amount was reserved, and taken: what shows a double charge.
    pub(in crate::sandbox) authorizations: u32,
    pub(in crate::sandbox) captures: u32,
    /// How often money was given back.
    #[serde(default)]
    pub(in crate::sandbox) refunds: u32,
    /// How often a flaky method failed, by operation.
    pub(in crate::sandbox) failures: BTreeMap<String, u32>,
}

impl Entity for Intent {
    fn collection() -> &'static Collection {
        &INTENTS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Intent {
    /// The type of the event that tells of its status.
    pub(super) fn event(&self) -> Option<&'static str> {
        match self.status {
            Status::RequiresPaymentMethod => Some("payment_intent.payment_failed"),
            Status::RequiresConfirmation => None,
            Status::RequiresAction => Some("payment_intent.requires_action"),
            Status::RequiresCapture => Some("payment_intent.amount_capturable_updated"),
            Status::Succeeded => Some("payment_intent.succeeded"),
            Status::Canceled => Some("payment_intent.canceled"),
        }
    }

    /// As Stripe shows it.
    pub(super) fn shown(&self) -> Value {
        let next_action = (self.status == Status::RequiresAction).then(|| json!({"type": "use_stripe_sdk"}));
        json!({
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_capturable": self.capturable,
            "amount_received": self.received,
            "canceled_at": self.canceled_at.map(seconds),
            "cancellation_reason": self.cancellation_reason,
            "capture_method": "manual",
            "confirmation_method": "automatic",
            "created": seconds(self.created),
            "currency": self.currency,
            "last_payment_error": self.last_error,
            "livemode": false,
            "metadata": self.metadata,
            "next_action": next_action,
            "payment_method": self.payment_method,
            "payment_method_types": ["card"],
            "status": self.status,
        })
    }

    /// Its charge, as far as it is told of when money was given back:
    /// <https://docs.stripe.com/api/charges/object>.
    pub(super) fn charge(&self) -> Value {
        json!({
            "id": self.id.replacen("pi_", "ch_", 1),
            "object": "charge",
            "amount": self.amount,
            "amount_captured": self.received,
            "amount_refunded": self.refunded,
            "currency": self.currency,
            "metadata": self.metadata,
            "payment_intent": self.id,
            "refunded": self.refunded == self.received,
        })
    }
}

/// Refuses an amount that Stripe does not move: of three decimals the last is 0, for instance.
pub(super) fn whole_steps(amount: i64, currency: &str, param: &'static str) -> Result<(), Answer> {
    let step = Currency::from_code(&currency.to_uppercase()).map_or(1, multiple);
    if amount % step == 0 {
        return Ok(());
    }
    let message = format!("Amounts in {currency} are a multiple of {step}.");
    Err(Answer::invalid("parameter_invalid_integer", Some(param), message))
}

/// Unix seconds, as Stripe writes times.
pub(super) fn seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1000)
}
