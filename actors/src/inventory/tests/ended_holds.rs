//! Holds end by commit, by release, or at their time, and only once.

use std::time::Duration;

use super::*;
use crate::catalog::{Catalog, NewProduct, Variant};
use crate::inventory::records::LAPSING;
use crate::money::{Currency, Money};

const TTL: Duration = Duration::from_secs(900);

async fn shoppers_hold(shop: &Shop, id: &str, held: &[(&str, i64)]) -> Hold {
    let user_id = format!("who-holds-{id}");
    shop.replica().hold(HoldRequest { ttl: Some(TTL), user_id, ..request(id, held) }).await.unwrap()
}

#[actix_rt::test]
async fn a_hold_ends_once_and_repeating_that_is_no_error() {
    let shop = Shop::with(&[("tee", 10)]).await;
    let (one, other) = (shop.replica(), shop.replica());
    hold(&one, "sold", &[("tee", 3)]).await.unwrap();
    hold(&one, "given-back", &[("tee", 4)]).await.unwrap();
    for replica in [&one, &other, &one] {
        assert_eq!(replica.commit("sold").await.unwrap().status, HoldStatus::Committed);
        assert_eq!(replica.release("given-back").await.unwrap().status, HoldStatus::Released);
        assert_eq!(replica.release("sold").await, Err(HoldError::WrongState(HoldStatus::Committed)));
        assert_eq!(replica.commit("given-back").await, Err(HoldError::WrongState(HoldStatus::Released)));
        assert_eq!(replica.commit("never-made").await, Err(HoldError::NotFound));
    }
    let stock = shop.stock("tee").await;
    assert_eq!((stock.on_hand(), stock.held()), (7, 0));
    shop.check().await;
}

#[actix_rt::test]
async fn commit_and_release_at_once_have_one_winner() {
    for round in 0..20 {
        let shop = Shop::with(&[("tee", 10)]).await;
        shop.store.dawdle(round % 4);
        let (one, other) = (shop.replica(), shop.replica());
        hold(&one, "order-1", &[("tee", 3)]).await.unwrap();
        let (sold, released) = tokio::join!(one.commit("order-1"), other.release("order-1"));
        match (&sold, &released) {
            (Ok(_), Err(HoldError::WrongState(HoldStatus::Committed)))
            | (Err(HoldError::WrongState(HoldStatus::Released)), Ok(_)) => {}
            both => panic!("{both:?}"),
        }
        shop.check().await;
    }
}

#[actix_rt::test]
async fn a_hold_lasts_until_its_time_and_not_longer() {
    let shop = Shop::with(&[("tee", 10)]).await;
    let replica = shop.replica();
    shoppers_hold(&shop, "in-time", &[("tee", 1)]).await;
    shoppers_hold(&shop, "late", &[("tee", 2)]).await;
    shoppers_hold(&shop, "asked-again", &[("tee", 4)]).await;
    shop.clock.advance(TTL - Duration::from_millis(1));
    assert_eq!(replica.commit("in-time").await.unwrap().status, HoldStatus::Committed);
    shop.clock.advance(Duration::from_millis(1));
    assert_eq!(replica.commit("late").await, Err(HoldError::WrongState(HoldStatus::Released)));
    let stands = hold(&replica, "asked-again", &[("tee", 4)]).await.unwrap();
    assert_eq!(stands.status, HoldStatus::Released);
    let stock = shop.stock("tee").await;
    assert_eq!((stock.on_hand(), stock.held()), (9, 0));
    shop.check().await;
}

#[actix_rt::test]
async fn units_of_a_lapsed_hold_are_there_for_whoever_asks_before_the_sweep() {
    let shop = Shop::with(&[]).await;
    let replica = shop.replica();
    let catalog = Catalog::new(shop.store.clone(), shop.clock.clone(), Arc::new(replica.clone()));
    let variant = Variant {
        sku: Sku::parse("tee").unwrap(),
        name: "Tee".to_owned(),
        price: Money::new(100, Currency::from_code("USD").unwrap()),
        attributes: Default::default(),
    };
    let product = NewProduct {
        command: None,
        id: "p1".to_owned(),
        name: "Tee".to_owned(),
        description: None,
        category_id: None,
        attributes: Default::default(),
        image_urls: Vec::new(),
        variants: vec![variant],
    };
    catalog.create(product).await.unwrap();
    let product = catalog.get("p1").await.unwrap().unwrap();
    adjust(&replica, "delivery", "tee", 5).await.unwrap();
    let available = async || catalog.available(std::slice::from_ref(&product)).await.unwrap()["tee"];

    shoppers_hold(&shop, "h1", &[("tee", 5)]).await;
    assert_eq!(available().await, 0);
    assert_eq!(adjust(&replica, "count-1", "tee", -5).await, Err(AdjustError::BelowHeld { held: 5 }));
    assert!(catalog.archive("p1", None).await.is_err());

    shop.clock.advance(TTL);
    assert_eq!(available().await, 5);
    shoppers_hold(&shop, "h2", &[("tee", 5)]).await;
    shop.clock.advance(TTL);
    adjust(&replica, "count-2", "tee", -1).await.unwrap();
    shoppers_hold(&shop, "h3", &[("tee", 4)]).await;
    shop.clock.advance(TTL);
    catalog.archive("p1", None).await.unwrap();
    assert_eq!(shop.stock("tee").await.orderable(), 0);
    shop.check().await;
}

