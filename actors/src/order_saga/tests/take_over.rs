//! Orders over holds that shoppers have already: real stock, the store in memory.

use std::sync::Arc;
use std::time::Duration;

use super::world::{World, ask, lines};
use crate::cluster::Clock;
use crate::inventory::{
    Adjustment, Hold, HoldError, HoldLine, HoldRequest, HoldStatus, Holds, Inventory, Sku, Stock, TakeError,
};
use crate::order_saga::{
    AcceptError, AcceptOrder, CrashPoints, OrderStatus, Orders, OrdersOptions, OrdersParts,
};
use crate::outbox::Waker;
use crate::store::{Batch, Store, load};
use crate::supervision::Arbiters;
use crate::testing::{CommitFault, WatchedStore};

const TTL: Duration = Duration::from_secs(60);

struct Shop {
    world: World,
    store: Arc<WatchedStore>,
    inventory: Inventory,
    orders: Orders,
    arbiters: Arc<Arbiters>,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.arbiters.stop();
    }
}

impl Shop {
    /// There are 10 of SKU a and 10 of SKU b.
    async fn open() -> Self {
        let world = World::new();
        let store = Arc::new(WatchedStore::new(world.store.clone()));
        let arbiters = Arc::new(Arbiters::start(1));
        let (clock, tree) = (world.clock.clone(), world.tree.clone());
        let inventory =
            Inventory::new(store.clone(), clock.clone(), arbiters.clone(), tree.clone(), Inventory::OPTIONS);
        let parts = OrdersParts {
            store: store.clone(),
            clock,
            holds: Arc::new(inventory.clone()),
            payments: world.payments.clone(),
            outbox: Waker::default(),
            incarnation: "r1".to_owned(),
            crash_points: CrashPoints::default(),
        };
        let orders = Orders::new(parts, OrdersOptions::default(), arbiters.clone(), tree);
        for sku in ["a", "b"] {
            store.commit(Batch::new().insert(&Stock::none_of(&Sku::parse(sku).unwrap()))).await.unwrap();
            let (id, sku, reason) = (format!("delivery-{sku}"), sku.to_owned(), "received".to_owned());
            inventory.adjust(Adjustment { id, sku, delta: 10, reason, reference: None }).await.unwrap();
        }
        Self { world, store, inventory, orders, arbiters }
    }

    /// A hold of user u1 over the lines that [`ask`] orders.
    async fn hold(&self, id: &str) -> Hold {
        let line =
            |line: &crate::order_saga::Line| HoldLine { sku: line.sku.clone(), quantity: line.quantity };
        let held = lines().iter().map(line).collect();
        let request =
            HoldRequest { id: id.to_owned(), user_id: "u1".to_owned(), lines: held, ttl: Some(TTL) };
        self.inventory.hold_for_shopper(request).await.unwrap().hold
    }

    async fn read(&self, id: &str) -> Hold {
        load::<Hold>(self.store.as_ref(), id).await.unwrap().unwrap().value
    }

    async fn on_hand_and_held(&self, sku: &str) -> (i64, i64) {
        let stock = self.inventory.stock(sku).await.unwrap().unwrap().value;
        (stock.on_hand(), stock.held())
    }

    async fn settled(&self, id: &str) -> OrderStatus {
        let status = async || self.orders.get(id).await.unwrap().unwrap().value.status;
        self.world.until("a settled order", async || status().await.is_settled()).await;
        status().await
    }

    async fn refused(&self, ask: AcceptOrder) -> TakeError {
        match self.orders.accept(ask).await {
            Err(AcceptError::Hold(refused)) => refused,
            other => panic!("{other:?}"),
        }
    }
}

fn ask_over(key: &str, hold: &str, method: &str) -> AcceptOrder {
    AcceptOrder { hold_id: Some(hold.to_owned()), ..ask(key, method) }
}

#[actix_rt::test]
async fn an_order_takes_the_hold_over_in_the_commit_that_makes_it() {
    let shop = Shop::open().await;
    shop.hold("h1").await;
    let commits = shop.world.store.commits();
    let accepted = shop.orders.accept(ask_over("k", "h1", "pm_card_visa")).await.unwrap().order.value;
    assert_eq!(accepted.status, OrderStatus::StockHeld);
    assert_eq!(shop.read("h1").await.order_id, Some(accepted.id.clone()));
    assert_eq!(shop.settled(&accepted.id).await, OrderStatus::Confirmed);
    // Accepted and held; intent; authorised; sold; captured and confirmed.
    assert_eq!(shop.world.store.commits() - commits, 5);
    assert_eq!(shop.read("h1").await.status, HoldStatus::Committed);
    assert_eq!((shop.on_hand_and_held("a").await, shop.on_hand_and_held("b").await), ((8, 0), (9, 0)));

    let again = shop.orders.accept(ask_over("k", "h1", "pm_card_visa")).await.unwrap();
    assert!(again.replayed && again.order.value.id == accepted.id);
    assert_eq!(shop.refused(ask_over("k2", "h1", "pm_card_visa")).await, TakeError::Taken);
}

