//! The reading of answers, tried exhaustively: what each means at each step, what is waited for and
//! how long.

use std::time::Duration;

use super::table::{NOW, at, name};
use super::world::order;
use crate::inventory::{HoldError, HoldStatus};
use crate::money::Money;
use crate::order_saga::decide::{
    Attempt, Decision, Outcome, Patience, decide, needs_look_up, pause, settles,
};
use crate::order_saga::event::Event;
use crate::order_saga::order::{Order, Reason};
use crate::order_saga::state::{Step, apply};
use crate::providers::{Intent, IntentStatus, PaymentError, ProviderRefund, ProviderRefundStatus};

fn intent(status: IntentStatus) -> Intent {
    let total = order().total;
    let captured = if status == IntentStatus::Captured { total } else { Money::new(0, total.currency) };
    Intent { id: "pi_1".to_owned(), status, amount: total, captured, declined: None }
}

fn declined_intent() -> Intent {
    Intent { declined: Some("card_declined".to_owned()), ..intent(IntentStatus::Unconfirmed) }
}

fn outcomes() -> Vec<Outcome> {
    let stock = [
        Ok(HoldStatus::Held),
        Ok(HoldStatus::Committed),
        Ok(HoldStatus::Released),
        Ok(HoldStatus::Returned),
        Err(HoldError::OutOfStock(vec!["a".to_owned()])),
        Err(HoldError::NotFound),
        Err(HoldError::WrongState(HoldStatus::Held)),
        Err(HoldError::WrongState(HoldStatus::Committed)),
        Err(HoldError::WrongState(HoldStatus::Released)),
        Err(HoldError::Unavailable { reason: "busy".to_owned(), retry_after: Duration::from_secs(1) }),
        Err(HoldError::OutcomeUnknown),
    ];
    let payment = [
        Ok(intent(IntentStatus::Unconfirmed)),
        Ok(declined_intent()),
        Ok(intent(IntentStatus::RequiresAction)),
        Ok(intent(IntentStatus::Processing)),
        Ok(intent(IntentStatus::Authorized)),
        Ok(intent(IntentStatus::Captured)),
        Ok(intent(IntentStatus::Canceled)),
        Err(PaymentError::Declined("card_declined".to_owned())),
        Err(PaymentError::Declined("authentication_required".to_owned())),
        Err(PaymentError::Refused("no such thing".to_owned())),
        Err(PaymentError::InvalidMethod("no such method".to_owned())),
        Err(PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None }),
        Err(PaymentError::OutcomeUnknown("lost".to_owned())),
    ];
    use ProviderRefundStatus as R;
    let back = |status| ProviderRefund { id: "re_1".to_owned(), status, amount: order().total };
    let refund = [
        Ok(back(R::Pending)),
        Ok(back(R::Succeeded)),
        Ok(back(R::Failed)),
        Ok(ProviderRefund { amount: Money::new(1, order().total.currency), ..back(R::Succeeded) }),
        Err(PaymentError::Refused("charge_already_refunded".to_owned())),
        Err(PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None }),
        Err(PaymentError::OutcomeUnknown("lost".to_owned())),
    ];
    let refused = |minor| Outcome::RefundRefused {
        reason: "charge_already_refunded".to_owned(),
        elsewhere: Money::new(minor, order().total.currency),
    };
    let stock = stock.into_iter().map(Outcome::Stock);
    let payment = payment.into_iter().map(Outcome::Payment);
    let refund = refund.map(Outcome::Refund);
    stock.chain(payment).chain(refund).chain([refused(0), refused(1000), Outcome::Nothing]).collect()
}

fn first(step: Step, outcome: &Outcome) -> Decision {
    decide_at(&at(step), step, outcome)
}

pub(super) fn decide_at(order: &Order, step: Step, outcome: &Outcome) -> Decision {
    let attempt = Attempt { number: 1, since: NOW, jitter: 1.0 };
    decide(order, step, outcome, attempt, NOW, &Patience::default())
}

