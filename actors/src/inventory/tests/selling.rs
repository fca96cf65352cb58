//! Units are sold once, however many ask, wherever, and however often.

use futures_util::future::join_all;

use super::*;
use crate::testing::CommitFault;

fn held(answers: &[Result<Hold, HoldError>]) -> usize {
    answers.iter().filter(|answer| answer.is_ok()).count()
}

fn refused(answers: &[Result<Hold, HoldError>]) -> usize {
    answers.iter().filter(|answer| matches!(answer, Err(HoldError::OutOfStock(_)))).count()
}

async fn buyers(
    replicas: &[Inventory],
    buyers: usize,
    wanted: &'static [(&str, i64)],
) -> Vec<Result<Hold, HoldError>> {
    let ask = |n: usize| hold_in_background(&replicas[n % replicas.len()], format!("order-{n}"), wanted);
    join_all((0..buyers).map(ask)).await.into_iter().map(Result::unwrap).collect()
}

#[actix_rt::test]
async fn a_hundred_units_and_a_thousand_buyers_make_a_hundred_holds() {
    let shop = Shop::with(&[("tee", 100)]).await;
    let answers = buyers(&[shop.replica()], 1000, &[("tee", 1)]).await;
    assert_eq!((held(&answers), refused(&answers)), (100, 900));
    assert_eq!(shop.stock("tee").await.available(), 0);
    shop.check().await;
}

#[actix_rt::test]
async fn replicas_that_sell_one_sku_sell_it_exactly_and_answer_every_buyer() {
    let shop = Shop::with(&[("tee", 300)]).await;
    shop.store.dawdle(20);
    let replicas = [shop.replica(), shop.replica(), shop.replica()];
    let answers = buyers(&replicas, 900, &[("tee", 1)]).await;
    assert_eq!((held(&answers), refused(&answers)), (300, 600));
    assert!(*shop.store.conflicts.borrow() > 0, "the replicas never met");
    shop.check().await;
}

#[actix_rt::test]
async fn stock_emptied_on_one_replica_and_refilled_on_another_is_sold_at_once() {
    let shop = Shop::with(&[("tee", 1)]).await;
    let (one, other) = (shop.replica(), shop.replica());
    hold(&one, "order-1", &[("tee", 1)]).await.unwrap();
    let refusal = hold(&one, "order-2", &[("tee", 1)]).await;
    assert_eq!(refusal, Err(HoldError::OutOfStock(vec!["tee".to_owned()])));

    adjust(&other, "delivery-2", "tee", 1).await.unwrap();

    hold(&one, "order-2", &[("tee", 1)]).await.unwrap();
    other.release("order-1").await.unwrap();
    hold(&one, "order-3", &[("tee", 1)]).await.unwrap();
    shop.check().await;
}

#[actix_rt::test]
async fn an_unknown_sku_counts_as_empty_until_it_is_made_and_its_actor_leaves() {
    let shop = Shop::with(&[]).await;
    let replica = shop.replica();
    let refusal = hold(&replica, "order-1", &[("new", 1)]).await;
    assert_eq!(refusal, Err(HoldError::OutOfStock(vec!["new".to_owned()])));
    assert_eq!(adjust(&replica, "a1", "new", 1).await, Err(AdjustError::UnknownSku));
    until(|| replica.registry.is_empty()).await;
    shop.memory.commit(Batch::new().insert(&Stock::none_of(&Sku::parse("new").unwrap()))).await.unwrap();
    adjust(&replica, "a1", "new", 1).await.unwrap();
    hold(&replica, "order-1", &[("new", 1)]).await.unwrap();
    shop.check().await;
}

#[actix_rt::test]
async fn a_command_that_comes_again_has_the_first_ones_answer_even_if_stock_is_gone() {
    let shop = Shop::with(&[("tee", 1)]).await;
    let (one, other) = (shop.replica(), shop.replica());
    let first = hold(&one, "order-1", &[("tee", 1)]).await.unwrap();
    for replica in [&one, &other] {
        assert_eq!(hold(replica, "order-1", &[("tee", 1)]).await, Ok(first.clone()));
    }
    let sold = one.commit("order-1").await.unwrap();
    assert_eq!(other.commit("order-1").await, Ok(sold.clone()));
    assert_eq!(hold(&other, "order-1", &[("tee", 1)]).await, Ok(sold));

    let taken = adjust(&one, "a1", "tee", 5).await.unwrap();
    adjust(&one, "a2", "tee", -5).await.unwrap();
    let again = adjust(&other, "a1", "tee", 5).await.unwrap();
    assert_eq!((again.movement, again.stock.on_hand()), (taken.movement, 0));
    assert_eq!((taken.replayed, again.replayed), (false, true));
    let gone = adjust(&other, "a2", "tee", -5).await.unwrap();
    assert_eq!(gone.stock.on_hand(), 0);
    shop.check().await;
}

