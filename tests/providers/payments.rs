//! Payments at the sandbox: what each payment method does, and that everything counts once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::{Value, json};
use steward_actors::money::{Currency, Money};
use steward_actors::providers::{
    IntentRequest, IntentStatus, PaymentError, Payments, ProviderRefundStatus, RefundRequest,
};
use steward_actors::store::{Batch, CommitError, Store};
use steward_actors::testing::{AtCommit, CommitFault, ManualClock, MemoryStore};
use tokio::sync::Barrier;

use crate::support::{World, client, error, request};

#[tokio::test]
async fn a_good_card_is_authorised_and_captured() {
    let world = World::new().await;
    let payments = world.payments();
    let intent = payments.create(&request("o1", "pm_card_visa")).await.unwrap();
    assert_eq!((intent.status, intent.amount.minor), (IntentStatus::Unconfirmed, 1999));
    assert_eq!(world.ledger("o1").await["authorized"], 0);
    assert_eq!(payments.confirm(&intent.id, "c").await.unwrap().status, IntentStatus::Authorized);
    assert_eq!(world.ledger("o1").await["authorized"], 1999);
    let captured = payments.capture(&intent.id, "t").await.unwrap();
    assert_eq!((captured.status, captured.captured.minor), (IntentStatus::Captured, 1999));
    assert_eq!(payments.look_up(&intent.id).await.unwrap(), captured);
    let ledger = world.ledger("o1").await;
    let wanted = json!({
        "orderId": "o1", "currency": "usd", "authorized": 0, "captured": 1999, "refunded": 0,
        "intents": 1, "authorizations": 1, "captures": 1, "refunds": 0,
    });
    assert_eq!(ledger, wanted);
}

#[tokio::test]
async fn a_refund_counts_once_and_is_found_by_our_id() {
    for method in ["pm_card_visa", "pm_card_flaky", "pm_card_lost_reply", "pm_card_broken_reply"] {
        let world = World::new().await;
        let payments = world.payments();
        let intent = payments.create(&request("o1", method)).await.unwrap();
        // A refusal is kept for its key, so each attempt has its own.
        for attempt in 0.. {
            if payments.look_up(&intent.id).await.unwrap().status == IntentStatus::Captured {
                break;
            }
            assert!(attempt < 10, "{method}");
            let _ = payments.confirm(&intent.id, &format!("c{attempt}")).await;
            let _ = payments.capture(&intent.id, &format!("t{attempt}")).await;
        }
        let refund = |id: &str, minor| RefundRequest {
            key: id.to_owned(),
            refund_id: id.to_owned(),
            order_id: "o1".to_owned(),
            intent_id: intent.id.clone(),
            amount: Money::new(minor, intent.amount.currency),
        };
        let part = refund("part", 500);
        assert_eq!(payments.find_refund(&part).await, Ok(None), "{method}");
        let answers =
            [payments.refund(&part).await, payments.refund(&part).await, payments.refund(&part).await];
        let found = payments.find_refund(&part).await.unwrap().expect("it counted");
        assert_eq!((found.status, found.amount), (ProviderRefundStatus::Succeeded, part.amount));
        for answer in answers {
            match answer {
                Ok(refund) => assert_eq!(refund, found, "{method}"),
                Err(PaymentError::OutcomeUnknown(_)) => assert_ne!(method, "pm_card_visa"),
                Err(other) => panic!("{method} {other:?}"),
            }
        }
        let mut too_much = payments.refund(&refund("more", 1500)).await;
        while matches!(too_much, Err(PaymentError::OutcomeUnknown(_))) {
            too_much = payments.refund(&refund("more", 1500)).await;
        }
        assert!(matches!(too_much, Err(PaymentError::Refused(_))), "{method} {too_much:?}");
        let ledger = world.ledger("o1").await;
        assert_eq!((&ledger["refunded"], &ledger["refunds"]), (&json!(500), &json!(1)), "{method}");
    }
}

