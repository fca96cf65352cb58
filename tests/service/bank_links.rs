//! Banks linked by Plaid, against the sandbox's own ledger: nothing missing, nothing twice, whatever the
//! bank does.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::App;
use crate::support::{Backend, Client, DataDir, Replica, asked, eventually};

crate::over_both_stores!(
    changes_at_the_bank_arrive_by_webhook_and_amount_to_its_ledger,
    a_webhook_that_is_not_genuine_has_no_effect_and_a_repeat_has_none_either,
    a_new_link_to_the_same_bank_makes_nothing_twice_and_ends_the_former_access,
    each_fault_of_plaid_has_an_honest_outcome,
    tokens_that_do_not_fit_are_named,
    many_transactions_by_both_protocols_are_there_once_each,
);

const PATIENCE: Duration = Duration::from_secs(60);

async fn sandbox_post(app: &App, path: &str, body: Value) -> Value {
    let url = format!("{}/_sandbox/{path}", app.replica.sandbox);
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

async fn sandbox_get(app: &App, path: &str) -> Value {
    let answer = reqwest::get(format!("{}/_sandbox/{path}", app.replica.sandbox)).await.unwrap();
    answer.json().await.unwrap()
}

async fn minted(app: &App, user: &str, fault: Option<&str>) -> String {
    let mut body = json!({ "userId": user });
    if let Some(fault) = fault {
        body["fault"] = fault.into();
    }
    sandbox_post(app, "public-tokens", body).await["publicToken"].as_str().unwrap().to_owned()
}

async fn link(client: &Client, token: &str) -> String {
    let body = json!({"provider": "plaid", "publicToken": token});
    client.post("/v1/connections", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

/// Waits for the end of the newest run, of so many at least.
async fn ended(client: &Client, id: &str, runs: usize) -> Value {
    eventually("the run ends", PATIENCE, async || {
        let list = client.get(&format!("/v1/connections/{id}/runs")).await.expect(200);
        let list = list["items"].as_array().unwrap().clone();
        let last = list.first()?.clone();
        (list.len() >= runs && last["status"] == "finished").then_some(last)
    })
    .await
}

async fn sync(client: &Client, id: &str) -> Value {
    let path = format!("/v1/connections/{id}");
    let run = client.post(&format!("{path}/sync"), json!({})).await.expect(202)["runId"].clone();
    let path = format!("{path}/runs/{}", run.as_str().unwrap());
    eventually("the run ends", PATIENCE, async || {
        let run = client.get(&path).await.expect(200);
        (run["status"] == "finished").then_some(run)
    })
    .await
}

/// How often there is a transaction of this day, text, state and cents.
type Lines = BTreeMap<(String, String, bool, i64), u32>;

async fn truth(app: &App, user: &str) -> Lines {
    let (mut lines, mut next) = (Lines::new(), String::new());
    loop {
        let page = sandbox_get(app, &format!("bank?userId={user}{next}")).await;
        for line in page["lines"].as_array().unwrap() {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            let cents = line["cents"].as_i64().unwrap();
            *lines.entry((text("date"), text("description"), line["pending"] == true, cents)).or_default() +=
                1;
        }
        let Some(more) = page["next"].as_str() else { return lines };
        let more: String = url::form_urlencoded::byte_serialize(more.as_bytes()).collect();
        next = format!("&next={more}");
    }
}

async fn kept(client: &Client) -> Lines {
    let (mut lines, mut cursor) = (Lines::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/transactions?limit=100{cursor}")).await.expect(200);
        for line in page["items"].as_array().unwrap() {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            let cents = (line["amount"].as_f64().unwrap() * 100.0).round() as i64;
            *lines.entry((text("date"), text("description"), line["pending"] == true, cents)).or_default() +=
                1;
        }
        let Some(more) = page["nextCursor"].as_str() else { return lines };
        cursor = format!("&cursor={more}");
    }
}

/// What is on one side only, a few of them.
fn difference(kept: &Lines, truth: &Lines) -> String {
    let missing: Vec<_> = truth.iter().filter(|(line, n)| kept.get(line) != Some(n)).take(5).collect();
    let over: Vec<_> = kept.iter().filter(|(line, n)| truth.get(line) != Some(n)).take(5).collect();
    format!("{} of {} kept; at the bank: {missing:?}; here: {over:?}", kept.len(), truth.len())
}

async fn agree(app: &App, client: &Client, user: &str) {
    let (kept, truth) = (kept(client).await, truth(app, user).await);
    assert!(kept == truth, "{}", difference(&kept, &truth));
}

async fn changes_at_the_bank_arrive_by_webhook_and_amount_to_its_ledger(app: App) {
    let client = Client::register(app.url()).await;
    sandbox_post(&app, "bank", json!({"userId": "p1", "add": 700, "pending": 6})).await;
    let id = link(&client, &minted(&app, "p1", None).await).await;
    let run = ended(&client, &id, 1).await;
    assert_eq!(run["outcome"], "complete", "{run}");
    agree(&app, &client, "p1").await;
    // What Plaid does not tell is not made up.
    let accounts = client.get(&format!("/v1/users/{}/accounts", client.user_id)).await.expect(200);
    let details = |kind: &str| {
        let mut accounts = accounts["accounts"].as_array().unwrap().iter();
        accounts.find(|account| account["type"] == kind).unwrap()["details"].clone()
    };
    assert_eq!(details("checking"), json!({"overdraftProtection": null, "routingNumber": null}));
    assert_eq!(details("savings"), json!({"apy": null}));
    let credit = details("credit");
    assert!(credit["creditLimit"].is_number() && credit["apr"].is_null(), "{credit}");
    // The user's words stay with a pending one that is booked under another id.
    let pending = client.get("/v1/transactions?pending=true").await.expect(200)["items"].clone();
    let noted = pending
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["description"].as_str().unwrap().starts_with("Payment"));
    let noted = noted.unwrap()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/transactions/{noted}");
    client.patch(&path, json!({"category": "rent", "note": "mine"})).await.expect(200);

    sandbox_post(&app, "faults", json!({"webhooks": "shuffled"})).await;
    for change in [
        json!({"userId": "p1", "book": true}),
        json!({"userId": "p1", "add": 30, "modify": 20, "remove": 10}),
    ] {
        sandbox_post(&app, "bank", change).await;
        let truth = truth(&app, "p1").await;
        eventually("what changed arrives without asking", PATIENCE, async || {
            (kept(&client).await == truth).then_some(())
        })
        .await;
    }
    let booked = client.get(&path).await.expect(200);
    assert_eq!((&booked["category"], &booked["note"]), (&json!("rent"), &json!("mine")));
    assert_eq!(
        (&booked["pending"], &booked["mergedFrom"][0]["rule"]),
        (&json!(false), &json!("named_by_provider"))
    );
    assert!(booked["mergedFrom"][0]["amount"].is_number(), "{booked}");

    // Deleting tells the bank.
    client.delete(&format!("/v1/connections/{id}")).await.expect(204);
    eventually("the access is revoked", PATIENCE, async || {
        (sandbox_get(&app, "items?userId=p1").await["items"][0]["removed"] == true).then_some(())
    })
    .await;
}

async fn send(app: &App, body: &str, token: Option<&str>) -> StatusCode {
    let mut request = reqwest::Client::new().post(format!("{}/v1/webhooks/plaid", app.url()));
    if let Some(token) = token {
        request = request.header("Plaid-Verification", token);
    }
    request.body(body.to_owned()).send().await.unwrap().status()
}

async fn signed(app: &App, body: &str, age: i64) -> String {
    let made = sandbox_post(app, "bank-signatures", json!({"body": body, "age": age})).await;
    made["token"].as_str().unwrap().to_owned()
}

async fn runs(client: &Client, id: &str) -> usize {
    client.get(&format!("/v1/connections/{id}/runs")).await.expect(200)["items"].as_array().unwrap().len()
}

async fn a_webhook_that_is_not_genuine_has_no_effect_and_a_repeat_has_none_either(app: App) {
    let client = Client::register(app.url()).await;
    let id = link(&client, &minted(&app, "p2", None).await).await;
    ended(&client, &id, 1).await;
    let item = sandbox_get(&app, "items?userId=p2").await["items"][0]["id"].as_str().unwrap().to_owned();
    let body =
        json!({"webhook_type": "TRANSACTIONS", "webhook_code": "SYNC_UPDATES_AVAILABLE", "item_id": item});
    let body = body.to_string();
    let good = signed(&app, &body, 0).await;
    let stale = signed(&app, &body, 301).await;
    let early = signed(&app, &body, -600).await;
    let mut flipped = good.clone().into_bytes();
    let last = flipped.len() - 10;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    let unsigned = "eyJhbGciOiJub25lIiwia2lkIjoieCJ9.e30.";
    for (body, token) in [
        (body.as_str(), None),
        (&body, Some("")),
        (&body, Some("nonsense")),
        (&body, Some(unsigned)),
        (&body, Some(stale.as_str())),
        (&body, Some(early.as_str())),
        (&body, Some(flipped.as_str())),
        (&body.replace("SYNC", "sync"), Some(good.as_str())),
    ] {
        assert_eq!(send(&app, body, token).await, 401, "{token:?}");
    }
    assert_eq!(runs(&client, &id).await, 1, "none had an effect");
    // What is genuine: once,
    assert_eq!(send(&app, &body, Some(&good)).await, 200);
    ended(&client, &id, 2).await;
    // and again without effect, however often.
    for _ in 0..5 {
        assert_eq!(send(&app, &body, Some(&good)).await, 200);
    }
    assert_eq!(runs(&client, &id).await, 2);
    // Nor does what is genuine and about nobody, or nonsense; too much of it is not read.
    let foreign =
        json!({"webhook_type": "ITEM", "webhook_code": "ERROR", "item_id": "item-of-nobody"}).to_string();
    for nonsense in [foreign.as_str(), "", "null", "{\"webhook_type\": 1}"] {
        assert_eq!(send(&app, nonsense, Some(&signed(&app, nonsense, 0).await)).await, 200);
    }
    let huge = " ".repeat(300 * 1024);
    assert_eq!(send(&app, &huge, Some("x")).await, 413);
    assert_eq!(runs(&client, &id).await, 2);
    // A state is never believed: a run goes and looks.
    let error = json!({"webhook_type": "ITEM", "webhook_code": "ERROR", "item_id": item, "error": {"error_code": "ITEM_LOGIN_REQUIRED"}});
    let error = error.to_string();
    assert_eq!(send(&app, &error, Some(&signed(&app, &error, 0).await)).await, 200);
    assert_eq!(ended(&client, &id, 3).await["outcome"], "complete");
    let connection = client.get(&format!("/v1/connections/{id}")).await.expect(200);
    assert_eq!(connection["status"], "active");
}

async fn a_new_link_to_the_same_bank_makes_nothing_twice_and_ends_the_former_access(app: App) {
    let client = Client::register(app.url()).await;
    sandbox_post(&app, "bank", json!({"userId": "p3", "add": 200, "pending": 3})).await;
    let id = link(&client, &minted(&app, "p3", None).await).await;
    ended(&client, &id, 1).await;
    let path = format!("/v1/connections/{id}");
    let accounts = format!("/v1/users/{}/accounts", client.user_id);
    let of = |page: &Value| {
        let mut ids: Vec<_> =
            page["accounts"].as_array().unwrap().iter().map(|a| a["id"].to_string()).collect();
        ids.sort();
        ids
    };
    let before = of(&client.get(&accounts).await.expect(200));
    // The bank wants the user again.
    let item = sandbox_get(&app, "items?userId=p3").await["items"][0]["id"].as_str().unwrap().to_owned();
    sandbox_post(&app, &format!("items/{item}"), json!({"fault": "expired"})).await;
    assert_eq!(sync(&client, &id).await["outcome"], "needs_reauth");
    assert_eq!(client.get(&path).await.expect(200)["status"], "needs_reauth");
    let token = client.post("/v1/connections/link-token", json!({"connectionId": id})).await.expect(200);
    assert!(token["linkToken"].is_string() && token["expiresAt"].is_string(), "{token}");
    // It clears itself when it works again.
    sandbox_post(&app, &format!("items/{item}"), json!({"fault": "none"})).await;
    assert_eq!(sync(&client, &id).await["outcome"], "complete");
    assert_eq!(client.get(&path).await.expect(200)["status"], "active");
    agree(&app, &client, "p3").await;

    // A new link: other ids for everything.
    sandbox_post(&app, "bank", json!({"userId": "p3", "add": 20, "book": true})).await;
    let relinked =
        client.post(&format!("{path}/relink"), json!({"publicToken": minted(&app, "p3", None).await})).await;
    let relinked = relinked.expect(201);
    assert_eq!((&relinked["id"], &relinked["status"]), (&json!(id), &json!("active")));
    let truth = truth(&app, "p3").await;
    eventually("all is there under the new ids", PATIENCE, async || {
        (kept(&client).await == truth).then_some(())
    })
    .await;
    assert_eq!(sync(&client, &id).await["outcome"], "complete");
    agree(&app, &client, "p3").await;
    assert_eq!(of(&client.get(&accounts).await.expect(200)), before, "the same accounts");
    eventually("the former access is revoked", PATIENCE, async || {
        let items = sandbox_get(&app, "items?userId=p3").await["items"].clone();
        let gone = |item: &&Value| item["removed"] == true;
        (items.as_array().unwrap().iter().filter(gone).count() == 1).then_some(())
    })
    .await;
    // Another's connection is not there, and a used token is refused.
    let other = Client::register(app.url()).await;
    other.post(&format!("{path}/relink"), json!({"publicToken": "public-sandbox"})).await.expect(404);
    other.post("/v1/connections/link-token", json!({"connectionId": id})).await.expect(404);
    let refused = client.post(&format!("{path}/relink"), json!({"publicToken": "used"})).await.expect(422);
    assert_eq!(
        (&refused["code"], &refused["errors"][0]["field"]),
        (&json!("setup_token_refused"), &json!("/publicToken"))
    );
}

async fn each_fault_of_plaid_has_an_honest_outcome(app: App) {
    let client = Client::register(app.url()).await;
    for (fault, outcome) in [
        ("rate-limited", "rate_limited"),
        ("expired", "needs_reauth"),
        ("down", "provider_down"),
        ("institution-down", "provider_down"),
        ("broken-pages", "provider_down"),
        ("not-ready", "partial"),
        ("hostile", "provider_down"),
        ("hanging", "provider_down"),
        ("shuffled", "complete"),
        ("mutating", "complete"),
    ] {
        let id = link(&client, &format!("public-sandbox-{fault}")).await;
        let run = ended(&client, &id, 1).await;
        assert_eq!(run["outcome"], outcome, "{fault}: {run}");
        assert_eq!(run["reason"].is_string(), outcome != "complete", "{run}");
        client.delete(&format!("/v1/connections/{id}?accounts=delete")).await.expect(204);
    }
}

async fn tokens_that_do_not_fit_are_named(app: App) {
    let client = Client::register(app.url()).await;
    for (body, status, field) in [
        (json!({"provider": "plaid"}), 400, "/publicToken"),
        (json!({"provider": "sandbox"}), 400, "/setupToken"),
        (json!({"provider": "plaid", "setupToken": "x"}), 422, "/setupToken"),
        (json!({"provider": "sandbox", "setupToken": "sandbox", "publicToken": "x"}), 422, "/publicToken"),
        (json!({"provider": "plaid", "publicToken": "x"}), 422, "/publicToken"),
        (json!({"provider": "plaid", "publicToken": ""}), 422, "/publicToken"),
        (json!({"provider": "piggy", "setupToken": "x"}), 422, "/provider"),
    ] {
        let refused = client.post("/v1/connections", body.clone()).await.expect(status);
        assert_eq!(refused["errors"][0]["field"], field, "{body} {refused}");
    }
    let made = client.post("/v1/connections/link-token", json!({})).await.expect(200);
    assert!(made["linkToken"].as_str().unwrap().contains(&client.user_id));
    let simple = json!({"provider": "sandbox", "setupToken": "sandbox"});
    let id = client.post("/v1/connections", simple).await.expect(201)["id"].clone();
    let none = client.post("/v1/connections/link-token", json!({"connectionId": id})).await.expect(422);
    assert_eq!(none["code"], "no_link_page");
    let path = format!("/v1/connections/{}/relink", id.as_str().unwrap());
    let other = client.post(&path, json!({"provider": "plaid", "setupToken": "sandbox"})).await.expect(422);
    assert_eq!(other["errors"][0]["field"], "/provider");
    assert_eq!(client.post(&path, json!({"setupToken": "sandbox"})).await.expect(201)["id"], id);
    assert_eq!(client.get("/v1/connections").await.expect(200)["items"].as_array().unwrap().len(), 1);
}

async fn many_transactions_by_both_protocols_are_there_once_each(app: App) {
    let faults = [Some("shuffled"), Some("mutating"), Some("broken-pages"), None];
    // All of them by `STEWARD_TEST_TRANSACTIONS=100000`.
    let each = asked("STEWARD_TEST_TRANSACTIONS", 5000) / (faults.len() + 1);
    let began = std::time::Instant::now();
    let mut total = 0;
    for (n, fault) in faults.into_iter().enumerate() {
        let (client, user) = (Client::register(app.url()).await, format!("m{n}"));
        // In steps that overlap with runs: each is told of as the bank changes further.
        sandbox_post(&app, "bank", json!({"userId": user, "add": each / 2, "days": 300, "pending": 50}))
            .await;
        let id = link(&client, &minted(&app, &user, fault).await).await;
        for change in [
            json!({"userId": user, "add": each / 4, "days": 200}),
            json!({"userId": user, "book": true, "modify": each / 20, "remove": each / 40}),
            json!({"userId": user, "add": each - each / 2 - each / 4, "days": 100, "pending": 20}),
        ] {
            sandbox_post(&app, "bank", change).await;
            sync(&client, &id).await;
        }
        let item = sandbox_get(&app, &format!("items?userId={user}")).await["items"][0]["id"].clone();
        sandbox_post(&app, &format!("items/{}", item.as_str().unwrap()), json!({"fault": "none"})).await;
        let truth = truth(&app, &user).await;
        eventually("all is there once", Duration::from_secs(600), async || {
            sync(&client, &id).await;
            (kept(&client).await == truth).then_some(())
        })
        .await;
        total += truth.len();
    }
    // By SimpleFIN: windows of days, shuffled and repeated, of the same ledger.
    let client = Client::register(app.url()).await;
    sandbox_post(&app, "bank", json!({"userId": client.user_id, "add": each, "days": 300})).await;
    let body = json!({"provider": "sandbox", "setupToken": "sandbox-shuffled"});
    let id = client.post("/v1/connections", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    ended(&client, &id, 1).await;
    for _ in 0..3 {
        sandbox_post(&app, "bank", json!({"userId": client.user_id, "add": 50, "days": 10})).await;
        assert_eq!(sync(&client, &id).await["outcome"], "complete");
    }
    agree(&app, &client, &client.user_id).await;
    total += kept(&client).await.len();
    eprintln!("{total} transactions, 0 missing, 0 twice, {:.1?}", began.elapsed());
}

/// Requests that there may be in a minute.
const BUDGET: &str = "60";

async fn runs_wait_for_the_budget_of_their_provider_and_do_not_fail(backend: Backend) {
    let data = DataDir::new();
    let more = [("STEWARD__PLAID__REQUESTS_PER_MINUTE", BUDGET)];
    let replica = Replica::start(&data.path(), &backend, &more).await;
    let client = Client::register(&replica.url).await;
    let began = std::time::Instant::now();
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(link(&client, "public-sandbox").await);
    }
    for id in &ids {
        assert_eq!(ended(&client, id, 1).await["outcome"], "complete");
    }
    // Thirty requests are spent; with forty more it is ten more than there are, and one comes each second.
    for round in 2..=3 {
        for id in &ids {
            client.post(&format!("/v1/connections/{id}/sync"), json!({})).await.expect(202);
        }
        for id in &ids {
            let run = ended(&client, id, round).await;
            assert_eq!(run["outcome"], "complete", "it waits: {run}");
        }
    }
    assert!(began.elapsed() > Duration::from_secs(9), "the budget was not heeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_budget() {
    runs_wait_for_the_budget_of_their_provider_and_do_not_fail(Backend::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_budget() {
    runs_wait_for_the_budget_of_their_provider_and_do_not_fail(Backend::cluster()).await;
}
