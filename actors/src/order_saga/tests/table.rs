//! The table and the reading of answers, tried exhaustively.

use std::time::Duration;

use super::world::order;
use crate::inventory::{HoldError, HoldLine, HoldStatus};
use crate::money::Money;
use crate::order_saga::decide::{
    Attempt, Decision, Outcome, Patience, decide, needs_look_up, pause, settles,
};
use crate::order_saga::event::Event;
use crate::order_saga::order::{Order, OrderStatus, PaymentStatus, Reason};
use crate::order_saga::refund::{Refund, RefundStatus};
use crate::order_saga::state::{Step, after, apply};
use crate::providers::{Intent, IntentStatus, PaymentError, ProviderRefund, ProviderRefundStatus};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

fn at(step: Step) -> Order {
    let mut order = order();
    order.step = Some(step);
    let reached = |steps: &[Step]| steps.contains(&step);
    order.payment.status = if reached(&[Step::Hold, Step::CreateIntent]) {
        PaymentStatus::Pending
    } else if reached(&[Step::Authorize, Step::CancelIntent]) {
        PaymentStatus::Created
    } else if reached(&[Step::CommitStock, Step::Capture]) {
        PaymentStatus::Authorized
    } else if reached(&[Step::Confirm, Step::Refund]) {
        PaymentStatus::Captured
    } else {
        PaymentStatus::Canceled
    };
    if reached(&[Step::CancelIntent, Step::ReleaseStock, Step::Close]) {
        order.reason = Some(Reason::PaymentDeclined);
    }
    if step == Step::Refund {
        order.status = OrderStatus::Confirmed;
        order.payment.captured = order.total.minor;
        order.refunds_due = vec![refund("r1", order.total.minor)];
    }
    order
}

