//! What an answer from the outside means for an order. Pure: present and chance are passed in.

use std::time::Duration;

use super::event::Event;
use super::order::{Order, Reason};
use super::refund::{MOST_RESTS, Refund};
use super::state::Step;
use crate::backoff::Backoff;
use crate::inventory::{HoldError, HoldStatus};
use crate::money::Money;
use crate::providers::{Intent, IntentStatus, PaymentError, ProviderRefund, ProviderRefundStatus};
use crate::time::Timestamp;

/// What doing a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stock answered.
    Stock(Result<HoldStatus, HoldError>),
    /// The payment provider answered. Whoever made the call has looked the intent up already if
    /// the call's own answer left it open ([`needs_look_up`]), so `Ok` is where the intent stands
    /// and [`PaymentError::Refused`] that the provider will not do it.
    Payment(Result<Intent, PaymentError>),
    /// The payment provider answered about the refund that is due first.
    Refund(Result<ProviderRefund, PaymentError>),
    /// The payment provider refuses the refund that is due first, which is not there; or none is asked
    /// of it any more.
    RefundRefused {
        /// As it put it.
        reason: String,
        /// What was given back by refunds that are not ours.
        elsewhere: Money,
    },
    /// There was nothing to do outside.
    Nothing,
}

/// What follows from an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This happened; go on.
    Happened(Event),
    /// Do the same step again.
    Again {
        /// After this pause.
        pause: Duration,
        /// To be recorded now.
        note: Option<Event>,
    },
}

/// How long a step is tried, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The first pause; doubled from attempt to attempt.
    pub shortest: Duration,
    /// The longest pause, unless the other side asks for a longer one.
    pub longest: Duration,
    /// The longest pause that the other side can ask for.
    pub longest_asked: Duration,
    /// Attempts that fail before the wait is recorded.
    pub unrecorded: u32,
    /// How long a step before the point of no return is tried before the order is rejected.
    pub give_up: Duration,
    /// How long any other step is tried before the order is listed as stuck. It is still tried.
    pub stuck: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            shortest: Duration::from_millis(100),
            longest: Duration::from_secs(30),
            longest_asked: Duration::from_secs(300),
            unrecorded: 2,
            give_up: Duration::from_secs(24 * 3600),
            stuck: Duration::from_secs(3600),
        }
    }
}

impl Patience {
    fn backoff(&self) -> Backoff {
        Backoff::new(self.shortest, self.longest)
    }
}

/// A try of a step.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// 1 for the first by this owner.
    pub number: u32,
    /// Since when this owner tries; an earlier start that is recorded counts instead.
    pub since: Timestamp,
    /// 0..1: spreads the pauses of orders that wait for the same thing.
    pub jitter: f64,
}

/// Decides what follows from `outcome` of the step that `order` is at.
pub fn decide(
    order: &Order,
    step: Step,
    outcome: &Outcome,
    attempt: Attempt,
    now: Timestamp,
    patience: &Patience,
) -> Decision {
    let since = order.waiting.as_ref().map_or(attempt.since, |waiting| waiting.since.min(attempt.since));
    match read(order, step, outcome, now) {
        Answer::Happened(event) => Decision::Happened(event),
        Answer::NotYet { reason, ask_after } => {
            let tried = now.since(since);
            match step.gives_up_with() {
                Some(reason) if tried >= patience.give_up => {
                    return Decision::Happened(Event::GaveUp { reason });
                }
                _ => {}
            }
            let stuck = step.gives_up_with().is_none() && tried >= patience.stuck;
            let note = if stuck && order.stuck_since.is_none() {
                Some(Event::Stuck { reason })
            } else if order.waiting.is_none() && attempt.number > patience.unrecorded {
                Some(Event::Waiting { reason, since })
            } else {
                None
            };
            Decision::Again { pause: pause(attempt, ask_after, patience), note }
        }
        Answer::Wrong { reason } => {
            let note = order.stuck_since.is_none().then_some(Event::Stuck { reason });
            Decision::Again { pause: patience.backoff().pause(u32::MAX, attempt.jitter), note }
        }
    }
}

