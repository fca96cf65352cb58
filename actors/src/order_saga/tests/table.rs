//! The table, tried exhaustively.

use super::world::order;
use crate::money::Money;
use crate::order_saga::event::Event;
use crate::order_saga::order::{Order, OrderStatus, PaymentStatus, Reason};
use crate::order_saga::refund::{Refund, RefundStatus};
use crate::order_saga::state::{Step, after, apply};
use crate::time::Timestamp;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

pub(super) fn at(step: Step) -> Order {
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

pub(super) fn refund(id: &str, minor: i64) -> Refund {
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
pub(super) fn at_rest(status: OrderStatus) -> Order {
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
        Event::RefundedElsewhere { refund_id: Some("r1".to_owned()), amount: order().total },
        Event::RefundReversed { refund: Box::new(refund("r1", 1)), reason: "r".to_owned() },
        Event::Shipped { tracking_number: None },
        Event::Delivered,
        Event::Waiting { reason: "r".to_owned(), since: NOW },
        Event::Stuck { reason: "r".to_owned() },
        Event::Adopted { by: "b".to_owned() },
    ]
}

pub(super) fn name(event: &Event) -> String {
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
            "cancel_intent + charged_late -> refund",
            "refund + cancel_requested -> refund",
            "refund + refund_requested -> refund",
            "refund + refund_succeeded -> release_stock",
            "refund + refund_failed -> rest",
            "refund + refunded_elsewhere -> release_stock",
            "refund + refund_reversed -> refund",
            "release_stock + stock_released -> close",
            "close + rejected -> rest",
            "close + cancelled -> rest",
            "close + all_refunded -> rest",
            "confirmed at rest + cancel_requested -> refund",
            "confirmed at rest + refund_requested -> refund",
            "confirmed at rest + refunded_elsewhere -> release_stock",
            "confirmed at rest + refund_reversed -> rest",
            "confirmed at rest + shipped -> rest",
            "shipped at rest + refund_requested -> refund",
            "shipped at rest + refunded_elsewhere -> close",
            "shipped at rest + refund_reversed -> rest",
            "shipped at rest + delivered -> rest",
            "delivered at rest + refund_requested -> refund",
            "delivered at rest + refunded_elsewhere -> close",
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
