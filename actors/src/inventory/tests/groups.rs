//! Commands that arrive while a commit is in flight share the next one.

use futures_util::future::join_all;

use super::*;
use crate::inventory::actor::{GROUP, PARKED_FOR, Park};
use crate::testing::CommitFault;

/// Asks so many times for one unit while a commit is in flight, and lets everything go on once
/// all of them wait.
async fn ask_behind_a_commit(
    shop: &Shop,
    replica: &Inventory,
    asked: usize,
) -> (u64, Vec<Result<Hold, HoldError>>) {
    shop.store.close();
    let before = shop.memory.commits();
    let first = hold_in_background(replica, "order-first".to_owned(), &[("tee", 1)]);
    shop.store.arrived(1).await;
    let others: Vec<_> =
        (0..asked).map(|n| hold_in_background(replica, format!("order-{n}"), &[("tee", 1)])).collect();
    let actor = replica.registry.get("tee").unwrap();
    until(|| actor.waiting() == asked + 1).await;
    shop.store.let_through(1000);
    first.await.unwrap().unwrap();
    let answers = join_all(others).await.into_iter().map(Result::unwrap).collect();
    (shop.memory.commits() - before, answers)
}

#[actix_rt::test]
async fn commands_that_wait_for_a_commit_share_the_next_one() {
    let shop = Shop::with(&[("tee", 1000)]).await;
    let (commits, answers) = ask_behind_a_commit(&shop, &shop.replica(), GROUP).await;
    assert!(answers.iter().all(Result::is_ok));
    // One for the first, one for the others; one more if some were still on their way.
    assert!((2..=3).contains(&commits), "{commits} commits");
    shop.check().await;
}

#[actix_rt::test]
async fn a_group_is_bounded() {
    let shop = Shop::with(&[("tee", 2000)]).await;
    let (commits, answers) = ask_behind_a_commit(&shop, &shop.replica(), 3 * GROUP).await;
    assert!(answers.iter().all(Result::is_ok));
    assert!((4..=6).contains(&commits), "{commits} commits");
    shop.check().await;
}

#[actix_rt::test]
async fn calm_stock_shares_its_commit_and_contended_stock_is_in_nobodys_way() {
    let shop = Shop::with(&[("tee", 10)]).await;
    let (one, other) = (shop.replica(), shop.replica());
    shop.store.sharings();
    hold(&one, "order-1", &[("tee", 1)]).await.unwrap();
    hold(&other, "order-2", &[("tee", 1)]).await.unwrap();
    assert_eq!(shop.store.sharings(), [Sharing::Shared; 2]);
    // The first replica comes too late, tries again, and knows from then on that it is not alone.
    hold(&one, "order-3", &[("tee", 1)]).await.unwrap();
    assert_eq!(shop.store.sharings(), [Sharing::Shared, Sharing::Alone]);
    hold(&one, "order-4", &[("tee", 1)]).await.unwrap();
    assert_eq!(shop.store.sharings(), [Sharing::Alone]);
    shop.check().await;
}

#[actix_rt::test]
async fn many_commands_have_a_commit_of_their_own() {
    let shop = Shop::with(&[("tee", 1000)]).await;
    shop.store.sharings();
    let (_, answers) = ask_behind_a_commit(&shop, &shop.replica(), 100).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(shop.store.sharings()[..2], [Sharing::Shared, Sharing::Alone]);
}

#[actix_rt::test]
async fn each_of_a_group_has_its_own_answer() {
    let shop = Shop::with(&[("tee", 11)]).await;
    let (_, answers) = ask_behind_a_commit(&shop, &shop.replica(), 50).await;
    let held = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(held, 10);
    assert!(answers.iter().filter_map(|a| a.as_ref().err()).all(|e| matches!(e, HoldError::OutOfStock(_))));
    shop.check().await;
}

/// A group of two that want the last unit, in flight; the commit meets `fault`.
async fn two_want_the_last_unit(shop: &Shop, fault: CommitFault) -> [Result<Hold, HoldError>; 2] {
    let replica = shop.replica();
    shop.store.close();
    let first = hold_in_background(&replica, "order-first".to_owned(), &[("tee", 1)]);
    shop.store.arrived(1).await;
    let one = hold_in_background(&replica, "order-1".to_owned(), &[("tee", 1)]);
    let actor = replica.registry.get("tee").unwrap();
    until(|| actor.waiting() == 2).await;
    let two = hold_in_background(&replica, "order-2".to_owned(), &[("tee", 1)]);
    until(|| actor.waiting() == 3).await;
    shop.store.let_through(1);
    first.await.unwrap().unwrap();
    shop.store.arrived(2).await;
    shop.memory.fail_commits([fault]);
    shop.store.let_through(1000);
    [one.await.unwrap(), two.await.unwrap()]
}

