//! Two replicas on one store: adoption and fencing.

use std::time::Duration;

use super::world::{World, ask};
use crate::audit::{AuditFilter, AuditLog, By};
use crate::inventory::HoldStatus;
use crate::order_saga::{OrderStatus, OrdersOptions, Reason, RetryError};
use crate::testing::PaymentCall;

#[actix_rt::test]
async fn the_orders_of_a_dead_replica_are_finished_by_another() {
    let world = World::new();
    let dies = world.replica("r1");
    let next = world.replica("r2");
    // It stands still at its first call, as a killed process does.
    let mut held: Vec<_> = (0..3).map(|_| world.payments.hold(PaymentCall::Create)).collect();
    let mut ids = Vec::new();
    for key in ["k", "l", "m"] {
        ids.push(dies.orders.accept(ask(key, "pm_card_visa")).await.unwrap().order.value.id);
    }
    for held in &mut held {
        held.arrived().await;
    }
    assert_eq!(next.adoption.round().await.unwrap(), 0, "its owner lives");

    world.living.lives("r1", false);
    assert_eq!(next.adoption.round().await.unwrap(), 3);

    for id in &ids {
        let order = world.settled(&next, id).await;
        assert_eq!((order.status, order.epoch), (OrderStatus::Confirmed, 2));
        assert_eq!(world.events(id).await[1], "adopted");
        world.check(&next, id).await;
    }
}

#[actix_rt::test]
async fn a_replica_that_drains_takes_nothing_over() {
    let world = World::new();
    let dies = world.replica("r1");
    let mut held = world.payments.hold(PaymentCall::Create);
    let id = dies.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    world.living.lives("r1", false);
    let leaves = world.replica("r2");
    leaves.orders.drain(Duration::ZERO).await;
    assert_eq!(leaves.adoption.round().await.unwrap(), 0);
    assert_eq!(world.order(&leaves, &id).await.owner.as_deref(), Some("r1"));
}

#[actix_rt::test]
async fn an_owner_that_was_only_slow_is_fenced_wherever_it_stood_still() {
    for call in [PaymentCall::Create, PaymentCall::Confirm, PaymentCall::Capture] {
        for before in [true, false] {
            let world = World::new();
            let slow = world.replica("r1");
            let next = world.replica("r2");
            let mut held = if before { world.payments.hold(call) } else { world.payments.hold_reply(call) };
            let id = slow.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
            held.arrived().await;
            world.living.lives("r1", false);
            assert_eq!(next.adoption.round().await.unwrap(), 1);
            let ended = world.settled(&next, &id).await;
            let events = world.events(&id).await;

            held.release();

            world.until("the slow owner leaves", async || slow.orders.live() == 0).await;
            assert_eq!(world.order(&next, &id).await, ended, "{call:?} {before}");
            assert_eq!(world.events(&id).await, events, "{call:?} {before}");
            world.check(&next, &id).await;
            world.deliver(&next).await;
            world.deliver(&slow).await;
            assert_eq!(world.mailer.sent().len(), 1);
        }
    }
}

#[actix_rt::test]
async fn an_owner_that_comes_back_in_the_middle_of_its_successors_work_stops() {
    let world = World::new();
    let slow = world.replica("r1");
    let next = world.replica("r2");
    let mut first = world.payments.hold(PaymentCall::Confirm);
    let id = slow.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    first.arrived().await;
    let mut second = world.payments.hold(PaymentCall::Capture);
    world.living.lives("r1", false);
    next.adoption.round().await.unwrap();
    second.arrived().await;

    first.release();
    world.until("the slow owner leaves", async || slow.orders.live() == 0).await;
    assert_eq!(world.order(&next, &id).await.owner.as_deref(), Some("r2"));
    assert_eq!(world.payments.calls(PaymentCall::Capture), 1);

    second.release();
    assert_eq!(world.settled(&next, &id).await.status, OrderStatus::Confirmed);
    world.check(&next, &id).await;
}

#[actix_rt::test]
async fn stock_that_a_slow_owner_holds_after_its_order_was_rejected_is_released() {
    let world = World::new();
    let slow = world.replica("r1");
    let next = world.replica("r2");
    world.holds.set("a", 0);
    let (arrived, go) = world.holds.stop_next_hold();
    let id = slow.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    arrived.await.unwrap();
    world.living.lives("r1", false);
    next.adoption.round().await.unwrap();
    assert_eq!(world.settled(&next, &id).await.reason, Some(Reason::OutOfStock));

    world.holds.set("a", 10);
    go.send(()).unwrap();

    world.until("the slow owner leaves", async || slow.orders.live() == 0).await;
    assert_eq!(world.holds.status(&id), Some(HoldStatus::Released));
    assert_eq!(world.holds.available("a"), 10);
    world.check(&next, &id).await;
}

#[actix_rt::test]
async fn an_order_accepted_by_a_replica_without_the_role_is_run_by_one_that_has_it() {
    let world = World::new();
    let edge = world.replica_with("r1", OrdersOptions { runs_sagas: false, ..OrdersOptions::default() });
    let worker = world.replica("r2");
    let accepted = edge.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value;
    assert_eq!(accepted.owner.as_deref(), Some(""));
    assert_eq!(edge.orders.live(), 0);
    assert_eq!(worker.adoption.round().await.unwrap(), 1);
    world.settled(&worker, &accepted.id).await;
    world.check(&worker, &accepted.id).await;
}