#[actix_rt::test]
async fn the_id_of_a_lapsed_hold_with_other_lines_is_answered_with_that_hold() {
    let shop = Shop::with(&[("tee", 5), ("cap", 5)]).await;
    for (id, first) in [("one", &[("tee", 1)][..]), ("two", &[("tee", 1), ("cap", 1)])] {
        shoppers_hold(&shop, id, first).await;
        shop.clock.advance(TTL);
        let asked = shoppers_hold(&shop, id, &[("cap", 1)]).await;
        assert_eq!(asked.lines, lines(first), "{id}");
    }
    shop.replica().release_expired(shop.clock.now(), 100).await.unwrap();
    shop.check().await;
}

#[actix_rt::test]
async fn the_sweep_ends_what_has_lapsed_and_nothing_else() {
    let shop = Shop::with(&[("tee", 100), ("cap", 100)]).await;
    let replica = shop.replica();
    for n in 0..5 {
        shoppers_hold(&shop, &format!("lapsed-{n}"), &[("tee", 1)]).await;
    }
    shoppers_hold(&shop, "lapsed-bundle", &[("tee", 1), ("cap", 1)]).await;
    shoppers_hold(&shop, "sold", &[("tee", 1)]).await;
    replica.commit("sold").await.unwrap();
    hold(&replica, "order", &[("tee", 1)]).await.unwrap();
    shop.clock.advance(TTL / 2);
    shoppers_hold(&shop, "live", &[("tee", 1)]).await;
    assert_eq!(replica.release_expired(shop.clock.now(), 100).await, Ok(0));
    shop.clock.advance(TTL / 2);

    assert_eq!(replica.release_expired(shop.clock.now(), 4).await, Ok(4));
    assert_eq!(replica.release_expired(shop.clock.now(), 100).await, Ok(2));
    assert_eq!(replica.release_expired(shop.clock.now(), 100).await, Ok(0));

    assert_eq!((shop.stock("tee").await.held(), shop.stock("cap").await.held()), (2, 0));
    let (left, _) = find::<Hold>(shop.memory.as_ref(), Query::by(&HOLDS, LAPSING)).await.unwrap();
    assert_eq!(left.iter().map(|hold| hold.value.id.as_str()).collect::<Vec<_>>(), ["live"]);
    shop.check().await;
}

#[actix_rt::test]
async fn replicas_that_sweep_at_once_release_once() {
    let shop = Shop::with(&[("tee", 100)]).await;
    for n in 0..40 {
        shoppers_hold(&shop, &format!("hold-{n}"), &[("tee", 1)]).await;
    }
    shop.clock.advance(TTL);
    shop.store.dawdle(3);
    let (one, other, now) = (shop.replica(), shop.replica(), shop.clock.now());
    let (a, b) = tokio::join!(one.release_expired(now, 100), other.release_expired(now, 100));
    assert!(a.unwrap() + b.unwrap() >= 40);
    assert_eq!(shop.stock("tee").await.available(), 100);
    shop.check().await;
}

#[actix_rt::test]
async fn what_is_given_back_is_available_again_once_however_it_stood() {
    let shop = Shop::with(&[("tee", 10), ("cap", 10)]).await;
    let (one, other) = (shop.replica(), shop.replica());
    let held: &[(&str, i64)] = &[("tee", 2), ("cap", 1)];
    for id in ["held", "sold", "released"] {
        hold(&one, id, held).await.unwrap();
    }
    one.commit("sold").await.unwrap();
    one.release("released").await.unwrap();
    for replica in [&one, &other, &one] {
        for (id, status) in [
            ("held", HoldStatus::Released),
            ("sold", HoldStatus::Returned),
            ("released", HoldStatus::Released),
            ("never-made", HoldStatus::Released),
        ] {
            assert_eq!(replica.give_back(request(id, held)).await.unwrap().status, status, "{id}");
        }
    }
    // What was given back cannot be made, or sold, later.
    assert_eq!(hold(&other, "never-made", held).await.unwrap().status, HoldStatus::Released);
    assert_eq!(other.commit("sold").await, Err(HoldError::WrongState(HoldStatus::Returned)));
    assert_eq!((shop.stock("tee").await.available(), shop.stock("cap").await.available()), (10, 10));
    shop.check().await;
}

#[actix_rt::test]
async fn making_a_hold_and_giving_it_back_at_once_leaves_nothing_held() {
    for round in 0..20 {
        let shop = Shop::with(&[("tee", 10)]).await;
        shop.store.dawdle(round % 4);
        let (one, other) = (shop.replica(), shop.replica());
        let held: &[(&str, i64)] = &[("tee", 3)];
        let (made, given_back) =
            tokio::join!(hold(&one, "order-1", held), other.give_back(request("order-1", held)));
        assert_eq!(given_back.unwrap().status, HoldStatus::Released);
        made.unwrap();
        assert_eq!(shop.stock("tee").await.available(), 10, "{round}");
        shop.check().await;
    }
}
