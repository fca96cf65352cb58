//! Commands to orders that are there, by real actors: undone in time or too late, refunded in
//! parts, shipped; at once, again, and from another replica.

use futures_util::future::join_all;

use super::world::{Replica, World, ask, usd};
use crate::audit::By;
use crate::inventory::{HoldLine, HoldStatus};
use crate::money::{Currency, Money};
use crate::order_saga::{
    CommandError, CommandRefusal, Line, Order, OrderCommand, OrderStatus, OrdersOptions, Reason,
    RefundStatus, RequestRefund, Share, TimelineStatus, Whose,
};
use crate::providers::{NotChargeable, PaymentError};
use crate::testing::{PaymentCall, PaymentFault};

const BY_CUSTOMER: OrderCommand = OrderCommand::Cancel { by: Reason::RequestedByCustomer };
const SHIP: OrderCommand = OrderCommand::Ship { tracking_number: None };

async fn order(replica: &Replica, command: &OrderCommand, id: &str) -> Result<Order, CommandError> {
    replica.orders.command(id, Whose::Anyones(&By::system()), None, command).await.map(|order| order.value)
}

fn refund(id: &str, share: Share) -> RequestRefund {
    RequestRefund { id: id.to_owned(), fingerprint: format!("{share:?}"), share, reason: None }
}

async fn refunded(replica: &Replica, order: &str, id: &str, share: Share) -> Result<bool, CommandError> {
    let asked =
        replica.orders.request_refund(order, Whose::Anyones(&By::system()), None, refund(id, share)).await?;
    assert_eq!(asked.refund.id, id);
    Ok(asked.replayed)
}

async fn confirmed(world: &World, replica: &Replica, key: &str) -> String {
    let id = replica.orders.accept(ask(key, "pm_card_visa")).await.unwrap().order.value.id;
    assert_eq!(world.settled(replica, &id).await.status, OrderStatus::Confirmed);
    id
}

fn wrong_state(error: &CommandError) -> (OrderStatus, &[OrderStatus]) {
    match error {
        CommandError::Refused(CommandRefusal::WrongState { status, next }) => (*status, next),
        other => panic!("{other:?}"),
    }
}

#[actix_rt::test]
async fn an_order_is_cancelled_wherever_its_saga_stands_before_it_is_paid() {
    for call in [PaymentCall::Create, PaymentCall::Confirm, PaymentCall::Capture] {
        for before in [true, false] {
            let world = World::new();
            let replica = world.replica("r1");
            let mut held = if before { world.payments.hold(call) } else { world.payments.hold_reply(call) };
            let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
            held.arrived().await;
            // The command does not wait for the call in flight.
            let asked = order(&replica, &BY_CUSTOMER, &id).await.unwrap();
            assert_eq!(asked.reason, Some(Reason::RequestedByCustomer));
            held.release();
            let order = world.settled(&replica, &id).await;
            let paid = call == PaymentCall::Capture;
            let end = if paid { OrderStatus::Refunded } else { OrderStatus::Cancelled };
            assert_eq!(order.status, end, "{call:?} {before}");
            world.check(&replica, &id).await;
            assert_eq!((world.holds.available("a"), world.holds.available("b")), (10, 10));
            world.deliver(&replica).await;
            // Whoever has paid is told that it was given back.
            assert_eq!(world.mailer.calls(), usize::from(paid));
        }
    }
}

#[actix_rt::test]
async fn a_paid_order_that_is_cancelled_is_refunded_and_its_stock_comes_back() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = confirmed(&world, &replica, "k").await;
    let asked = order(&replica, &BY_CUSTOMER, &id).await.unwrap();
    assert_eq!((asked.status, asked.payment.refunded), (OrderStatus::Refunding, 0));
    let order = world.settled(&replica, &id).await;
    assert_eq!(order.status, OrderStatus::Refunded);
    world.check(&replica, &id).await;
    assert_eq!(world.holds.status(&id), Some(HoldStatus::Returned));
    assert_eq!((world.holds.available("a"), world.holds.available("b")), (10, 10));
    let timeline = replica.orders.timeline(&id).await.unwrap().entries;
    let steps: Vec<_> = timeline.iter().map(|entry| (entry.step, entry.status)).collect();
    use TimelineStatus::{Compensated, Done, Requested, TakenOver};
    assert_eq!(
        steps[7..],
        [
            ("cancel", Requested),
            ("refund", TakenOver),
            ("refund", Requested),
            ("refund", Compensated),
            ("release_stock", Compensated),
            ("close", Done),
        ]
    );
    // Asking again changes nothing.
    let again = replica.orders.command(&id, Whose::Of("u1"), None, &BY_CUSTOMER).await.unwrap();
    assert_eq!(again.value, order);
}