fn refund(id: &str, minor: i64) -> Refund {
    Refund {
        id: id.to_owned(),
        order_id: "o1".to_owned(),
        amount: Money::new(minor, order().total.currency),
        lines: None,
        reason: None,
        status: RefundStatus::Pending,
        fingerprint: String::new(),
        reference: None,
        failure: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// Paid, at rest, and with its goods so far.
fn at_rest(status: OrderStatus) -> Order {
    let mut order = at(Step::Confirm);
    (order.step, order.status, order.owner) = (None, status, None);
    order.payment.captured = order.total.minor;
    order.shipped_at = matches!(status, OrderStatus::Shipped | OrderStatus::Delivered).then_some(NOW);
    order.delivered_at = (status == OrderStatus::Delivered).then_some(NOW);
    if matches!(status, OrderStatus::Rejected | OrderStatus::Cancelled) {
        order.reason = Some(Reason::PaymentDeclined);
        order.payment.captured = 0;
    }
    order
}

fn intent(status: IntentStatus) -> Intent {
    let total = order().total;
    let captured = if status == IntentStatus::Captured { total } else { Money::new(0, total.currency) };
    Intent { id: "pi_1".to_owned(), status, amount: total, captured, declined: None }
}

fn declined_intent() -> Intent {
    Intent { declined: Some("card_declined".to_owned()), ..intent(IntentStatus::Unconfirmed) }
}

fn events() -> Vec<Event> {
    let reason = Reason::PaymentUnavailable;
    vec![
        Event::Accepted,
        Event::StockHeld,
        Event::StockRefused { skus: vec!["a".to_owned()] },
        Event::IntentCreated { intent_id: "pi_1".to_owned() },
        Event::Authorized,
        Event::Declined { code: "card_declined".to_owned() },
        Event::AuthenticationRequired,
        Event::GaveUp { reason },
        Event::StockCommitted,
        Event::Captured,
        Event::Confirmed,
        Event::IntentCanceled,
        Event::StockReleased,
        Event::Rejected { reason },
        Event::Cancelled { reason },
        Event::AllRefunded,
        Event::CancelRequested { reason: Reason::RequestedByCustomer },
        Event::ChargedLate { amount: 2999 },
        Event::RefundRequested { refund: Box::new(refund("r2", 1)) },
        Event::RefundSucceeded { refund_id: "r1".to_owned(), reference: "re_1".to_owned() },
        Event::RefundFailed { refund_id: "r1".to_owned(), reason: "r".to_owned() },
        Event::RefundReversed { refund: Box::new(refund("r1", 1)), reason: "r".to_owned() },
        Event::Shipped { tracking_number: None },
        Event::Delivered,
        Event::Waiting { reason: "r".to_owned(), since: NOW },
        Event::Stuck { reason: "r".to_owned() },
        Event::Adopted { by: "b".to_owned() },
    ]
}

fn name(event: &Event) -> String {
    serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned()
}

#[test]
fn the_table_is_exactly_this() {
    let mut found = Vec::new();
    for step in Step::ALL {
        for event in events().into_iter().filter(|event| !event.is_note()) {
            if let Ok(next) = after(&at(step), &event) {
                let next = next.map_or("rest", Step::name);
                found.push(format!("{} + {} -> {next}", step.name(), name(&event)));
            }
        }
    }
    for status in OrderStatus::ALL {
        for event in events() {
            if let Ok(next) = after(&at_rest(status), &event) {
                let next = next.map_or("rest", Step::name);
                found.push(format!("{} at rest + {} -> {next}", status.name(), name(&event)));
            }
        }
    }
    assert_eq!(
        found,
        [
            "hold + stock_held -> create_intent",
            "hold + stock_refused -> close",
            "hold + gave_up -> release_stock",
            "hold + cancel_requested -> release_stock",
            "create_intent + intent_created -> authorize",
            "create_intent + declined -> release_stock",
            "create_intent + authentication_required -> release_stock",
            "create_intent + gave_up -> release_stock",
            "create_intent + cancel_requested -> release_stock",
            "authorize + authorized -> commit_stock",
            "authorize + declined -> cancel_intent",
            "authorize + authentication_required -> cancel_intent",
            "authorize + gave_up -> cancel_intent",
            "authorize + cancel_requested -> cancel_intent",
            "commit_stock + stock_committed -> capture",
            "commit_stock + cancel_requested -> cancel_intent",
            "capture + declined -> cancel_intent",
            "capture + captured -> confirm",
            "capture + cancel_requested -> cancel_intent",
            "confirm + confirmed -> rest",
            "cancel_intent + captured -> refund",
            "cancel_intent + intent_canceled -> release_stock",
            "refund + cancel_requested -> refund",
            "refund + refund_requested -> refund",
            "refund + refund_succeeded -> release_stock",
            "refund + refund_failed -> rest",
            "refund + refund_reversed -> refund",
            "release_stock + stock_released -> close",
            "close + rejected -> rest",
            "close + cancelled -> rest",
            "close + all_refunded -> rest",
            "confirmed at rest + cancel_requested -> refund",
            "confirmed at rest + refund_requested -> refund",
            "confirmed at rest + refund_reversed -> rest",
            "confirmed at rest + shipped -> rest",
            "shipped at rest + refund_requested -> refund",
            "shipped at rest + refund_reversed -> rest",
            "shipped at rest + delivered -> rest",
            "delivered at rest + refund_requested -> refund",
            "delivered at rest + refund_reversed -> rest",
            "rejected at rest + charged_late -> refund",
            "cancelled at rest + charged_late -> refund",
            "refunded at rest + refund_reversed -> refund",
        ]
    );
}

#[test]
fn what_was_captured_while_it_was_being_undone_is_refunded() {
    let mut order = at(Step::CancelIntent);
    apply(&mut order, Event::Captured, 1, NOW).unwrap();
    assert_eq!((order.step, order.status), (Some(Step::Refund), OrderStatus::Refunding));
    assert_eq!(order.left_to_refund(), order.total);
}

/// Ends refund r1, and says what follows.
fn ends(order: &mut Order, well: bool) -> (Option<Step>, OrderStatus) {
    let refund_id = "r1".to_owned();
    let event = match well {
        true => Event::RefundSucceeded { refund_id, reference: "re_1".to_owned() },
        false => Event::RefundFailed { refund_id, reason: "no".to_owned() },
    };
    apply(order, event, 1, NOW).unwrap();
    (order.step, order.status)
}

#[test]
fn a_part_that_is_refunded_leaves_the_status_and_nothing_left_ends_the_order() {
    use OrderStatus as S;
    for status in [S::Confirmed, S::Shipped, S::Delivered] {
        let ask = |order: &mut Order, id: &str, minor| {
            apply(order, Event::RefundRequested { refund: Box::new(refund(id, minor)) }, 1, NOW).unwrap();
            order.status
        };
        let mut order = at_rest(status);
        assert_eq!(ask(&mut order, "r1", 1000), status);
        assert_eq!(ends(&mut order, true), (None, status));
        assert_eq!((order.payment.refunded, order.left_to_refund().minor), (1000, 1999));

        // Two at once: the order ends with the second of them, if none fails.
        assert_eq!(ask(&mut order, "r0", 999), status);
        assert_eq!(ask(&mut order, "r1", 1000), S::Refunding);
        let mut failed = order.clone();
        assert_eq!(ends(&mut order, true), (Some(Step::Refund), S::Refunding));
        assert_eq!(ends(&mut failed, false), (Some(Step::Refund), status));
        for order in [&mut order, &mut failed] {
            order.refunds_due[0].id = "r1".to_owned();
        }
        assert_eq!(ends(&mut failed, true), (None, status));
        let end = if status == S::Confirmed { Step::ReleaseStock } else { Step::Close };
        assert_eq!(ends(&mut order, true), (Some(end), S::Refunding));
        assert_eq!(order.payment.status, PaymentStatus::Refunded);
    }
}

#[test]
fn what_is_left_of_an_order_that_is_undone_is_refunded_after_what_was_asked_for() {
    let mut order = at(Step::Refund);
    order.refunds_due = vec![refund("r1", 1000)];
    apply(&mut order, Event::CancelRequested { reason: Reason::RequestedByShop }, 1, NOW).unwrap();
    assert_eq!(ends(&mut order, true), (Some(Step::Refund), OrderStatus::Refunding));
    let Decision::Happened(rest) = decide_at(&order, Step::Refund, &Outcome::Nothing) else { panic!() };
    let Event::RefundRequested { refund } = &rest else { panic!("{rest:?}") };
    assert_eq!(refund.amount.minor, 1999);
    apply(&mut order, rest, 1, NOW).unwrap();
    assert_eq!(order.left_to_refund().minor, 0);
}

/// Refund r1 of `minor` comes back; what follows.
fn comes_back(order: &mut Order, minor: i64) -> (Option<Step>, OrderStatus) {
    let refund = Box::new(refund("r1", minor));
    apply(order, Event::RefundReversed { refund, reason: "no".to_owned() }, 1, NOW).unwrap();
    (order.step, order.status)
}

#[test]
fn money_that_comes_back_is_owed_again_by_what_was_undone_and_can_be_asked_for_of_the_rest() {
    use OrderStatus as S;
    for status in [S::Confirmed, S::Shipped, S::Delivered] {
        let mut part = at_rest(status);
        part.payment.refunded = 1000;
        assert_eq!(comes_back(&mut part, 1000), (None, status));
        assert_eq!((part.reason, part.left_to_refund()), (None, part.total));

        // While another part is due, with which all would have been given back.
        let mut due = at_rest(status);
        (due.step, due.status, due.payment.refunded) = (Some(Step::Refund), S::Refunding, 1000);
        due.refunds_due = vec![refund("r2", 1999)];
        assert_eq!(comes_back(&mut due, 1000), (Some(Step::Refund), status));
        assert_eq!(due.left_to_refund().minor, 1000);

        // All of it: goods that were not shipped are with the shop, so there is no way back for them.
        let mut all = at_rest(status);
        let minor = all.total.minor;
        (all.status, all.payment.status, all.payment.refunded) =
            (S::Refunded, PaymentStatus::Refunded, minor);
        let undone = status == S::Confirmed;
        let follows = if undone { (Some(Step::Refund), S::Refunding) } else { (None, status) };
        assert_eq!(comes_back(&mut all, minor), follows);
        assert_eq!((all.payment.status, all.left_to_refund()), (PaymentStatus::Captured, all.total));
        assert_eq!(all.reason.is_some(), undone);
    }
}

#[test]
fn units_whose_money_comes_back_can_be_refunded_again() {
    let mut order = at_rest(OrderStatus::Confirmed);
    (order.payment.refunded, order.lines[0].refunded) = (500, 1);
    let lines = Some(vec![HoldLine { sku: "a".to_owned(), quantity: 1 }]);
    let refund = Box::new(Refund { lines, ..refund("r1", 500) });
    apply(&mut order, Event::RefundReversed { refund, reason: "no".to_owned() }, 1, NOW).unwrap();
    assert_eq!((order.payment.refunded, order.lines[0].refunded), (0, 0));
}

#[test]
fn what_is_owed_is_given_back_once_more_under_an_id_of_its_own_and_then_left_to_operators() {
    let mut order = at(Step::Refund);
    (order.status, order.reason) = (OrderStatus::Refunding, Some(Reason::RequestedByShop));
    order.refunds_due.clear();
    let mut ids = Vec::new();
    loop {
        let event = match decide_at(&order, Step::Refund, &Outcome::Nothing) {
            Decision::Happened(event) => event,
            Decision::Again { note: Some(Event::Stuck { .. }), .. } => break,
            other => panic!("{other:?}"),
        };
        let Event::RefundRequested { refund } = event.clone() else { panic!("{event:?}") };
        apply(&mut order, event, 1, NOW).unwrap();
        let (refund_id, reference) = (refund.id.clone(), "re_1".to_owned());
        ids.push(refund.id.clone());
        apply(&mut order, Event::RefundSucceeded { refund_id, reference }, 1, NOW).unwrap();
        assert_eq!(order.step, Some(Step::ReleaseStock));
        for event in [Event::StockReleased, Event::AllRefunded] {
            apply(&mut order, event, 1, NOW).unwrap();
        }
        apply(&mut order, Event::RefundReversed { refund, reason: "no".to_owned() }, 1, NOW).unwrap();
        assert_eq!((order.step, order.status), (Some(Step::Refund), OrderStatus::Refunding));
    }
    assert_eq!(ids, ["o1-rest", "o1-rest-2"]);
}

#[test]
fn a_settled_order_has_no_owner() {
    let mut order = at(Step::Confirm);
    apply(&mut order, Event::Confirmed, 1, NOW).unwrap();
    assert_eq!((order.status, order.step, &order.owner), (OrderStatus::Confirmed, None, &None));
}

#[test]
fn notes_leave_an_order_at_its_step_and_progress_clears_them() {
    for step in Step::ALL {
        let remark = |event: &Event| matches!(event, Event::Shipped { .. } | Event::Delivered);
        for note in events().into_iter().filter(|event| event.is_note() && !remark(event)) {
            let mut order = at(step);
            let record = apply(&mut order, note, 3, NOW).unwrap();
            assert_eq!(order.step, Some(step));
            assert_eq!((record.number, record.attempt, record.step), (order.events, 3, Some(step)));
        }
    }
    let mut order = at(Step::Capture);
    apply(&mut order, Event::Waiting { reason: "w".to_owned(), since: NOW }, 3, NOW).unwrap();
    apply(&mut order, Event::Stuck { reason: "s".to_owned() }, 9, NOW).unwrap();
    assert!(order.waiting.is_some() && order.stuck_since == Some(NOW));
    apply(&mut order, Event::Captured, 10, NOW).unwrap();
    assert!(order.waiting.is_none() && order.stuck_since.is_none());
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
    let stock = stock.into_iter().map(Outcome::Stock);
    let payment = payment.into_iter().map(Outcome::Payment);
    stock.chain(payment).chain(refund.map(Outcome::Refund)).chain([Outcome::Nothing]).collect()
}

fn first(step: Step, outcome: &Outcome) -> Decision {
    decide_at(&at(step), step, outcome)
}

fn decide_at(order: &Order, step: Step, outcome: &Outcome) -> Decision {
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
