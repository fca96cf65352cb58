//! Several SKUs are held together or not at all.

use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::inventory::actor::{PARKED_FOR, Park};
use crate::inventory::service::BUNDLES;
use crate::testing::CommitFault;

const BOTH: &[(&str, i64)] = &[("cap", 1), ("tee", 2)];
const BOTH_TURNED: &[(&str, i64)] = &[("tee", 2), ("cap", 1)];

#[actix_rt::test]
async fn a_bundle_is_held_sold_and_released_as_a_whole() {
    let shop = Shop::with(&[("tee", 10), ("cap", 10)]).await;
    let replica = shop.replica();
    let made = hold(&replica, "order-1", BOTH).await.unwrap();
    assert_eq!(made.lines, lines(BOTH));
    hold(&replica, "order-2", BOTH_TURNED).await.unwrap();
    assert_eq!((shop.stock("cap").await.held(), shop.stock("tee").await.held()), (2, 4));
    assert_eq!(replica.commit("order-1").await.unwrap().status, HoldStatus::Committed);
    assert_eq!(replica.release("order-2").await.unwrap().status, HoldStatus::Released);
    let (cap, tee) = (shop.stock("cap").await, shop.stock("tee").await);
    assert_eq!((cap.on_hand(), cap.held(), tee.on_hand(), tee.held()), (9, 0, 8, 0));
    assert_eq!(hold(&replica, "order-1", BOTH).await.unwrap().status, HoldStatus::Committed);
    assert_eq!(replica.release("order-1").await, Err(HoldError::WrongState(HoldStatus::Committed)));
    shop.check().await;
}

#[actix_rt::test]
async fn a_bundle_that_lacks_one_sku_takes_nothing_and_names_it() {
    let shop = Shop::with(&[("tee", 10), ("cap", 0)]).await;
    let replica = shop.replica();
    let refused = hold(&replica, "order-1", &[("tee", 1), ("cap", 1), ("none", 1)]).await;
    assert_eq!(refused, Err(HoldError::OutOfStock(vec!["cap".to_owned(), "none".to_owned()])));
    assert_eq!(shop.stock("tee").await.held(), 0);
    shop.check().await;
}

#[actix_rt::test]
async fn a_bundles_refusal_is_confirmed() {
    let shop = Shop::with(&[("tee", 2), ("cap", 1)]).await;
    let (one, other) = (shop.replica(), shop.replica());
    hold(&one, "order-1", BOTH).await.unwrap();
    hold(&one, "order-2", BOTH).await.unwrap_err();
    other.release("order-1").await.unwrap();
    hold(&one, "order-2", BOTH).await.unwrap();
    shop.check().await;
}

#[actix_rt::test]
async fn bundles_in_opposite_orders_and_single_buyers_neither_deadlock_nor_oversell() {
    let shop = Shop::with(&[("tee", 100), ("cap", 60)]).await;
    shop.store.dawdle(3);
    let replicas = [shop.replica(), shop.replica()];
    let ask = |n: usize| {
        let wanted = [BOTH, BOTH_TURNED, &[("tee", 1)], &[("cap", 1)]][n % 4];
        hold_in_background(&replicas[n / 4 % 2], format!("order-{n}"), wanted)
    };
    let answers: Vec<_> = join_all((0..160).map(ask)).await.into_iter().map(Result::unwrap).collect();
    let undecided: Vec<_> =
        answers.iter().filter(|a| !matches!(a, Ok(_) | Err(HoldError::OutOfStock(_)))).collect();
    assert!(undecided.is_empty(), "{undecided:?}");
    let (tee, cap) = (shop.stock("tee").await, shop.stock("cap").await);
    // 80 bundles and 80 single buyers want more than there is: one of the two must be sold out.
    assert!(tee.available() < 2 || cap.available() == 0, "{tee:?} {cap:?}");
    shop.check().await;
}

