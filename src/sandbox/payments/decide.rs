//! What an operation does to an intent. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use steward_actors::time::Timestamp;

use super::intent::{Intent, Status, whole_steps};
use super::refund::Refund;
use crate::sandbox::answer::Answer;

/// The payment methods that exist.
pub(super) const METHODS: [&str; 7] = [
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_authenticationRequired",
    "pm_card_slow",
    "pm_card_flaky",
    "pm_card_lost_reply",
    "pm_card_broken_reply",
];

/// How often a flaky method fails first.
const FLAKY_FAILURES: u32 = 2;

/// What is asked of an intent.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// With another payment method, if one is given.
    Confirm(Option<String>),
    /// This much, or all; the rest is released.
    Capture(Option<i64>),
    /// For this reason.
    Cancel(Option<String>),
}

impl Operation {
    fn name(&self) -> &'static str {
        match self {
            Self::Confirm(_) => "confirm",
            Self::Capture(_) => "capture",
            Self::Cancel(_) => "cancel",
        }
    }
}

/// How the answer gets to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    AtOnce,
    Late,
    Never,
}

/// What becomes of it.
pub(super) struct Decided {
    /// The intent from now on; `None` if nothing changes.
    pub(super) intent: Option<Intent>,
    pub(super) answer: Answer,
    /// Whether the answer is kept for the idempotency key. Stripe keeps what an endpoint answered
    /// once it began to execute, refusals included; a flaky method fails before that.
    pub(super) kept: bool,
    pub(super) delivery: Delivery,
}

/// Decides. `Err` is a refusal of the parameters, which is not kept.
pub(super) fn decide(before: &Intent, operation: &Operation, now: Timestamp) -> Result<Decided, Answer> {
    let mut intent = before.clone();
    if let Operation::Confirm(Some(method)) = operation {
        intent.payment_method = Some(known_method(method)?);
        if intent.status == Status::RequiresPaymentMethod {
            intent.status = Status::RequiresConfirmation;
        }
    }
    if !is_open_to(intent.status, operation) {
        return Ok(refused(before, operation));
    }
    if let Some(failed) = fails_first(&mut intent, operation.name()) {
        return Ok(failed);
    }
    let method = intent.payment_method.clone().unwrap_or_default();
    let declined = match operation {
        Operation::Confirm(_) => confirm(&mut intent, &method),
        Operation::Capture(amount) => {
            capture(&mut intent, *amount)?;
            None
        }
        Operation::Cancel(reason) => {
            intent.status = Status::Canceled;
            intent.capturable = 0;
            intent.canceled_at = Some(now);
            intent.cancellation_reason =
                Some(reason.clone().unwrap_or_else(|| "requested_by_customer".into()));
            None
        }
    };
    let answer = declined.unwrap_or_else(|| Answer::ok(intent.shown()));
    let (answer, delivery) = match operation {
        Operation::Cancel(_) => (answer, Delivery::AtOnce),
        _ => delivered(&method, answer),
    };
    Ok(Decided { intent: Some(intent), answer, kept: true, delivery })
}

/// Whether a method that fails a few times before it works fails now, and what it answers then.
/// Nothing is done but that it is counted.
fn fails_first(intent: &mut Intent, operation: &str) -> Option<Decided> {
    let flaky = intent.payment_method.as_deref() == Some("pm_card_flaky");
    let failures = intent.failures.entry(operation.to_owned()).or_default();
    if !flaky || *failures >= FLAKY_FAILURES {
        return None;
    }
    *failures += 1;
    let answer = Answer::error(500, "api_error", "The flaky payment method failed; nothing was done.");
    Some(Decided { intent: Some(intent.clone()), answer, kept: false, delivery: Delivery::AtOnce })
}

/// How the answer to something that was done gets to the client.
fn delivered(method: &str, answer: Answer) -> (Answer, Delivery) {
    match method {
        "pm_card_slow" => (answer, Delivery::Late),
        "pm_card_lost_reply" => (answer, Delivery::Never),
        "pm_card_broken_reply" => {
            (Answer::error(500, "api_error", "Something went wrong after it was done."), Delivery::AtOnce)
        }
        _ => (answer, Delivery::AtOnce),
    }
}

/// Gives `amount`, or all that is left, of an intent back.
pub(super) fn give_back(
    before: &Intent,
    amount: Option<i64>,
    metadata: BTreeMap<String, String>,
    now: Timestamp,
) -> Result<(Decided, Option<Refund>), Answer> {
    let mut intent = before.clone();
    let method = intent.payment_method.clone().unwrap_or_default();
    let refund = Refund::of(&mut intent, amount, metadata, now)?;
    let mut failing = before.clone();
    if let Some(failed) = fails_first(&mut failing, "refund") {
        return Ok((failed, None));
    }
    let (answer, delivery) = delivered(&method, Answer::ok(refund.shown()));
    Ok((Decided { intent: Some(intent), answer, kept: true, delivery }, Some(refund)))
}

/// The method, if there is one of that name.
pub(super) fn known_method(method: &str) -> Result<String, Answer> {
    if METHODS.contains(&method) {
        return Ok(method.to_owned());
    }
    let message = format!("No such PaymentMethod: '{method}'");
    Err(Answer::invalid("resource_missing", Some("payment_method"), message))
}

fn is_open_to(status: Status, operation: &Operation) -> bool {
    match operation {
        Operation::Confirm(_) => status == Status::RequiresConfirmation,
        Operation::Capture(_) => status == Status::RequiresCapture,
        Operation::Cancel(_) => !matches!(status, Status::Succeeded | Status::Canceled),
    }
}

fn refused(intent: &Intent, operation: &Operation) -> Decided {
    let status = serde_json::to_value(intent.status).unwrap_or_default();
    let message =
        format!("You cannot {} this PaymentIntent because it has a status of {status}.", operation.name());
    let mut answer = Answer::invalid("payment_intent_unexpected_state", None, message);
    answer.body["error"]["payment_intent"] = intent.shown();
    Decided { intent: None, answer, kept: true, delivery: Delivery::AtOnce }
}

fn confirm(intent: &mut Intent, method: &str) -> Option<Answer> {
    match method {
        "pm_card_chargeDeclined" => {
            intent.status = Status::RequiresPaymentMethod;
            intent.payment_method = None;
            let mut error = declined();
            intent.last_error = Some(error.clone());
            error["payment_intent"] = intent.shown();
            Some(Answer { status: 402, body: json!({ "error": error }) })
        }
        "pm_card_authenticationRequired" => {
            intent.status = Status::RequiresAction;
            None
        }
        _ => {
            intent.status = Status::RequiresCapture;
            intent.capturable = intent.amount;
            intent.authorizations += 1;
            intent.last_error = None;
            None
        }
    }
}

fn declined() -> Value {
    json!({
        "type": "card_error",
        "code": "card_declined",
        "decline_code": "generic_decline",
        "message": "Your card was declined.",
    })
}

fn capture(intent: &mut Intent, amount: Option<i64>) -> Result<(), Answer> {
    let amount = amount.unwrap_or(intent.capturable);
    if !(1..=intent.capturable).contains(&amount) {
        let message = format!("You can capture 1 to {}.", intent.capturable);
        return Err(Answer::invalid("amount_too_large", Some("amount_to_capture"), message));
    }
    whole_steps(amount, &intent.currency, "amount_to_capture")?;
    intent.status = Status::Succeeded;
    intent.received = amount;
    intent.capturable = 0;
    intent.captures += 1;
    Ok(())
}