/// The pause after a failed attempt: doubled each time, jittered, at least what was asked for.
pub fn pause(attempt: Attempt, asked: Option<Duration>, patience: &Patience) -> Duration {
    patience
        .backoff()
        .pause(attempt.number, attempt.jitter)
        .max(asked.unwrap_or_default().min(patience.longest_asked))
}

/// Whether what a call on an intent came to is still open, so that only a look-up can tell. Also
/// after an answer: a provider repeats its first answer to a key, however long ago that was.
pub fn needs_look_up(step: Step, told: &Result<Intent, PaymentError>) -> bool {
    match told {
        Ok(intent) => !is_final(step, intent),
        Err(PaymentError::OutcomeUnknown(_) | PaymentError::Refused(_) | PaymentError::InvalidMethod(_)) => {
            true
        }
        Err(PaymentError::Declined(_) | PaymentError::Unavailable { .. }) => false,
    }
}

/// Whether what a look-up shows is the answer, rather than what the call said. If it is not, the
/// call has not counted.
pub fn settles(step: Step, seen: &Intent) -> bool {
    is_final(step, seen) || seen.status == IntentStatus::Processing
}

/// Whether an intent that stands so has `step` behind it, or can never have it.
fn is_final(step: Step, intent: &Intent) -> bool {
    use IntentStatus as S;
    match step {
        Step::Authorize => match intent.status {
            S::Unconfirmed => intent.declined.is_some(),
            S::Processing => false,
            S::RequiresAction | S::Authorized | S::Captured | S::Canceled => true,
        },
        Step::Capture => !matches!(intent.status, S::Authorized | S::Processing),
        Step::CancelIntent => matches!(intent.status, S::Canceled | S::Captured),
        _ => false,
    }
}

enum Answer {
    Happened(Event),
    NotYet { reason: String, ask_after: Option<Duration> },
    Wrong { reason: String },
}

impl Answer {
    fn not_yet(reason: impl Into<String>) -> Self {
        Self::NotYet { reason: reason.into(), ask_after: None }
    }

    fn wrong(reason: impl Into<String>) -> Self {
        Self::Wrong { reason: reason.into() }
    }

    fn declined(code: impl Into<String>) -> Self {
        let code = code.into();
        // How Stripe declines a payment that needs 3-D Secure while the customer is away.
        if code == "authentication_required" {
            return Self::Happened(Event::AuthenticationRequired);
        }
        Self::Happened(Event::Declined { code })
    }

    fn invalid_method() -> Self {
        Self::Happened(Event::Declined { code: Reason::PaymentMethodInvalid.name().to_owned() })
    }
}

fn read(order: &Order, step: Step, outcome: &Outcome, now: Timestamp) -> Answer {
    match (step, outcome) {
        (Step::Confirm, _) => Answer::Happened(Event::Confirmed),
        (Step::Close, _) => match order.reason {
            _ if order.payment.captured > 0 => Answer::Happened(Event::AllRefunded),
            Some(reason) if reason.is_request() => Answer::Happened(Event::Cancelled { reason }),
            Some(reason) => Answer::Happened(Event::Rejected { reason }),
            None => Answer::wrong("an order without a reason is at its end"),
        },
        (Step::Refund, outcome) => refund(order, outcome, now),
        (Step::Hold, Outcome::Stock(answer)) => hold(order, answer),
        (Step::CommitStock, Outcome::Stock(answer)) => commit_stock(answer),
        (Step::ReleaseStock, Outcome::Stock(answer)) => release_stock(answer),
        (Step::CreateIntent, Outcome::Payment(answer)) => create_intent(answer),
        (Step::Authorize, Outcome::Payment(answer)) => authorize(answer),
        (Step::Capture, Outcome::Payment(answer)) => capture(order, answer),
        (Step::CancelIntent, Outcome::Payment(answer)) => cancel_intent(order, answer),
        (step, outcome) => Answer::wrong(format!("{outcome:?} is no answer to {}", step.name())),
    }
}

