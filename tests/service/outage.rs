//! Parts that are away, and that come back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::App;
use crate::orders::{ended, ledger_entry, place};
use crate::support::{Backend, Client, DataDir, Gate, Replica, SHORT_LEASE, eventually, order};

crate::over_both_stores!(orders_wait_for_an_absent_payment_provider);

async fn orders_wait_for_an_absent_payment_provider(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 10).await;
    let client = Client::register(app.url()).await;

    // Given a payment provider that is away, orders are accepted and wait, and say for what;
    app.replica.set_fault("payments", "down").await;
    let mut ids = Vec::new();
    for n in 0..8 {
        let body = order(&sku, 1, "pm_card_visa");
        let accepted = client.post_with_key("/v1/orders", body, &format!("k{n}")).await.expect(202);
        ids.push(accepted["id"].as_str().unwrap().to_owned());
    }
    for id in &ids {
        let reason = eventually("the timeline says what it waits for", Duration::from_secs(20), async || {
            let timeline = client.get(&format!("/v1/orders/{id}/timeline")).await.expect(200);
            let waits = |item: &&Value| item["status"] == "waiting";
            timeline["items"].as_array().unwrap().iter().find(waits).map(|item| item["detail"].clone())
        });
        assert!(reason.await.as_str().is_some_and(|reason| !reason.is_empty()));
    }
    // while all else goes on;
    client.get("/v1/users/me").await.expect(200);
    client.get("/v1/products").await.expect(200);
    client.get("/readyz").await.expect(200);
    let hold = json!({"lines": [{"sku": sku, "quantity": 1}], "ttlSeconds": 60});
    client.post_with_key("/v1/holds", hold, "h").await.expect(201);

    // when it is back, they are finished, each charged once.
    app.replica.set_fault("payments", "up").await;
    for id in &ids {
        assert_eq!(ended(&client, id).await["status"], "confirmed");
        let entry = ledger_entry(&app, id).await.unwrap();
        let told = (&entry["intents"], &entry["captures"], &entry["captured"]);
        assert_eq!(told, (&json!(1), &json!(1), &json!(100)), "{entry}");
    }
}

/// A replica whose ways to MongoDB and Redis can be shut.
async fn behind_gates() -> (Replica, Gate, Gate, DataDir) {
    let Backend::Cluster { mongodb, database, redis } = Backend::cluster() else { unreachable!() };
    let (store, cache) = (Gate::before(&mongodb).await, Gate::before(&redis).await);
    let backend = Backend::Cluster {
        // A gate has one address; the replica set would name others.
        mongodb: format!("mongodb://{}/?directConnection=true", store.address),
        database,
        redis: format!("redis://{}/", cache.address),
    };
    let data = DataDir::new();
    let replica = Replica::start(&data.path(), &backend, SHORT_LEASE).await;
    (replica, store, cache, data)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_store_is_503_with_retry_after_and_nobody_is_logged_out() {
    let (replica, store, _cache, _data) = behind_gates().await;
    let admin = Client::admin(&replica.url).await;
    let sku = admin.product(1.0, 10).await;
    let client = Client::register(&replica.url).await;
    let token = client.token.clone().unwrap();

    // Given a store that is away,
    store.shut();

    // then what needs it is 503 and says when to come back,
    for (path, body) in [
        ("/v1/orders", Some(order(&sku, 1, "pm_card_visa"))),
        ("/v1/setName", Some(json!({"name": "Other"}))),
        ("/v1/orders", None),
        ("/v1/products", None),
    ] {
        let http = reqwest::Client::new();
        let url = format!("{}{path}", replica.url);
        let request = match &body {
            Some(body) => http.post(url).json(body).header("Idempotency-Key", "k"),
            None => http.get(url),
        };
        let answer = request.bearer_auth(&token).timeout(Duration::from_secs(25)).send().await.unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
    }
    // the process lives and says that it is not ready,
    client.get("/healthz").await.expect(200);
    eventually("it is unready", Duration::from_secs(20), async || {
        (client.get("/readyz").await.status == 503).then_some(())
    })
    .await;

    // and when the store is back, everything goes on by itself, sessions included.
    store.open();
    eventually("it is ready again", Duration::from_secs(30), async || {
        (client.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    client.get("/v1/users/me").await.expect(200);
    let id = place(&client, "k", order(&sku, 1, "pm_card_visa")).await;
    client.confirmed(&id).await;
    assert_eq!(client.get("/v1/orders").await.expect(200)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_redis_logs_nobody_out_and_revives_nobody() {
    let (replica, _store, cache, _data) = behind_gates().await;
    let client = Client::register(&replica.url).await;
    let leaving = Client::register(&replica.url).await;

    // Given a Redis that is away, sessions count as before, old and new ones,
    cache.shut();
    client.get("/v1/users/me").await.expect(200);
    let newcomer = Client::register(&replica.url).await;
    newcomer.get("/v1/users/me").await.expect(200);

    // and one that is ended stays so, also when Redis is back with what it knew.
    leaving.post("/v1/users/logout", json!({})).await.expect(204);
    leaving.get("/v1/users/me").await.expect(401);
    cache.open();
    for _ in 0..20 {
        leaving.get("/v1/users/me").await.expect(401);
        client.get("/v1/users/me").await.expect(200);
    }
}