#[test]
fn every_answer_at_every_step_leads_somewhere_the_table_has() {
    let patience = Patience::default();
    let late = NOW.plus(patience.give_up * 2);
    for step in Step::ALL {
        for outcome in outcomes() {
            for (number, now) in [(1, NOW), (3, NOW), (50, late)] {
                let attempt = Attempt { number, since: NOW, jitter: 0.5 };
                let mut order = at(step);
                match decide(&order, step, &outcome, attempt, now, &patience) {
                    Decision::Happened(event) => {
                        assert!(!event.is_note(), "{step:?} {outcome:?} {event:?}");
                        apply(&mut order, event, number, now).unwrap();
                    }
                    Decision::Again { pause, note } => {
                        assert!(pause >= patience.shortest / 2, "{step:?} {outcome:?} spins");
                        assert!(note.iter().all(Event::is_note), "{step:?} {outcome:?} {note:?}");
                        assert!(
                            number == 1 || note.is_some() || order.waiting.is_some(),
                            "{step:?} {outcome:?} waits in silence"
                        );
                    }
                }
            }
        }
    }
}

/// What each answer that settles a step means, as `step: answer -> event`.
#[test]
fn answers_mean_exactly_this() {
    let mut found = Vec::new();
    for step in Step::ALL {
        for outcome in outcomes() {
            if let Decision::Happened(event) = first(step, &outcome) {
                let answer = match &outcome {
                    Outcome::Stock(Ok(status)) => format!("{status:?}"),
                    Outcome::Stock(Err(error)) => error.to_string(),
                    Outcome::Payment(Ok(intent)) if intent.declined.is_some() => "Declined".to_owned(),
                    Outcome::Payment(Ok(intent)) => format!("{:?}", intent.status),
                    Outcome::Payment(Err(error)) => error.to_string(),
                    Outcome::Refund(Ok(back)) => format!("{:?}", back.status),
                    Outcome::Refund(Err(error)) => error.to_string(),
                    Outcome::RefundRefused { reason, elsewhere } => {
                        format!("{reason}, {elsewhere} elsewhere")
                    }
                    Outcome::Nothing => "-".to_owned(),
                };
                if !matches!(step, Step::Confirm | Step::Close | Step::CreateIntent) {
                    found.push(format!("{}: {answer} -> {}", step.name(), name(&event)));
                }
            }
        }
    }
    assert_eq!(
        found,
        [
            "hold: Held -> stock_held",
            "hold: Committed -> stock_held",
            "hold: Released -> stock_refused",
            "hold: Returned -> stock_refused",
            "hold: out of stock: a -> stock_refused",
            "hold: the hold is Held already -> stock_refused",
            "hold: the hold is Committed already -> stock_refused",
            "hold: the hold is Released already -> stock_refused",
            "authorize: Declined -> declined",
            "authorize: RequiresAction -> authentication_required",
            "authorize: Authorized -> authorized",
            "authorize: Captured -> authorized",
            "authorize: Canceled -> declined",
            "authorize: declined: card_declined -> declined",
            "authorize: declined: authentication_required -> authentication_required",
            "authorize: refused: no such thing -> declined",
            "authorize: the payment method is invalid: no such method -> declined",
            "commit_stock: Committed -> stock_committed",
            "capture: Unconfirmed -> declined",
            "capture: Declined -> declined",
            "capture: RequiresAction -> declined",
            "capture: Captured -> captured",
            "capture: Canceled -> declined",
            "cancel_intent: Captured -> captured",
            "cancel_intent: Canceled -> intent_canceled",
            "refund: Succeeded -> refund_succeeded",
            "refund: Failed -> refund_failed",
            "refund: refused: charge_already_refunded -> refund_failed",
            "refund: charge_already_refunded, 0.00 USD elsewhere -> refund_failed",
            "refund: charge_already_refunded, 10.00 USD elsewhere -> refunded_elsewhere",
            "release_stock: Released -> stock_released",
            "release_stock: Returned -> stock_released",
        ]
    );
}

