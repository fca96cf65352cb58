//! One binary, many services: replicas that do a share of the work each.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Backend, Client, DataDir, Replica, SHORT_LEASE, eventually, order, steward};

/// How long what crosses replicas may take.
const SOON: Duration = Duration::from_secs(20);

async fn replica(backend: &Backend, data: &DataDir, words: &[&str]) -> Replica {
    Replica::start_as(&data.path(), backend, SHORT_LEASE, words).await
}

fn names(parts: &Value) -> Vec<&str> {
    parts.as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_accepted_by_one_that_runs_no_sagas_is_finished_by_one_that_does() {
    let backend = Backend::cluster();
    let data = [DataDir::new(), DataDir::new()];
    let api = replica(&backend, &data[0], &["--roles", "api"]).await;
    let admin = Client::admin(&api.url).await;
    let sku = admin.product(4.0, 10).await;
    let customer = Client::register(&api.url).await;

    // Given an order that an API-only replica accepted while there was no other, and a bank linked,
    let accepted = customer.post_with_key("/v1/orders", order(&sku, 2, "pm_card_visa"), "early").await;
    let early = accepted.expect(202)["id"].as_str().unwrap().to_owned();
    let link = json!({"provider": "sandbox", "setupToken": "sandbox"});
    let connection = customer.post("/v1/connections", link).await.expect(201);
    let connection = format!("/v1/connections/{}", connection["id"].as_str().unwrap());
    let wanted = customer.post(&format!("{connection}/sync"), json!({})).await.expect(202);
    assert!(wanted["runId"].is_string(), "{wanted}");
    assert_eq!(customer.get(&connection).await.expect(200)["lastOutcome"], Value::Null);

    // when a worker comes,
    let worker = replica(&backend, &data[1], &["--roles", "orders,sync,jobs"]).await;

    // then it finishes that order, and one that is accepted now, and fetches the accounts.
    let accepted = customer.post_with_key("/v1/orders", order(&sku, 1, "pm_card_visa"), "late").await;
    let late = accepted.expect(202)["id"].as_str().unwrap().to_owned();
    for id in [early, late] {
        customer.confirmed(&id).await;
        // It was taken up, because nobody had it: not by a saga of the API's own.
        let timeline = customer.get(&format!("/v1/orders/{id}/timeline")).await.expect(200);
        let mut entries = timeline["items"].as_array().unwrap().iter();
        assert!(entries.any(|entry| entry["status"] == "taken_over"), "{timeline}");
    }
    eventually("the bank was asked", SOON, async || {
        (customer.get(&connection).await.expect(200)["lastOutcome"] == "complete").then_some(())
    })
    .await;

    // Each says of itself what it does, and the worker serves no route of the API.
    let ready = Client::new(&api.url).get("/readyz").await.expect(200);
    assert_eq!(names(&ready["roles"]), ["api"]);
    let stranger = Client::new(&worker.url);
    assert_eq!(names(&stranger.get("/readyz").await.expect(200)["roles"]), ["orders", "sync", "jobs"]);
    stranger.get("/v1/hello").await.expect(404);
    stranger.post("/v1/users/login", json!({})).await.expect(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contexts_serve_their_own_routes_and_share_sessions_and_stock() {
    let backend = Backend::cluster();
    let data = [DataDir::new(), DataDir::new(), DataDir::new(), DataDir::new()];
    let users = replica(&backend, &data[0], &["--contexts", "users"]).await;
    let catalog = replica(&backend, &data[1], &["--contexts", "catalog"]).await;
    let orders = replica(&backend, &data[2], &["--contexts", "orders"]).await;
    let accounts = replica(&backend, &data[3], &["--contexts", "accounts"]).await;

    // What one context makes, the others know.
    let admin = Client::admin(&users.url).await;
    let sku = admin.at(&catalog.url).product(4.0, 10).await;
    let customer = Client::register(&users.url).await;
    let body = order(&sku, 3, "pm_card_visa");
    let accepted = customer.at(&orders.url).post_with_key("/v1/orders", body, "k").await.expect(202);
    let id = accepted["id"].as_str().unwrap();
    customer.at(&orders.url).confirmed(id).await;
    let stock = customer.at(&catalog.url).get(&format!("/v1/inventory/{sku}")).await.expect(200);
    assert_eq!(stock["available"], 7, "{stock}");
    customer.at(&accounts.url).get(&format!("/v1/users/{}/accounts", customer.user_id)).await.expect(200);

    // What isn't a replica's is as if it were not there, whatever the method and the prefix.
    let elsewhere = [
        (&users.url, "/v1/orders"),
        (&users.url, "/products"),
        (&catalog.url, "/v1/users/me"),
        (&catalog.url, "/orders"),
        (&orders.url, "/v1/products"),
        (&orders.url, "/connections"),
        (&accounts.url, "/v1/inventory/x"),
        (&accounts.url, "/getName"),
    ];
    for (url, path) in elsewhere {
        let there = customer.at(url);
        there.get(path).await.expect(404);
        there.send(reqwest::Method::PUT, path, Some(json!({})), None).await.unwrap().expect(404);
        there.send(reqwest::Method::OPTIONS, path, None, None).await.unwrap().expect(404);
    }
    for url in [&users.url, &catalog.url, &orders.url, &accounts.url] {
        let here = Client::new(url);
        here.get("/v1/hello").await.expect(200);
        let document = here.get("/openapi.json").await.expect(200);
        assert!(document["paths"]["/v1/orders"].is_object(), "the document is of the whole API");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_not_one_or_has_nothing_to_do_is_refused() {
    let data = DataDir::new();
    for (words, status, told) in [
        (["--roles", "api,kitchen"], 2, "api, orders, sync, jobs"),
        (["--contexts", "kitchen"], 2, "users, catalog, orders, accounts"),
        (["--roles=sync", "--contexts=users"], 1, "nothing to do"),
    ] {
        let refused =
            steward(&data.path(), &Backend::Embedded).arg("serve").args(words).output().await.unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(status), "{said}");
        assert!(said.contains(told), "{said}");
    }
}
