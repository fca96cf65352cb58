//! Catalogue, stock and orders.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::App;
use crate::support::{Client, eventually, order};

crate::over_both_stores!(
    an_order_is_confirmed_paid_once_and_mailed,
    a_declined_card_and_missing_stock_leave_nothing_behind,
    every_payment_method_of_the_sandbox_ends_as_it_should,
    one_key_makes_one_order,
    a_hundred_units_are_sold_a_hundred_times,
    several_items_are_sold_together_or_not_at_all,
    stock_below_what_is_held_is_refused,
    only_an_admin_changes_catalogue_and_stock,
    another_users_order_is_not_there,
    an_order_that_makes_no_sense_is_refused_by_its_field,
    a_total_that_cannot_be_charged_makes_no_order,
    an_order_costs_what_the_client_expects_or_is_not_accepted,
);

pub async fn ended(client: &Client, id: &str) -> Value {
    eventually("the order ends", Duration::from_secs(40), async || {
        let answer = client.get(&format!("/v1/orders/{id}")).await;
        // A replica that is busy says so; asking again is what clients do.
        if answer.status == 503 {
            return None;
        }
        let order = answer.expect(200);
        matches!(order["status"].as_str(), Some("confirmed" | "rejected" | "cancelled")).then_some(order)
    })
    .await
}

pub async fn place(client: &Client, key: &str, body: Value) -> String {
    client.post_with_key("/v1/orders", body, key).await.expect(202)["id"].as_str().unwrap().to_owned()
}

pub async fn ledger_entry(app: &App, order: &str) -> Option<Value> {
    let answer = reqwest::get(format!("{}/_sandbox/ledger", app.replica.sandbox)).await.unwrap();
    let ledger: Value = answer.json().await.unwrap();
    ledger["orders"].as_array().unwrap().iter().find(|entry| entry["orderId"] == order).cloned()
}

async fn an_order_is_confirmed_paid_once_and_mailed(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(12.5, 5).await;
    let client = Client::register(app.url()).await;

    let id = place(&client, "k1", order(&sku, 2, "pm_card_visa")).await;
    let order = ended(&client, &id).await;

    assert_eq!(
        (&order["status"], &order["total"], &order["currency"]),
        (&json!("confirmed"), &json!(25), &json!("USD"))
    );
    assert_eq!(order["lines"][0]["unitPrice"], 12.5);
    assert_eq!(order["payment"]["captured"], 25);
    let entry = ledger_entry(&app, &id).await.expect("the provider knows the order");
    assert_eq!((&entry["captures"], &entry["captured"]), (&json!(1), &json!(2500)));
    assert_eq!(
        client.get(&format!("/v1/inventory/{sku}")).await.expect(200),
        json!({"sku": sku, "available": 3})
    );
    let timeline = client.get(&format!("/v1/orders/{id}/timeline")).await.expect(200);
    assert!(timeline["items"].as_array().unwrap().len() >= 4, "{timeline}");
    assert_eq!(timeline["truncated"], false);
    let outbox = app.data.path().join("outbox");
    let mail = eventually("the mail is there", Duration::from_secs(20), async || {
        let mut files = std::fs::read_dir(&outbox).ok()?;
        let file = files.find_map(|file| {
            let is_it = |name: &str| name.starts_with("order_confirmation") && name.ends_with(".eml");
            file.ok().filter(|file| file.file_name().to_str().is_some_and(is_it))
        })?;
        std::fs::read_to_string(file.path()).ok()
    })
    .await;
    assert!(mail.contains(&id), "{mail}");
}

async fn a_declined_card_and_missing_stock_leave_nothing_behind(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(3.0, 2).await;
    let client = Client::register(app.url()).await;

    let declined = place(&client, "k1", order(&sku, 1, "pm_card_chargeDeclined")).await;
    let declined = ended(&client, &declined).await;
    assert_eq!((&declined["status"], &declined["reason"]), (&json!("rejected"), &json!("payment_declined")));
    let too_many = place(&client, "k2", order(&sku, 3, "pm_card_visa")).await;
    let too_many = ended(&client, &too_many).await;
    assert_eq!((&too_many["status"], &too_many["reason"]), (&json!("rejected"), &json!("out_of_stock")));

    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"], &stock["available"]), (&json!(2), &json!(0), &json!(2)));
    for order in [declined, too_many] {
        let entry = ledger_entry(&app, order["id"].as_str().unwrap()).await;
        assert!(entry.is_none_or(|entry| entry["captures"] == 0 && entry["authorized"] == 0));
    }
}

