//! Two users on every route of the API's own description: what one of them has, the other neither
//! sees, nor changes, nor ends, by whatever id, in a path, a query or a body.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::App;
use crate::support::{Client, eventually, order};

crate::over_both_stores!(nobody_gets_at_what_is_anothers);

/// What is written wherever the owner may write something.
const MARK: &str = "Zanzibar Quill";

/// What the owner has, by what a path calls it.
type Ids = BTreeMap<&'static str, String>;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// A user who has something of everything.
async fn owner(app: &App, admin: &Client) -> (Client, Ids) {
    let (client, mut ids) = (Client::register(app.url()).await, Ids::new());
    client.patch("/v1/users/me", json!({"name": MARK})).await.expect(200);
    let link = json!({"provider": "sandbox", "setupToken": "sandbox"});
    ids.insert("connections", text(&client.post("/v1/connections", link).await.expect(201)["id"]));
    let runs = format!("/v1/connections/{}/runs", ids["connections"]);
    let run = eventually("the first run ends", Duration::from_secs(60), async || {
        let run = client.get(&runs).await.expect(200)["items"][0].clone();
        (run["status"] == "finished").then_some(run)
    })
    .await;
    ids.insert("runs", text(&run["id"]));
    let accounts = client.get(&format!("/v1/users/{}/accounts", client.user_id)).await.expect(200);
    ids.insert("accounts", text(&accounts["accounts"][0]["id"]));
    let transactions = client.get("/v1/transactions?limit=1").await.expect(200);
    ids.insert("transactions", text(&transactions["items"][0]["id"]));
    client
        .patch(&format!("/v1/transactions/{}", ids["transactions"]), json!({"note": MARK}))
        .await
        .expect(200);
    let sku = admin.product(5.0, 100).await;
    let hold = json!({"lines": [{"sku": sku, "quantity": 1}], "ttlSeconds": 900});
    ids.insert("holds", text(&client.post_with_key("/v1/holds", hold, "hold").await.expect(201)["id"]));
    let mut asked = order(&sku, 1, "pm_card_visa");
    asked["shippingAddress"] = json!({"name": MARK, "line1": "Somewhere 1", "city": "Stone Town", "postalCode": "N1", "country": "GB"});
    ids.insert("orders", text(&client.post_with_key("/v1/orders", asked, "order").await.expect(202)["id"]));
    client.confirmed(&ids["orders"]).await;
    ids.insert("sessions", text(&client.get("/v1/sessions").await.expect(200)["items"][0]["id"]));
    ids.insert("users", client.user_id.clone());
    ids.insert("sku", sku);
    (client, ids)
}

/// One of the API's operations.
struct Operation {
    method: Method,
    path: String,
    public: bool,
    body: Option<Value>,
    filters: Vec<String>,
}

fn operations(api: &Value) -> Vec<Operation> {
    let mut found = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        // Streams go on, a webhook has no caller; and what ends the caller's own session ends the test.
        if path.ends_with("/logout") || path.contains("/webhooks/") || path.ends_with("/events") {
            continue;
        }
        for (verb, operation) in item.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(verb.to_uppercase().as_bytes()) else { continue };
            if method == Method::DELETE && path == "/v1/users/me" {
                continue;
            }
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let filters = parameters.filter(|parameter| parameter["in"] == "query");
            found.push(Operation {
                method,
                path: path.clone(),
                public: !matches!(operation["security"].as_array().map(Vec::as_slice), Some([_])),
                body: (!operation["requestBody"].is_null()).then(|| example(api, schema, 0)),
                filters: filters
                    .map(|parameter| text(&parameter["name"]))
                    .filter(|name| name.ends_with("Id"))
                    .collect(),
            });
        }
    }
    found
}

/// Something that the schema lets pass, as far as it says.
fn example(api: &Value, schema: &Value, depth: usize) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        return example(api, api.pointer(pointer).unwrap_or(&Value::Null), depth + 1);
    }
    for way in ["oneOf", "anyOf", "allOf"] {
        let ways = schema[way].as_array().into_iter().flatten();
        if let Some(one) = ways.into_iter().find(|one| one["type"] != "null") {
            return example(api, one, depth + 1);
        }
    }
    if let Some(one) = schema["enum"].as_array().and_then(|all| all.first()) {
        return one.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").cloned().unwrap_or_default(),
        kind => kind.clone(),
    };
    let format = schema["format"].as_str().unwrap_or_default();
    match kind.as_str().unwrap_or("object") {
        _ if depth > 8 => Value::Null,
        "string" if format == "email" => json!("someone.else@example.com"),
        "string" if format == "password" => json!("quite-a-long-passphrase-7"),
        "string" if format == "date" => json!("2026-01-31"),
        "string" => json!("Other"),
        "integer" | "number" => schema["minimum"].as_i64().map_or(json!(1), |least| json!(least.max(1))),
        "boolean" => json!(true),
        "array" => json!([example(api, &schema["items"], depth + 1)]),
        _ => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            fields.map(|(name, field)| (name.clone(), example(api, field, depth + 1))).collect()
        }
    }
}

/// The path with each of these ids in each of its places.
fn filled(path: &str, ids: &[&String]) -> Vec<String> {
    let mut paths = vec![String::new()];
    for part in path.split('/').skip(1) {
        let parts: Vec<&str> =
            if part.starts_with('{') { ids.iter().map(|id| id.as_str()).collect() } else { vec![part] };
        paths =
            paths.iter().flat_map(|path| parts.iter().map(move |part| format!("{path}/{part}"))).collect();
    }
    paths
}

