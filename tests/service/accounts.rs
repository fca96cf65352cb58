//! Linked connections and accounts.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;

use crate::App;
use crate::support::{Client, eventually};

crate::over_both_stores!(
    a_linked_bank_brings_typed_accounts,
    each_fault_of_the_bank_has_an_honest_outcome,
    ten_triggers_make_one_run,
    a_refused_setup_token_makes_no_connection,
    another_users_accounts_and_connections_are_not_there,
);

async fn a_linked_bank_brings_typed_accounts(app: App) {
    let client = Client::register(app.url()).await;
    let body = json!({"provider": "sandbox", "setupToken": "sandbox"});
    let connection = client.post("/v1/connections", body).await.expect(201);
    assert!(!connection.to_string().contains("http"), "no access URL is shown: {connection}");

    let accounts = format!("/v1/users/{}/accounts", client.user_id);
    let page = eventually("three accounts appear", Duration::from_secs(20), async || {
        let page = client.get(&accounts).await.expect(200);
        (page["accounts"].as_array().unwrap().len() == 3).then_some(page)
    })
    .await;
    assert_eq!(page["userId"], client.user_id);
    for account in page["accounts"].as_array().unwrap() {
        assert_eq!(account["connectionId"], connection["id"]);
        assert!(account["balance"].is_number() && account["balanceAsOf"].is_string(), "{account}");
        let kind = account["type"].as_str().unwrap();
        let filtered = client.get(&format!("{accounts}?type={kind}")).await.expect(200);
        let filtered = filtered["accounts"].as_array().unwrap();
        assert!(filtered.contains(account) && filtered.iter().all(|a| a["type"] == kind), "{filtered:?}");
    }
    let wrong = client.get(&format!("{accounts}?type=yacht")).await.expect(422);
    assert_eq!(wrong["errors"][0]["field"], "type");
}

async fn each_fault_of_the_bank_has_an_honest_outcome(app: App) {
    let client = Client::register(app.url()).await;
    let mut outcome_of = HashMap::new();
    for (token, outcome) in [
        ("sandbox-rate-limited", "rate_limited"),
        ("sandbox-expired", "needs_reauth"),
        ("sandbox-down", "provider_down"),
        ("sandbox-broken-pages", "partial"),
        ("sandbox-hostile", "provider_down"),
    ] {
        let body = json!({"provider": "sandbox", "setupToken": token});
        let id = client.post("/v1/connections", body).await.expect(201)["id"].as_str().unwrap().to_owned();
        outcome_of.insert(id.clone(), outcome);
        let path = format!("/v1/connections/{id}");
        let connection = eventually("the run ends", Duration::from_secs(40), async || {
            let connection = client.get(&path).await.expect(200);
            connection["lastOutcome"].is_string().then_some(connection)
        })
        .await;
        assert_eq!(connection["lastOutcome"], outcome, "{connection}");
        assert!(connection["reason"].is_string() && connection["lastSuccessAt"].is_null(), "{connection}");
        let runs = client.get(&format!("{path}/runs")).await.expect(200);
        assert_eq!(runs["items"][0]["outcome"], outcome);
        // What was told of in half a statement is shown; nothing else is.
        let accounts = client.get(&format!("/v1/users/{}/accounts", client.user_id)).await.expect(200);
        for account in accounts["accounts"].as_array().unwrap() {
            assert_eq!(
                outcome_of.get(account["connectionId"].as_str().unwrap()),
                Some(&"partial"),
                "{account}"
            );
        }
    }
}

async fn ten_triggers_make_one_run(app: App) {
    let client = Client::register(app.url()).await;
    let body = json!({"provider": "sandbox", "setupToken": "sandbox-slow"});
    let id = client.post("/v1/connections", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/connections/{id}/sync");
    let triggers = (0..10).map(|_| {
        let (client, path) = (client.clone(), path.clone());
        tokio::spawn(async move { client.post(&path, json!({})).await.expect(202)["runId"].clone() })
    });
    let mut runs = Vec::new();
    for trigger in triggers.collect::<Vec<_>>() {
        runs.push(trigger.await.unwrap());
    }
    runs.dedup();
    assert_eq!(runs.len(), 1, "{runs:?}");
}

async fn a_refused_setup_token_makes_no_connection(app: App) {
    let client = Client::register(app.url()).await;
    let metadata = "aHR0cDovLzE2OS4yNTQuMTY5LjI1NC9sYXRlc3Q="; // http://169.254.169.254/latest
    for (provider, token) in [("simplefin", metadata), ("simplefin", "!!"), ("sandbox", "sandbox-unheard-of")]
    {
        let body = json!({"provider": provider, "setupToken": token});
        let refused = client.post("/v1/connections", body).await.expect(422);
        assert_eq!(refused["code"], "setup_token_refused", "{refused}");
    }
    let none = client.get("/v1/connections").await.expect(200);
    assert_eq!(none["items"], json!([]));
}

async fn another_users_accounts_and_connections_are_not_there(app: App) {
    let owner = Client::register(app.url()).await;
    let other = Client::register(app.url()).await;
    let body = json!({"provider": "sandbox", "setupToken": "sandbox"});
    let id = owner.post("/v1/connections", body).await.expect(201)["id"].as_str().unwrap().to_owned();

    other.get(&format!("/v1/connections/{id}")).await.expect(404);
    other.get(&format!("/v1/connections/{id}/runs")).await.expect(404);
    other.post(&format!("/v1/connections/{id}/sync"), json!({})).await.expect(404);
    other.get(&format!("/v1/users/{}/accounts", owner.user_id)).await.expect(404);
    let none = other.get("/v1/connections").await.expect(200);
    assert_eq!(none["items"], json!([]));
}