#[actix_rt::test]
async fn one_command_sent_many_times_at_once_counts_once() {
    let shop = Shop::with(&[("tee", 100)]).await;
    shop.store.dawdle(5);
    let replicas = [shop.replica(), shop.replica()];
    let ask = |n: usize| hold_in_background(&replicas[n % 2], "order-1".to_owned(), &[("tee", 2)]);
    let answers: Vec<_> = join_all((0..60).map(ask)).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| answer == &answers[0] && answer.is_ok()), "{answers:?}");
    let deliver = |n: usize| adjust(&replicas[n % 2], "a1", "tee", 7);
    for answer in join_all((0..60).map(deliver)).await {
        assert_eq!(answer.unwrap().stock.on_hand(), 107);
    }
    let sell = |n: usize| replicas[n % 2].commit("order-1");
    for answer in join_all((0..60).map(sell)).await {
        assert_eq!(answer.unwrap().status, HoldStatus::Committed);
    }
    assert_eq!(shop.stock("tee").await.on_hand(), 105);
    shop.check().await;
}

#[actix_rt::test]
async fn a_lost_answer_of_the_store_is_found_out_and_counts_once() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        let shop = Shop::with(&[("tee", 1)]).await;
        let replica = shop.replica();
        shop.memory.fail_commits([fault]);
        hold(&replica, "order-1", &[("tee", 1)]).await.unwrap();
        shop.memory.fail_commits([fault, fault]);
        assert_eq!(replica.commit("order-1").await.unwrap().status, HoldStatus::Committed);
        shop.memory.fail_commits([fault]);
        assert_eq!(adjust(&replica, "a1", "tee", 3).await.unwrap().stock.on_hand(), 3);
        hold(&replica, "order-2", &[("tee", 3)]).await.unwrap();
        shop.memory.fail_commits([fault]);
        assert_eq!(replica.release("order-2").await.unwrap().status, HoldStatus::Released);
        assert_eq!((shop.stock("tee").await.on_hand(), shop.stock("tee").await.held()), (3, 0));
        shop.check().await;
    }
}

#[actix_rt::test]
async fn an_outcome_that_stays_unknown_is_told_as_unknown_never_as_not_done() {
    let shop = Shop::with(&[("tee", 1)]).await;
    let replica = shop.replica();
    shop.memory.fail_commits([CommitFault::LostBefore, CommitFault::Unavailable]);
    assert_eq!(hold(&replica, "order-1", &[("tee", 1)]).await, Err(HoldError::OutcomeUnknown));
    hold(&replica, "order-1", &[("tee", 1)]).await.unwrap();
    shop.check().await;
}

#[actix_rt::test]
async fn a_store_that_is_down_is_told_and_recovered_from_without_a_fall() {
    let shop = Shop::with(&[("tee", 1)]).await;
    let (replica, cold) = (shop.replica(), shop.replica());
    hold(&replica, "order-1", &[("tee", 1)]).await.unwrap();
    shop.memory.set_down(true);
    for (replica, id) in [(&replica, "order-2"), (&cold, "order-2")] {
        let answer = hold(replica, id, &[("tee", 1)]).await;
        assert!(matches!(answer, Err(HoldError::Unavailable { .. })), "{answer:?}");
        let answer = replica.release("order-1").await;
        assert!(matches!(answer, Err(HoldError::Unavailable { .. })), "{answer:?}");
        let answer = adjust(replica, "a1", "tee", 1).await;
        assert!(matches!(answer, Err(AdjustError::Unavailable { .. })), "{answer:?}");
    }
    shop.memory.set_down(false);
    replica.release("order-1").await.unwrap();
    hold(&cold, "order-2", &[("tee", 1)]).await.unwrap();
    assert!(shop.tree.list(None, 100).iter().all(|actor| actor.restarts == 0));
    shop.check().await;
}

#[actix_rt::test]
async fn what_is_held_cannot_be_adjusted_away() {
    let shop = Shop::with(&[("tee", 5)]).await;
    let (one, other) = (shop.replica(), shop.replica());
    hold(&one, "order-1", &[("tee", 3)]).await.unwrap();
    assert_eq!(adjust(&one, "a1", "tee", -3).await, Err(AdjustError::BelowHeld { held: 3 }));
    other.release("order-1").await.unwrap();
    assert_eq!(adjust(&one, "a1", "tee", -3).await.unwrap().stock.on_hand(), 2);
    shop.check().await;
}

#[actix_rt::test]
async fn the_ledger_is_paged_newest_first() {
    let shop = Shop::with(&[("tee", 5), ("cap", 1)]).await;
    let replica = shop.replica();
    for n in 1..=4 {
        shop.clock.advance(std::time::Duration::from_secs(1));
        adjust(&replica, &format!("a{n}"), "tee", n).await.unwrap();
    }
    let (page, next) = replica.movements("tee", 3, None).await.unwrap();
    assert_eq!(page.iter().map(|movement| movement.delta).collect::<Vec<_>>(), [4, 3, 2]);
    let (page, next) = replica.movements("tee", 3, next).await.unwrap();
    assert_eq!(page.iter().map(|movement| movement.delta).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(next, None);
}