async fn every_payment_method_of_the_sandbox_ends_as_it_should(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 50).await;
    let client = Client::register(app.url()).await;
    let mut placed = Vec::new();
    for (method, status, reason) in [
        ("pm_card_slow", "confirmed", json!(null)),
        ("pm_card_flaky", "confirmed", json!(null)),
        ("pm_card_lost_reply", "confirmed", json!(null)),
        ("pm_card_authenticationRequired", "rejected", json!("authentication_required")),
        ("pm_card_unheard_of", "rejected", json!("payment_method_invalid")),
    ] {
        placed.push((place(&client, method, order(&sku, 1, method)).await, status, reason));
    }
    for (id, status, reason) in placed {
        let order = ended(&client, &id).await;
        assert_eq!((&order["status"], &order["reason"]), (&json!(status), &reason), "{order}");
        let captures = ledger_entry(&app, &id).await.map_or(json!(0), |entry| entry["captures"].clone());
        assert_eq!(captures, json!(u32::from(status == "confirmed")), "{order}");
    }
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(47), &json!(0)));
}

async fn one_key_makes_one_order(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 50).await;
    let client = Client::register(app.url()).await;

    let attempts = (0..20).map(|_| {
        let (client, body) = (client.clone(), order(&sku, 1, "pm_card_visa"));
        tokio::spawn(async move { place(&client, "the-key", body).await })
    });
    let mut ids = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        ids.push(attempt.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);

    let other =
        client.post_with_key("/v1/orders", order(&sku, 2, "pm_card_visa"), "the-key").await.expect(422);
    assert_eq!(other["code"], "idempotency_key_reused");
    let missing = client.post("/v1/orders", order(&sku, 1, "pm_card_visa")).await.expect(400);
    assert_eq!(missing["code"], "idempotency_key_required");
    // A number is the same, however it is written.
    let costing = |total: Value| {
        let mut body = order(&sku, 1, "pm_card_visa");
        body["expectedTotal"] = total;
        body
    };
    let costs = place(&client, "another-key", costing(json!(1))).await;
    assert_eq!(place(&client, "another-key", costing(json!(1.0))).await, costs);
    let other = client.post_with_key("/v1/orders", costing(json!(1.1)), "another-key").await.expect(422);
    assert_eq!(other["code"], "idempotency_key_reused");
    let mine = client.get("/v1/orders").await.expect(200);
    assert_eq!(mine["items"].as_array().unwrap().len(), 2);

    // Another user's key is another key.
    let someone = Client::register(app.url()).await;
    assert_ne!(place(&someone, "the-key", order(&sku, 1, "pm_card_visa")).await, ids[0]);
}

async fn a_hundred_units_are_sold_a_hundred_times(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 100).await;
    let client = Client::register(app.url()).await;

    let buyers = (0..150).map(|n| {
        let (client, body) = (client.clone(), order(&sku, 1, "pm_card_visa"));
        async move {
            let id = place(&client, &format!("k{n}"), body).await;
            ended(&client, &id).await["status"] == "confirmed"
        }
    });
    let confirmed = join_all(buyers).await.into_iter().filter(|confirmed| *confirmed).count();
    assert_eq!(confirmed, 100);
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"], &stock["available"]), (&json!(0), &json!(0), &json!(0)));
}

async fn several_items_are_sold_together_or_not_at_all(app: App) {
    let admin = Client::admin(app.url()).await;
    let (a, b) = (admin.product(1.0, 10).await, admin.product(2.0, 4).await);
    let client = Client::register(app.url()).await;
    let bundle = |first: &str, second: &str| json!({"lines": [{"sku": first, "quantity": 1}, {"sku": second, "quantity": 1}], "paymentMethod": "pm_card_visa"});
    let buyers = (0..12).map(|n| {
        let body = if n % 2 == 0 { bundle(&a, &b) } else { bundle(&b, &a) };
        let client = client.clone();
        async move {
            let id = place(&client, &format!("k{n}"), body).await;
            ended(&client, &id).await["status"] == "confirmed"
        }
    });
    let confirmed = join_all(buyers).await.into_iter().filter(|confirmed| *confirmed).count();
    assert_eq!(confirmed, 4);
    for (sku, left) in [(&a, 6), (&b, 0)] {
        let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
        assert_eq!((&stock["onHand"], &stock["held"]), (&json!(left), &json!(0)), "{sku}");
    }
}

