//! Webhooks of the payment provider, over HTTP.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use steward::providers::stripe_webhook::sign;
use steward_actors::time::Timestamp;

use crate::App;
use crate::orders::{ended, ledger_entry, place};
use crate::support::{Client, eventually, order};

crate::over_both_stores!(
    what_is_not_signed_or_stale_or_changed_is_401_without_effect,
    money_that_is_taken_after_the_end_is_refunded,
    a_refund_that_fails_after_all_is_made_again,
    money_that_somebody_gave_back_at_the_provider_counts,
    orders_end_well_while_webhooks_come_in_any_order_and_several_times,
);

async fn sandbox(app: &App, path: &str, body: Value) {
    let url = format!("{}/_sandbox/{path}", app.replica.sandbox);
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

async fn secret(app: &App) -> SecretString {
    let shown = reqwest::get(format!("{}/_sandbox/webhooks", app.replica.sandbox)).await.unwrap();
    let shown: Value = shown.json().await.unwrap();
    SecretString::from(shown["secret"].as_str().unwrap().to_owned())
}

async fn send(app: &App, body: &[u8], header: Option<&str>) -> StatusCode {
    let mut request = reqwest::Client::new().post(format!("{}/v1/webhooks/stripe", app.url()));
    if let Some(header) = header {
        request = request.header("Stripe-Signature", header);
    }
    request.body(body.to_vec()).send().await.unwrap().status()
}

fn captured(order: &Value) -> Vec<u8> {
    let intent = order["payment"]["reference"].as_str().unwrap();
    let object = json!({"id": intent, "metadata": {"order_id": order["id"]}});
    json!({"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": object}})
        .to_string()
        .into_bytes()
}

async fn what_is_not_signed_or_stale_or_changed_is_401_without_effect(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 5).await;
    let client = Client::register(app.url()).await;
    let id = place(&client, "k", order(&sku, 1, "pm_card_chargeDeclined")).await;
    let rejected = ended(&client, &id).await;
    sandbox(&app, "faults", json!({"webhooks": "down"})).await;
    sandbox(&app, "charge", json!({"orderId": id})).await;

    let (body, secret, now) = (captured(&rejected), secret(&app).await, Timestamp::from_millis(now_millis()));
    let good = sign(&secret, &body, now);
    let mut flipped = body.clone();
    flipped[9] ^= 1;
    let stale = sign(&secret, &body, Timestamp::from_millis(now.as_millis() - 301_000));
    let foreign = sign(&SecretString::from("whsec_mine"), &body, now);
    for (body, header) in [
        (&body, None),
        (&body, Some("")),
        (&body, Some(stale.as_str())),
        (&body, Some(foreign.as_str())),
        (&flipped, Some(good.as_str())),
    ] {
        assert_eq!(send(&app, body, header).await, 401, "{header:?}");
    }
    assert_eq!(client.get(&format!("/v1/orders/{id}")).await.expect(200), rejected);
    // And what is genuine: once, and again without effect.
    for _ in 0..3 {
        assert_eq!(send(&app, &body, Some(&good)).await, 200);
    }
    eventually("it is refunded", Duration::from_secs(40), async || {
        let order = client.get(&format!("/v1/orders/{id}")).await.expect(200);
        (order["status"] == "refunded").then_some(())
    })
    .await;
    assert_eq!(send(&app, &body, Some(&good)).await, 200);
    let entry = ledger_entry(&app, &id).await.unwrap();
    assert_eq!(
        (&entry["captured"], &entry["refunded"], &entry["refunds"]),
        (&json!(500), &json!(500), &json!(1))
    );
    // Signed nonsense is taken and forgotten; too much of it is not read.
    for nonsense in [&b""[..], b"null", b"{\"id\": 1}"] {
        assert_eq!(send(&app, nonsense, Some(&sign(&secret, nonsense, now))).await, 200);
    }
    let huge = vec![b' '; 300 * 1024];
    assert_eq!(send(&app, &huge, Some(&sign(&secret, &huge, now))).await, 413);
}

fn now_millis() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

