//! Does a step: the one place where the saga calls stock and the payment provider.
//!
//! What never happens here: a decision, a commit. Every call has a deadline, and one that passes it
//! has an unknown outcome, never a failed one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::time::timeout;

use super::crash_points::CrashPoints;
use super::decide::{Outcome, Patience, needs_look_up, settles};
use super::hub::Hub;
use super::order::Order;
use super::refund::{MOST_RESTS, Refund};
use super::state::Step;
use crate::cluster::Clock;
use crate::inventory::{Hold, HoldError, HoldRequest, HoldStatus, Holds};
use crate::outbox::Waker;
use crate::providers::{IntentRequest, PaymentError, Payments, RefundRequest};
use crate::store::{Store, Versioned};

/// What a saga reaches the outside through.
pub(super) struct Ports {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) holds: Arc<dyn Holds>,
    pub(super) payments: Arc<dyn Payments>,
    pub(super) outbox: Waker,
    pub(super) crash_points: CrashPoints,
    pub(super) incarnation: String,
    pub(super) hub: Hub,
    /// Orders that were accepted here a moment ago: their sagas begin without reading them again.
    pub(super) accepted: Cache<String, Versioned<Order>>,
    pub(super) patience: Patience,
    pub(super) call_deadline: Duration,
}

/// The idempotency keys of an order's calls to confirm, capture and cancel.
///
/// A key is used again until a look-up has shown that the call did not count; then the next one
/// is, because a provider repeats the answer it gave to a key, errors of its own included
/// ([Stripe](https://docs.stripe.com/api/idempotent_requests)). Safe: all of them are calls on one
/// intent, which can be confirmed and captured once.
#[derive(Clone, Copy, Default)]
pub(super) struct Keys {
    used_up: u32,
}

impl Keys {
    fn key(self, order: &Order, step: Step) -> String {
        self.number(format!("{}:{}", order.id, step.name()))
    }

    fn number(self, key: String) -> String {
        match self.used_up {
            0 => key,
            n => format!("{key}:{}", n + 1),
        }
    }
}

/// Does `step` for `order`.
pub(super) async fn perform(ports: &Ports, order: &Order, step: Step, keys: &mut Keys) -> Outcome {
    ports.crash_points.before(step);
    let outcome = match step {
        Step::Hold => stock(ports, ports.holds.hold(hold_request(order))).await,
        Step::CommitStock => stock(ports, ports.holds.commit(order.stock_hold())).await,
        Step::ReleaseStock => stock(ports, ports.holds.give_back(hold_request(order))).await,
        Step::CreateIntent => {
            let request = IntentRequest {
                key: order.id.clone(),
                order_id: order.id.clone(),
                amount: order.total,
                payment_method: order.payment_method.clone(),
            };
            Outcome::Payment(payment(ports, ports.payments.create(&request)).await)
        }
        Step::Authorize | Step::Capture | Step::CancelIntent => on_intent(ports, order, step, keys).await,
        Step::Refund => refund(ports, order, keys).await,
        Step::Confirm | Step::Close => Outcome::Nothing,
    };
    ports.crash_points.after(step);
    outcome
}

pub(super) fn hold_request(order: &Order) -> HoldRequest {
    HoldRequest {
        id: order.stock_hold().to_owned(),
        user_id: order.user_id.clone(),
        lines: order.hold_lines(),
        ttl: None,
    }
}

async fn stock(ports: &Ports, call: impl Future<Output = Result<Hold, HoldError>>) -> Outcome {
    let answer: Result<HoldStatus, HoldError> = match timeout(ports.call_deadline, call).await {
        Ok(answer) => answer.map(|hold| hold.status),
        Err(_deadline) => Err(HoldError::OutcomeUnknown),
    };
    Outcome::Stock(answer)
}

async fn payment<T>(
    ports: &Ports,
    call: impl Future<Output = Result<T, PaymentError>>,
) -> Result<T, PaymentError> {
    match timeout(ports.call_deadline, call).await {
        Ok(answer) => answer,
        Err(_deadline) => Err(PaymentError::OutcomeUnknown("no answer in time".to_owned())),
    }
}

