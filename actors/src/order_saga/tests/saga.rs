//! One replica: good ends and bad ends.

use std::time::Duration;

use super::world::{World, ask, usd};
use crate::inventory::HoldStatus;
use crate::money::{Currency, Money};
use crate::order_saga::{AcceptError, Line, OrderStatus, PaymentStatus, Reason, TimelineStatus};
use crate::providers::{IntentStatus, NotChargeable};
use crate::testing::PaymentCall;

const A_WHILE: Duration = Duration::from_secs(10);

#[actix_rt::test]
async fn an_order_that_goes_well_is_confirmed_in_four_commits_and_mailed_once() {
    let world = World::new();
    let replica = world.replica("r1");
    let accepted = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap();
    assert!(!accepted.replayed);
    let id = accepted.order.value.id;

    let order = world.settled(&replica, &id).await;
    assert_eq!(world.store.commits(), 4);
    assert_eq!(order.status, OrderStatus::Confirmed);
    assert_eq!((order.total, order.payment.authorized, order.payment.captured), (usd(2999), 2999, 2999));
    assert_eq!((order.owner, order.step, order.waiting), (None, None, None));
    assert_eq!(
        world.events(&id).await,
        [
            "accepted",
            "stock_held",
            "intent_created",
            "authorized",
            "stock_committed",
            "captured",
            "confirmed"
        ]
    );
    world.check(&replica, &id).await;
    assert_eq!((world.holds.available("a"), world.holds.available("b")), (8, 9));

    world.deliver(&replica).await;
    let sent = world.mailer.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].to.as_str(), sent[0].id.as_str()),
        ("u1@example.com", format!("order_confirmation.{id}").as_str())
    );
    assert!(sent[0].text.contains("29.99 USD") && sent[0].text.contains("2 x The a (a): 10.00 USD"));
    world.until("the saga left", async || replica.orders.live() == 0).await;
}

#[actix_rt::test]
async fn the_intents_id_is_in_the_store_before_money_can_be_in_the_intent() {
    let world = World::new();
    let replica = world.replica("r1");
    let mut held = world.payments.hold(PaymentCall::Confirm);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    let intent = world.payments.intents(&id)[0].id.clone();
    assert_eq!(world.order(&replica, &id).await.payment.reference, Some(intent));
    held.release();
    world.settled(&replica, &id).await;
}

#[actix_rt::test]
async fn a_declined_card_and_one_that_needs_the_customer_are_undone() {
    let world = World::new();
    let replica = world.replica("r1");
    for (method, reason, event) in [
        ("pm_card_chargeDeclined", Reason::PaymentDeclined, "declined"),
        ("pm_card_authenticationRequired", Reason::AuthenticationRequired, "authentication_required"),
    ] {
        let id = replica.orders.accept(ask(method, method)).await.unwrap().order.value.id;
        let order = world.settled(&replica, &id).await;
        assert_eq!((order.status, order.reason), (OrderStatus::Rejected, Some(reason)));
        assert_eq!(
            world.events(&id).await,
            [
                "accepted",
                "stock_held",
                "intent_created",
                event,
                "intent_canceled",
                "stock_released",
                "rejected"
            ]
        );
        world.check(&replica, &id).await;
        assert_eq!(world.holds.status(&id), Some(HoldStatus::Released));
        assert_eq!(world.payments.ledger(&id).cancels, 1);
        assert_eq!(order.payment.status, PaymentStatus::Canceled);
    }
    assert_eq!((world.holds.available("a"), world.holds.available("b")), (10, 10));
    world.deliver(&replica).await;
    assert_eq!(world.mailer.calls(), 0);
}

#[actix_rt::test]
async fn a_method_that_the_provider_does_not_know_is_told_from_a_decline() {
    let world = World::new();
    let replica = world.replica("r1");
    let id = replica.orders.accept(ask("k", "pm_unknown")).await.unwrap().order.value.id;
    let order = world.settled(&replica, &id).await;
    assert_eq!(order.reason, Some(Reason::PaymentMethodInvalid));
    assert_eq!(world.events(&id).await, ["accepted", "stock_held", "declined", "stock_released", "rejected"]);
    let timeline = replica.orders.timeline(&id).await.unwrap().entries;
    assert_eq!(timeline[2].detail.as_deref(), Some("payment_method_invalid"));
    world.check(&replica, &id).await;
}

