//! Orders that are cancelled, shipped, delivered and refunded, over HTTP.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::App;
use crate::orders::{ended, ledger_entry, place};
use crate::support::{Client, eventually, order};

crate::over_both_stores!(
    a_cancelled_order_gives_back_money_and_stock,
    goods_go_out_and_arrive_and_wrong_states_name_what_would_do,
    money_is_given_back_in_parts_and_never_more_than_was_taken,
    a_part_that_cannot_be_given_back_is_refused_by_its_field,
    everybody_cancels_ships_and_refunds_at_once,
    strangers_change_nothing_and_see_nothing,
    orders_are_listed_by_status_and_by_operators,
);

async fn until_status(client: &Client, id: &str, status: &str) -> Value {
    eventually(&format!("the order is {status}"), Duration::from_secs(40), async || {
        let answer = client.get(&format!("/v1/orders/{id}")).await;
        Some(answer.body).filter(|order| order["status"] == status)
    })
    .await
}

async fn confirmed(client: &Client, key: &str, sku: &str, quantity: i64) -> String {
    let id = place(client, key, order(sku, quantity, "pm_card_visa")).await;
    assert_eq!(ended(client, &id).await["status"], "confirmed");
    id
}

async fn post(client: &Client, path: String) -> crate::support::Answer {
    client.send(Method::POST, &path, None, None).await.expect("an answer")
}

async fn a_cancelled_order_gives_back_money_and_stock(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(12.5, 5).await;
    let client = Client::register(app.url()).await;
    let id = confirmed(&client, "k1", &sku, 2).await;

    let asked = post(&client, format!("/v1/orders/{id}/cancel")).await.expect(202);
    assert_eq!((&asked["status"], &asked["reason"]), (&json!("refunding"), &json!("requested_by_customer")));
    let order_now = until_status(&client, &id, "refunded").await;
    assert_eq!(
        (&order_now["payment"]["captured"], &order_now["payment"]["refunded"]),
        (&json!(25), &json!(25))
    );
    // Again is the same.
    post(&client, format!("/v1/orders/{id}/cancel")).await.expect(202);
    let entry = ledger_entry(&app, &id).await.expect("the provider knows the order");
    assert_eq!(
        (&entry["captured"], &entry["refunded"], &entry["refunds"]),
        (&json!(2500), &json!(2500), &json!(1))
    );
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"], &stock["available"]), (&json!(5), &json!(0), &json!(5)));
    let ledger = admin.get(&format!("/v1/inventory/{sku}/movements")).await.expect(200);
    assert_eq!((&ledger["items"][0]["kind"], &ledger["items"][0]["delta"]), (&json!("returned"), &json!(2)));

    // While its payment is answered late, an order is cancelled before it is paid, or right after.
    let slow = place(&client, "k2", order(&sku, 1, "pm_card_slow")).await;
    post(&client, format!("/v1/orders/{slow}/cancel")).await.expect(202);
    let end = eventually("it ends", Duration::from_secs(40), async || {
        let order = client.get(&format!("/v1/orders/{slow}")).await.body;
        matches!(order["status"].as_str(), Some("cancelled" | "refunded")).then_some(order)
    })
    .await;
    let entry = ledger_entry(&app, &slow).await.unwrap_or_else(|| json!({"captured": 0, "refunded": 0}));
    assert_eq!(entry["captured"], entry["refunded"], "{end}");
    assert!(entry["authorized"].as_i64().unwrap_or(0) == 0, "{entry}");
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(5), &json!(0)));
}