#[actix_rt::test]
async fn goods_go_out_once_and_what_comes_too_late_names_what_would_do() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = confirmed(&world, &replica, "k").await;
    let early = order(&replica, &OrderCommand::Deliver, &id).await.unwrap_err();
    assert_eq!(
        wrong_state(&early),
        (OrderStatus::Confirmed, &[OrderStatus::Shipped, OrderStatus::Refunding][..])
    );
    let ship = OrderCommand::Ship { tracking_number: Some("T1".to_owned()) };
    for _ in 0..2 {
        assert_eq!(order(&replica, &ship, &id).await.unwrap().status, OrderStatus::Shipped);
    }
    let other = order(&replica, &SHIP, &id).await.unwrap_err();
    assert_eq!(wrong_state(&other).0, OrderStatus::Shipped);
    let late = order(&replica, &BY_CUSTOMER, &id).await.unwrap_err();
    assert_eq!(
        wrong_state(&late),
        (OrderStatus::Shipped, &[OrderStatus::Delivered, OrderStatus::Refunding][..])
    );
    for _ in 0..2 {
        assert_eq!(
            order(&replica, &OrderCommand::Deliver, &id).await.unwrap().status,
            OrderStatus::Delivered
        );
    }
    assert_eq!(world.events(&id).await[7..], ["shipped", "delivered"]);
    // What goes back after shipping leaves stock alone.
    refunded(&replica, &id, "all", Share::Rest).await.unwrap();
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Refunded);
    world.check(&replica, &id).await;
    assert_eq!(world.holds.available("a"), 8);
}

#[actix_rt::test]
async fn parts_are_refunded_until_nothing_is_left() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = confirmed(&world, &replica, "k").await;
    let units = |quantity| Share::Lines(vec![HoldLine { sku: "a".to_owned(), quantity }]);
    for (name, share) in [("one", units(1)), ("two", Share::Amount(usd(700)))] {
        assert!(!refunded(&replica, &id, name, share.clone()).await.unwrap());
        assert!(refunded(&replica, &id, name, share).await.unwrap());
        assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Confirmed);
        world.check(&replica, &id).await;
    }
    let order = world.order(&replica, &id).await;
    assert_eq!(
        (order.payment.refunded, order.left_to_refund(), order.lines[0].refunded),
        (1200, usd(1799), 1)
    );
    for (share, refusal) in [
        (Share::Amount(usd(1800)), CommandRefusal::TooMuch { left: usd(1799) }),
        (Share::Amount(usd(0)), CommandRefusal::TooMuch { left: usd(1799) }),
        (Share::Amount(usd(-5)), CommandRefusal::TooMuch { left: usd(1799) }),
        (units(2), CommandRefusal::NoSuchUnits { line: 0, left: 1 }),
        (units(0), CommandRefusal::NoSuchUnits { line: 0, left: 1 }),
    ] {
        let refused = refunded(&replica, &id, "three", share).await.unwrap_err();
        assert_eq!(refused, CommandError::Refused(refusal));
    }
    let reused = refunded(&replica, &id, "two", Share::Rest).await.unwrap_err();
    assert_eq!(reused, CommandError::KeyReused);
    refunded(&replica, &id, "rest", Share::Rest).await.unwrap();
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Refunded);
    world.check(&replica, &id).await;
    let nothing = refunded(&replica, &id, "more", Share::Rest).await.unwrap_err();
    assert_eq!(wrong_state(&nothing), (OrderStatus::Refunded, &[][..]));
    // Nothing is left of an order that was not shipped: its stock came back.
    assert_eq!(world.holds.available("a"), 10);
}

#[actix_rt::test]
async fn units_that_were_free_are_not_refunded() {
    let world = World::new();
    let replica = world.replica("r1");
    let mut asked = ask("k", "pm_card_visa");
    asked.lines[0].unit_price = usd(0);
    let id = replica.orders.accept(asked).await.unwrap().order.value.id;
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Confirmed);
    let units = Share::Lines(vec![HoldLine { sku: "a".to_owned(), quantity: 1 }]);
    let refused = refunded(&replica, &id, "one", units).await.unwrap_err();
    assert_eq!(refused, CommandError::Refused(CommandRefusal::NothingPaid));
}

