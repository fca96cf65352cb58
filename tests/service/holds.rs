//! Holds of shoppers, and orders that take them over.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::App;
use crate::support::{Answer, Client, eventually, order};

crate::over_both_stores!(
    a_hold_is_placed_seen_and_withdrawn_by_its_shopper,
    a_hold_that_cannot_be_is_refused_by_what_is_wrong_with_it,
    twenty_holds_are_live_whatever_is_asked_at_once,
    an_order_takes_a_hold_over_once,
    a_hold_that_has_ended_or_is_somebody_elses_makes_no_order,
);

fn body(lines: &[(&str, i64)], seconds: i64) -> Value {
    let line = |(sku, quantity): &(&str, i64)| json!({"sku": sku, "quantity": quantity});
    json!({"lines": lines.iter().map(line).collect::<Vec<_>>(), "ttlSeconds": seconds})
}

async fn place(client: &Client, key: &str, body: Value) -> Answer {
    client.post_with_key("/v1/holds", body, key).await
}

async fn delete(client: &Client, path: &str) -> u16 {
    client.send(Method::DELETE, path, None, None).await.unwrap().status.as_u16()
}

fn id(resource: &Value) -> &str {
    resource["id"].as_str().unwrap()
}

async fn a_hold_is_placed_seen_and_withdrawn_by_its_shopper(app: App) {
    let admin = Client::admin(app.url()).await;
    let (tee, cap) = (admin.product(1.0, 5).await, admin.product(1.0, 5).await);
    let client = Client::register(app.url()).await;
    let asked = body(&[(&tee, 2), (&cap, 3)], 900);

    let held = place(&client, "k", asked.clone()).await.expect(201);
    assert_eq!(
        (&held["status"], &held["lines"], &held["orderId"]),
        (&json!("held"), &asked["lines"], &json!(null))
    );
    assert_eq!(place(&client, "k", asked.clone()).await.expect(201), held);
    for other in [body(&[(&tee, 2), (&cap, 3)], 899), body(&[(&tee, 2)], 900)] {
        assert_eq!(place(&client, "k", other).await.expect(422)["code"], "idempotency_key_reused");
    }
    let available =
        async |sku: &str| client.get(&format!("/v1/inventory/{sku}")).await.expect(200)["available"].clone();
    assert_eq!((available(&tee).await, available(&cap).await), (json!(3), json!(2)));
    let stock = admin.get(&format!("/v1/inventory/{tee}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(5), &json!(2)));
    assert!(stock["version"].is_u64(), "{stock}");
    let ledger = admin.get(&format!("/v1/inventory/{tee}/movements?limit=1")).await.expect(200);
    assert_eq!((&ledger["items"][0]["kind"], &ledger["items"][0]["delta"]), (&json!("held"), &json!(-2)));
    let cursor = ledger["nextCursor"].as_str().unwrap();
    let before =
        admin.get(&format!("/v1/inventory/{tee}/movements?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!(before["items"][0]["kind"], "adjusted");
    client.get(&format!("/v1/inventory/{tee}/movements")).await.expect(403);

    let path = format!("/v1/holds/{}", id(&held));
    let newer = place(&client, "k2", body(&[(&tee, 1)], 900)).await.expect(201);
    let first = client.get("/v1/holds?limit=1").await.expect(200);
    assert_eq!(first["items"], json!([newer]));
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = client.get(&format!("/v1/holds?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!((&second["items"], &second["nextCursor"]), (&json!([held]), &json!(null)));
    assert_eq!(client.get(&path).await.expect(200), held);

    let someone = Client::register(app.url()).await;
    someone.get(&path).await.expect(404);
    assert_eq!(delete(&someone, &path).await, 404);
    assert_eq!(someone.get("/v1/holds").await.expect(200)["items"], json!([]));

    assert_eq!(delete(&client, &path).await, 204);
    assert_eq!(delete(&client, &path).await, 404);
    assert_eq!(client.get(&path).await.expect(200)["status"], "released");
    assert_eq!((available(&tee).await, available(&cap).await), (json!(4), json!(5)));
    assert_eq!(place(&client, "k", asked).await.expect(201)["status"], "released");
}

async fn a_hold_that_cannot_be_is_refused_by_what_is_wrong_with_it(app: App) {
    let admin = Client::admin(app.url()).await;
    let (tee, cap) = (admin.product(1.0, 5).await, admin.product(1.0, 5).await);
    let client = Client::register(app.url()).await;

    let short = place(&client, "k", body(&[(&tee, 5), (&cap, 6)], 60)).await.expect(409);
    assert_eq!((&short["code"], &short["skus"]), (&json!("out_of_stock"), &json!([cap])));
    let unknown = place(&client, "k", body(&[(&tee, 5), (&cap, 6), ("none", 1)], 60)).await.expect(422);
    let field = &unknown["errors"][0];
    assert_eq!((&field["field"], &field["code"]), (&json!("/lines/2/sku"), &json!("unknown_sku")));
    assert_eq!(client.get(&format!("/v1/inventory/{tee}")).await.expect(200)["available"], 5);

    for (asked, field) in [
        (body(&[(&tee, 1)], 0), "/ttlSeconds"),
        (body(&[(&tee, 1)], 901), "/ttlSeconds"),
        (body(&[(&tee, 0)], 60), "/lines/0/quantity"),
        (body(&[(&tee, -1)], 60), "/lines/0/quantity"),
        (body(&[(&tee, 1001)], 60), "/lines/0/quantity"),
        (body(&[("a b", 1)], 60), "/lines/0/sku"),
        (body(&[(&tee, 1), (&cap, 1), (&tee, 1)], 60), "/lines/2/sku"),
        (body(&[], 60), "/lines"),
        (json!({"lines": [{"sku": tee, "quantity": 1}], "ttlSeconds": 60, "userId": "u"}), "/userId"),
    ] {
        let refused = place(&client, "k", asked).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
    let missing = client.post("/v1/holds", body(&[(&tee, 1)], 60)).await.expect(400);
    assert_eq!(missing["code"], "idempotency_key_required");
    Client::new(app.url()).get("/v1/holds").await.expect(401);
}

async fn twenty_holds_are_live_whatever_is_asked_at_once(app: App) {
    let admin = Client::admin(app.url()).await;
    let skus = [admin.product(1.0, 50).await, admin.product(1.0, 50).await];
    let client = Client::register(app.url()).await;
    let asked = (0..30).map(|n| {
        let (client, lines) = (client.clone(), body(&[(skus[n % 2].as_str(), 1)], 900));
        async move { place(&client, &format!("k{n}"), lines).await }
    });
    let answers = join_all(asked).await;
    let placed = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(placed, 20);
    for refused in answers.into_iter().filter(|answer| answer.status != 201) {
        assert_eq!(refused.expect(409)["code"], "too_many_holds");
    }
    let live = client.get("/v1/holds?limit=100").await.expect(200);
    let live = live["items"].as_array().unwrap();
    assert_eq!(live.len(), 20);
    assert_eq!(delete(&client, &format!("/v1/holds/{}", id(&live[0]))).await, 204);
    place(&client, "another", body(&[(&skus[0], 1)], 900)).await.expect(201);
}

fn over(sku: &str, quantity: i64, hold: &str) -> Value {
    let mut order = order(sku, quantity, "pm_card_visa");
    order["holdId"] = json!(hold);
    order
}

async fn an_order_takes_a_hold_over_once(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(2.5, 3).await;
    let client = Client::register(app.url()).await;
    let held = place(&client, "k", body(&[(&sku, 3)], 900)).await.expect(201);

    let mut dearer = over(&sku, 3, id(&held));
    dearer["expectedTotal"] = json!(7);
    let changed = client.post_with_key("/v1/orders", dearer, "o0").await.expect(409);
    assert_eq!((&changed["code"], &changed["total"]), (&json!("price_changed"), &json!(7.5)));

    let asked = (0..6).map(|n| {
        let (client, order) = (client.clone(), over(&sku, 3, id(&held)));
        async move { client.post_with_key("/v1/orders", order, &format!("o{}", 1 + n % 3)).await }
    });
    let answers = join_all(asked).await;
    let accepted: Vec<&Value> = answers.iter().filter(|a| a.status == 202).map(|a| &a.body).collect();
    assert_eq!(accepted.len(), 2, "one order, and its repeat: {answers:?}");
    assert_eq!(accepted[0]["id"], accepted[1]["id"]);
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &json!("hold_taken")));
    }
    client.confirmed(id(accepted[0])).await;
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(0), &json!(0)));
    let sold = client.get(&format!("/v1/holds/{}", id(&held))).await.expect(200);
    assert_eq!((&sold["status"], &sold["orderId"]), (&json!("committed"), &accepted[0]["id"]));
    assert_eq!(delete(&client, &format!("/v1/holds/{}", id(&held))).await, 409);
}

async fn a_hold_that_has_ended_or_is_somebody_elses_makes_no_order(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 10).await;
    let (client, someone) = (Client::register(app.url()).await, Client::register(app.url()).await);
    let short = place(&client, "short", body(&[(&sku, 1)], 1)).await.expect(201);
    let theirs = place(&someone, "k", body(&[(&sku, 1)], 900)).await.expect(201);
    let mine = place(&client, "k", body(&[(&sku, 1)], 900)).await.expect(201);
    let refused =
        async |order: Value, status: u16| client.post_with_key("/v1/orders", order, "o").await.expect(status);

    let (foreign, absent) =
        (refused(over(&sku, 1, id(&theirs)), 422).await, refused(over(&sku, 1, "none"), 422).await);
    assert_eq!((&foreign["code"], &foreign["errors"]), (&absent["code"], &absent["errors"]));
    assert_eq!(foreign["errors"][0]["field"], "/holdId");
    assert_eq!(refused(over(&sku, 2, id(&mine)), 422).await["errors"][0]["field"], "/lines");
    assert_eq!(refused(over(&sku, 1, "{$ne}"), 422).await["errors"][0]["field"], "/holdId");

    eventually("its second is over", Duration::from_secs(20), async || {
        let hold = client.get(&format!("/v1/holds/{}", id(&short))).await.expect(200);
        (hold["status"] == "released").then_some(())
    })
    .await;
    assert_eq!(client.get(&format!("/v1/inventory/{sku}")).await.expect(200)["available"], 8);
    assert_eq!(refused(over(&sku, 1, id(&short)), 409).await["code"], "hold_expired");
    assert_eq!(client.get("/v1/orders").await.expect(200)["items"], json!([]));
}