async fn goods_go_out_and_arrive_and_wrong_states_name_what_would_do(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(3.0, 5).await;
    let client = Client::register(app.url()).await;
    let id = confirmed(&client, "k1", &sku, 1).await;
    let path = |what: &str| format!("/v1/orders/{id}/{what}");

    let early = post(&admin, path("deliver")).await.expect(409);
    assert_eq!(
        (&early["code"], &early["nextStates"]),
        (&json!("wrong_state"), &json!(["shipped", "refunding"]))
    );
    let shipped = admin.post(&path("ship"), json!({"trackingNumber": "T-1"})).await.expect(200);
    assert_eq!((&shipped["status"], &shipped["trackingNumber"]), (&json!("shipped"), &json!("T-1")));
    admin.post(&path("ship"), json!({"trackingNumber": "T-1"})).await.expect(200);
    admin.post(&path("ship"), json!({"trackingNumber": "T-2"})).await.expect(409);
    let late = post(&client, path("cancel")).await.expect(409);
    assert_eq!(late["nextStates"], json!(["delivered", "refunding"]));
    let delivered = post(&admin, path("deliver")).await.expect(200);
    assert_eq!(
        (&delivered["status"], &delivered["nextStates"]),
        (&json!("delivered"), &json!(["refunding"]))
    );

    // A rejected order takes nothing.
    let declined = place(&client, "k2", order(&sku, 1, "pm_card_chargeDeclined")).await;
    assert_eq!(ended(&client, &declined).await["status"], "rejected");
    for what in ["cancel", "ship", "deliver"] {
        let refused = post(&admin, format!("/v1/orders/{declined}/{what}")).await.expect(409);
        assert_eq!(refused["nextStates"], json!([]), "{what}");
    }
    // A shipment has no other fields, and a number that is one.
    admin.post(&path("ship"), json!({"status": "delivered"})).await.expect(422);
    admin.post(&path("ship"), json!(null)).await.expect(422);
    for bad in ["", " ", "T\n1", "\u{202e}1-T"] {
        let refused = admin.post(&path("ship"), json!({"trackingNumber": bad})).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], "/trackingNumber", "{refused}");
    }

    // If-Match names the version that a command is for.
    let third = confirmed(&client, "k3", &sku, 1).await;
    let version = client.get(&format!("/v1/orders/{third}")).await.expect(200)["version"].as_u64().unwrap();
    let http = reqwest::Client::new();
    for (tag, status) in [(version - 1, 412), (version, 200)] {
        let answer = http
            .post(format!("{}/v1/orders/{third}/ship", app.url()))
            .bearer_auth(admin.token.as_deref().unwrap())
            .header("If-Match", format!("\"{tag}\""))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
}