async fn stock_below_what_is_held_is_refused(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 3).await;
    let path = format!("/v1/inventory/{sku}/adjustments");
    let refused = admin.post_with_key(&path, json!({"delta": -4, "reason": "lost"}), "k1").await.expect(409);
    assert_eq!(refused["status"], 409);
    let first = admin.post_with_key(&path, json!({"delta": -1, "reason": "lost"}), "k2").await.expect(201);
    let again = admin.post_with_key(&path, json!({"delta": -1, "reason": "lost"}), "k2").await.expect(201);
    assert_eq!(first["id"], again["id"]);
    admin.post_with_key(&path, json!({"delta": -2, "reason": "lost"}), "k2").await.expect(422);
    for (field, bad) in
        [("reason", "lost\u{7}"), ("reason", " "), ("reference", "a\nb"), ("reference", "\u{202e}1-T")]
    {
        let mut body = json!({"delta": 1, "reason": "found"});
        body[field] = json!(bad);
        let refused = admin.post_with_key(&path, body, "k3").await.expect(422);
        assert_eq!(refused["errors"][0]["field"], format!("/{field}"), "{refused}");
    }
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!(stock["onHand"], 2);
}

async fn only_an_admin_changes_catalogue_and_stock(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 3).await;
    let client = Client::register(app.url()).await;
    let product =
        json!({"name": "Mine", "variants": [{"sku": "MINE", "name": "x", "price": 1, "currency": "USD"}]});
    client.post("/v1/products", product.clone()).await.expect(403);
    Client::new(app.url()).post("/v1/products", product).await.expect(401);
    let path = format!("/v1/inventory/{sku}/adjustments");
    client.post_with_key(&path, json!({"delta": 1, "reason": "mine"}), "k").await.expect(403);
    client.get("/v1/admin/actors").await.expect(403);
    let actors = admin.get("/v1/admin/actors").await.expect(200);
    assert!(actors["items"].as_array().unwrap().iter().any(|actor| actor["kind"] == "inventory"), "{actors}");
}

async fn another_users_order_is_not_there(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 3).await;
    let owner = Client::register(app.url()).await;
    let other = Client::register(app.url()).await;
    let id = place(&owner, "k", order(&sku, 1, "pm_card_visa")).await;
    other.get(&format!("/v1/orders/{id}")).await.expect(404);
    other.get(&format!("/v1/orders/{id}/timeline")).await.expect(404);
    assert_eq!(other.get("/v1/orders").await.expect(200)["items"], json!([]));
}

async fn an_order_that_makes_no_sense_is_refused_by_its_field(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 3).await;
    let client = Client::register(app.url()).await;
    for (body, field) in [
        (json!({"lines": [], "paymentMethod": "pm_card_visa"}), "/lines"),
        (order(&sku, 0, "pm_card_visa"), "/lines/0/quantity"),
        (order(&sku, -1, "pm_card_visa"), "/lines/0/quantity"),
        (order(&sku, 1001, "pm_card_visa"), "/lines/0/quantity"),
        (order("NO-SUCH-SKU", 1, "pm_card_visa"), "/lines/0/sku"),
        (order("$ne", 1, "pm_card_visa"), "/lines/0/sku"),
        (
            json!({"lines": [{"sku": sku, "quantity": 1}, {"sku": sku, "quantity": 1}], "paymentMethod": "pm_card_visa"}),
            "/lines/1/sku",
        ),
        (
            json!({"lines": [{"sku": sku, "quantity": 1, "unitPrice": 0}], "paymentMethod": "pm_card_visa"}),
            "/lines/0/unitPrice",
        ),
        (
            json!({"lines": [{"sku": sku, "quantity": 1}], "paymentMethod": "pm_card_visa", "status": "confirmed"}),
            "/status",
        ),
    ] {
        let refused = client.post_with_key("/v1/orders", body.clone(), "k").await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{body} → {refused}");
    }
    let missing = client.post_with_key("/v1/orders", json!({"lines": []}), "k").await.expect(400);
    assert_eq!(missing["errors"][0]["field"], "/paymentMethod", "{missing}");
    assert_eq!(client.get("/v1/orders").await.expect(200)["items"], json!([]));
}