#[actix_rt::test]
async fn a_part_that_the_provider_cannot_give_back_is_refused_before_it_is_owed() {
    let world = World::new();
    let replica = world.replica("r1");
    let dinars = |minor| Money::new(minor, Currency::from_code("KWD").unwrap());
    let mut asked = ask("k", "pm_card_visa");
    asked.lines = vec![Line { unit_price: dinars(5125), quantity: 2, ..asked.lines[0].clone() }];
    let id = replica.orders.accept(asked).await.unwrap().order.value.id;
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Confirmed);
    let commits = world.store.commits();
    let unit = Share::Lines(vec![HoldLine { sku: "a".to_owned(), quantity: 1 }]);
    for (share, of_lines) in [(Share::Amount(dinars(1005)), false), (unit, true)] {
        let refused = refunded(&replica, &id, "part", share).await.unwrap_err();
        let why = NotChargeable("does not end in 0".to_owned());
        assert_eq!(refused, CommandError::Refused(CommandRefusal::NotRefundable { of_lines, why }));
    }
    assert_eq!((world.store.commits(), world.payments.calls(PaymentCall::Refund)), (commits, 0));
    refunded(&replica, &id, "part", Share::Amount(dinars(1010))).await.unwrap();
    assert_eq!(world.settled(&replica, &id).await.payment.refunded, 1010);
    // What is left can be given back, as all could be charged.
    refunded(&replica, &id, "rest", Share::Rest).await.unwrap();
    assert_eq!(world.settled(&replica, &id).await.payment.refunded, 10_250);
}

#[actix_rt::test]
async fn parallel_refunds_never_give_back_more_than_was_taken() {
    let world = World::new();
    let replicas = [world.replica("r1"), world.replica("r2")];
    let id = confirmed(&world, &replicas[0], "k").await;
    let asks = (0..16).map(|n| {
        let (replica, id) = (&replicas[n % 2], &id);
        // Each key comes twice.
        async move { refunded(replica, id, &format!("refund-{}", n / 2), Share::Amount(usd(600))).await }
    });
    let answers = world.drive(join_all(asks)).await;
    for answer in &answers {
        match answer {
            Ok(_) => {}
            Err(CommandError::Refused(CommandRefusal::TooMuch { left })) => assert!(left.minor < 600),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(false))).count(), 4);
    world.until("all are done", async || world.order(&replicas[0], &id).await.payment.refunded == 2400).await;
    world.settled(&replicas[0], &id).await;
    assert_eq!(world.check(&replicas[0], &id).await.status, OrderStatus::Confirmed);
    assert_eq!(world.payments.ledger(&id).refunds, 4);
}

#[actix_rt::test]
async fn refunds_whose_replies_are_lost_or_whose_keys_are_forgotten_count_once() {
    use PaymentFault::ReplyLost;
    let down =
        || PaymentFault::Fails(PaymentError::Unavailable { reason: "down".to_owned(), retry_after: None });
    let unknown = || PaymentFault::Fails(PaymentError::OutcomeUnknown("500".to_owned()));
    for faults in [vec![ReplyLost], vec![down(), ReplyLost], vec![unknown(), unknown(), down(), ReplyLost]] {
        let world = World::new();
        let replica = world.replica("r1");
        let id = confirmed(&world, &replica, "k").await;
        world.payments.script(PaymentCall::Refund, faults.clone());
        // The look-up behind the first call does not work either.
        world.payments.script(PaymentCall::FindRefund, [ReplyLost, down()]);
        refunded(&replica, &id, "part", Share::Amount(usd(100))).await.unwrap();
        world.payments.forget_keys();
        world.until("done", async || world.order(&replica, &id).await.payment.refunded == 100).await;
        world.settled(&replica, &id).await;
        world.check(&replica, &id).await;
        assert_eq!(world.payments.ledger(&id).refunds, 1, "{faults:?}");
    }
}

#[actix_rt::test]
async fn a_refund_that_the_provider_refuses_fails_and_what_is_owed_is_never_dropped() {
    let world = World::new();
    let replica = world.replica("r1");
    let no = || PaymentFault::Fails(PaymentError::Refused("disputed".to_owned()));
    let id = confirmed(&world, &replica, "k").await;
    world.payments.script(PaymentCall::Refund, [no()]);
    refunded(&replica, &id, "all", Share::Rest).await.unwrap();
    let order_now = world.settled(&replica, &id).await;
    assert_eq!((order_now.status, order_now.left_to_refund()), (OrderStatus::Confirmed, usd(2999)));
    let (refunds, _) = replica.orders.refunds(&id, 10, None).await.unwrap();
    assert_eq!((refunds[0].status, refunds[0].failure.as_deref()), (RefundStatus::Failed, Some("disputed")));

    world.payments.script(PaymentCall::Refund, (0..6).map(|_| no()));
    order(&replica, &BY_CUSTOMER, &id).await.unwrap();
    world.until("it is listed", async || world.order(&replica, &id).await.stuck_since.is_some()).await;
    assert_eq!(world.settled(&replica, &id).await.status, OrderStatus::Refunded);
    world.check(&replica, &id).await;
}