/// Bodies that name what is the owner's, for routes whose description cannot say what is meant.
fn naming(ids: &Ids) -> Vec<(Method, &'static str, Value)> {
    let lines = json!([{"sku": ids["sku"], "quantity": 1}]);
    vec![
        (
            Method::POST,
            "/v1/orders",
            json!({"lines": lines, "holdId": ids["holds"], "paymentMethod": "pm_card_visa"}),
        ),
        (Method::POST, "/v1/connections/link-token", json!({"connectionId": ids["connections"]})),
        (
            Method::POST,
            "/v1/transactions",
            json!({"accountId": ids["accounts"], "date": "2026-01-31", "amount": 1, "description": "x"}),
        ),
    ]
}

async fn call(client: &Client, method: &Method, path: &str, body: Option<Value>) -> (u16, String) {
    let key = uuid::Uuid::new_v4().to_string();
    let answer = client.send(method.clone(), path, body, Some(&key)).await.unwrap();
    let mut body = answer.body;
    // A problem says which path it is about.
    if let Some(problem) = body.as_object_mut() {
        problem.remove("instance");
    }
    (answer.status.as_u16(), body.to_string())
}

/// All that the owner sees of what is theirs, but for when they were last seen.
async fn seen(owner: &Client, ids: &Ids) -> BTreeMap<String, Value> {
    let mut seen = BTreeMap::new();
    for path in [
        "/v1/users/me".to_owned(),
        format!("/v1/users/{}/accounts", owner.user_id),
        "/v1/transactions?limit=100".to_owned(),
        "/v1/connections".to_owned(),
        format!("/v1/connections/{}/runs", ids["connections"]),
        format!("/v1/holds/{}", ids["holds"]),
        format!("/v1/orders/{}", ids["orders"]),
        format!("/v1/orders/{}/refunds", ids["orders"]),
        "/v1/orders".to_owned(),
        "/v1/sessions".to_owned(),
    ] {
        let mut body = owner.get(&path).await.expect(200);
        for item in body["items"].as_array_mut().into_iter().flatten() {
            if let Some(item) = item.as_object_mut() {
                item.remove("lastSeenAt");
            }
        }
        seen.insert(path, body);
    }
    seen
}

async fn nobody_gets_at_what_is_anothers(app: App) {
    let admin = Client::admin(app.url()).await;
    let (ann, ids) = owner(&app, &admin).await;
    let bob = Client::register(app.url()).await;
    let nobody = Client::new(app.url());
    let email = text(&ann.get("/v1/users/me").await.expect(200)["email"]);
    let before = seen(&ann, &ids).await;
    let api = admin.get("/openapi.json").await.expect(200);
    let values: Vec<&String> = ids.iter().filter(|(name, _)| **name != "sku").map(|(_, id)| id).collect();
    let marks: Vec<&str> =
        values.iter().map(|id| id.as_str()).chain([MARK, email.as_str(), "Stone Town"]).collect();
    let (mut tried, mut hers) = (0, BTreeSet::new());
    let mut requests: Vec<(Method, String, String, bool, Option<Value>)> = Vec::new();
    for operation in operations(&api) {
        let Operation { method, path, public, body, filters } = operation;
        for real in filled(&path, &values) {
            let empty = body.as_ref().map(|_| json!({}));
            for body in [Some(body.clone()), Some(empty)].into_iter().flatten() {
                requests.push((method.clone(), path.clone(), real.clone(), public, body));
            }
            for filter in &filters {
                let asked = values.iter().map(|id| format!("{real}?{filter}={id}"));
                requests.extend(asked.map(|asked| (method.clone(), path.clone(), asked, public, None)));
            }
        }
    }
    for (method, path, body) in naming(&ids) {
        requests.push((method, path.to_owned(), path.to_owned(), false, Some(body)));
    }
    // When the other, or nobody, asks for it in every way that there is,
    for (method, path, real, public, body) in &requests {
        let named = values.iter().any(|id| real.contains(id.as_str()));
        for client in [&bob, &nobody] {
            let (status, answered) = call(client, method, real, body.clone()).await;
            tried += 1;
            // then they never see anything of it,
            for mark in &marks {
                let own_words =
                    real.contains(mark) || body.as_ref().is_some_and(|b| b.to_string().contains(mark));
                assert!(own_words || !answered.contains(mark), "{method} {real} shows {mark}: {answered}");
            }
            assert!(!answered.contains(MARK) && !answered.contains(&email), "{method} {real}: {answered}");
            // and never do anything with it.
            if named && path.contains('{') && !public {
                assert!((400..500).contains(&status), "{method} {real} → {status} {answered}");
            }
        }
        // The owner does, or all this would prove nothing.
        if method == Method::GET && path.contains('{') && named {
            let (status, _) = call(&ann, method, real, None).await;
            if status == 200 {
                hers.insert(path.clone());
                let (status, _) = call(&bob, method, real, None).await;
                assert_eq!(status, 404, "{real}: whether it exists is not told either");
            }
        }
    }
    assert!(tried > 500 && hers.len() >= 10, "{tried} requests, hers: {hers:?}");
    // And all of it is as it was.
    assert_eq!(seen(&ann, &ids).await, before);
}
