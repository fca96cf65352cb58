//! Two processes on one MongoDB and one Redis: what one does, the other knows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod budget;
mod freshness;
mod guesses;
mod redis_away;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../sessions/redis_server.rs"]
mod redis_server;
mod roles;
mod slots;
mod sync;

use std::time::Duration;

use serde_json::json;
use support::{Backend, Client, DataDir, Replica, SHORT_LEASE, eventually, order, steward};
use tokio::time::Instant;

struct Pair {
    backend: Backend,
    first: Replica,
    second: Replica,
    _data: [DataDir; 2],
}

async fn pair() -> Pair {
    let backend = Backend::cluster();
    let data = [DataDir::new(), DataDir::new()];
    let first = Replica::start(&data[0].path(), &backend, SHORT_LEASE).await;
    let second = Replica::start(&data[1].path(), &backend, SHORT_LEASE).await;
    Pair { backend, first, second, _data: data }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_opened_on_one_is_good_on_the_other_until_it_is_closed() {
    let pair = pair().await;

    // Given a session opened on the first and used on the second,
    let here = Client::register(&pair.first.url).await;
    let there = here.at(&pair.second.url);
    there.get("/v1/users/me").await.expect(200);

    // when it is closed on the first,
    here.post("/v1/users/logout", json!({})).await.expect(204);
    let closed = Instant::now();

    // then the first refuses it at once and the second within a second.
    here.get("/v1/users/me").await.expect(401);
    eventually("the second refuses it", Duration::from_secs(5), async || {
        (there.get("/v1/users/me").await.status == 401).then_some(())
    })
    .await;
    assert!(closed.elapsed() < Duration::from_secs(1), "{:?}", closed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_emptied_and_refilled_on_one_is_sold_on_the_other_at_once() {
    let pair = pair().await;
    let admin = Client::admin(&pair.first.url).await;
    let sku = admin.product(5.0, 2).await;
    let customer = Client::register(&pair.second.url).await;
    let buy = async |key: &str, expected: &str| {
        let accepted = customer.post_with_key("/v1/orders", order(&sku, 2, "pm_card_visa"), key).await;
        let id = accepted.expect(202)["id"].as_str().unwrap().to_owned();
        let ended = eventually("the order ends", Duration::from_secs(20), async || {
            let order = customer.get(&format!("/v1/orders/{id}")).await.expect(200);
            matches!(order["status"].as_str(), Some("confirmed" | "rejected")).then_some(order)
        });
        assert_eq!(ended.await["status"], expected);
    };

    // Given stock that the second replica has sold out, so that its actor remembers none,
    buy("first", "confirmed").await;
    buy("second", "rejected").await;

    // when the first replica refills it, then the second sells it at once.
    admin.adjust(&sku, 2).await;
    buy("third", "confirmed").await;

    // And when the first replica takes it away again, the second does not sell what is gone.
    admin.adjust(&sku, 4).await;
    admin.adjust(&sku, -4).await;
    buy("fourth", "rejected").await;
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(0), &json!(0)), "{stock}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_of_a_killed_replica_are_finished_by_the_other() {
    let pair = pair().await;
    let admin = Client::admin(&pair.second.url).await;
    let sku = admin.product(3.0, 100).await;
    let customer = Client::register(&pair.first.url).await;

    // Given orders that the first has just acknowledged,
    let mut orders = Vec::new();
    for n in 0..20 {
        let accepted =
            customer.post_with_key("/v1/orders", order(&sku, 1, "pm_card_visa"), &format!("k{n}")).await;
        orders.push(accepted.expect(202)["id"].as_str().unwrap().to_owned());
    }

    // when it is killed,
    pair.first.kill().await;

    // then the second finishes them all.
    let customer = customer.at(&pair.second.url);
    for id in orders {
        customer.confirmed(&id).await;
    }
    let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!((&stock["onHand"], &stock["held"]), (&json!(80), &json!(0)), "{stock}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminated_replica_ends_cleanly_and_leaves_its_orders_to_the_other() {
    let pair = pair().await;
    let admin = Client::admin(&pair.second.url).await;
    let sku = admin.product(3.0, 100).await;
    let customer = Client::register(&pair.first.url).await;
    let mut orders = Vec::new();
    for n in 0..20 {
        let body = order(&sku, 1, if n % 4 == 0 { "pm_card_slow" } else { "pm_card_visa" });
        let accepted = customer.post_with_key("/v1/orders", body, &format!("k{n}")).await;
        orders.push(accepted.expect(202)["id"].as_str().unwrap().to_owned());
    }

    assert_eq!(pair.first.terminate().await, Some(0));

    let customer = customer.at(&pair.second.url);
    for id in orders {
        customer.confirmed(&id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_the_others_redis_does_not_start() {
    let pair = pair().await;
    let Backend::Cluster { mongodb, database, redis } = &pair.backend else { unreachable!() };

    // Given two replicas with one Redis, a third with another prefix, or with none, is refused,
    for (name, value) in [("STEWARD__REDIS__PREFIX", "another:"), ("STEWARD__REDIS__URI", "")] {
        let data = DataDir::new();
        let mut third = steward(&data.path(), &pair.backend);
        if value.is_empty() {
            third.env_remove(name)
        } else {
            third.env(name, value)
        };
        third.envs(SHORT_LEASE.iter().copied()).env("STEWARD__HTTP__BIND", "127.0.0.1:0");
        let ended = third.output().await.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("redis.prefix"), "{said}");
    }

    // and one with the same is welcome.
    let data = DataDir::new();
    let same =
        Backend::Cluster { mongodb: mongodb.clone(), database: database.clone(), redis: redis.clone() };
    let third = Replica::start(&data.path(), &same, SHORT_LEASE).await;
    Client::new(&third.url).get("/readyz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_replica_without_redis_starts_again_after_a_crash() {
    let Backend::Cluster { mongodb, database, .. } = Backend::cluster() else { unreachable!() };
    let data = DataDir::new();
    let start = async || {
        let alone = Backend::MongoAlone { mongodb: mongodb.clone(), database: database.clone() };
        Replica::start(&data.path(), &alone, SHORT_LEASE).await
    };
    let first = start().await;
    let client = Client::register(&first.url).await;
    first.kill().await;
    let again = start().await;
    client.at(&again.url).get("/v1/users/me").await.expect(200);
}