async fn money_is_given_back_in_parts_and_never_more_than_was_taken(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(10.0, 10).await;
    let client = Client::register(app.url()).await;
    let id = confirmed(&client, "k1", &sku, 3).await;
    let path = format!("/v1/orders/{id}/refunds");
    let refund = async |key: &str, body: Value| admin.post_with_key(&path, body, key).await;

    let missing = admin.post(&path, json!({"amount": 1})).await.expect(400);
    assert_eq!(missing["code"], "idempotency_key_required");
    let one =
        refund("r1", json!({"lines": [{"sku": sku, "quantity": 1}], "reason": "broken"})).await.expect(202);
    assert_eq!(
        (&one["amount"], &one["currency"], &one["reason"]),
        (&json!(10), &json!("USD"), &json!("broken"))
    );
    let again =
        refund("r1", json!({"lines": [{"sku": sku, "quantity": 1}], "reason": "broken"})).await.expect(202);
    assert_eq!(one["id"], again["id"]);
    assert_eq!(refund("r1", json!({"amount": 2})).await.expect(422)["code"], "idempotency_key_reused");
    for (body, status, what) in [
        (json!({"amount": 20.01}), 409, "refund_too_large"),
        (json!({"amount": 0}), 422, "/amount"),
        (json!({"amount": -1}), 422, "/amount"),
        (json!({"amount": 0.001}), 422, "/amount"),
        (json!({"amount": 1e300}), 422, "/amount"),
        (json!({"amount": 1, "lines": [{"sku": sku, "quantity": 1}]}), 422, "/lines"),
        (json!({"lines": []}), 422, "/lines"),
        (json!({"lines": [{"sku": sku, "quantity": 3}]}), 422, "/lines/0/quantity"),
        (json!({"lines": [{"sku": "NO-SUCH", "quantity": 1}]}), 422, "/lines/0/quantity"),
        (json!({"lines": [{"sku": sku, "quantity": 1}, {"sku": sku, "quantity": 1}]}), 422, "/lines/1/sku"),
        (json!({"status": "succeeded"}), 422, "/status"),
        (json!({"amount": 1, "reason": "a\u{0}b"}), 422, "/reason"),
        (json!({"amount": 1, "reason": "\u{2066}b"}), 422, "/reason"),
    ] {
        let refused = refund("bad", body.clone()).await.expect(status);
        let named = if status == 409 { &refused["code"] } else { &refused["errors"][0]["field"] };
        assert_eq!(named, what, "{body} → {refused}");
    }

    // Twenty at once, each key twice, in two ways to write one number: two of them fit.
    let asks = (0..20).map(|n| {
        let (admin, path) = (admin.clone(), path.clone());
        async move {
            let body = json!({"amount": if n % 2 == 0 { json!(9) } else { json!(9.0) }});
            admin.send(Method::POST, &path, Some(body), Some(&format!("p{}", n / 2))).await.unwrap()
        }
    });
    let answers = join_all(asks).await;
    let mut accepted: Vec<&Value> =
        answers.iter().filter(|answer| answer.status == 202).map(|answer| &answer.body["id"]).collect();
    accepted.sort_by_key(|id| id.to_string());
    accepted.dedup();
    assert_eq!(accepted.len(), 2);
    assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 202 | 409)), "{answers:?}");
    // An order that gives a part back stays as it is; then the rest.
    let order_now = eventually("the parts are back", Duration::from_secs(40), async || {
        let order = client.get(&format!("/v1/orders/{id}")).await.expect(200);
        (order["payment"]["refunded"] == 28).then_some(order)
    })
    .await;
    assert_eq!(order_now["status"], "confirmed");
    let rest = admin.send(Method::POST, &path, None, Some("rest")).await.unwrap().expect(202);
    assert_eq!(rest["amount"], 2);
    until_status(&client, &id, "refunded").await;
    let entry = ledger_entry(&app, &id).await.expect("the provider knows the order");
    assert_eq!(
        (&entry["captured"], &entry["refunded"], &entry["refunds"]),
        (&json!(3000), &json!(3000), &json!(4))
    );
    let refunds = client.get(&path).await.expect(200);
    let refunds = refunds["items"].as_array().unwrap();
    assert_eq!(refunds.len(), 4);
    assert!(refunds.iter().all(|refund| refund["status"] == "succeeded"), "{refunds:?}");
    let nothing = refund("more", json!({})).await.expect(409);
    assert_eq!((&nothing["code"], &nothing["nextStates"]), (&json!("wrong_state"), &json!([])));

    // Units that were free come to nothing.
    let free = admin.product(0.0, 1).await;
    let lines = json!([{"sku": free, "quantity": 1}, {"sku": sku, "quantity": 1}]);
    let id = place(&client, "k2", json!({"lines": lines, "paymentMethod": "pm_card_visa"})).await;
    assert_eq!(ended(&client, &id).await["status"], "confirmed");
    let path = format!("/v1/orders/{id}/refunds");
    let refused = admin.post_with_key(&path, json!({"lines": [lines[0]]}), "free").await.expect(422);
    let error = &refused["errors"][0];
    assert_eq!((&error["field"], &error["code"]), (&json!("/lines"), &json!("nothing_to_refund")));
}

async fn a_part_that_cannot_be_given_back_is_refused_by_its_field(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product_in("KWD", 5.125, 5).await;
    let client = Client::register(app.url()).await;
    let id = confirmed(&client, "k", &sku, 2).await;
    let path = format!("/v1/orders/{id}/refunds");
    for (body, field) in
        [(json!({"amount": 1.005}), "/amount"), (json!({"lines": [{"sku": sku, "quantity": 1}]}), "/lines")]
    {
        let refused = admin.post_with_key(&path, body, "r").await.expect(422);
        let error = &refused["errors"][0];
        assert_eq!((&error["field"], &error["code"]), (&json!(field), &json!("not_refundable")), "{refused}");
    }
    assert_eq!(client.get(&path).await.expect(200)["items"], json!([]));
    // The key is still free for what can be.
    admin.post_with_key(&path, json!({"amount": 1.01}), "r").await.expect(202);
    eventually("the part is back", Duration::from_secs(40), async || {
        let order = client.get(&format!("/v1/orders/{id}")).await.body;
        (order["payment"]["refunded"] == 1.01).then_some(())
    })
    .await;
}

