//! What the payment provider says unasked, by webhook.
//!
//! Who calls it: HTTP, with notices whose signature was checked. **A notice is a hint, never the
//! truth:** it ends a wait, or makes us look the intent or a refund up. So notices may come late, in
//! any order and any number of times, and orders end the same. What never happens here: an amount
//! taken from a notice.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::commanding::{CommandError, Doubt};
use super::decide::unrecorded;
use super::event::Event;
use super::order::{Order, OrderStatus};
use super::orders::Orders;
use super::refund::{Refund, RefundStatus};
use super::state::Step;
use super::steps::refund_request;
use crate::providers::{IntentStatus, PaymentError, ProviderRefundStatus};
use crate::store::{Batch, Collection, CommitError, Entity, Field, Kind, Versioned, load};
use crate::time::Timestamp;

/// Notices that had an effect, so that a copy has none. Kept for longer than a signature is good.
pub static NOTICES: Collection = Collection {
    name: "payment_notices",
    fields: &[Field::required("id", Kind::Text), Field::required("expiresAt", Kind::Time)],
    indexes: &[],
    words: &[],
    expires: Some("expiresAt"),
};

/// How long a notice is remembered.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How often an order is looked at again because it changed meanwhile.
const ATTEMPTS: u32 = 20;

/// What a notice says of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Its amount is reserved.
    Authorized,
    /// Its amount was taken.
    Captured,
    /// It was declined.
    Failed,
    /// It was ended.
    Canceled,
    /// Money of it was given back, or was not after all.
    Refunded,
    /// Money of it was given back, whoever asked for that.
    GivenBack,
}

/// A notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The provider's id of it: the same in every copy.
    pub id: String,
    /// The order that the intent names.
    pub order_id: String,
    /// The intent.
    pub intent_id: String,
    /// The refund, by our id, if it is about one: where to look.
    pub refund_id: Option<String>,
    /// What it says.
    pub claim: Claim,
}

/// What there is to do about a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heed {
    /// Nothing: it is not about this order's payment, or says what is known.
    Nothing,
    /// To try the present step now instead of when its pause is over, wherever the order's saga is.
    Hurry,
    /// To look whether money was taken for an order that ended without.
    LookUp,
    /// To look whether a refund has failed that is recorded as succeeded.
    LookUpRefund,
    /// To look whether money was given back by refunds that are not ours.
    LookElsewhere,
}

/// Decides what there is to do. Pure.
pub fn heed(order: &Order, notice: &Notice) -> Heed {
    if order.payment.reference.as_deref() != Some(notice.intent_id.as_str()) {
        return Heed::Nothing;
    }
    let ended = matches!(order.status, OrderStatus::Rejected | OrderStatus::Cancelled);
    let is_due = |id: &String| order.refunds_due.iter().any(|due| due.id == *id);
    let of_due = notice.refund_id.as_ref().is_none_or(is_due);
    let paid = matches!(order.status, OrderStatus::Confirmed | OrderStatus::Shipped | OrderStatus::Delivered);
    match (order.step, notice.claim) {
        (None, Claim::GivenBack) if paid => Heed::LookElsewhere,
        (Some(Step::Refund), Claim::GivenBack) => Heed::LookElsewhere,
        (None, Claim::Captured) if ended => Heed::LookUp,
        (Some(Step::Authorize), Claim::Authorized | Claim::Failed | Claim::Canceled)
        | (Some(Step::Capture), Claim::Captured)
        | (Some(Step::CancelIntent), Claim::Canceled | Claim::Captured)
            if order.waiting.is_some() =>
        {
            Heed::Hurry
        }
        (Some(Step::Refund), Claim::Refunded) if order.waiting.is_some() && of_due => Heed::Hurry,
        (_, Claim::Refunded) if notice.refund_id.is_some() => Heed::LookUpRefund,
        _ => Heed::Nothing,
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    id: String,
    order_id: String,
    expires_at: Timestamp,
}

impl Kept {
    fn new(notice: &Notice, now: Timestamp) -> Self {
        Self { id: notice.id.clone(), order_id: notice.order_id.clone(), expires_at: now.plus(KEPT) }
    }
}

impl Entity for Kept {
    fn collection() -> &'static Collection {
        &NOTICES
    }
    fn id(&self) -> &str {
        &self.id
    }
}

/// What cannot be looked up now should be told again.
fn unseen(error: PaymentError) -> CommandError {
    CommandError::Unavailable(error.to_string())
}

impl Orders {
    /// Heeds a notice. When this returns `Ok`, the provider need not send it again.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`], [`CommandError::OutcomeUnknown`]: it should come again.
    pub async fn notice(&self, notice: &Notice) -> Result<Heed, CommandError> {
        let mut doubt = Doubt::default();
        for attempt in 0..ATTEMPTS {
            let Some(found) = doubt.read(self.get(&notice.order_id).await.map_err(CommandError::from))?
            else {
                return Ok(Heed::Nothing);
            };
            let heed = heed(&found.value, notice);
            if heed == Heed::Nothing || self.is_known(notice).await? {
                return Ok(Heed::Nothing);
            }
            let kept = Kept::new(notice, self.ports.clock.now());
            if heed == Heed::Hurry {
                if self.hurry(found, &kept, &mut doubt, attempt).await? {
                    return Ok(heed);
                }
                continue;
            }
            let seen = match heed {
                Heed::LookUpRefund => self.look_refund_up(&found.value, notice).await?,
                Heed::LookElsewhere => self.look_elsewhere(&found.value, notice).await?,
                _ => self.look_charge_up(notice).await?,
            };
            let Some((event, with)) = seen else { return Ok(Heed::Nothing) };
            let with = with.insert(&kept);
            if self.commit_command(found, vec![event], with, &mut doubt, attempt).await?.is_some() {
                return Ok(heed);
            }
        }
        Err(doubt.spent())
    }

