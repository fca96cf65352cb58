//! What operators do with users and keys on the command line: beside a running replica on MongoDB, in place
//! of one on the embedded store.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::App;
use crate::support::{Backend, Client, Replica, eventually, steward};

crate::over_both_stores!(admins_are_made_roles_set_and_keys_rotated);

const PASSWORD: &str = "quite-a-long-passphrase-7";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn admins_are_made_roles_set_and_keys_rotated(app: App) {
    let App { replica, backend, data } = app;
    let mut client = Client::new(&replica.url);
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let login = client.post("/v1/users/register", body).await.expect(201);
    client.token = login["accessToken"].as_str().map(str::to_owned);
    client.get("/v1/users").await.expect(403);
    let run = async |words: &[&str], input: &str| {
        let mut command = steward(&data.path(), &backend);
        command.args(words).env("STEWARD__LOG__FILTER", "error").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that does not read may have ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
        child.wait_with_output().await.unwrap()
    };
    let mut running = Some(replica);
    if let Backend::Embedded = backend {
        // Given a server that has the store, it is refused with what would do,
        let refused = run(&["user", "set-roles", "ada@example.com", "support"], "").await;
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        assert!(said(&refused).contains("PUT /v1/users/{id}/roles"), "{}", said(&refused));
        assert_eq!(running.take().unwrap().terminate().await, Some(0));
    }
    // otherwise done; a replica that runs hears of it at once.
    let set = run(&["user", "set-roles", "ADA@example.com", "customer", "support"], "").await;
    assert!(set.status.success() && said(&set).contains("customer, support"), "{}", said(&set));
    if running.is_some() {
        eventually("the replica has heard of it", Duration::from_secs(1), async || {
            (client.get("/v1/users").await.status == 200).then_some(())
        })
        .await;
    }
    for (words, wrong) in [
        (["user", "set-roles", "nobody@example.com", "support"], "no user"),
        (["user", "set-roles", "ada@example.com", "emperor"], "no role emperor"),
        (["user", "create-admin", "ada@example.com", "--password-stdin"], "taken"),
        (["user", "create-admin", "not an address", "--password-stdin"], "address"),
    ] {
        let refused = run(&words, PASSWORD).await;
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        assert!(said(&refused).contains(wrong), "{}", said(&refused));
    }
    let made = run(&["user", "create-admin", "grace@example.com", "--password-stdin"], PASSWORD).await;
    assert!(made.status.success() && !said(&made).contains(PASSWORD), "{}", said(&made));
    let made_up = run(&["user", "create-admin", "ida@example.com"], "").await;
    assert!(made_up.status.success(), "{}", said(&made_up));
    let made_up = said(&made_up).trim().rsplit(' ').next().unwrap().to_owned();
    for _ in 0..2 {
        // Twice in an hour it is the same key.
        let rotated = run(&["keys", "rotate"], "").await;
        assert!(rotated.status.success() && said(&rotated).contains("signs from"), "{}", said(&rotated));
    }

    let again = Replica::start(&data.path(), &backend, &[]).await;
    for (email, password) in [("grace@example.com", PASSWORD), ("ida@example.com", made_up.as_str())] {
        Client::log_in(&again.url, email, password).await.get("/v1/roles").await.expect(200);
    }
    // Nobody was logged out, and what the next key will sign can be verified already.
    client.at(&again.url).get("/v1/users").await.expect(200);
    let keys: Value = client.at(&again.url).get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "{keys}");
    let log = Client::log_in(&again.url, "grace@example.com", PASSWORD).await;
    let log = log.get("/v1/admin/audit?actor=command-line").await.expect(200).to_string();
    assert!(log.contains("user.set_roles") && log.contains("user.create"), "{log}");
}