#[actix_rt::test]
async fn nobody_is_refused_for_units_that_a_bundle_did_not_take() {
    for round in 0..30 {
        let shop = Shop::with(&[("tee", 2), ("cap", 0)]).await;
        let replica = shop.replica();
        let bundles: Vec<_> =
            (0..3).map(|n| hold_in_background(&replica, format!("bundle-{round}-{n}"), BOTH)).collect();
        let single = hold_in_background(&replica, "single".to_owned(), &[("tee", 2)]);
        assert!(single.await.unwrap().is_ok());
        assert!(join_all(bundles).await.into_iter().all(|answer| answer.unwrap().is_err()));
        shop.check().await;
    }
}

#[actix_rt::test]
async fn buyers_wait_while_a_bundle_is_in_flight() {
    let shop = Shop::with(&[("tee", 2), ("cap", 1)]).await;
    let replica = shop.replica();
    shop.store.close();
    let bundle = hold_in_background(&replica, "bundle".to_owned(), BOTH);
    shop.store.arrived(1).await;
    let single = hold_in_background(&replica, "single".to_owned(), &[("tee", 1)]);
    let actor = replica.registry.get("tee").unwrap();
    until(|| actor.waiting() == 1).await;
    assert!(!single.is_finished());
    shop.store.let_through(1000);
    bundle.await.unwrap().unwrap();
    assert_eq!(single.await.unwrap(), Err(HoldError::OutOfStock(vec!["tee".to_owned()])));
    // The refusal came of what the bundle handed back and one read; no attempt was lost to it.
    assert_eq!(*shop.store.conflicts.borrow(), 0);
    shop.check().await;
}

#[actix_rt::test]
async fn hundreds_of_bundles_at_once_take_a_few_commits() {
    let shop = Shop::with(&[("tee", 1000), ("cap", 1000), ("mug", 1000)]).await;
    let replica = shop.replica();
    shop.store.close();
    let first = hold_in_background(&replica, "first".to_owned(), BOTH);
    shop.store.arrived(1).await;
    let wanted: [&[(&str, i64)]; 3] = [BOTH, BOTH_TURNED, &[("cap", 1), ("mug", 1)]];
    let bundles = (0..300).map(|n| hold_in_background(&replica, format!("order-{n}"), wanted[n % 3]));
    let bundles: Vec<_> = bundles.collect();
    let actor = replica.bundles.get(BUNDLES).unwrap();
    until(|| actor.waiting() == 301).await;
    // A single buyer among them has a turn after the group in flight and the next one at most.
    let single = hold_in_background(&replica, "single".to_owned(), &[("tee", 1)]);
    let tee = replica.registry.get("tee").unwrap();
    until(|| tee.waiting() == 1).await;
    let before = shop.memory.commits();
    shop.store.let_through(1000);
    single.await.unwrap().unwrap();
    assert!(shop.memory.commits() - before <= 4, "the single buyer waited for others");
    first.await.unwrap().unwrap();
    for answer in join_all(bundles).await {
        answer.unwrap().unwrap();
    }
    // The first, the 300 in two groups, and the single buyer; one more if some were still on their way.
    let commits = shop.memory.commits() - before;
    assert!((4..=5).contains(&commits), "{commits} commits");
    assert_eq!(*shop.store.conflicts.borrow(), 0);
    shop.check().await;
}

