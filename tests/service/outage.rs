//! Parts that are away, and that come back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::App;
use crate::support::{Client, eventually, order};

crate::over_both_stores!(orders_wait_for_an_absent_payment_provider);

async fn orders_wait_for_an_absent_payment_provider(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 10).await;
    let client = Client::register(app.url()).await;
    let switch = async |state: &str| {
        let url = format!("{}/_sandbox/faults", app.replica.sandbox);
        let answer = reqwest::Client::new().post(url).json(&json!({"payments": state})).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    };

    // Given a payment provider that is away, orders are accepted and wait, and say for what;
    switch("down").await;
    let accepted = client.post_with_key("/v1/orders", order(&sku, 1, "pm_card_visa"), "k").await.expect(202);
    let id = accepted["id"].as_str().unwrap().to_owned();
    eventually("the timeline says what it waits for", Duration::from_secs(20), async || {
        let timeline = client.get(&format!("/v1/orders/{id}/timeline")).await.expect(200);
        let waits = |item: &Value| item["status"] == "waiting";
        timeline["items"].as_array().unwrap().iter().any(waits).then_some(())
    })
    .await;
    client.get("/v1/users/me").await.expect(200);

    // when it is back, they are finished.
    switch("up").await;
    eventually("the order is confirmed", Duration::from_secs(60), async || {
        let order = client.get(&format!("/v1/orders/{id}")).await.expect(200);
        (order["status"] == "confirmed").then_some(())
    })
    .await;
}