#[test]
fn past_the_point_of_no_return_nothing_leads_back_unless_the_authorisation_is_gone() {
    for step in [Step::CommitStock, Step::Capture, Step::Confirm] {
        for outcome in outcomes() {
            for tried in [Duration::ZERO, Duration::from_secs(1_000_000)] {
                let attempt = Attempt { number: 9, since: NOW, jitter: 0.5 };
                let decision =
                    decide(&at(step), step, &outcome, attempt, NOW.plus(tried), &Patience::default());
                if let Decision::Happened(event) = decision {
                    let gone = Event::Declined { code: "authorization_gone".to_owned() };
                    let forward = [Event::StockCommitted, Event::Captured, Event::Confirmed];
                    let shown = matches!(outcome, Outcome::Payment(Ok(_))) && event == gone;
                    assert!(forward.contains(&event) || shown, "{step:?} {outcome:?} {event:?}");
                }
            }
        }
    }
}

#[test]
fn a_capture_of_another_amount_is_stuck_and_not_confirmed() {
    let mut part = intent(IntentStatus::Captured);
    part.captured.minor -= 1;
    let decision = first(Step::Capture, &Outcome::Payment(Ok(part)));
    let Decision::Again { note: Some(Event::Stuck { reason }), .. } = decision else {
        panic!("{decision:?}");
    };
    assert!(reason.contains("was captured"), "{reason}");
}

/// Somebody captured a part by hand, at the provider, and then the order is cancelled.
#[test]
fn a_capture_of_another_amount_is_given_back_when_the_order_is_undone() {
    let mut part = intent(IntentStatus::Captured);
    part.captured.minor = 600;
    let mut order = at(Step::CancelIntent);
    let decision = decide_at(&order, Step::CancelIntent, &Outcome::Payment(Ok(part)));
    let Decision::Happened(event) = decision else { panic!("{decision:?}") };
    apply(&mut order, event, 1, NOW).unwrap();
    assert_eq!((order.step, order.left_to_refund().minor), (Some(Step::Refund), 600));
}

#[test]
fn what_waiting_cannot_help_is_stuck_at_once_and_said_once() {
    let refused = Outcome::Payment(Err(PaymentError::Refused("no such thing".to_owned())));
    let Decision::Again { note: Some(note), pause } = first(Step::Capture, &refused) else { panic!() };
    assert_eq!(pause, Patience::default().longest);
    let mut order = at(Step::Capture);
    apply(&mut order, note, 1, NOW).unwrap();
    let attempt = Attempt { number: 2, since: NOW, jitter: 0.5 };
    let again = decide(&order, Step::Capture, &refused, attempt, NOW, &Patience::default());
    assert!(matches!(again, Decision::Again { note: None, .. }), "{again:?}");
}

#[test]
fn a_wait_is_recorded_once_after_a_moment() {
    let down = PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None };
    let down = Outcome::Payment(Err(down));
    let mut order = at(Step::Authorize);
    let mut notes = Vec::new();
    for number in 1..20 {
        let attempt = Attempt { number, since: NOW, jitter: 0.5 };
        let decision = decide(&order, Step::Authorize, &down, attempt, NOW, &Patience::default());
        let Decision::Again { note, .. } = decision else { panic!("{decision:?}") };
        if let Some(note) = note {
            apply(&mut order, note, number, NOW).unwrap();
            notes.push(number);
        }
    }
    assert_eq!(notes, [3]);
}