#[actix_rt::test]
async fn hundreds_of_bundles_on_two_replicas_are_all_answered() {
    let shop = Shop::with(&[("tee", 1000), ("cap", 1000), ("mug", 1000)]).await;
    shop.store.dawdle(2);
    let replicas = [shop.replica(), shop.replica()];
    let wanted: [&[(&str, i64)]; 3] = [BOTH, BOTH_TURNED, &[("cap", 1), ("mug", 1)]];
    let hold = |n: usize| hold_in_background(&replicas[n % 2], format!("order-{n}"), wanted[n % 3]);
    for answer in join_all((0..300).map(hold)).await {
        answer.unwrap().unwrap();
    }
    let ended = (0..300).map(|n| {
        let (replica, id) = (&replicas[n % 2], format!("order-{n}"));
        async move { if n % 5 == 0 { replica.release(&id).await } else { replica.commit(&id).await } }
    });
    assert!(join_all(ended).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(shop.stock("tee").await.on_hand(), 1000 - 2 * 160);
    shop.check().await;
}

#[actix_rt::test]
async fn a_sku_that_does_not_park_holds_up_nobody_elses_bundle() {
    let shop = Shop::with(&[("tee", 10), ("cap", 10), ("mug", 10)]).await;
    let replica = shop.replica();
    let kept = replica.registry.ask("tee", Park, PARKED_FOR).await.unwrap().unwrap();
    let stuck = hold_in_background(&replica, "stuck".to_owned(), BOTH);
    let other = hold(&replica, "other", &[("cup", 1), ("mug", 1)]).await;
    assert_eq!(other, Err(HoldError::OutOfStock(vec!["cup".to_owned()])));
    assert!(!stuck.is_finished());
    let answer = stuck.await.unwrap();
    assert!(matches!(answer, Err(HoldError::Unavailable { .. })), "{answer:?}");
    let known = kept.known.clone();
    kept.unpark(known);
    hold(&replica, "stuck", BOTH).await.unwrap();
    shop.check().await;
}

#[actix_rt::test]
async fn a_panic_in_a_group_of_bundles_costs_no_unit() {
    for panic in [Panic::BeforeCommit, Panic::AfterCommit] {
        let shop = Shop::with(&[("tee", 100), ("cap", 100)]).await;
        let replica = shop.replica();
        shop.store.panic_next(panic);
        let bundles = (0..20).map(|n| hold_in_background(&replica, format!("order-{n}"), BOTH));
        for answer in join_all(bundles).await {
            answer.unwrap().unwrap();
        }
        assert_eq!((shop.stock("cap").await.held(), shop.stock("tee").await.held()), (20, 40));
        let fallen: u64 = shop.tree.list(Some("bundles"), 100).iter().map(|actor| actor.restarts).sum();
        assert_eq!(fallen, 1);
        shop.check().await;
    }
}

#[actix_rt::test]
async fn skus_that_do_not_exist_keep_no_actor() {
    let shop = Shop::with(&[]).await;
    let replica = shop.replica();
    for n in 0..20 {
        let wanted = [(format!("none-{n}"), 1), (format!("nor-{n}"), 1)];
        let wanted: Vec<_> = wanted.iter().map(|(sku, units)| (sku.as_str(), *units)).collect();
        hold(&replica, &format!("order-{n}"), &wanted).await.unwrap_err();
    }
    until(|| replica.registry.is_empty()).await;
}

#[actix_rt::test]
async fn a_bundle_whose_caller_leaves_frees_its_skus() {
    let shop = Shop::with(&[("tee", 10), ("cap", 10)]).await;
    let replica = shop.replica();
    shop.store.close();
    let dropped = hold_in_background(&replica, "bundle".to_owned(), BOTH);
    shop.store.arrived(1).await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    shop.store.let_through(1000);
    let began = std::time::Instant::now();
    hold(&replica, "order-1", &[("tee", 1)]).await.unwrap();
    hold(&replica, "order-2", &[("cap", 1)]).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(900), "they waited for the park's deadline");
    hold(&replica, "bundle", BOTH).await.unwrap();
    shop.check().await;
}

#[actix_rt::test]
async fn a_lost_answer_to_a_bundle_is_found_out_and_counts_once() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        let shop = Shop::with(&[("tee", 10), ("cap", 10)]).await;
        let replica = shop.replica();
        shop.memory.fail_commits([fault]);
        hold(&replica, "order-1", BOTH).await.unwrap();
        shop.memory.fail_commits([fault]);
        replica.commit("order-1").await.unwrap();
        assert_eq!((shop.stock("cap").await.on_hand(), shop.stock("tee").await.on_hand()), (9, 8));
        shop.check().await;
    }
}

#[actix_rt::test]
async fn a_bundle_says_so_when_the_store_is_down() {
    let shop = Shop::with(&[("tee", 10), ("cap", 10)]).await;
    let replica = shop.replica();
    hold(&replica, "order-1", BOTH).await.unwrap();
    shop.memory.fail_commits([CommitFault::Unavailable]);
    let answer = hold(&replica, "order-2", BOTH).await;
    assert!(matches!(answer, Err(HoldError::Unavailable { .. })), "{answer:?}");
    hold(&replica, "order-2", BOTH).await.unwrap();
    shop.check().await;
}