#[actix_rt::test]
async fn orphans_that_do_not_fit_wait_for_room() {
    let world = World::new();
    let dies = world.replica("r1");
    let mut held: Vec<_> = (0..5).map(|_| world.payments.hold(PaymentCall::Create)).collect();
    let mut ids = Vec::new();
    for n in 0..5 {
        let key = format!("k{n}");
        ids.push(dies.orders.accept(ask(&key, "pm_card_visa")).await.unwrap().order.value.id);
    }
    for held in &mut held {
        held.arrived().await;
    }
    world.living.lives("r1", false);
    let small = world.replica_with("r2", OrdersOptions { capacity: 2, ..OrdersOptions::default() });
    let mut busy = [world.payments.hold(PaymentCall::Create), world.payments.hold(PaymentCall::Create)];
    assert_eq!(small.adoption.round().await.unwrap(), 2);
    for busy in &mut busy {
        busy.arrived().await;
    }
    assert_eq!(small.adoption.round().await.unwrap(), 0, "there is no room");
    drop(busy);
    let mut adopted = 2;
    while adopted < 5 {
        world.until("room", async || small.orders.live() == 0).await;
        adopted += small.adoption.round().await.unwrap();
    }
    for id in &ids {
        assert_eq!(world.settled(&small, id).await.status, OrderStatus::Confirmed);
        world.check(&small, id).await;
    }
    drop(held);
}

#[actix_rt::test]
async fn of_two_adopters_one_gets_the_order() {
    let world = World::new();
    let dies = world.replica("r1");
    let mut held = world.payments.hold(PaymentCall::Create);
    let id = dies.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    world.living.lives("r1", false);
    held.arrived().await;
    let (b, c) = (world.replica("r2"), world.replica("r3"));
    let (by_b, by_c) = tokio::join!(b.adoption.round(), c.adoption.round());
    assert_eq!(by_b.unwrap() + by_c.unwrap(), 1);
    assert_eq!(world.settled(&b, &id).await.epoch, 2);
    world.check(&b, &id).await;
    drop(held);
}

#[actix_rt::test]
async fn a_replica_that_drains_finishes_its_step_and_leaves_the_rest_to_another() {
    let world = World::new();
    let leaves = world.replica("r1");
    let mut held = world.payments.hold(PaymentCall::Confirm);
    let id = leaves.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    let orders = leaves.orders.clone();
    let drained = actix_rt::spawn(async move { orders.drain(Duration::from_secs(10)).await });
    world.until("the drain begins", async || leaves.orders.is_draining()).await;
    held.release();
    drained.await.unwrap();
    assert_eq!(leaves.orders.live(), 0);
    let left = world.order(&leaves, &id).await;
    assert_eq!(left.status, OrderStatus::PaymentAuthorized, "what was under way is recorded");
    assert_eq!(world.payments.calls(PaymentCall::Capture), 0, "nothing new was begun");

    world.living.lives("r1", false);
    let next = world.replica("r2");
    next.adoption.round().await.unwrap();
    world.settled(&next, &id).await;
    world.check(&next, &id).await;
}

#[actix_rt::test]
async fn an_own_order_without_its_saga_is_found_again() {
    let world = World::new();
    let mut held = world.payments.hold(PaymentCall::Create);
    let before = world.replica("r1");
    let id = before.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    // The same incarnation with an empty registry: as after an accept that could not start it.
    let same = world.replica("r1");
    let mut again = world.payments.hold(PaymentCall::Create);
    assert_eq!(same.adoption.round().await.unwrap(), 0);
    again.arrived().await;
    assert_eq!(same.orders.live(), 1);
    again.release();
    assert_eq!(world.settled(&same, &id).await.epoch, 1);
    world.check(&same, &id).await;
    drop(held);
}

#[actix_rt::test]
async fn an_operator_has_a_step_tried_again_wherever_its_saga_lives_and_nothing_is_done_twice() {
    for elsewhere in [false, true] {
        // Given an order that waits for its payment provider,
        let world = World::new();
        let owner = world.replica("r1");
        let other = world.replica("r2");
        let mut held = world.payments.hold(PaymentCall::Capture);
        let id = owner.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
        held.arrived().await;

        // when an operator has it tried again, at its owner or at another replica,
        let asked = if elsewhere { &other } else { &owner };
        let una = By::user("una", None, None);
        asked.orders.retry(&id, &una).await.unwrap();
        held.release();

        // then it is captured once and the audit log says by whom; and a settled order has no step.
        assert_eq!(world.settled(asked, &id).await.status, OrderStatus::Confirmed);
        world.until("the other leaves", async || !elsewhere || owner.orders.live() == 0).await;
        world.check(asked, &id).await;
        let log = AuditLog::new(world.store.clone());
        let (entries, _) =
            log.find(AuditLog::query(&AuditFilter::Target(format!("order/{id}")))).await.unwrap();
        assert_eq!((entries.len(), entries[0].value.actor()), (1, "una"));
        assert_eq!(asked.orders.retry(&id, &una).await.unwrap_err(), RetryError::Settled);
        assert_eq!(asked.orders.retry("nobody", &una).await.unwrap_err(), RetryError::NotFound);
    }
}