async fn money_that_is_taken_after_the_end_is_refunded(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 5).await;
    let client = Client::register(app.url()).await;
    let id = place(&client, "k", order(&sku, 1, "pm_card_chargeDeclined")).await;
    assert_eq!(ended(&client, &id).await["status"], "rejected");
    sandbox(&app, "faults", json!({"webhooks": "shuffled"})).await;
    sandbox(&app, "charge", json!({"orderId": id})).await;
    eventually("it is refunded", Duration::from_secs(40), async || {
        let entry = ledger_entry(&app, &id).await?;
        (entry["captured"] == 500 && entry["refunded"] == 500).then_some(())
    })
    .await;
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(5), &json!(0)));
}

async fn a_refund_that_fails_after_all_is_made_again(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 5).await;
    let client = Client::register(app.url()).await;
    let id = place(&client, "k", order(&sku, 1, "pm_card_visa")).await;
    assert_eq!(ended(&client, &id).await["status"], "confirmed");
    let path = format!("/v1/orders/{id}/cancel");
    client.send(Method::POST, &path, None, None).await.expect("an answer").expect(202);
    let refunded = async |refunds: u32| {
        eventually("it is refunded", Duration::from_secs(40), async || {
            let order = client.get(&format!("/v1/orders/{id}")).await.expect(200);
            let entry = ledger_entry(&app, &id).await?;
            let paid_back = entry["refunded"] == 500 && entry["refunds"] == refunds;
            (order["status"] == "refunded" && paid_back).then_some(())
        })
        .await;
    };
    refunded(1).await;
    sandbox(&app, "faults", json!({"webhooks": "shuffled"})).await;
    sandbox(&app, "fail-refunds", json!({"orderId": id})).await;
    refunded(2).await;
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(5), &json!(0)));
    let refunds = client.get(&format!("/v1/orders/{id}/refunds")).await.expect(200);
    let statuses: Vec<_> = refunds["items"].as_array().unwrap().iter().map(|r| &r["status"]).collect();
    assert_eq!(statuses, [&json!("succeeded"), &json!("failed")]);
}

async fn money_that_somebody_gave_back_at_the_provider_counts(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 5).await;
    let client = Client::register(app.url()).await;
    let id = place(&client, "k", order(&sku, 1, "pm_card_visa")).await;
    let order = ended(&client, &id).await;
    assert_eq!(order["status"], "confirmed");
    let intent = order["payment"]["reference"].as_str().unwrap().to_owned();
    let by_hand = async |amount: &str| {
        let form = [("payment_intent", intent.as_str()), ("amount", amount)];
        let call = reqwest::Client::new().post(format!("{}/v1/refunds", app.replica.sandbox));
        let answer = call.bearer_auth("sk_test_sandbox").form(&form).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    let refunded = async |status: &str, amount: f64| {
        eventually("it is counted", Duration::from_secs(40), async || {
            let order = client.get(&format!("/v1/orders/{id}")).await.expect(200);
            (order["status"] == status && order["payment"]["refunded"] == amount).then_some(())
        })
        .await;
    };
    by_hand("200").await;
    refunded("confirmed", 2.0).await;
    let path = format!("/v1/orders/{id}/refunds");
    let too_much = admin.post_with_key(&path, json!({"amount": 3.5}), "r").await.expect(409);
    assert_eq!(too_much["left"], 3);
    by_hand("300").await;
    refunded("refunded", 5.0).await;
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(5), &json!(0)));
}

async fn orders_end_well_while_webhooks_come_in_any_order_and_several_times(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 50).await;
    let client = Client::register(app.url()).await;
    sandbox(&app, "faults", json!({"webhooks": "shuffled"})).await;
    let mut placed = Vec::new();
    for n in 0..20 {
        let method =
            ["pm_card_visa", "pm_card_flaky", "pm_card_chargeDeclined", "pm_card_broken_reply"][n % 4];
        placed.push((place(&client, &format!("k{n}"), order(&sku, 1, method)).await, n % 4 != 2));
    }
    for (id, good) in &placed {
        let status = if *good { "confirmed" } else { "rejected" };
        assert_eq!(ended(&client, id).await["status"], status);
        let entry = ledger_entry(&app, id).await.unwrap();
        let captured = if *good { 500 } else { 0 };
        assert_eq!((&entry["captured"], &entry["refunded"]), (&json!(captured), &json!(0)));
    }
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(35), &json!(0)));
}