#[actix_rt::test]
async fn cancel_ship_and_refund_at_once_have_one_story() {
    for round in 0..12 {
        let world = World::new();
        let replicas = [world.replica("r1"), world.replica("r2")];
        let id = confirmed(&world, &replicas[0], "k").await;
        let (one, other) = (&replicas[round % 2], &replicas[(round + 1) % 2]);
        let all = async {
            tokio::join!(
                order(one, &BY_CUSTOMER, &id),
                order(other, &SHIP, &id),
                refunded(other, &id, "part", Share::Amount(usd(1000))),
                refunded(one, &id, "rest", Share::Rest),
            )
        };
        let (cancelled, shipped, ..) = world.drive(all).await;
        assert!(!(cancelled.is_ok() && shipped.is_ok()), "{round}");
        let ended = world.settled(one, &id).await;
        if cancelled.is_ok() {
            assert_eq!(ended.status, OrderStatus::Refunded);
        }
        world.check(one, &id).await;
    }
}

#[actix_rt::test]
async fn a_command_takes_the_order_over_from_a_replica_that_is_busy_with_it() {
    let world = World::new();
    let slow = world.replica("r1");
    let here = world.replica("r2");
    let mut held = world.payments.hold(PaymentCall::Confirm);
    let id = slow.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    order(&here, &BY_CUSTOMER, &id).await.unwrap();
    let ended = world.settled(&here, &id).await;
    assert_eq!((ended.status, ended.epoch), (OrderStatus::Cancelled, 2));
    held.release();
    world.until("the slow owner leaves", async || slow.orders.live() == 0).await;
    assert_eq!(world.order(&here, &id).await, ended);
    world.check(&here, &id).await;
}

#[actix_rt::test]
async fn a_replica_without_sagas_leaves_a_command_to_those_that_have_them() {
    let world = World::new();
    let runs = world.replica("r1");
    let api = world.replica_with("r2", OrdersOptions { runs_sagas: false, ..OrdersOptions::default() });
    let id = confirmed(&world, &runs, "k").await;
    let asked = order(&api, &BY_CUSTOMER, &id).await.unwrap();
    assert_eq!(asked.owner.as_deref(), Some(""));
    assert_eq!(runs.adoption.round().await.unwrap(), 1);
    assert_eq!(world.settled(&runs, &id).await.status, OrderStatus::Refunded);
    world.check(&runs, &id).await;
}

#[actix_rt::test]
async fn a_command_is_for_its_owner_and_for_the_version_it_names() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = confirmed(&world, &replica, "k").await;
    let theirs = replica.orders.command(&id, Whose::Of("u2"), None, &BY_CUSTOMER).await;
    assert_eq!(theirs.unwrap_err(), CommandError::NotFound);
    let version = replica.orders.get(&id).await.unwrap().unwrap().version;
    let old = replica.orders.command(&id, Whose::Of("u1"), Some(version - 1), &BY_CUSTOMER).await;
    assert_eq!(old.unwrap_err(), CommandError::MovedOn(version));
    replica.orders.command(&id, Whose::Of("u1"), Some(version), &BY_CUSTOMER).await.unwrap();
    world.settled(&replica, &id).await;
}

#[actix_rt::test]
async fn a_command_whose_commit_is_in_doubt_counts_once() {
    use crate::testing::CommitFault::{LostAfter, LostBefore, Unavailable};
    for faults in [vec![LostAfter], vec![LostBefore, LostAfter], vec![LostBefore, LostBefore, Unavailable]] {
        let world = World::new();
        let replica = world.replica("r1");
        let id = confirmed(&world, &replica, "k").await;
        world.store.fail_commits(faults.clone());
        let ask = refund("part", Share::Amount(usd(500)));
        let asked =
            world.drive(replica.orders.request_refund(&id, Whose::Anyones(&By::system()), None, ask)).await;
        assert!(!asked.unwrap().replayed, "{faults:?}");
        assert_eq!(world.settled_by_rounds(&replica, &id).await.payment.refunded, 500);
        world.check(&replica, &id).await;
        assert_eq!(world.payments.ledger(&id).refunds, 1);
    }
}
