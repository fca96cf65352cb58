//! Copies in memory of what another process changed.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, interval};

use super::pair;
use crate::support::Client;

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