async fn everybody_cancels_ships_and_refunds_at_once(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(7.0, 50).await;
    let client = Client::register(app.url()).await;
    let mut sold = 0;
    for round in 0..6 {
        let id = confirmed(&client, &format!("k{round}"), &sku, 1).await;
        let path = format!("/v1/orders/{id}/refunds");
        let (cancel, ship, refund) = (
            post(&client, format!("/v1/orders/{id}/cancel")),
            post(&admin, format!("/v1/orders/{id}/ship")),
            admin.post_with_key(&path, json!({"amount": 3}), &id),
        );
        let (cancel, ship, refund) = tokio::join!(cancel, ship, refund);
        for answer in [&cancel, &ship, &refund] {
            assert!(matches!(answer.status.as_u16(), 200 | 202 | 409), "{answer:?}");
        }
        assert!(!(cancel.status == 202 && ship.status == 200));
        let back = if cancel.status == 202 { 700 } else { 300 * u64::from(refund.status == 202) };
        if ship.status == 200 {
            sold += 1;
        }
        eventually("all is given back", Duration::from_secs(40), async || {
            let entry = ledger_entry(&app, &id).await?;
            (entry["refunded"] == back).then_some(())
        })
        .await;
        let end = if cancel.status == 202 { "refunded" } else { "shipped" };
        until_status(&client, &id, end).await;
    }
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(50 - sold), &json!(0)));
}

async fn strangers_change_nothing_and_see_nothing(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 5).await;
    let (owner, stranger) = (Client::register(app.url()).await, Client::register(app.url()).await);
    let id = confirmed(&owner, "k", &sku, 1).await;
    let path = |what: &str| format!("/v1/orders/{id}/{what}");
    post(&stranger, path("cancel")).await.expect(404);
    stranger.get(&path("refunds")).await.expect(404);
    for client in [&owner, &stranger] {
        post(client, path("ship")).await.expect(403);
        post(client, path("deliver")).await.expect(403);
        client.post_with_key(&path("refunds"), json!({}), "k").await.expect(403);
        client.get("/v1/orders?userId=*").await.expect(403);
    }
    stranger.get(&format!("/v1/orders?userId={}", owner.user_id)).await.expect(403);
    assert_eq!(owner.get(&format!("/v1/orders/{id}")).await.expect(200)["status"], "confirmed");
}

async fn orders_are_listed_by_status_and_by_operators(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 50).await;
    let (one, other) = (Client::register(app.url()).await, Client::register(app.url()).await);
    let mut mine = Vec::new();
    for n in 0..3 {
        mine.push(confirmed(&one, &format!("k{n}"), &sku, 1).await);
    }
    let declined = place(&one, "declined", order(&sku, 1, "pm_card_chargeDeclined")).await;
    assert_eq!(ended(&one, &declined).await["status"], "rejected");
    let theirs = confirmed(&other, "k", &sku, 1).await;
    let ids = async |client: &Client, query: &str| {
        let page = client.get(&format!("/v1/orders{query}")).await.expect(200);
        let items = page["items"].as_array().unwrap().clone();
        items.iter().map(|order| order["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    mine.reverse();
    assert_eq!(ids(&one, "?status=confirmed").await, mine);
    assert_eq!(ids(&one, "?status=rejected").await, std::slice::from_ref(&declined));
    assert_eq!(ids(&one, &format!("?userId={}&status=confirmed", one.user_id)).await, mine);
    assert_eq!(ids(&admin, &format!("?userId={}", other.user_id)).await, [theirs]);
    let all = ids(&admin, "?userId=*").await;
    assert_eq!(all.len(), 5);
    assert_eq!(ids(&admin, "?userId=*&status=rejected").await, [declined]);
    // Page by page is the same.
    let mut paged = Vec::new();
    let mut query = "?userId=*&limit=2".to_owned();
    loop {
        let page = admin.get(&format!("/v1/orders{query}")).await.expect(200);
        paged.extend(page["items"].as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["nextCursor"].as_str() else { break };
        query = format!("?userId=*&limit=2&cursor={next}");
    }
    assert_eq!(paged, all);
    let bad = one.get("/v1/orders?status=yacht").await.expect(422);
    assert_eq!(bad["errors"][0]["field"], "status");
}
