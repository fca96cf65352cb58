//! Copies in memory of what another process changed.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, interval};

use super::pair;
use crate::support::{Client, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_changed_on_one_is_shown_changed_at_once_there_and_soon_on_the_other() {
    let pair = pair().await;
    let here = Client::register(&pair.first.url).await;
    let there = here.at(&pair.second.url);
    let mut took = Vec::new();
    for n in 0..100 {
        // Given that both keep a copy,
        for client in [&here, &there] {
            client.get("/v1/users/me").await.expect(200);
        }
        let name = format!("Name {n}");
        // when one changes it, then it shows that at once,
        let changed = here.patch("/v1/users/me", json!({"name": name})).await.expect(200);
        let told = Instant::now();
        let me = here.get("/v1/users/me").await.expect(200);
        assert_eq!((&me["name"], &me["version"]), (&json!(name), &changed["version"]));
        // and the other within a second.
        let mut tick = interval(Duration::from_millis(2));
        while there.get("/v1/users/me").await.expect(200)["name"] != name {
            assert!(told.elapsed() < Duration::from_secs(1), "round {n}: {:?}", told.elapsed());
            tick.tick().await;
        }
        took.push(told.elapsed());
    }
    took.sort();
    eprintln!(
        "shown on the other replica: median {:?}, p99 {:?}, longest {:?}",
        took[50], took[98], took[99]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_changed_on_one_are_listed_changed_at_once_there_and_soon_on_the_other() {
    let pair = pair().await;
    let here = Client::register(&pair.first.url).await;
    let there = here.at(&pair.second.url);
    let list = format!("/v1/users/{}/accounts", here.user_id);
    let listed = async |client: &Client| client.get(&list).await.expect(200)["accounts"].clone();
    let body = json!({"type": "checking", "accountName": "Cash", "balance": 1, "currency": "USD"});
    let mut took = Vec::new();
    for n in 0..60 {
        // Given that both keep a copy of the list,
        assert_eq!((listed(&here).await, listed(&there).await), (json!([]), json!([])), "round {n}");
        // when an account is made, changed and deleted by one, then that one shows it at once,
        let made = here.post("/v1/accounts", body.clone()).await.expect(201);
        let path = format!("/v1/accounts/{}", made["id"].as_str().unwrap());
        assert_eq!(listed(&here).await, json!([made]));
        let changed = here.patch(&path, json!({"balance": 2})).await.expect(200);
        assert_eq!(listed(&here).await, json!([changed]));
        took.push(shown(&there, &list, &json!([changed])).await);
        here.delete(&path).await.expect(204);
        assert_eq!(listed(&here).await, json!([]));
        // and the other within a second.
        took.push(shown(&there, &list, &json!([])).await);
    }
    took.sort();
    eprintln!(
        "listed on the other replica: median {:?}, p99 {:?}, longest {:?}",
        took[60], took[118], took[119]
    );

    // What a sync brings, on whatever replica it ran, is listed as soon as the run has ended.
    let link = json!({"provider": "sandbox", "setupToken": "sandbox"});
    let connection = here.post("/v1/connections", link).await.expect(201);
    let connection = format!("/v1/connections/{}", connection["id"].as_str().unwrap());
    eventually("the run ends", Duration::from_secs(20), async || {
        for client in [&here, &there] {
            listed(client).await;
        }
        (here.get(&connection).await.expect(200)["lastOutcome"] == "complete").then_some(())
    })
    .await;
    let told = Instant::now();
    for client in [&here, &there] {
        eventually("all three are listed", Duration::from_secs(1), async || {
            (listed(client).await.as_array().unwrap().len() == 3).then_some(())
        })
        .await;
    }
    eprintln!("synced accounts listed on both after {:?}", told.elapsed());
}

/// How long it takes until a list shows this.
async fn shown(client: &Client, list: &str, expected: &serde_json::Value) -> Duration {
    let told = Instant::now();
    let mut tick = interval(Duration::from_millis(2));
    while client.get(list).await.expect(200)["accounts"] != *expected {
        assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
        tick.tick().await;
    }
    told.elapsed()
}