#[actix_rt::test]
async fn an_amount_that_cannot_be_charged_is_refused_before_there_is_an_order() {
    let world = World::new();
    let replica = world.replica("r1");
    let asked = |minor| {
        let mut asked = ask("k", "pm_card_visa");
        let dinars = Money::new(minor, Currency::from_code("KWD").unwrap());
        asked.lines = vec![Line { unit_price: dinars, quantity: 3, ..asked.lines[0].clone() }];
        asked
    };
    let refused = replica.orders.accept(asked(1001)).await.unwrap_err();
    assert_eq!(refused, AcceptError::NotChargeable(NotChargeable("does not end in 0".to_owned())));
    assert_eq!((world.store.commits(), world.payments.calls(PaymentCall::Create)), (0, 0));
    let order = replica.orders.accept(asked(1010)).await.unwrap().order.value;
    assert_eq!(order.total.minor, 3030);
    world.settled(&replica, &order.id).await;
}

#[actix_rt::test]
async fn out_of_stock_names_the_skus_and_never_reaches_the_provider() {
    let world = World::new();
    let replica = world.replica("r1");
    world.holds.set("a", 1);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    let order = world.settled(&replica, &id).await;
    assert_eq!((order.status, order.reason), (OrderStatus::Rejected, Some(Reason::OutOfStock)));
    assert_eq!(world.events(&id).await, ["accepted", "stock_refused", "rejected"]);
    assert_eq!(world.store.commits(), 2);
    assert_eq!(world.payments.calls(PaymentCall::Create), 0);
    let timeline = replica.orders.timeline(&id).await.unwrap().entries;
    assert_eq!(timeline[1].status, TimelineStatus::Refused);
    assert_eq!(timeline[1].detail.as_deref(), Some("out_of_stock: a"));
    world.check(&replica, &id).await;
}

#[actix_rt::test]
async fn an_authorisation_that_is_gone_at_capture_ends_the_order_and_gives_its_stock_back() {
    for gone in [IntentStatus::Canceled, IntentStatus::Unconfirmed] {
        let world = World::new();
        let replica = world.replica("r1");
        let mut held = world.payments.hold(PaymentCall::Capture);
        let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
        held.arrived().await;
        assert_eq!(world.holds.status(&id), Some(HoldStatus::Committed));
        world.payments.end_authorization(&id, gone);
        held.release();

        let order = world.settled(&replica, &id).await;

        assert_eq!((order.status, order.reason), (OrderStatus::Rejected, Some(Reason::PaymentDeclined)));
        assert_eq!((order.payment.status, order.payment.authorized), (PaymentStatus::Canceled, 0));
        world.check(&replica, &id).await;
        assert_eq!((world.holds.available("a"), world.holds.available("b")), (10, 10));
        let timeline = replica.orders.timeline(&id).await.unwrap();
        assert!(timeline.entries.iter().any(|entry| entry.detail.as_deref() == Some("authorization_gone")));
    }
}

#[actix_rt::test]
async fn an_event_that_was_long_in_coming_has_a_new_place_and_its_old_time() {
    let world = World::new();
    let replica = world.replica("r1");
    let mut held = world.payments.hold(PaymentCall::Create);
    let id = replica.orders.accept(ask("k", "pm_card_visa")).await.unwrap().order.value.id;
    held.arrived().await;
    // The stock was held before the provider was so slow.
    world.clock.advance(A_WHILE);
    held.release();
    world.settled(&replica, &id).await;
    let events = replica.orders.events_of(&id, 0, 100).await.unwrap();
    let [held, created] = [&events[1], &events[2]];
    assert_eq!((held.kind.as_str(), created.kind.as_str()), ("stock_held", "intent_created"));
    assert!(held.at.since(held.entry.at) >= A_WHILE, "{held:?}");
    assert_eq!(held.at, created.at, "both were committed then");
}