async fn on_intent(ports: &Ports, order: &Order, step: Step, keys: &mut Keys) -> Outcome {
    let Some(intent_id) = order.payment.reference.as_deref() else {
        let error = PaymentError::Refused("the order has no payment intent".to_owned());
        return Outcome::Payment(Err(error));
    };
    let key = keys.key(order, step);
    let answer = match step {
        Step::Authorize => payment(ports, ports.payments.confirm(intent_id, &key)).await,
        Step::Capture => payment(ports, ports.payments.capture(intent_id, &key)).await,
        _ => payment(ports, ports.payments.cancel(intent_id, &key)).await,
    };
    if !needs_look_up(step, &answer) {
        return Outcome::Payment(answer);
    }
    ports.crash_points.pass("look_up.before");
    let seen = payment(ports, ports.payments.look_up(intent_id)).await;
    ports.crash_points.pass("look_up.after");
    Outcome::Payment(match (seen, answer) {
        (Ok(intent), _) if settles(step, &intent) => Ok(intent),
        (Ok(_), answer) => {
            keys.used_up += 1;
            answer
        }
        (Err(_), Ok(open)) => Ok(open),
        // Without a look-up a refusal proves nothing: it may be the second answer to a call
        // whose first one was lost.
        (Err(unseen), _) => Err(unproven(unseen)),
    })
}

/// A look-up that was refused tells as little as one that was not answered.
fn unproven(unseen: PaymentError) -> PaymentError {
    match unseen {
        PaymentError::Unavailable { .. } | PaymentError::OutcomeUnknown(_) => unseen,
        PaymentError::Refused(reason)
        | PaymentError::Declined(reason)
        | PaymentError::InvalidMethod(reason) => {
            PaymentError::OutcomeUnknown(format!("it cannot be looked up: {reason}"))
        }
    }
}

/// What the provider is asked about this refund; `None` if the order has no intent.
pub(super) fn refund_request(order: &Order, refund: &Refund) -> Option<RefundRequest> {
    Some(RefundRequest {
        key: refund.id.clone(),
        refund_id: refund.id.clone(),
        order_id: order.id.clone(),
        intent_id: order.payment.reference.clone()?,
        amount: refund.amount,
    })
}

/// Gives back what is due first. It is looked for before it is asked for: whoever had the order
/// before may have done so, longer ago than the provider remembers keys.
async fn refund(ports: &Ports, order: &Order, keys: &mut Keys) -> Outcome {
    let Some(due) = order.refunds_due.first() else {
        return match &order.payment.reference {
            Some(intent_id) if order.payment.rests >= MOST_RESTS => {
                elsewhere(ports, order, intent_id, "nothing is due".to_owned()).await
            }
            _ => Outcome::Nothing,
        };
    };
    let Some(mut request) = refund_request(order, due) else {
        return Outcome::Refund(Err(PaymentError::Refused("the order has no payment intent".to_owned())));
    };
    request.key = keys.number(request.key);
    match payment(ports, ports.payments.find_refund(&request)).await {
        Ok(None) => {}
        Ok(Some(found)) => return Outcome::Refund(Ok(found)),
        Err(unseen) => return Outcome::Refund(Err(unproven(unseen))),
    }
    let answer = payment(ports, ports.payments.refund(&request)).await;
    if !matches!(answer, Err(PaymentError::OutcomeUnknown(_) | PaymentError::Refused(_))) {
        return Outcome::Refund(answer);
    }
    ports.crash_points.pass("look_up.before");
    let seen = payment(ports, ports.payments.find_refund(&request)).await;
    ports.crash_points.pass("look_up.after");
    Outcome::Refund(match (seen, answer) {
        (Ok(Some(found)), _) => Ok(found),
        (Ok(None), Err(PaymentError::Refused(reason))) => {
            keys.used_up += 1;
            return elsewhere(ports, order, &request.intent_id, reason).await;
        }
        (Ok(None), answer) => {
            keys.used_up += 1;
            answer
        }
        (Err(unseen), _) => Err(unproven(unseen)),
    })
}

/// Whether somebody else has given back what is not there for us to give.
async fn elsewhere(ports: &Ports, order: &Order, intent_id: &str, reason: String) -> Outcome {
    let asked = ports.payments.refunded_elsewhere(intent_id, order.currency());
    match payment(ports, asked).await {
        Ok(elsewhere) => Outcome::RefundRefused { reason, elsewhere },
        Err(unseen) => Outcome::Refund(Err(unproven(unseen))),
    }
}