#[tokio::test]
async fn a_declined_card_reserves_nothing_and_its_intent_says_why() {
    let world = World::new().await;
    let payments = world.payments();
    let intent = payments.create(&request("o1", "pm_card_chargeDeclined")).await.unwrap();
    for _ in 0..2 {
        let declined = payments.confirm(&intent.id, "c").await;
        assert_eq!(declined, Err(PaymentError::Declined("card_declined".to_owned())));
    }
    let after = payments.look_up(&intent.id).await.unwrap();
    assert_eq!((after.status, after.declined.as_deref()), (IntentStatus::Unconfirmed, Some("card_declined")));
    assert!(matches!(payments.confirm(&intent.id, "again").await, Err(PaymentError::Refused(_))));
    assert_eq!(world.ledger("o1").await["authorizations"], 0);
    assert_eq!(payments.cancel(&intent.id, "x").await.unwrap().status, IntentStatus::Canceled);
}

#[tokio::test]
async fn a_card_that_needs_authentication_waits_for_the_customer_and_can_be_canceled() {
    let world = World::new().await;
    let payments = world.payments();
    let intent = payments.create(&request("o1", "pm_card_authenticationRequired")).await.unwrap();
    assert_eq!(payments.confirm(&intent.id, "c").await.unwrap().status, IntentStatus::RequiresAction);
    assert!(matches!(payments.capture(&intent.id, "t").await, Err(PaymentError::Refused(_))));
    assert_eq!(payments.cancel(&intent.id, "x").await.unwrap().status, IntentStatus::Canceled);
    assert_eq!(world.ledger("o1").await["authorizations"], 0);
}

