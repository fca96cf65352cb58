//! What operators hold back and undo, by route and from the command line, and that the audit log
//! says so.

use std::time::Duration;

use serde_json::{Value, json};

use crate::App;
use crate::support::{Backend, Client, DataDir, Replica, eventually, order, steward};

crate::over_both_stores!(a_provider_is_held_back_and_let_go, what_operators_do_to_orders_is_in_the_audit_log);

async fn place(client: &Client, sku: &str, key: &str) -> String {
    let made = client.post_with_key("/v1/orders", order(sku, 1, "pm_card_visa"), key).await.expect(202);
    made["id"].as_str().unwrap().to_owned()
}

async fn in_status(client: &Client, id: &str, status: &str) -> Value {
    eventually(status, Duration::from_secs(30), async || {
        let order = client.get(&format!("/v1/orders/{id}")).await.expect(200);
        (order["status"] == status).then_some(order)
    })
    .await
}

async fn acts(admin: &Client, target: &str) -> Vec<(Value, Value)> {
    let log = admin.get(&format!("/v1/admin/audit?target={target}")).await.expect(200);
    let entries = log["items"].as_array().unwrap();
    entries.iter().map(|entry| (entry["act"].clone(), entry["actor"].clone())).collect()
}

async fn a_provider_is_held_back_and_let_go(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 5).await;
    let customer = Client::register(app.url()).await;
    let state = async |name: &str| {
        let listed = admin.get("/v1/admin/providers").await.expect(200);
        let all = listed["items"].as_array().unwrap();
        all.iter().find(|provider| provider["name"] == name).cloned().expect("it is listed")
    };
    assert_eq!(state("stripe").await["state"], "closed");
    admin.post("/v1/admin/providers/nobody/pause", json!({})).await.expect(404);

    // When an operator holds payments back, an order gets as far as its stock and waits;
    let reason = json!({"reason": "double charges"});
    let held = admin.post("/v1/admin/providers/stripe/pause", reason).await.expect(200);
    assert_eq!((&held["state"], &held["reason"]), (&json!("held"), &json!("double charges")));
    assert_eq!(state("stripe").await["by"], json!(admin.user_id));
    let waiting = place(&customer, &sku, "one").await;
    let saga = eventually("it waits", Duration::from_secs(20), async || {
        let page = admin.get("/v1/admin/sagas?status=stock_held").await.expect(200);
        page["items"].as_array().unwrap().iter().find(|saga| saga["waitingFor"].is_string()).cloned()
    })
    .await;
    assert!(saga["waitingFor"].as_str().unwrap().contains("held back by an operator"), "{saga}");
    let ledger: Value =
        reqwest::get(format!("{}/_sandbox/ledger", app.replica.sandbox)).await.unwrap().json().await.unwrap();
    assert_eq!(ledger["orders"], json!([]), "nothing has gone out");

    // and so does a bank's run.
    admin.post("/v1/admin/providers/sandbox/pause", json!({})).await.expect(200);
    let link = json!({"provider": "sandbox", "setupToken": "sandbox"});
    customer.post("/v1/connections", link.clone()).await.expect(503);

    // Let go, both go on.
    for name in ["stripe", "sandbox"] {
        admin.post(&format!("/v1/admin/providers/{name}/resume"), json!({})).await.expect(204);
        admin.post(&format!("/v1/admin/providers/{name}/resume"), json!({})).await.expect(409);
        assert_eq!(state(name).await["state"], "closed");
    }
    in_status(&customer, &waiting, "confirmed").await;
    customer.post("/v1/connections", link).await.expect(201);
    let me = json!(admin.user_id);
    let expected = [(json!("provider.resume"), me.clone()), (json!("provider.pause"), me)];
    assert_eq!(acts(&admin, "provider/stripe").await, expected);
}

