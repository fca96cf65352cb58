//! What operators see and do: dead letters, the audit log, and who may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::App;
use crate::support::{Backend, Client, DataDir, Replica, eventually, order, steward};

crate::over_both_stores!(
    customers_are_kept_out_of_every_operators_route,
    flags_are_set_and_asked,
    an_actor_is_paused_and_resumed,
    sagas_are_found_by_state_and_age,
);

/// A mail server that knows no recipient until it is told to.
struct PostOffice {
    uri: String,
    knows: Arc<AtomicBool>,
}

impl PostOffice {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("smtp://{}", listener.local_addr().unwrap());
        let knows = Arc::new(AtomicBool::new(false));
        let known = knows.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let known = known.clone();
                tokio::spawn(async move {
                    let (read, mut write) = client.split();
                    let mut lines = BufReader::new(read).lines();
                    let _ = write.write_all(b"220 office\r\n").await;
                    let mut in_letter = false;
                    while let Ok(Some(line)) = lines.next_line().await {
                        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
                        let answer = match verb.as_str() {
                            _ if in_letter && line != "." => continue,
                            "RCPT" if !known.load(Ordering::SeqCst) => "550 no such box",
                            "DATA" => "354 go on",
                            "QUIT" => "221 bye",
                            _ => "250 well",
                        };
                        in_letter = verb == "DATA";
                        let _ = write.write_all(format!("{answer}\r\n").as_bytes()).await;
                    }
                });
            }
        });
        Self { uri, knows }
    }
}

async fn dead_letters(admin: &Client) -> Vec<Value> {
    admin.get("/v1/admin/jobs?status=dead").await.expect(200)["items"].as_array().unwrap().clone()
}

async fn delete(client: &Client, path: &str) -> u16 {
    client.send(Method::DELETE, path, None, None).await.unwrap().status.as_u16()
}

