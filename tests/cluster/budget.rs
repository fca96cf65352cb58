//! A provider's budget is that of all replicas together: two processes ask Plaid as often as one may.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Backend, Client, DataDir, Replica, SHORT_LEASE};

/// Requests that there may be in a minute.
const BUDGET: usize = 30;
/// Requests that are tried on the second replica.
const TRIED: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_spend_one_budget() {
    let backend = Backend::cluster();
    let data = [DataDir::new(), DataDir::new()];
    let budget = BUDGET.to_string();
    let mut more = SHORT_LEASE.to_vec();
    more.push(("STEWARD__PLAID__REQUESTS_PER_MINUTE", &budget));
    let first = Replica::start(&data[0].path(), &backend, &more).await;
    let second = Replica::start(&data[1].path(), &backend, &more).await;
    let client = Client::register(&first.url).await;

    // When one has spent half of it, and then the other is asked for more than the whole,
    let began = Instant::now();
    let ask = async |url: &str, times: usize| {
        let client = client.at(url);
        let asked = join_all((0..times).map(|_| client.post("/v1/connections/link-token", json!({})))).await;
        asked.iter().filter(|answer| answer.status == 201 || answer.status == 200).count()
    };
    let by_first = ask(&first.url, BUDGET / 2).await;
    let by_second = ask(&second.url, TRIED).await;

    // then the other has what is left.
    let refilled = began.elapsed().div_duration_f64(Duration::from_secs(60)) * BUDGET as f64;
    let most = BUDGET / 2 + refilled.ceil() as usize + 1;
    assert_eq!(by_first, BUDGET / 2);
    assert!((BUDGET / 2..=most).contains(&by_second), "{by_second} in {:?}: not {most}", began.elapsed());
}