#[actix_rt::test]
async fn of_orders_that_name_one_hold_at_once_one_gets_it() {
    for _ in 0..20 {
        let shop = Shop::open().await;
        shop.hold("h1").await;
        let (one, other, again) = tokio::join!(
            shop.orders.accept(ask_over("k1", "h1", "pm_card_visa")),
            shop.orders.accept(ask_over("k2", "h1", "pm_card_visa")),
            shop.orders.accept(ask_over("k1", "h1", "pm_card_visa")),
        );
        let taken = |answer: &Result<_, AcceptError>| *answer == Err(AcceptError::Hold(TakeError::Taken));
        let outcome = |answer: Result<crate::order_saga::Accepted, AcceptError>| {
            answer.map(|accepted| accepted.order.value.id)
        };
        let (one, other, again) = (outcome(one), outcome(other), outcome(again));
        assert_eq!(one, again);
        assert!((one.is_ok() && taken(&other)) || (taken(&one) && other.is_ok()), "{one:?} {other:?}");
        shop.settled(&one.or(other).unwrap()).await;
        assert_eq!((shop.on_hand_and_held("a").await, shop.on_hand_and_held("b").await), ((8, 0), (9, 0)));
    }
}

#[actix_rt::test]
async fn a_hold_that_is_not_the_users_live_one_over_these_lines_is_not_taken() {
    let shop = Shop::open().await;
    shop.hold("h1").await;
    assert_eq!(shop.refused(ask_over("k", "none", "pm_card_visa")).await, TakeError::NotFound);
    let theirs = AcceptOrder { user_id: "u2".to_owned(), ..ask_over("k", "h1", "pm_card_visa") };
    assert_eq!(shop.refused(theirs).await, TakeError::NotFound);
    let mut fewer = ask_over("k", "h1", "pm_card_visa");
    fewer.lines.pop();
    assert_eq!(shop.refused(fewer).await, TakeError::OtherLines);
    let own = HoldRequest {
        id: "an-order".to_owned(),
        user_id: "u1".to_owned(),
        lines: shop.read("h1").await.lines,
        ttl: None,
    };
    shop.inventory.hold(own).await.unwrap();
    assert_eq!(shop.refused(ask_over("k", "an-order", "pm_card_visa")).await, TakeError::NotFound);
    shop.world.clock.advance(TTL);
    assert_eq!(shop.refused(ask_over("k", "h1", "pm_card_visa")).await, TakeError::Ended);
    shop.hold("h2").await;
    shop.inventory.withdraw("u1", "h2").await.unwrap();
    assert_eq!(shop.refused(ask_over("k", "h2", "pm_card_visa")).await, TakeError::Ended);
}

#[actix_rt::test]
async fn what_an_order_has_neither_time_nor_its_shopper_ends() {
    let shop = Shop::open().await;
    shop.hold("h1").await;
    let order = shop.orders.accept(ask_over("k", "h1", "pm_card_slow")).await.unwrap().order.value;
    let withdrawn = shop.inventory.withdraw("u1", "h1").await;
    assert!(matches!(withdrawn, Err(HoldError::WrongState(_))), "{withdrawn:?}");
    shop.world.clock.advance(TTL);
    assert_eq!(shop.inventory.release_expired(shop.world.clock.now(), 100).await, Ok(0));
    assert_eq!(shop.settled(&order.id).await, OrderStatus::Confirmed);
    assert_eq!(shop.on_hand_and_held("a").await, (8, 0));
}

#[actix_rt::test]
async fn an_order_that_fails_gives_the_units_of_its_hold_back() {
    let shop = Shop::open().await;
    shop.hold("h1").await;
    let order = shop.orders.accept(ask_over("k", "h1", "pm_card_chargeDeclined")).await.unwrap().order.value;
    assert_eq!(shop.settled(&order.id).await, OrderStatus::Rejected);
    assert_eq!(shop.read("h1").await.status, HoldStatus::Released);
    assert_eq!((shop.on_hand_and_held("a").await, shop.on_hand_and_held("b").await), ((10, 0), (10, 0)));
}

#[actix_rt::test]
async fn a_withdrawal_or_a_sweep_and_an_order_at_once_have_one_winner() {
    for round in 0..30 {
        let shop = Shop::open().await;
        shop.hold("h1").await;
        let now = shop.world.clock.now();
        let end = async {
            match round % 2 {
                0 => shop.inventory.withdraw("u1", "h1").await.is_ok(),
                // A replica whose clock is ahead sweeps too early: the actors' clock decides.
                _ => shop.inventory.release_expired(now.plus(TTL), 10).await == Ok(1),
            }
        };
        let (ended, accepted) = tokio::join!(end, shop.orders.accept(ask_over("k", "h1", "pm_card_visa")));
        match accepted {
            Ok(accepted) => {
                assert!(!ended);
                assert_eq!(shop.settled(&accepted.order.value.id).await, OrderStatus::Confirmed);
                assert_eq!(shop.on_hand_and_held("a").await, (8, 0));
            }
            Err(refused) => {
                assert!(ended);
                assert_eq!(refused, AcceptError::Hold(TakeError::Ended));
                assert_eq!(shop.on_hand_and_held("a").await, (10, 0));
            }
        }
    }
}

#[actix_rt::test]
async fn a_lost_answer_to_the_commit_takes_the_hold_once() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter] {
        let shop = Shop::open().await;
        shop.hold("h1").await;
        shop.world.store.fail_commits([fault]);
        let accept = shop.orders.accept(ask_over("k", "h1", "pm_card_visa"));
        tokio::pin!(accept);
        let accepted = loop {
            tokio::select! {
                biased;
                accepted = &mut accept => break accepted.unwrap(),
                () = tokio::task::yield_now() => shop.world.clock.advance(Duration::from_millis(1)),
            }
        };
        assert_eq!(shop.settled(&accepted.order.value.id).await, OrderStatus::Confirmed);
        assert_eq!(shop.on_hand_and_held("a").await, (8, 0));
    }
}
