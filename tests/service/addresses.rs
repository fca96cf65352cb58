//! Orders whose address is looked up, and orders that come again after the world has changed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::App;
use crate::support::{Backend, Client, DataDir, Replica, order};

crate::over_both_stores!(
    an_address_that_nobody_knows_is_refused_by_its_field_and_a_provider_that_fails_stands_in_nobodys_way,
    an_order_that_comes_again_is_the_same_whatever_became_of_price_product_and_address,
);

fn sent_to(sku: &str, street: &str) -> Value {
    let mut order = order(sku, 1, "pm_card_visa");
    order["shippingAddress"] = json!({
        "name": "Somebody", "line1": street, "city": "Weimar", "postalCode": "99423", "country": "DE",
    });
    order
}

async fn an_address_that_nobody_knows_is_refused_by_its_field_and_a_provider_that_fails_stands_in_nobodys_way(
    app: App,
) {
    let sku = Client::admin(app.url()).await.product(5.0, 100).await;
    let client = Client::register(app.url()).await;
    let refused = client.post_with_key("/v1/orders", sent_to(&sku, "Nowhere Lane 9"), "k1").await.expect(422);
    let error = &refused["errors"][0];
    assert_eq!((&error["field"], &error["code"]), (&json!("/shippingAddress"), &json!("unknown_address")));
    assert_eq!(client.get("/v1/orders").await.expect(200)["items"], json!([]));

    for (field, bad) in
        [("name", "A\nBcc: b@example.com"), ("city", " "), ("line1", "x\u{0}"), ("line2", "\u{202e}x")]
    {
        let mut asked = sent_to(&sku, "Frauenplan 1");
        asked["shippingAddress"][field] = json!(bad);
        let refused = client.post_with_key("/v1/orders", asked, "k1").await.expect(422);
        assert_eq!(refused["errors"][0]["field"], format!("/shippingAddress/{field}"), "{refused}");
    }

    // The same command with a street that there is.
    let placed = client.post_with_key("/v1/orders", sent_to(&sku, "Frauenplan 1"), "k1").await.expect(202);
    assert_eq!(placed["shippingAddress"]["line1"], "Frauenplan 1");

    for fault in ["quota-spent", "rate-limited", "garbage", "endless", "down"] {
        app.replica.set_fault("geocoding", fault).await;
        let begun = Instant::now();
        client.post_with_key("/v1/orders", sent_to(&sku, "Nowhere Lane 9"), fault).await.expect(202);
        assert!(begun.elapsed() < Duration::from_secs(15), "{fault} took {:?}", begun.elapsed());
    }
}

async fn an_order_that_comes_again_is_the_same_whatever_became_of_price_product_and_address(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 100).await;
    let product = admin.get("/v1/products?q=Thing").await.expect(200)["items"][0].clone();
    let path = format!("/v1/products/{}", product["id"].as_str().unwrap());
    let client = Client::register(app.url()).await;
    let mut asked = sent_to(&sku, "Frauenplan 1");
    asked["expectedTotal"] = json!(5);
    let first = client.post_with_key("/v1/orders", asked.clone(), "k").await.expect(202);
    crate::orders::ended(&client, first["id"].as_str().unwrap()).await;

    let plain = order(&sku, 1, "pm_card_visa");
    let other = client.post_with_key("/v1/orders", plain.clone(), "plain").await.expect(202);
    crate::orders::ended(&client, other["id"].as_str().unwrap()).await;
    let again = async |why: &str| {
        let answer = client.post_with_key("/v1/orders", asked.clone(), "k").await.expect(202);
        assert_eq!((&answer["id"], &answer["total"]), (&first["id"], &json!(5)), "{why}");
        let answer = client.post_with_key("/v1/orders", plain.clone(), "plain").await.expect(202);
        assert_eq!((&answer["id"], &answer["total"]), (&other["id"], &json!(5)), "{why}");
        let other = client.post_with_key("/v1/orders", sent_to(&sku, "Frauenplan 2"), "k").await.expect(422);
        assert_eq!(other["code"], "idempotency_key_reused", "{why}");
    };
    again("nothing has changed").await;
    for price in [7.5, 0.0, 9_999_999_999.99] {
        admin.patch(&path, json!({"variants": [{"sku": sku, "price": price}]})).await.expect(200);
        again(&format!("it costs {price}")).await;
    }
    admin.delete(&path).await.expect(204);
    again("it is archived").await;
    assert_eq!(client.get("/v1/orders").await.expect(200)["items"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_comes_again_asks_nobody_for_its_address_and_the_check_can_be_switched_off() {
    let data = DataDir::new();
    let replica = Replica::start(&data.path(), &Backend::Embedded, &[]).await;
    let sku = Client::admin(&replica.url).await.product(5.0, 100).await;
    let client = Client::register(&replica.url).await;
    // Taken while the provider was away, and the same when it is back and knows better.
    replica.set_fault("geocoding", "down").await;
    let asked = sent_to(&sku, "Nowhere Lane 9");
    let first = client.post_with_key("/v1/orders", asked.clone(), "k").await.expect(202);
    replica.set_fault("geocoding", "up").await;
    let again = client.post_with_key("/v1/orders", asked.clone(), "k").await.expect(202);
    assert_eq!(again["id"], first["id"]);
    client.post_with_key("/v1/orders", asked.clone(), "k2").await.expect(422);
    assert_eq!(replica.terminate().await, Some(0));

    let off = [("STEWARD__GEOCODING__ENABLED", "false")];
    let replica = Replica::start(&data.path(), &Backend::Embedded, &off).await;
    client.at(&replica.url).post_with_key("/v1/orders", asked, "k2").await.expect(202);
}