fn hold(order: &Order, answer: &Result<HoldStatus, HoldError>) -> Answer {
    match answer {
        Ok(HoldStatus::Held | HoldStatus::Committed) => Answer::Happened(Event::StockHeld),
        Err(HoldError::OutOfStock(skus)) => Answer::Happened(Event::StockRefused { skus: skus.clone() }),
        // The id is used up, so nothing can be held under it any more; and nothing is.
        Ok(HoldStatus::Released | HoldStatus::Returned) | Err(HoldError::WrongState(_)) => {
            let skus = order.lines.iter().map(|line| line.sku.clone()).collect();
            Answer::Happened(Event::StockRefused { skus })
        }
        Err(error) => stock_failed(error),
    }
}

fn commit_stock(answer: &Result<HoldStatus, HoldError>) -> Answer {
    match answer {
        Ok(HoldStatus::Committed) => Answer::Happened(Event::StockCommitted),
        Ok(HoldStatus::Held) => Answer::not_yet("the stock is still held"),
        Ok(HoldStatus::Released | HoldStatus::Returned) => {
            Answer::wrong("the stock of an authorised order was given back")
        }
        Err(error) => stock_failed(error),
    }
}

fn release_stock(answer: &Result<HoldStatus, HoldError>) -> Answer {
    match answer {
        Ok(HoldStatus::Released | HoldStatus::Returned) => Answer::Happened(Event::StockReleased),
        Ok(HoldStatus::Held | HoldStatus::Committed) => Answer::not_yet("the stock is not given back yet"),
        Err(error) => stock_failed(error),
    }
}

fn stock_failed(error: &HoldError) -> Answer {
    match error {
        HoldError::Unavailable { retry_after, .. } => {
            Answer::NotYet { reason: error.to_string(), ask_after: Some(*retry_after) }
        }
        HoldError::OutcomeUnknown => Answer::not_yet("stock has not answered"),
        HoldError::OutOfStock(_)
        | HoldError::NotFound
        | HoldError::WrongState(_)
        | HoldError::TooMany { .. } => Answer::wrong(error.to_string()),
    }
}

fn create_intent(answer: &Result<Intent, PaymentError>) -> Answer {
    match answer {
        Ok(intent) => Answer::Happened(Event::IntentCreated { intent_id: intent.id.clone() }),
        Err(PaymentError::InvalidMethod(_)) => Answer::invalid_method(),
        Err(PaymentError::Declined(code) | PaymentError::Refused(code)) => Answer::declined(code),
        Err(error) => payment_failed(error),
    }
}

fn authorize(answer: &Result<Intent, PaymentError>) -> Answer {
    match answer {
        Ok(intent) => match (intent.status, &intent.declined) {
            (IntentStatus::Authorized | IntentStatus::Captured, _) => Answer::Happened(Event::Authorized),
            (IntentStatus::RequiresAction, _) => Answer::Happened(Event::AuthenticationRequired),
            (IntentStatus::Unconfirmed, Some(code)) => Answer::declined(code),
            (IntentStatus::Canceled, _) => Answer::declined("intent_canceled"),
            (IntentStatus::Unconfirmed, None) => Answer::not_yet("the payment is not confirmed yet"),
            (IntentStatus::Processing, _) => Answer::not_yet("the payment is being processed"),
        },
        Err(PaymentError::InvalidMethod(_)) => Answer::invalid_method(),
        Err(PaymentError::Declined(code) | PaymentError::Refused(code)) => Answer::declined(code),
        Err(error) => payment_failed(error),
    }
}

fn captured(order: &Order, intent: &Intent) -> Answer {
    if intent.captured == order.total {
        return Answer::Happened(Event::Captured);
    }
    Answer::wrong(format!("{} of {} was captured", intent.captured, order.total))
}

fn capture(order: &Order, answer: &Result<Intent, PaymentError>) -> Answer {
    match answer {
        Ok(intent) => match intent.status {
            IntentStatus::Captured => captured(order, intent),
            IntentStatus::Authorized | IntentStatus::Processing => {
                Answer::not_yet("the payment is not captured yet")
            }
            // It has run out, or somebody ended it at the provider: nothing can be captured any more.
            IntentStatus::Unconfirmed | IntentStatus::RequiresAction | IntentStatus::Canceled => {
                Answer::declined("authorization_gone")
            }
        },
        Err(error) => payment_failed(error),
    }
}

