//! Money in the table: given back in parts or whole, and what follows when it comes back.

use super::answers::decide_at;
use super::table::{NOW, at, at_rest, refund};
use crate::inventory::HoldLine;
use crate::money::Money;
use crate::order_saga::command::{CommandRefusal, OrderCommand, RequestRefund, Share, decide_command};
use crate::order_saga::decide::{Decision, Outcome};
use crate::order_saga::event::Event;
use crate::order_saga::order::{Order, OrderStatus, PaymentStatus, Reason};
use crate::order_saga::refund::{MOST_ASKED, Refund};
use crate::order_saga::state::{Step, apply};

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

/// The provider is asked for all refunds of an intent where one has to be found, so they are bounded.
#[test]
fn only_so_many_refunds_of_an_order_can_be_asked_for() {
    let mut order = at_rest(OrderStatus::Confirmed);
    let ask = |order: &Order, n: i64| {
        let (id, fingerprint) = (format!("refund-{n}"), "f".to_owned());
        let share = Share::Amount(Money::new(1, order.currency()));
        let refund = OrderCommand::Refund(RequestRefund { id, fingerprint, share, reason: None });
        decide_command(order, &refund, NOW)
    };
    for n in 0..MOST_ASKED {
        for event in ask(&order, n).unwrap() {
            apply(&mut order, event, 1, NOW).unwrap();
        }
        let (refund_id, reason) = (format!("refund-{n}"), "no".to_owned());
        apply(&mut order, Event::RefundFailed { refund_id, reason }, 1, NOW).unwrap();
    }
    assert_eq!(ask(&order, MOST_ASKED), Err(CommandRefusal::TooManyAsked));
}