    /// Ends the wait of the order's saga; `false` if it has to be decided again. A saga in another replica
    /// would not hear of the notice before its pause is over: so the order is taken over, as by a command.
    async fn hurry(
        &self,
        found: Versioned<Order>,
        kept: &Kept,
        doubt: &mut Doubt,
        attempt: u32,
    ) -> Result<bool, CommandError> {
        let id = found.value.id.clone();
        // Whoever has no room, or is leaving, leaves it to those who find it.
        let able = self.room() > 0 && !self.is_draining();
        let next = if able { self.prospective_owner() } else { "" };
        let here = Some(self.ports.incarnation.as_str());
        if [here, Some(next)].contains(&found.value.owner.as_deref()) {
            self.keep(kept).await?;
        } else {
            let taken = vec![Event::Adopted { by: next.to_owned() }];
            let with = Batch::shared().insert(kept);
            if self.commit_command(found, taken, with, doubt, attempt).await?.is_none() {
                return Ok(false);
            }
        }
        self.resume(&id);
        Ok(true)
    }

    /// Whether money was taken after all, and what is to be committed then.
    async fn look_charge_up(&self, notice: &Notice) -> Result<Option<(Event, Batch)>, CommandError> {
        let seen = self.ports.payments.look_up(&notice.intent_id).await.map_err(unseen)?;
        if seen.status != IntentStatus::Captured || seen.captured.minor <= 0 {
            return Ok(None);
        }
        tracing::warn!(order = notice.order_id, amount = %seen.captured, "money was taken late: it is refunded");
        Ok(Some((Event::ChargedLate { amount: seen.captured.minor }, Batch::shared())))
    }

    /// Whether the refund that the notice names has failed after all, and what is to be committed then.
    async fn look_refund_up(
        &self,
        order: &Order,
        notice: &Notice,
    ) -> Result<Option<(Event, Batch)>, CommandError> {
        let Some(refund_id) = &notice.refund_id else { return Ok(None) };
        let found = load::<Refund>(self.ports.store.as_ref(), refund_id).await?;
        let Some(Versioned { value: refund, version }) = found else { return Ok(None) };
        if refund.order_id != order.id || refund.status == RefundStatus::Failed {
            return Ok(None);
        }
        let Some(request) = refund_request(order, &refund) else { return Ok(None) };
        let seen = self.ports.payments.find_refund(&request).await.map_err(unseen)?;
        let Some(seen) = seen.filter(|seen| seen.status == ProviderRefundStatus::Failed) else {
            return Ok(None);
        };
        if refund.status == RefundStatus::Pending {
            // Its saga may have been told that it succeeded, and be about to record that.
            return Err(CommandError::Unavailable(format!("refund {refund_id} is under way")));
        }
        tracing::warn!(order = order.id, refund = refund_id, amount = %refund.amount, "a refund failed after all");
        let reason = format!("refund {} failed", seen.id);
        let reversed = refund.reversed(&reason, self.ports.clock.now());
        let with = Batch::shared().replace(&reversed, version);
        Ok(Some((Event::RefundReversed { refund: Box::new(refund), reason }, with)))
    }

    /// Whether somebody else gave money back, and what is to be committed then.
    async fn look_elsewhere(
        &self,
        order: &Order,
        notice: &Notice,
    ) -> Result<Option<(Event, Batch)>, CommandError> {
        let asked = self.ports.payments.refunded_elsewhere(&notice.intent_id, order.currency());
        let amount = unrecorded(order, asked.await.map_err(unseen)?);
        if amount.minor == 0 {
            return Ok(None);
        }
        tracing::warn!(order = order.id, %amount, "money was given back at the provider");
        Ok(Some((Event::RefundedElsewhere { refund_id: None, amount }, Batch::shared())))
    }

    async fn is_known(&self, notice: &Notice) -> Result<bool, CommandError> {
        let kept = load::<Kept>(self.ports.store.as_ref(), &notice.id).await?;
        Ok(kept.is_some_and(|kept| kept.value.expires_at > self.ports.clock.now()))
    }

    async fn keep(&self, kept: &Kept) -> Result<(), CommandError> {
        match self.ports.store.commit(Batch::shared().insert(kept)).await {
            Ok(()) | Err(CommitError::Conflict(_)) => Ok(()),
            Err(CommitError::Unavailable(reason)) => Err(CommandError::Unavailable(reason)),
            Err(CommitError::OutcomeUnknown(reason)) => Err(CommandError::OutcomeUnknown(reason)),
        }
    }
}
