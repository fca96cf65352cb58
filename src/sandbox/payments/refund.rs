//! Refunds of captured intents: <https://docs.stripe.com/api/refunds>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_actors::ids::new_id;
use steward_actors::store::{Collection, Entity, Field, Index, Kind};
use steward_actors::time::Timestamp;

use super::intent::{Intent, seconds, whole_steps};
use crate::sandbox::answer::Answer;

/// Every refund that was ever made.
pub(in crate::sandbox) static REFUNDS: Collection = Collection {
    name: "sandbox_refunds",
    fields: &[Field::required("intentId", Kind::Text), Field::required("created", Kind::Time)],
    indexes: &[Index::by("intent", &["intentId", "created"]), Index::by("created", &["created"])],
    words: &[],
    expires: None,
};

/// One refund; it succeeds at once, and may fail after that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refund {
    id: String,
    intent_id: String,
    pub(super) created: Timestamp,
    amount: i64,
    currency: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    failed: bool,
}

impl Entity for Refund {
    fn collection() -> &'static Collection {
        &REFUNDS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Refund {
    /// Takes `amount`, or all that is left, back from `intent`.
    pub(super) fn of(
        intent: &mut Intent,
        amount: Option<i64>,
        metadata: BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<Self, Answer> {
        let left = intent.received - intent.refunded;
        if intent.received > 0 && left == 0 {
            let message = "This charge has already been refunded.";
            return Err(Answer::invalid("charge_already_refunded", None, message));
        }
        let amount = amount.unwrap_or(left);
        if !(1..=left).contains(&amount) {
            let message = format!(
                "Refund amount ({amount}) must be between 1 and what is left of the charge ({left})."
            );
            return Err(Answer::invalid("amount_too_large", Some("amount"), message));
        }
        whole_steps(amount, &intent.currency, "amount")?;
        intent.refunded += amount;
        intent.refunds += 1;
        let id = format!("re_{}", new_id().replace('-', ""));
        let currency = intent.currency.clone();
        let intent_id = intent.id.clone();
        Ok(Self { id, intent_id, created: now, amount, currency, metadata, failed: false })
    }

    /// Fails after all: its amount is with `intent` again. Whether it had not failed before.
    pub(super) fn fail(&mut self, intent: &mut Intent) -> bool {
        if self.failed {
            return false;
        }
        self.failed = true;
        intent.refunded -= self.amount;
        true
    }

    /// As Stripe shows it.
    pub(super) fn shown(&self) -> Value {
        let status = if self.failed { "failed" } else { "succeeded" };
        json!({
            "id": self.id,
            "object": "refund",
            "amount": self.amount,
            "created": seconds(self.created),
            "currency": self.currency,
            "metadata": self.metadata,
            "payment_intent": self.intent_id,
            "reason": null,
            "status": status,
        })
    }
}