#[tokio::test]
async fn canceling_releases_what_was_reserved_and_ends_the_intent() {
    let world = World::new().await;
    let payments = world.payments();
    let intent = payments.create(&request("o1", "pm_card_visa")).await.unwrap();
    payments.confirm(&intent.id, "c").await.unwrap();
    payments.cancel(&intent.id, "x").await.unwrap();
    assert_eq!(world.ledger("o1").await["authorized"], 0);
    for refused in [payments.capture(&intent.id, "t").await, payments.cancel(&intent.id, "y").await] {
        assert!(
            matches!(&refused, Err(PaymentError::Refused(why)) if why.contains("unexpected_state")),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_method_or_intent_is_refused_with_the_parameter() {
    let world = World::new().await;
    let refused = world.payments().create(&request("o1", "pm_card_gold")).await;
    assert!(
        matches!(&refused, Err(PaymentError::InvalidMethod(why)) if why.contains("pm_card_gold")),
        "{refused:?}"
    );
    assert!(matches!(world.payments().look_up("pi_none").await, Err(PaymentError::Refused(_))));
    let bad = [
        (
            "payment_method",
            json!({"amount": 500, "currency": "usd", "capture_method": "manual", "payment_method": "pm_x"}),
        ),
        ("amount", json!({"amount": 0, "currency": "usd", "capture_method": "manual"})),
        ("amount", json!({"amount": "1e3", "currency": "usd", "capture_method": "manual"})),
        ("amount", json!({"amount": 5124, "currency": "kwd", "capture_method": "manual"})),
        ("amount", json!({"amount": 550, "currency": "isk", "capture_method": "manual"})),
        ("amount", json!({"currency": "usd", "capture_method": "manual"})),
        ("currency", json!({"amount": 500, "currency": "abc", "capture_method": "manual"})),
        ("capture_method", json!({"amount": 500, "currency": "usd", "capture_method": "automatic"})),
        ("confirm", json!({"amount": 500, "currency": "usd", "capture_method": "manual", "confirm": "true"})),
        ("colour", json!({"amount": 500, "currency": "usd", "capture_method": "manual", "colour": "red"})),
    ];
    for (param, form) in bad {
        let (status, error) =
            error(world.post("/v1/payment_intents").form(&form).send().await.unwrap()).await;
        assert_eq!((status, error["param"].as_str()), (400, Some(param)), "{form}");
    }
    assert!(world.get("/v1/payment_intents").await["data"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn of_three_decimals_the_last_is_0_in_a_part_too() {
    let world = World::new().await;
    let payments = world.payments();
    let amount = Money::new(5120, Currency::from_code("KWD").unwrap());
    let intent = payments.create(&IntentRequest { amount, ..request("o1", "pm_card_visa") }).await.unwrap();
    payments.confirm(&intent.id, "c").await.unwrap();
    let asked = async |path: &str, form: Value| {
        let response = world.post(path).form(&form).send().await.unwrap();
        let (status, error) = error(response).await;
        (status, error["param"].as_str().map(str::to_owned))
    };
    let capture = format!("/v1/payment_intents/{}/capture", intent.id);
    let refused = asked(&capture, json!({"amount_to_capture": 5115})).await;
    assert_eq!(refused, (400, Some("amount_to_capture".to_owned())));
    payments.capture(&intent.id, "t").await.unwrap();
    let refund = |amount: i64| json!({"payment_intent": intent.id, "amount": amount});
    assert_eq!(asked("/v1/refunds", refund(5)).await, (400, Some("amount".to_owned())));
    assert_eq!(asked("/v1/refunds", refund(10)).await, (200, None));
    assert_eq!(world.ledger("o1").await["refunded"], 10);
}

#[tokio::test]
async fn too_little_is_not_charged_and_any_part_is_given_back() {
    let world = World::new().await;
    let payments = world.payments();
    let asked = |minor, code| {
        let amount = Money::new(minor, Currency::from_code(code).unwrap());
        IntentRequest { key: format!("{minor} {code}"), amount, ..request("o1", "pm_card_visa") }
    };
    for (minor, code) in [(49, "USD"), (29, "GBP"), (49, "JPY"), (17_499, "HUF")] {
        let asked = asked(minor, code);
        assert!(payments.check_amount(asked.amount).is_err(), "{code}");
        // The sandbox says the same to whoever asks all the same.
        let refused = payments.create(&asked).await;
        assert!(
            matches!(&refused, Err(PaymentError::Refused(why)) if why.contains("amount_too_small")),
            "{code} {refused:?}"
        );
    }
    let intent = payments.create(&asked(50, "USD")).await.unwrap();
    payments.confirm(&intent.id, "c").await.unwrap();
    payments.capture(&intent.id, "t").await.unwrap();
    let refund = RefundRequest {
        key: "cent".to_owned(),
        refund_id: "cent".to_owned(),
        order_id: "o1".to_owned(),
        intent_id: intent.id.clone(),
        amount: Money::new(1, intent.amount.currency),
    };
    assert_eq!(payments.check_refund(refund.amount), Ok(()));
    assert_eq!(payments.refund(&refund).await.unwrap().status, ProviderRefundStatus::Succeeded);
}

#[tokio::test]
async fn strangers_are_not_admitted() {
    let world = World::new().await;
    let url = format!("{}/v1/payment_intents", world.sandbox.url());
    assert_eq!(client().get(url).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_key_brings_its_first_answer_and_other_parameters_are_an_error() {
    let world = World::new().await;
    let payments = world.payments();
    let first = payments.create(&request("o1", "pm_card_visa")).await.unwrap();
    assert_eq!(payments.create(&request("o1", "pm_card_visa")).await.unwrap(), first);
    let other = payments.create(&request("o1", "pm_card_slow")).await;
    assert!(
        matches!(&other, Err(PaymentError::Refused(why)) if why.contains("idempotency_error")),
        "{other:?}"
    );
    let elsewhere = payments.confirm(&first.id, "o1-create").await;
    assert!(matches!(elsewhere, Err(PaymentError::Refused(_))));
    assert_eq!(world.ledger("o1").await["intents"], 1);
}

#[tokio::test]
async fn everything_survives_a_restart_keys_included() {
    let world = World::new().await;
    let intent = world.payments().create(&request("o1", "pm_card_visa")).await.unwrap();
    let confirmed = world.payments().confirm(&intent.id, "c").await.unwrap();
    let world = world.restarted().await;
    assert_eq!(world.payments().confirm(&intent.id, "c").await.unwrap(), confirmed);
    assert_eq!(world.payments().create(&request("o1", "pm_card_visa")).await.unwrap().id, intent.id);
    let ledger = world.ledger("o1").await;
    assert_eq!((&ledger["intents"], &ledger["authorizations"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn parallel_captures_count_once_whichever_keys_they_have() {
    let world = World::new().await;
    let payments = world.payments();
    let intent = payments.create(&request("o1", "pm_card_visa")).await.unwrap();
    payments.confirm(&intent.id, "c").await.unwrap();
    let keys: Vec<String> = (0..20).map(|n| format!("capture-{}", n / 2)).collect();
    let answers = join_all(keys.iter().map(|key| payments.capture(&intent.id, key))).await;
    assert!(answers.iter().any(Result::is_ok));
    let ledger = world.ledger("o1").await;
    assert_eq!((&ledger["captures"], &ledger["captured"]), (&json!(1), &json!(1999)));
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let clock = Arc::new(ManualClock::default());
    let world = World::over(Arc::new(MemoryStore::new(clock.clone()))).await;
    let create =
        async |world: &World| world.payments().create(&request("o1", "pm_card_visa")).await.unwrap().id;
    let first = create(&world).await;
    clock.advance(Duration::from_secs(23 * 3600));
    let world = world.restarted().await;
    assert_eq!(create(&world).await, first);
    clock.advance(Duration::from_secs(2 * 3600));
    let world = world.restarted().await;
    let second = create(&world).await;
    assert_ne!(second, first);
    assert_eq!(create(&world).await, second);
}

/// A store in which two commits wait for each other, so that both were decided before either.
struct Rendezvous {
    inner: MemoryStore,
    commits: AtomicUsize,
    meet: std::ops::Range<usize>,
    barrier: Barrier,
}

#[async_trait]
impl AtCommit for Rendezvous {
    fn store(&self) -> &dyn Store {
        &self.inner
    }

    async fn at_commit(&self, batch: Batch) -> Result<(), CommitError> {
        if self.meet.contains(&self.commits.fetch_add(1, Ordering::SeqCst)) {
            self.barrier.wait().await;
        }
        self.inner.commit(batch).await
    }
}

#[tokio::test]
async fn of_two_captures_decided_at_the_same_time_one_decides_again() {
    // Commits 0 and 1 make the webhooks' secrets; 2 and 3 create and confirm.
    let store = Rendezvous {
        inner: MemoryStore::default(),
        commits: AtomicUsize::new(0),
        meet: 4..6,
        barrier: Barrier::new(2),
    };
    let store = Arc::new(store);
    let world = World::over(store.clone()).await;
    let replica = World::over(store.clone()).await;
    let intent = world.payments().create(&request("o1", "pm_card_visa")).await.unwrap();
    world.payments().confirm(&intent.id, "c").await.unwrap();
    let (here, there) = (world.payments(), replica.payments());
    let (a, b) = tokio::join!(here.capture(&intent.id, "a"), there.capture(&intent.id, "b"));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    assert!([a, b].iter().any(|answer| matches!(answer, Err(PaymentError::Refused(_)))));
    assert_eq!(world.ledger("o1").await["captures"], 1);
    assert!(store.commits.load(Ordering::SeqCst) > 6);
}

#[tokio::test]
async fn the_same_key_at_two_replicas_at_once_counts_once_and_both_get_the_answer() {
    let store = Rendezvous {
        inner: MemoryStore::default(),
        commits: AtomicUsize::new(0),
        meet: 3..5,
        barrier: Barrier::new(2),
    };
    let store = Arc::new(store);
    let (world, replica) = (World::over(store.clone()).await, World::over(store).await);
    let intent = world.payments().create(&request("o1", "pm_card_visa")).await.unwrap();
    let (here, there) = (world.payments(), replica.payments());
    let (a, b) = tokio::join!(here.confirm(&intent.id, "c"), there.confirm(&intent.id, "c"));
    assert_eq!(a.unwrap(), b.unwrap());
    assert_eq!(world.ledger("o1").await["authorizations"], 1);
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_told_as_such_and_the_key_settles_it() {
    let store = Arc::new(MemoryStore::default());
    let world = World::over(store.clone()).await;
    let payments = world.payments();
    for (order, fault) in [("o1", CommitFault::LostAfter), ("o2", CommitFault::LostBefore)] {
        let intent = payments.create(&request(order, "pm_card_visa")).await.unwrap();
        store.fail_commits([fault]);
        let lost = payments.confirm(&intent.id, &format!("{order}-c")).await;
        assert!(matches!(lost, Err(PaymentError::OutcomeUnknown(_))), "{lost:?}");
        let settled = payments.confirm(&intent.id, &format!("{order}-c")).await.unwrap();
        assert_eq!(settled.status, IntentStatus::Authorized);
        assert_eq!(world.ledger(order).await["authorizations"], 1);
    }
    store.fail_commits([CommitFault::Unavailable]);
    let down = payments.create(&request("o3", "pm_card_visa")).await;
    assert!(matches!(down, Err(PaymentError::Unavailable { .. })), "{down:?}");
}

#[tokio::test]
async fn refunds_take_back_what_was_captured_and_no_more() {
    let world = World::new().await;
    let payments = world.payments();
    let intent = payments.create(&request("o1", "pm_card_visa")).await.unwrap();
    payments.confirm(&intent.id, "c").await.unwrap();
    let refund = |amount: Option<i64>| {
        let form = [("payment_intent", intent.id.clone())].into_iter();
        let form: Vec<_> = form.chain(amount.map(|amount| ("amount", amount.to_string()))).collect();
        world.post("/v1/refunds").form(&form).send()
    };
    assert_eq!(refund(None).await.unwrap().status(), 400);
    payments.capture(&intent.id, "t").await.unwrap();
    assert_eq!(refund(Some(2000)).await.unwrap().status(), 400);
    assert_eq!(refund(Some(999)).await.unwrap().status(), 200);
    assert_eq!(refund(None).await.unwrap().status(), 200);
    let (status, again) = error(refund(None).await.unwrap()).await;
    assert_eq!((status, again["code"].as_str()), (400, Some("charge_already_refunded")));
    assert_eq!(world.ledger("o1").await["refunded"], 1999);
    let list = world.get(&format!("/v1/refunds?payment_intent={}", intent.id)).await;
    let amounts: Vec<i64> =
        list["data"].as_array().unwrap().iter().map(|r| r["amount"].as_i64().unwrap()).collect();
    assert_eq!(amounts.iter().sum::<i64>(), 1999);
}

#[tokio::test]
async fn the_list_of_intents_pages_through_all_of_them_once() {
    let world = World::new().await;
    let payments = world.payments();
    for n in 0..5 {
        payments.create(&request(&format!("o{n}"), "pm_card_visa")).await.unwrap();
    }
    let mut orders = Vec::new();
    let mut after = String::new();
    loop {
        let page = world.get(&format!("/v1/payment_intents?limit=2{after}")).await;
        for intent in page["data"].as_array().unwrap() {
            orders.push(intent["metadata"]["order_id"].as_str().unwrap().to_owned());
            after = format!("&starting_after={}", intent["id"].as_str().unwrap());
        }
        if page["has_more"] == false {
            break;
        }
    }
    orders.sort();
    assert_eq!(orders, ["o0", "o1", "o2", "o3", "o4"]);
    assert_eq!(world.get("/_sandbox/ledger").await["orders"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn the_pages_of_the_ledger_never_split_an_order() {
    let world = World::new().await;
    let payments = world.payments();
    for (order, intents) in [("o1", 2), ("o2", 3), ("o3", 1)] {
        for n in 0..intents {
            let key = format!("{order}-{n}");
            payments.create(&IntentRequest { key, ..request(order, "pm_card_visa") }).await.unwrap();
        }
    }
    for limit in 1..8 {
        let mut seen = Vec::new();
        let mut from = String::new();
        // More pages than intents would be a page that leads nowhere.
        for _ in 0..6 {
            let page = world.get(&format!("/_sandbox/ledger?limit={limit}{from}")).await;
            for order in page["orders"].as_array().unwrap() {
                seen.push((
                    order["orderId"].as_str().unwrap().to_owned(),
                    order["intents"].as_i64().unwrap(),
                ));
            }
            let Some(next) = page["next"].as_str() else { break };
            from = format!("&from={next}");
        }
        assert_eq!(seen, [("o1".into(), 2), ("o2".into(), 3), ("o3".into(), 1)], "limit {limit}");
    }
}