fn cancel_intent(order: &Order, answer: &Result<Intent, PaymentError>) -> Answer {
    match answer {
        Ok(intent) => match intent.status {
            IntentStatus::Canceled => Answer::Happened(Event::IntentCanceled),
            // Whatever of it was taken, by us or by hand at the provider, is given back.
            IntentStatus::Captured if intent.captured == order.total => Answer::Happened(Event::Captured),
            IntentStatus::Captured if intent.captured.minor > 0 => {
                Answer::Happened(Event::ChargedLate { amount: intent.captured.minor })
            }
            IntentStatus::Captured => captured(order, intent),
            _ => Answer::not_yet("the payment is not cancelled yet"),
        },
        Err(error) => payment_failed(error),
    }
}

fn refund(order: &Order, outcome: &Outcome, now: Timestamp) -> Answer {
    let Some(due) = order.refunds_due.first() else {
        if order.payment.rests >= MOST_RESTS {
            if let Outcome::RefundRefused { elsewhere, .. } = outcome {
                let amount = unrecorded(order, *elsewhere);
                if amount.minor > 0 {
                    return Answer::Happened(Event::RefundedElsewhere { refund_id: None, amount });
                }
            }
            let left = order.left_to_refund();
            return Answer::wrong(format!("{left} came back each time that it was given back"));
        }
        let refund = Box::new(Refund::of_the_rest(order, now));
        return Answer::Happened(Event::RefundRequested { refund });
    };
    // What an order that is being undone owes stays owed, whatever the provider says.
    let failed = |reason: String| match order.reason {
        Some(_) => Answer::wrong(reason),
        None => Answer::Happened(Event::RefundFailed { refund_id: due.id.clone(), reason }),
    };
    match outcome {
        Outcome::RefundRefused { reason, elsewhere } => {
            let amount = unrecorded(order, *elsewhere);
            let left = order.payment.captured - order.payment.refunded;
            if amount.minor > 0 || due.amount.minor > left {
                return Answer::Happened(Event::RefundedElsewhere {
                    refund_id: Some(due.id.clone()),
                    amount,
                });
            }
            failed(reason.clone())
        }
        Outcome::Refund(Ok(back)) => match back.status {
            ProviderRefundStatus::Pending => Answer::not_yet("the refund is being processed"),
            ProviderRefundStatus::Succeeded if back.amount == due.amount => {
                Answer::Happened(Event::RefundSucceeded {
                    refund_id: due.id.clone(),
                    reference: back.id.clone(),
                })
            }
            ProviderRefundStatus::Succeeded => {
                Answer::wrong(format!("{} of {} was refunded", back.amount, due.amount))
            }
            ProviderRefundStatus::Failed => failed(format!("refund {} failed", back.id)),
        },
        Outcome::Refund(Err(
            PaymentError::Declined(code) | PaymentError::InvalidMethod(code) | PaymentError::Refused(code),
        )) => failed(code.clone()),
        Outcome::Refund(Err(error)) => payment_failed(error),
        other => Answer::wrong(format!("{other:?} is no answer about a refund")),
    }
}

/// What of `elsewhere`, which was given back by refunds that are not ours, is not recorded yet.
pub(super) fn unrecorded(order: &Order, elsewhere: Money) -> Money {
    let left = order.payment.captured - order.payment.refunded;
    Money::new((elsewhere.minor - order.payment.refunded_elsewhere).min(left).max(0), order.currency())
}

fn payment_failed(error: &PaymentError) -> Answer {
    match error {
        PaymentError::Unavailable { retry_after, .. } => {
            Answer::NotYet { reason: error.to_string(), ask_after: *retry_after }
        }
        PaymentError::OutcomeUnknown(_) => Answer::not_yet(error.to_string()),
        PaymentError::Declined(_) | PaymentError::InvalidMethod(_) | PaymentError::Refused(_) => {
            Answer::wrong(error.to_string())
        }
    }
}