async fn what_operators_do_to_orders_is_in_the_audit_log(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(1.0, 10).await;
    let customer = Client::register(app.url()).await;
    let shipped = place(&customer, &sku, "one").await;
    in_status(&customer, &shipped, "confirmed").await;
    let path = |id: &str, what: &str| format!("/v1/orders/{id}/{what}");
    admin.post_with_key(&path(&shipped, "refunds"), json!({"amount": 0.5}), "r").await.expect(202);
    admin.post(&path(&shipped, "ship"), json!({"trackingNumber": "T1"})).await.expect(200);
    admin.post(&path(&shipped, "deliver"), json!({})).await.expect(200);
    let me = json!(admin.user_id);
    let all: Vec<_> = acts(&admin, &format!("order/{shipped}")).await;
    let expected = ["order.deliver", "order.ship", "order.refund"].map(|act| (json!(act), me.clone()));
    assert_eq!(all, expected);

    let undone = place(&customer, &sku, "two").await;
    in_status(&customer, &undone, "confirmed").await;
    admin.post(&path(&undone, "cancel"), json!({})).await.expect(202);
    in_status(&customer, &undone, "refunded").await;
    assert_eq!(acts(&admin, &format!("order/{undone}")).await, [(json!("order.cancel"), me)]);

    // What customers do to their own orders is not an operator's act.
    let own = place(&customer, &sku, "three").await;
    customer.post(&path(&own, "cancel"), json!({})).await.expect(202);
    assert_eq!(acts(&admin, &format!("order/{own}")).await, []);
}

/// Beside a running replica; the embedded store belongs to its server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_finds_and_undoes_orders_and_holds_back_beside_a_replica() {
    let (data, backend) = (DataDir::new(), Backend::cluster());
    let replica = Replica::start(&data.path(), &backend, &[]).await;
    let admin = Client::admin(&replica.url).await;
    let sku = admin.product(1.0, 10).await;
    let customer = Client::register(&replica.url).await;
    let run = async |words: &[&str]| {
        let mut command = steward(&data.path(), &backend);
        let bind = replica.url.trim_start_matches("http://").to_owned();
        command.env("STEWARD__HTTP__BIND", bind);
        command.env("STEWARD_TOKEN", admin.token.clone().unwrap());
        let output = command.args(words).output().await.unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), said)
    };
    let well = async |words: &[&str]| {
        let (code, said) = run(words).await;
        assert_eq!(code, Some(0), "{words:?}: {said}");
        said
    };

    assert!(well(&["replicas", "list"]).await.contains("  live  "));
    assert_eq!(well(&["providers", "list"]).await, "There are none.\n");
    well(&["providers", "pause", "stripe", "--reason", "trouble"]).await;
    assert!(well(&["providers", "list"]).await.contains("provider  stripe  "));
    assert_eq!(run(&["providers", "pause", "nobody"]).await.0, Some(2));
    eventually("the replica hears of it", Duration::from_secs(10), async || {
        let listed = admin.get("/v1/admin/providers").await.expect(200);
        let all = listed["items"].as_array().unwrap().clone();
        all.iter().any(|p| p["name"] == "stripe" && p["state"] == "held").then_some(())
    })
    .await;

    let (retried, undone) = (place(&customer, &sku, "one").await, place(&customer, &sku, "two").await);
    eventually("they wait", Duration::from_secs(20), async || {
        let said = well(&["sagas", "list", "--status", "stock_held"]).await;
        (said.matches("held back by an operator").count() == 2).then_some(())
    })
    .await;
    assert_eq!(well(&["sagas", "list"]).await, "There are none.\n");
    well(&["sagas", "compensate", &undone]).await;
    well(&["providers", "resume", "stripe"]).await;
    eventually("it is undone", Duration::from_secs(30), async || {
        let order = customer.get(&format!("/v1/orders/{undone}")).await.expect(200);
        (order["status"] == "cancelled").then_some(())
    })
    .await;
    // The waiting one would wait on for as long as its back-off; a conflict says that it is just at it.
    let (code, said) = run(&["sagas", "retry", &retried]).await;
    assert!(code == Some(0) || said.contains("no step") || said.contains("conflict"), "{said}");
    in_status(&customer, &retried, "confirmed").await;
    assert_eq!(run(&["sagas", "retry", &retried]).await.0, Some(1));
    assert_eq!(run(&["sagas", "compensate", "nothing"]).await.0, Some(1));
    assert_eq!(
        acts(&admin, &format!("order/{undone}")).await,
        [(json!("order.cancel"), json!("command-line"))]
    );

    well(&["actors", "pause", "inventory", &sku, "--reason", "stock-taking"]).await;
    assert!(well(&["actors", "paused"]).await.contains("stock-taking"));
    well(&["actors", "resume", "inventory", &sku]).await;
    assert_eq!(run(&["actors", "resume", "inventory", &sku]).await.0, Some(1));
    assert!(well(&["actors", "list", "--kind", "heartbeat"]).await.contains("\"kind\":\"heartbeat\""));
    assert_eq!(run(&["actors", "show", "inventory", "nothing"]).await.0, Some(1));
}
