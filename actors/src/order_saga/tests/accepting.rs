//! Accepting orders: once for each command, and not without a total or room.

use super::world::{World, ask, lines, usd};
use crate::order_saga::{AcceptError, AcceptOrder, OrdersOptions};
use crate::testing::{CommitFault, PaymentCall};

#[actix_rt::test]
async fn an_accept_whose_outcome_stays_unknown_is_answered_so_and_the_order_still_ends_once() {
    let world = World::new();
    let replica = world.replica("r1");
    world.store.fail_commits([CommitFault::LostBefore, CommitFault::LostBefore, CommitFault::LostAfter]);
    let orders = replica.orders.clone();
    let accepting = actix_rt::spawn(async move { orders.accept(ask("k", "pm_card_visa")).await });
    world.until("an answer", async || accepting.is_finished()).await;
    assert!(matches!(accepting.await.unwrap(), Err(AcceptError::OutcomeUnknown(_))));

    replica.adoption.round().await.unwrap();
    let again = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap();
    assert!(again.replayed);
    world.settled(&replica, &again.order.value.id).await;
    world.check(&replica, &again.order.value.id).await;
}

#[actix_rt::test]
async fn the_same_command_in_parallel_makes_one_order() {
    let world = World::new();
    let replicas = [world.replica("r1"), world.replica("r2")];
    let accepts = (0..16).map(|n| replicas[n % 2].orders.accept(ask("k", "pm_card_visa")));
    let answers = futures_util::future::join_all(accepts).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    let id = &answers[0].order.value.id;
    assert!(answers.iter().all(|answer| answer.order.value.id == *id));
    world.settled(&replicas[0], id).await;
    world.check(&replicas[0], id).await;
    assert_eq!(world.payments.ledgers().len(), 1);
}

#[actix_rt::test]
async fn the_same_key_with_another_body_is_refused_and_another_users_key_is_another_key() {
    let world = World::new();
    let replica = world.replica("r1");
    let first = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap();
    let other = AcceptOrder { fingerprint: "another body".to_owned(), ..ask("k", "pm_card_visa") };
    assert_eq!(replica.orders.accept(other).await.unwrap_err(), AcceptError::KeyReused);
    let theirs = AcceptOrder { user_id: "u2".to_owned(), ..ask("k", "pm_card_visa") };
    let theirs = replica.orders.accept(theirs).await.unwrap();
    assert!(!theirs.replayed);
    assert_ne!(first.order.value.id, theirs.order.value.id);

    let id = &theirs.order.value.id;
    assert!(replica.orders.get_of("u2", id).await.unwrap().is_some());
    assert!(replica.orders.get_of("u1", id).await.unwrap().is_none());
    let (mine, _) = replica.orders.page(Some("u1"), None, 10, None).await.unwrap();
    assert_eq!(mine.iter().map(|order| &order.value.id).collect::<Vec<_>>(), [&first.order.value.id]);
}

#[actix_rt::test]
async fn what_has_no_total_is_refused_before_anything_is_stored() {
    let world = World::new();
    let replica = world.replica("r1");
    let with = |lines| AcceptOrder { lines, ..ask("k", "pm_card_visa") };
    assert_eq!(replica.orders.accept(with(Vec::new())).await.unwrap_err(), AcceptError::NothingToPay);
    let mut free = lines();
    free.iter_mut().for_each(|line| line.unit_price = usd(0));
    assert_eq!(replica.orders.accept(with(free)).await.unwrap_err(), AcceptError::NothingToPay);
    let mut huge = lines();
    huge[0].unit_price = usd(999_999_999_999_999);
    assert!(matches!(replica.orders.accept(with(huge)).await, Err(AcceptError::Total(_))));
    assert_eq!(world.store.commits(), 0);
}

#[actix_rt::test]
async fn a_full_replica_refuses_new_orders_and_still_knows_old_ones() {
    let world = World::new();
    let replica = world.replica_with("r1", OrdersOptions { capacity: 1, ..OrdersOptions::default() });
    let mut held = world.payments.hold(PaymentCall::Create);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    assert_eq!(replica.orders.accept(ask("l", "pm_card_visa")).await.unwrap_err(), AcceptError::TooManyLive);
    assert!(replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().replayed);
    held.release();
    world.settled(&replica, &id).await;
    world.until("room", async || replica.orders.live() == 0).await;
    assert!(replica.orders.accept(ask("l", "pm_card_visa")).await.is_ok());
}
