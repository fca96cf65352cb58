//! Bad input on every route that the API describes: always a 4xx problem, never a 5xx.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::App;
use crate::orders::place;
use crate::support::{Client, order};

crate::over_both_stores!(
    no_input_makes_a_5xx_on_any_route,
    a_cursor_that_was_made_up_is_refused_by_every_list,
);

async fn no_input_makes_a_5xx_on_any_route(app: App) {
    // Given every operation of the API's own description, and an admin who may call them all,
    let admin = Client::admin(app.url()).await;
    let token = admin.token.clone().unwrap();
    let api = admin.get("/openapi.json").await.expect(200);
    let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let mut tried = 0;
    for (path, item) in api["paths"].as_object().unwrap() {
        // The token must outlive the test; and readiness says 503 by its own right.
        if path.ends_with("/logout") || ["/readyz", "/health"].contains(&path.as_str()) {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            for id in ["nobody-has-this-id", "%00", "..%2F..", "%7B%22%24ne%22%3Anull%7D", &"x".repeat(300)] {
                let url = format!("{}{}", app.url(), fill(path, id));
                for body in bodies(operation) {
                    let mut request = http
                        .request(method.clone(), &url)
                        .bearer_auth(&token)
                        .header("Idempotency-Key", uuid::Uuid::new_v4().to_string());
                    if let Some(body) = body {
                        request = request.header("Content-Type", "application/json").body(body);
                    }
                    let answer = request.send().await.unwrap();
                    let status = answer.status().as_u16();
                    tried += 1;
                    // When it is called with nonsense, then it is refused as a problem, if at all.
                    assert!(status < 500, "{method} {url} → {status} {}", answer.text().await.unwrap());
                    if status >= 400 {
                        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
                        assert_eq!(kind, "application/problem+json", "{method} {url} → {status}");
                        let problem: Value = answer.json().await.unwrap();
                        for field in ["type", "title", "status", "code", "requestId"] {
                            assert!(!problem[field].is_null(), "{method} {url} → {problem}");
                        }
                    }
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
    // And it still serves.
    admin.get("/v1/users/me").await.expect(200);
}

fn fill(path: &str, id: &str) -> String {
    let mut filled = String::new();
    for part in path.split('/').skip(1) {
        filled.push('/');
        filled.push_str(if part.starts_with('{') { id } else { part });
    }
    filled
}

fn bodies(operation: &Value) -> Vec<Option<String>> {
    if operation["requestBody"].is_null() {
        return vec![None];
    }
    vec![
        None,
        Some(String::new()),
        Some("{".to_owned()),
        Some("null".to_owned()),
        Some("[]".to_owned()),
        Some("\"x\"".to_owned()),
        Some("{}".to_owned()),
        Some(json!({"$where": "sleep(1000)", "unknown": {"$ne": null}}).to_string()),
        Some("[".repeat(5000)),
        Some(format!("{{\"name\": \"{}\"}}", "x".repeat(200_000))),
        Some("{\"name\": \"\\ud800\"}".to_owned()),
        Some("{\"name\": 1e999}".to_owned()),
    ]
}

/// A cursor that passes for one of this list: what it is bound to is no secret.
fn forged(route: &str, filters: &Value, keys: &Value) -> String {
    let eight = |hash: Sha256| hash.finalize()[..8].to_vec();
    let binding = Sha256::new_with_prefix(route).chain_update([0]).chain_update(filters.to_string());
    let inside = json!({"keys": keys, "id": "x"}).to_string();
    let check = Sha256::new_with_prefix(eight(binding)).chain_update(&inside);
    URL_SAFE_NO_PAD.encode([eight(check).as_slice(), inside.as_bytes()].concat())
}

async fn a_cursor_that_was_made_up_is_refused_by_every_list(app: App) {
    let client = Client::admin(app.url()).await;
    let me = client.user_id.as_str();
    let sku = client.product(1.0, 1).await;
    let id = place(&client, "k", order(&sku, 1, "pm_card_visa")).await;
    for (path, route, filters, right) in [
        ("/v1/orders".to_owned(), "orders", json!([me, null]), vec![json!(0)]),
        (format!("/v1/orders/{id}/refunds"), "refunds", json!(id), vec![json!(0)]),
        ("/v1/holds".to_owned(), "holds", json!(me), vec![json!(0)]),
        (format!("/v1/inventory/{sku}/movements"), "movements", json!(sku), vec![json!(0)]),
        ("/v1/categories".to_owned(), "categories", json!(null), vec![]),
        ("/v1/events".to_owned(), "events", json!(me), vec![json!(0)]),
        ("/v1/sessions".to_owned(), "sessions", json!(me), vec![json!(0)]),
        ("/v1/accounts".to_owned(), "accounts", json!([me, null]), vec![]),
        ("/v1/connections".to_owned(), "connections", json!(me), vec![]),
        ("/v1/users/me/export".to_owned(), "users/me/export", json!(me), vec![json!(1), json!(0)]),
    ] {
        let page = async |keys: &[Value]| {
            let cursor = forged(route, &filters, &json!(keys));
            client.get(&format!("{path}?cursor={cursor}")).await
        };
        // One as the list itself makes them is as good as those;
        page(&right).await.expect(200);
        // one with a key too many, one too few, or another kind of key is none.
        let other = [json!("x")];
        let mut wrong = vec![[right.as_slice(), other.as_slice()].concat()];
        if let Some((_, fewer)) = right.split_last() {
            wrong.push(fewer.to_vec());
            wrong.push([fewer, other.as_slice()].concat());
        }
        for keys in wrong {
            let refused = page(&keys).await.expect(400);
            assert_eq!(
                (&refused["code"], &refused["errors"][0]["field"]),
                (&json!("bad_cursor"), &json!("cursor")),
                "{path} {keys:?}"
            );
        }
    }
}