#[actix_rt::test]
async fn nobody_is_refused_for_a_unit_that_another_of_the_group_did_not_get() {
    let shop = Shop::with(&[("tee", 2)]).await;
    for answer in two_want_the_last_unit(&shop, CommitFault::Unavailable).await {
        assert!(matches!(answer, Err(HoldError::Unavailable { .. })), "{answer:?}");
    }
    shop.check().await;
}

#[actix_rt::test]
async fn after_a_lost_answer_each_of_the_group_is_decided_again() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        let shop = Shop::with(&[("tee", 2)]).await;
        let [one, two] = two_want_the_last_unit(&shop, fault).await;
        assert!(one.is_ok(), "{one:?}");
        assert_eq!(two, Err(HoldError::OutOfStock(vec!["tee".to_owned()])));
        shop.check().await;
    }
}

#[actix_rt::test]
async fn one_that_came_before_does_not_hold_up_its_group() {
    let shop = Shop::with(&[("tee", 50)]).await;
    let (one, other) = (shop.replica(), shop.replica());
    for n in 0..10 {
        hold(&other, &format!("order-{n}"), &[("tee", 1)]).await.unwrap();
    }
    let (_, answers) = ask_behind_a_commit(&shop, &one, 20).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(shop.stock("tee").await.held(), 21);
    shop.check().await;
}

#[actix_rt::test]
async fn a_panic_costs_an_incarnation_and_no_unit() {
    for panic in [Panic::BeforeCommit, Panic::AfterCommit] {
        let shop = Shop::with(&[("tee", 100)]).await;
        let replica = shop.replica();
        hold(&replica, "order-before", &[("tee", 1)]).await.unwrap();
        shop.store.panic_next(panic);
        let (_, answers) = ask_behind_a_commit(&shop, &replica, 40).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(shop.stock("tee").await.held(), 42);
        let fallen: u64 = shop.tree.list(Some("inventory"), 100).iter().map(|actor| actor.restarts).sum();
        assert_eq!(fallen, 1);
        shop.check().await;
    }
}

#[actix_rt::test]
async fn a_full_mailbox_refuses_at_once() {
    let shop = Shop::with(&[("tee", 100)]).await;
    let mut options = Inventory::OPTIONS;
    options.mailbox = 3;
    let (store, clock) = (shop.store.clone(), shop.clock.clone());
    let replica = Inventory::new(store, clock, shop.arbiters.clone(), shop.tree.clone(), options);
    shop.store.close();
    let accepted: Vec<_> =
        (0..3).map(|n| hold_in_background(&replica, format!("order-{n}"), &[("tee", 1)])).collect();
    let actor = replica.registry.get("tee").unwrap();
    until(|| actor.waiting() == 3).await;
    let refused = hold(&replica, "order-9", &[("tee", 1)]).await;
    assert!(matches!(refused, Err(HoldError::Unavailable { .. })), "{refused:?}");
    shop.store.let_through(1000);
    assert!(join_all(accepted).await.into_iter().all(|answer| answer.unwrap().is_ok()));
    shop.check().await;
}

#[actix_rt::test]
async fn a_drained_inventory_answers_what_it_accepted() {
    let shop = Shop::with(&[("tee", 100)]).await;
    let replica = shop.replica();
    shop.store.close();
    let accepted: Vec<_> =
        (0..30).map(|n| hold_in_background(&replica, format!("order-{n}"), &[("tee", 1)])).collect();
    let actor = replica.registry.get("tee").unwrap();
    until(|| actor.waiting() == 30).await;
    let draining = {
        let replica = replica.clone();
        actix_rt::spawn(async move { replica.drain(std::time::Duration::from_secs(5)).await })
    };
    until(|| replica.registry.get("cap").is_err()).await;
    shop.store.let_through(1000);
    assert!(join_all(accepted).await.into_iter().all(|answer| answer.unwrap().is_ok()));
    draining.await.unwrap();
    assert!(replica.registry.is_empty());
    shop.check().await;
}

#[actix_rt::test]
async fn a_queue_that_is_parked_and_forgotten_goes_on_by_itself() {
    let shop = Shop::with(&[("tee", 5)]).await;
    let (one, other) = (shop.replica(), shop.replica());
    let forgotten = one.registry.ask("tee", Park, PARKED_FOR).await.unwrap().unwrap();
    hold(&other, "order-1", &[("tee", 5)]).await.unwrap();
    // It waits for the whole second: the one that parked it lives on and never comes back.
    let answer = hold(&one, "order-2", &[("tee", 1)]).await;
    assert_eq!(answer, Err(HoldError::OutOfStock(vec!["tee".to_owned()])));
    let known = forgotten.known.clone();
    forgotten.unpark(known);
    shop.check().await;
}