/// Confirmed orders whose mail has died; the dead letters.
async fn make_dead_letters(office: &PostOffice, url: &str, admin: &Client, count: usize) -> Vec<Value> {
    let sku = admin.product(5.0, 100).await;
    // The mail that welcomes the customer is not what this is about.
    office.knows.store(true, Ordering::SeqCst);
    let customer = Client::register(url).await;
    eventually("the customer is welcomed", Duration::from_secs(30), async || {
        let jobs = admin.get("/v1/admin/jobs").await.expect(200);
        jobs["items"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    office.knows.store(false, Ordering::SeqCst);
    for n in 0..count {
        let key = format!("order-{n}");
        customer.post_with_key("/v1/orders", order(&sku, 1, "pm_card_visa"), &key).await.expect(202);
    }
    eventually("the mails die", Duration::from_secs(30), async || {
        Some(dead_letters(admin).await).filter(|dead| dead.len() == count)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_seen_tried_again_or_dropped_and_the_audit_log_says_by_whom() {
    for backend in [Backend::Embedded, Backend::cluster()] {
        // Given three mails that nobody wants,
        let office = PostOffice::open().await;
        let data = DataDir::new();
        let more = [("STEWARD__EMAIL__SMTP_URI", office.uri.as_str())];
        let replica = Replica::start(&data.path(), &backend, &more).await;
        let admin = Client::admin(&replica.url).await;
        let dead = make_dead_letters(&office, &replica.url, &admin, 3).await;
        let id = |n: usize| dead[n]["id"].as_str().unwrap().to_owned();
        let path = |n: usize| format!("/v1/admin/jobs/{}", id(n));
        let first = admin.get(&path(0)).await.expect(200);
        assert_eq!((&first["status"], &first["kind"]), (&json!("dead"), &json!("order_confirmation")));
        assert!(first["lastError"].as_str().unwrap().contains("no such box"), "{first}");
        assert!(first["payload"]["orderId"].is_string(), "{first}");

        // when they are listed page by page, each is there once;
        let mut listed = Vec::new();
        let mut next = "/v1/admin/jobs?status=dead&limit=1".to_owned();
        loop {
            let page = admin.get(&next).await.expect(200);
            listed.extend(page["items"].as_array().unwrap().iter().map(|job| job["id"].clone()));
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            next = format!("/v1/admin/jobs?status=dead&limit=1&cursor={cursor}");
        }
        let all: Vec<Value> = dead.iter().map(|job| job["id"].clone()).collect();
        assert_eq!(listed, all);

        // when one is tried again without reason to, it dies again; with reason, it is done;
        office.knows.store(true, Ordering::SeqCst);
        let due = admin.post(&format!("{}/retry", path(0)), json!({})).await.expect(200);
        assert_eq!((&due["status"], &due["attempts"]), (&json!("due"), &json!(0)));
        eventually("the mail is sent", Duration::from_secs(20), async || {
            (admin.get(&path(0)).await.status == 404).then_some(())
        })
        .await;

        // when one is dropped, it is gone, once.
        assert_eq!(delete(&admin, &path(1)).await, 204);
        assert_eq!(delete(&admin, &path(1)).await, 404);
        admin.post(&format!("{}/retry", path(1)), json!({})).await.expect(404);

        // Then the audit log has each act once, newest first, with who, when and by what request.
        let log = |query: &str| format!("/v1/admin/audit?{query}");
        let acts = admin.get(&log(&format!("target=job/{}", id(0)))).await.expect(200);
        let acts = acts["items"].as_array().unwrap();
        assert_eq!(acts.len(), 1);
        assert_eq!((&acts[0]["act"], &acts[0]["actor"]), (&json!("job.retry"), &json!(admin.user_id)));
        assert!(acts[0]["requestId"].is_string() && acts[0]["from"] == "127.0.0.1", "{}", acts[0]);
        let drops = admin.get(&log("act=job.drop")).await.expect(200);
        assert_eq!(drops["items"].as_array().unwrap().len(), 1);
        admin.get(&log("act=job.drop&actor=x")).await.expect(422);

        // And from the command line: beside the server on MongoDB, not on the embedded store.
        let retry = steward(&data.path(), &backend).args(["jobs", "retry", &id(2)]).output().await.unwrap();
        let said = String::from_utf8_lossy(&retry.stderr).into_owned();
        if matches!(backend, Backend::Embedded) {
            assert_eq!(retry.status.code(), Some(1));
            assert!(said.contains("/v1/admin/jobs"), "{said}");
        } else {
            assert_eq!(retry.status.code(), Some(0), "{said}");
            let acts = admin.get(&log("actor=command-line")).await.expect(200);
            assert_eq!(acts["items"][0]["target"], format!("job/{}", id(2)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_embedded_store_the_command_line_acts_while_no_server_runs() {
    let office = PostOffice::open().await;
    let data = DataDir::new();
    let more = [("STEWARD__EMAIL__SMTP_URI", office.uri.as_str())];
    let replica = Replica::start(&data.path(), &Backend::Embedded, &more).await;
    let admin = Client::admin(&replica.url).await;
    let id = make_dead_letters(&office, &replica.url, &admin, 1).await[0]["id"].as_str().unwrap().to_owned();
    replica.terminate().await;

    let run = async |args: &[&str]| {
        let output = steward(&data.path(), &Backend::Embedded).arg("jobs").args(args).output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, listed) = run(&["list"]).await;
    assert!(code == Some(0) && listed.contains(&id) && listed.contains("no such box"), "{listed}");
    assert_eq!(run(&["drop", &id]).await.0, Some(0));
    assert_eq!(run(&["drop", &id]).await.0, Some(1));
    assert_eq!(run(&["drop"]).await.0, Some(2));
    assert_eq!(run(&["list", "--status", "dead"]).await, (Some(0), "There are none.\n".to_owned()));
}

async fn customers_are_kept_out_of_every_operators_route(app: App) {
    let admin = Client::admin(app.url()).await;
    let customer = Client::register(app.url()).await;
    let api = admin.get("/openapi.json").await.expect(200);
    let mut tried = 0;
    for (path, item) in api["paths"].as_object().unwrap() {
        if !path.starts_with("/v1/admin/") {
            continue;
        }
        for method in item.as_object().unwrap().keys() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            // Whatever the id and the body, the permission is what is missing.
            let path = path
                .replace("{id}", "j1")
                .replace("{name}", "f1")
                .replace("{kind}", "inventory")
                .replace("{key}", "k1");
            let body = (method != Method::GET).then(|| json!({}));
            let answer = customer.send(method.clone(), &path, body.clone(), Some("k")).await.unwrap();
            assert_eq!(answer.status.as_u16(), 403, "{method} {path}: {}", answer.body);
            let answer = Client::new(app.url()).send(method, &path, body, Some("k")).await.unwrap();
            assert_eq!(answer.status.as_u16(), 401, "{path}: {}", answer.body);
            tried += 1;
        }
    }
    assert!(tried >= 7, "{tried}");
    // Refused acts leave nothing in the log.
    let log = admin.get(&format!("/v1/admin/audit?actor={}", customer.user_id)).await.expect(200);
    assert_eq!(log["items"], json!([]));
}

async fn put(client: &Client, path: &str, body: Value) -> crate::support::Answer {
    client.send(Method::PUT, path, Some(body), None).await.unwrap()
}

async fn flags_are_set_and_asked(app: App) {
    let admin = Client::admin(app.url()).await;
    let customer = Client::register(app.url()).await;
    let path = "/v1/admin/flags/new-checkout";
    admin.get(path).await.expect(404);
    let made = put(&admin, path, json!({"enabled": true, "percentage": 0})).await.expect(201);
    assert_eq!((&made["percentage"], &made["users"]), (&json!(0), &json!([])));
    let mine = async || customer.get("/v1/flags").await.expect(200)["flags"]["new-checkout"].clone();
    assert_eq!(mine().await, json!(false));
    let named = put(&admin, path, json!({"users": [customer.user_id]})).await.expect(200);
    assert_eq!((&named["enabled"], &named["percentage"]), (&json!(true), &json!(0)));
    assert_eq!(mine().await, json!(true));
    put(&admin, path, json!({"enabled": false})).await.expect(200);
    assert_eq!(mine().await, json!(false));
    for bad in
        [json!({"percentage": 101}), json!({"users": ["a b"]}), json!({"enabled": 1}), json!({"$set": 1})]
    {
        put(&admin, path, bad).await.expect(422);
    }
    put(&admin, "/v1/admin/flags/New%20Checkout", json!({})).await.expect(404);
    let log = admin.get("/v1/admin/audit?target=flag/new-checkout").await.expect(200);
    assert_eq!(log["items"].as_array().unwrap().len(), 3);
    assert_eq!(log["items"][0]["details"], json!({"enabled": false, "percentage": 0, "users": 1}));
}

async fn an_actor_is_paused_and_resumed(app: App) {
    let admin = Client::admin(app.url()).await;
    let (held, other) = (admin.product(1.0, 5).await, admin.product(1.0, 5).await);
    let path = format!("/v1/admin/actors/inventory/{held}");
    let actor = admin.get(&path).await.expect(200);
    assert_eq!((&actor["kind"], &actor["key"]), (&json!("inventory"), &json!(held)));
    let paused = admin.post(&format!("{path}/pause"), json!({"reason": "stock-taking"})).await.expect(200);
    assert_eq!(paused["reason"], "stock-taking");

    let adjust = async |sku: &str, key: &str| {
        let body = json!({"delta": 1, "reason": "received"});
        admin.post_with_key(&format!("/v1/inventory/{sku}/adjustments"), body, key).await
    };
    adjust(&held, "one").await.expect(503);
    adjust(&other, "one").await.expect(201);
    let list = admin.get("/v1/admin/pauses").await.expect(200);
    assert_eq!((&list["items"][0]["key"], &list["items"][0]["by"]), (&json!(held), &json!(admin.user_id)));

    let resume = async || admin.send(Method::POST, &format!("{path}/resume"), None, None).await.unwrap();
    resume().await.expect(204);
    resume().await.expect(409);
    adjust(&held, "two").await.expect(201);
    let log = admin.get(&format!("/v1/admin/audit?target=inventory/{held}")).await.expect(200);
    let acts: Vec<_> = log["items"].as_array().unwrap().iter().map(|entry| entry["act"].clone()).collect();
    assert_eq!(acts, ["actor.resume", "actor.pause"]);
    // Infrastructure is not for pausing.
    admin.post("/v1/admin/actors/heartbeat/x/pause", json!({})).await.expect(404);
}

async fn sagas_are_found_by_state_and_age(app: App) {
    // Given an order that waits for a payment provider that is away,
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 5).await;
    let customer = Client::register(app.url()).await;
    app.replica.set_fault("payments", "down").await;
    let order = order(&sku, 1, "pm_card_visa");
    let id = customer.post_with_key("/v1/orders", order, "one").await.expect(202)["id"].clone();
    let found = eventually("it waits", Duration::from_secs(20), async || {
        let page = admin.get("/v1/admin/sagas?status=stock_held").await.expect(200);
        page["items"].as_array().unwrap().iter().find(|saga| saga["waitingFor"].is_string()).cloned()
    })
    .await;
    assert_eq!(found["orderId"], id);
    assert!(found["owner"].as_str().is_some_and(|owner| !owner.is_empty()), "{found}");
    let none = admin.get("/v1/admin/sagas?status=stock_held&olderThanSeconds=3600").await.expect(200);
    assert_eq!(none["items"], json!([]));
    assert_eq!(admin.get("/v1/admin/sagas").await.expect(200)["items"], json!([]));
    admin.get("/v1/admin/sagas?status=yacht").await.expect(422);

    // when the provider is back and an operator has the step tried again, it goes on at once.
    app.replica.set_fault("payments", "up").await;
    let path = format!("/v1/admin/sagas/{}/retry", id.as_str().unwrap());
    admin.send(Method::POST, &path, None, None).await.unwrap().expect(202);
    customer.confirmed(id.as_str().unwrap()).await;
    admin.send(Method::POST, &path, None, None).await.unwrap().expect(409);
}