#[test]
fn patience_ends_before_authorisation_with_the_reason_of_the_step_and_counts_from_the_first_owner() {
    let patience = Patience::default();
    let unknown = Outcome::Payment(Err(PaymentError::OutcomeUnknown("lost".to_owned())));
    for (step, outcome, reason) in [
        (Step::Hold, Outcome::Stock(Err(HoldError::OutcomeUnknown)), Reason::StockUnavailable),
        (Step::CreateIntent, unknown.clone(), Reason::PaymentUnavailable),
        (Step::Authorize, unknown, Reason::PaymentUnavailable),
    ] {
        let mut order = at(step);
        apply(&mut order, Event::Waiting { reason: "w".to_owned(), since: NOW }, 3, NOW).unwrap();
        let now = NOW.plus(patience.give_up);
        let attempt = Attempt { number: 1, since: now, jitter: 0.5 };
        let decision = decide(&order, step, &outcome, attempt, now, &patience);
        assert_eq!(decision, Decision::Happened(Event::GaveUp { reason }), "{step:?}");
    }
}

#[test]
fn after_authorisation_and_while_undoing_a_step_that_lasts_is_listed_as_stuck_and_still_tried() {
    let patience = Patience::default();
    for step in [Step::CommitStock, Step::Capture, Step::CancelIntent, Step::ReleaseStock] {
        let outcome = match step {
            Step::CommitStock | Step::ReleaseStock => Outcome::Stock(Err(HoldError::OutcomeUnknown)),
            _ => Outcome::Payment(Err(PaymentError::OutcomeUnknown("lost".to_owned()))),
        };
        let attempt = Attempt { number: 100, since: NOW, jitter: 0.5 };
        let mut order = at(step);
        apply(&mut order, Event::Waiting { reason: "w".to_owned(), since: NOW }, 3, NOW).unwrap();
        let decision = decide(&order, step, &outcome, attempt, NOW.plus(patience.give_up * 9), &patience);
        let Decision::Again { note: Some(Event::Stuck { .. }), pause } = decision else {
            panic!("{step:?} {decision:?}");
        };
        assert!(pause <= patience.longest);
    }
}

#[test]
fn pauses_double_are_jittered_and_heed_what_is_asked() {
    let patience = Patience::default();
    let after = |number, jitter, asked| pause(Attempt { number, since: NOW, jitter }, asked, &patience);
    assert_eq!(after(1, 1.0, None), Duration::from_millis(100));
    assert_eq!(after(2, 1.0, None), Duration::from_millis(200));
    assert_eq!(after(2, 0.0, None), Duration::from_millis(100));
    assert_eq!(after(u32::MAX, 1.0, None), patience.longest);
    assert_eq!(after(1, 1.0, Some(Duration::from_secs(60))), Duration::from_secs(60));
    assert_eq!(after(1, 1.0, Some(Duration::from_secs(86_400))), patience.longest_asked);
}

#[test]
fn a_look_up_settles_only_what_it_proves() {
    use IntentStatus as S;
    for step in [Step::Authorize, Step::Capture, Step::CancelIntent] {
        for status in
            [S::Unconfirmed, S::RequiresAction, S::Processing, S::Authorized, S::Captured, S::Canceled]
        {
            let counted_or_never_can = match step {
                Step::Authorize => !matches!(status, S::Unconfirmed | S::Processing),
                Step::Capture => !matches!(status, S::Authorized | S::Processing),
                _ => matches!(status, S::Captured | S::Canceled),
            };
            let told = Ok(intent(status));
            assert_eq!(needs_look_up(step, &told), !counted_or_never_can, "{step:?} {status:?}");
            let settled = counted_or_never_can || status == S::Processing;
            assert_eq!(settles(step, &intent(status)), settled, "{step:?} {status:?}");
        }
        assert!(needs_look_up(step, &Err(PaymentError::Refused("state".to_owned()))));
        assert!(needs_look_up(step, &Err(PaymentError::InvalidMethod("gone".to_owned()))));
        assert!(needs_look_up(step, &Err(PaymentError::OutcomeUnknown("lost".to_owned()))));
        assert!(!needs_look_up(step, &Err(PaymentError::Declined("card".to_owned()))));
    }
    assert!(settles(Step::Authorize, &declined_intent()));
}
