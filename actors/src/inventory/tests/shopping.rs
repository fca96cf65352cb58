//! Holds of shoppers: so many a user, for so long, and nobody else's business.

use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::inventory::{MOST_LIVE, Placed};

const TTL: Duration = Duration::from_secs(60);
const ONE: &[(&str, i64)] = &[("tee", 1)];

async fn place(replica: &Inventory, id: &str, held: &[(&str, i64)]) -> Result<Placed, HoldError> {
    replica.hold_for_shopper(HoldRequest { ttl: Some(TTL), ..request(id, held) }).await
}

const FULL: Result<Placed, HoldError> = Err(HoldError::TooMany { most: MOST_LIVE });

#[actix_rt::test]
async fn a_user_has_so_many_live_holds_and_gets_a_place_back_with_each_that_ends() {
    let shop = Shop::with(&[("tee", 100)]).await;
    let replica = shop.replica();
    for n in 0..MOST_LIVE {
        assert!(!place(&replica, &format!("h{n}"), ONE).await.unwrap().replayed);
    }
    assert_eq!(place(&replica, "one-more", ONE).await, FULL);
    assert!(place(&replica, "h7", ONE).await.unwrap().replayed, "a repeat is no new hold");
    let theirs = HoldRequest { ttl: Some(TTL), user_id: "u2".to_owned(), ..request("theirs", ONE) };
    replica.hold_for_shopper(theirs).await.unwrap();
    hold(&replica, "an-order", ONE).await.unwrap();

    replica.withdraw("u1", "h3").await.unwrap();
    place(&replica, "after-withdrawal", ONE).await.unwrap();
    assert_eq!(place(&replica, "one-more", ONE).await, FULL);

    shop.clock.advance(TTL);
    for n in 0..MOST_LIVE {
        place(&replica, &format!("later-{n}"), ONE).await.unwrap();
    }
    assert_eq!(place(&replica, "one-more", ONE).await, FULL);
    assert_eq!(replica.live_holds_of("u1").await.unwrap().len(), MOST_LIVE);
    replica.release_expired(shop.clock.now(), 1000).await.unwrap();
    shop.check().await;
}

#[actix_rt::test]
async fn parallel_requests_on_several_skus_and_replicas_take_no_place_twice() {
    for round in 0..6 {
        let shop = Shop::with(&[("tee", 100), ("cap", 100), ("mug", 100)]).await;
        shop.store.dawdle(round);
        let replicas = [shop.replica(), shop.replica()];
        let wanted: [&[(&str, i64)]; 4] = [ONE, &[("cap", 1)], &[("mug", 1)], &[("cap", 1), ("mug", 1)]];
        let asked = (0..40).map(|n| {
            let (replica, held) = (&replicas[n % 2], wanted[n / 2 % 4]);
            async move { place(replica, &format!("h{n}"), held).await }
        });
        let answers = join_all(asked).await;
        let placed = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!(answers.iter().all(|answer| answer.is_ok() || *answer == FULL), "{answers:?}");
        assert_eq!(placed, MOST_LIVE, "round {round}");
        assert_eq!(replicas[0].live_holds_of("u1").await.unwrap().len(), MOST_LIVE);
        shop.check().await;
    }
}

#[actix_rt::test]
async fn units_of_a_hold_whose_time_has_come_are_there_before_any_sweep() {
    let shop = Shop::with(&[("tee", 3), ("cap", 3)]).await;
    let replica = shop.replica();
    place(&replica, "single", &[("tee", 1)]).await.unwrap();
    place(&replica, "bundle", &[("tee", 2), ("cap", 3)]).await.unwrap();
    let all = &[("tee", 3), ("cap", 3)];
    shop.clock.advance(TTL - Duration::from_millis(1));
    assert!(matches!(hold(&replica, "early", all).await, Err(HoldError::OutOfStock(_))));
    assert_eq!(replica.stock_now("tee").await.unwrap().unwrap().value.available(), 0);
    assert_eq!(replica.live_holds_of("u1").await.unwrap().len(), 2);

    shop.clock.advance(Duration::from_millis(1));
    assert_eq!(replica.hold_of("u1", "single").await.unwrap().unwrap().status, HoldStatus::Released);
    assert_eq!(replica.live_holds_of("u1").await.unwrap(), []);
    assert_eq!(replica.withdraw("u1", "single").await, Err(HoldError::NotFound));
    hold(&replica, "in-time", all).await.unwrap();
    assert_eq!(replica.stock_now("tee").await.unwrap().unwrap().value.available(), 0);
    shop.check().await;
}

#[actix_rt::test]
async fn stock_that_is_asked_for_counts_no_hold_whose_time_has_come() {
    let shop = Shop::with(&[("tee", 3)]).await;
    let replica = shop.replica();
    place(&replica, "h1", &[("tee", 2)]).await.unwrap();
    shop.clock.advance(TTL);
    let stock = replica.stock_now("tee").await.unwrap().unwrap().value;
    assert_eq!((stock.available(), stock.held()), (3, 0));
    shop.check().await;
}

#[actix_rt::test]
async fn a_hold_is_seen_and_ended_by_its_shopper_alone_and_an_orders_by_no_shopper() {
    let shop = Shop::with(&[("tee", 10)]).await;
    let replica = shop.replica();
    place(&replica, "mine", ONE).await.unwrap();
    hold(&replica, "an-order", ONE).await.unwrap();
    assert_eq!(replica.hold_of("u2", "mine").await.unwrap(), None);
    assert_eq!(replica.withdraw("u2", "mine").await, Err(HoldError::NotFound));
    assert_eq!(replica.live_holds_of("u2").await.unwrap(), []);
    assert_eq!(replica.hold_of("u1", "an-order").await.unwrap(), None);
    assert_eq!(replica.withdraw("u1", "an-order").await, Err(HoldError::NotFound));

    let seen = replica.live_holds_of("u1").await.unwrap();
    assert_eq!(seen.iter().map(|hold| hold.id.as_str()).collect::<Vec<_>>(), ["mine"]);
    replica.withdraw("u1", "mine").await.unwrap();
    assert_eq!(replica.withdraw("u1", "mine").await, Err(HoldError::NotFound));
    assert_eq!(shop.stock("tee").await.held(), 1);
    shop.check().await;
}