async fn a_total_that_cannot_be_charged_makes_no_order(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product_in("KWD", 5.125, 5).await;
    let client = Client::register(app.url()).await;

    let refused = client.post_with_key("/v1/orders", order(&sku, 1, "pm_card_visa"), "k").await.expect(422);

    let error = &refused["errors"][0];
    assert_eq!((&error["field"], &error["code"]), (&json!("/lines"), &json!("not_chargeable")), "{refused}");
    assert_eq!(client.get("/v1/orders").await.expect(200)["items"], json!([]));
    // Too little is refused in the same way, and told what would do.
    let cheap = admin.product(0.25, 5).await;
    let refused = client.post_with_key("/v1/orders", order(&cheap, 1, "pm_card_visa"), "c").await.expect(422);
    let error = &refused["errors"][0];
    assert_eq!((&error["field"], &error["code"]), (&json!("/lines"), &json!("not_chargeable")), "{refused}");
    assert!(error["message"].as_str().unwrap().contains("0.50 USD"), "{refused}");
    assert_eq!(client.get("/v1/orders").await.expect(200)["items"], json!([]));
    let id = place(&client, "c", order(&cheap, 2, "pm_card_visa")).await;
    assert_eq!(ended(&client, &id).await["status"], "confirmed");
    // Of what was paid any part is given back.
    let path = format!("/v1/orders/{id}/refunds");
    admin.post_with_key(&path, json!({"amount": 0.01}), "r").await.expect(202);
    // Two of what costs dinars come to something that can be charged.
    let id = place(&client, "k", order(&sku, 2, "pm_card_visa")).await;
    let order = ended(&client, &id).await;
    assert_eq!((&order["status"], &order["total"]), (&json!("confirmed"), &json!(10.25)), "{order}");
}

async fn an_order_costs_what_the_client_expects_or_is_not_accepted(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.25, 50).await;
    let product = admin.get("/v1/products?q=Thing").await.expect(200)["items"][0].clone();
    let path = format!("/v1/products/{}", product["id"].as_str().unwrap());
    let client = Client::register(app.url()).await;
    let expecting = |total: Value, currency: Value| {
        let mut body = order(&sku, 2, "pm_card_visa");
        body["expectedTotal"] = total;
        body["expectedCurrency"] = currency;
        body
    };
    let ask = async |body: Value, key: &str| client.post_with_key("/v1/orders", body, key).await;
    let first = ask(expecting(json!(10.5), json!("USD")), "k1").await.expect(202);

    // The price is changed while somebody reads the old one, and then the currency, to the same number.
    for (variant, total, currency) in [
        (json!({"sku": sku, "price": 6}), json!(12), "USD"),
        (json!({"sku": sku, "price": 5.25, "currency": "EUR"}), json!(10.5), "EUR"),
        (json!({"sku": sku, "price": 600, "currency": "JPY"}), json!(1200), "JPY"),
    ] {
        admin.patch(&path, json!({"variants": [variant]})).await.expect(200);
        let refused = ask(expecting(json!(10.5), json!("USD")), "k2").await.expect(409);
        assert_eq!(
            (&refused["code"], &refused["total"], &refused["currency"]),
            (&json!("price_changed"), &total, &json!(currency))
        );
        // What was ordered before stays ordered, at its price,
        let again = ask(expecting(json!(10.5), json!("USD")), "k1").await.expect(202);
        assert_eq!((&again["id"], &again["total"]), (&first["id"], &json!(10.5)));
        // and was not another order.
        let other = ask(expecting(total, json!(currency)), "k1").await.expect(422);
        assert_eq!(other["code"], "idempotency_key_reused");
    }
    assert_eq!(client.get("/v1/orders").await.expect(200)["items"].as_array().unwrap().len(), 1);
    let refused = ask(expecting(json!(1200), json!("yen")), "k2").await.expect(422);
    assert_eq!(refused["errors"][0]["field"], "/expectedCurrency");
    // The key of what was refused is free for what the client then agrees to.
    let second = ask(expecting(json!(1200), json!("JPY")), "k2").await.expect(202);
    assert_eq!((&second["total"], &second["currency"]), (&json!(1200), &json!("JPY")));
}
