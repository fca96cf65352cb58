//! What users do by mail: verify an address, set a password.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::App;
use crate::support::{Client, eventually};

crate::over_both_stores!(
    a_new_address_counts_once_it_is_verified,
    of_two_who_want_one_address_the_first_to_verify_gets_it,
    a_forgotten_password_is_reset_once,
    who_has_no_account_gets_the_same_answer_and_no_mail,
    a_password_change_ends_the_other_sessions,
    a_user_without_a_password_sets_one_by_mail,
    newlines_and_other_peoples_words_stay_out_of_mails,
);

const PASSWORD: &str = "quite-a-long-passphrase-7";

/// The mails to `address` whose subject contains `subject`, once there is one: their texts.
pub async fn mails(data: &Path, address: &str, subject: &str) -> Vec<String> {
    eventually(&format!("a mail to {address}: {subject}"), Duration::from_secs(20), async || {
        let found = mails_now(data, address, subject);
        (!found.is_empty()).then_some(found)
    })
    .await
}

fn mails_now(data: &Path, address: &str, subject: &str) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(data.join("outbox")) else { return Vec::new() };
    let texts = files.filter_map(|file| {
        let path = file.ok()?.path();
        path.extension().is_some_and(|e| e == "eml").then(|| std::fs::read_to_string(path).ok())?
    });
    let to = format!("To: {address}\r\n");
    texts.filter(|text| text.contains(&to) && text.contains(subject)).collect()
}

fn token_in(mail: &str) -> String {
    // Quoted-printable, or not.
    let plain = mail.replace("=\r\n", "").replace("=3D", "=");
    let after = plain.split("?token=").nth(1).unwrap_or_else(|| panic!("no token in {mail}"));
    after.split_whitespace().next().unwrap().to_owned()
}

async fn a_new_address_counts_once_it_is_verified(app: App) {
    let client = Client::register(app.url()).await;
    let old = client.get("/v1/users/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    let change = |email: &str, password: &str| json!({"email": email, "currentPassword": password});
    client.patch("/v1/users/me", json!({"email": "new@example.com"})).await.expect(400);
    let wrong = client.patch("/v1/users/me", change("new@example.com", "not-the-password")).await.expect(422);
    assert_eq!(wrong["errors"][0]["code"], "wrong_password");

    let asked = client.patch("/v1/users/me", change("new@example.com", PASSWORD)).await.expect(200);
    assert_eq!((&asked["email"], &asked["pendingEmail"]), (&json!(old), &json!("new@example.com")));
    let data = app.data.path();
    let told = mails(&data, &old, "Subject: A new address for your account").await;
    assert!(!told[0].contains("token") && !told[0].contains("new@example.com"), "{}", told[0]);
    let token = token_in(&mails(&data, "new@example.com", "Subject: Verify").await[0]);
    // The welcome mail's token is for the old address.
    let welcome = token_in(&mails(&data, &old, "Subject: Welcome").await[0]);

    let verify = json!({"token": token});
    client.post("/v1/email-verifications/confirm", json!({"token": "made-up"})).await.expect(422);
    Client::new(app.url()).post("/v1/email-verifications/confirm", verify.clone()).await.expect(204);
    let me = client.get("/v1/users/me").await.expect(200);
    assert_eq!(
        (&me["email"], &me["pendingEmail"], &me["emailVerified"]),
        (&json!("new@example.com"), &json!(null), &json!(true))
    );
    mails(&data, &old, "Subject: The address of your account was changed").await;
    for used in [verify, json!({"token": welcome})] {
        client.post("/v1/email-verifications/confirm", used).await.expect(422);
    }
    Client::log_in(app.url(), "NEW@example.com", PASSWORD).await;
}

async fn of_two_who_want_one_address_the_first_to_verify_gets_it(app: App) {
    let (ann, bob) = (Client::register(app.url()).await, Client::register(app.url()).await);
    let change = json!({"email": "wanted@example.com", "currentPassword": PASSWORD});
    let both = tokio::join!(ann.patch("/v1/users/me", change.clone()), bob.patch("/v1/users/me", change));
    both.0.expect(200);
    both.1.expect(200);
    let found = eventually("both mails", Duration::from_secs(20), async || {
        let found = mails_now(&app.data.path(), "wanted@example.com", "Subject: Verify");
        (found.len() == 2).then_some(found)
    })
    .await;
    let confirm = |mail: &str| json!({"token": token_in(mail)});
    let answers = tokio::join!(
        ann.post("/v1/email-verifications/confirm", confirm(&found[0])),
        ann.post("/v1/email-verifications/confirm", confirm(&found[1])),
    );
    let mut statuses = [answers.0.status.as_u16(), answers.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
    let taken = json!({"email": "Wanted@Example.com", "currentPassword": PASSWORD});
    for client in [&ann, &bob] {
        let me = client.get("/v1/users/me").await.expect(200);
        if me["email"] != "wanted@example.com" {
            client
                .patch("/v1/users/me", json!({"email": me["email"], "currentPassword": PASSWORD}))
                .await
                .expect(200);
            assert_eq!(client.patch("/v1/users/me", taken.clone()).await.expect(409)["code"], "email_taken");
        }
    }
}

async fn a_forgotten_password_is_reset_once(app: App) {
    let client = Client::register(app.url()).await;
    let other = Client::register(app.url()).await;
    let email = client.get("/v1/users/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    let nobody = Client::new(app.url());
    // The Host header has no say in where the link leads.
    let http = reqwest::Client::new();
    let asked = http.post(format!("{}/v1/password-resets", app.url())).header("Host", "evil.example");
    let asked =
        asked.header("X-Forwarded-Host", "evil.example").json(&json!({"email": email.to_uppercase()}));
    assert_eq!(asked.send().await.unwrap().status(), 202);
    let mail = mails(&app.data.path(), &email, "Subject: Reset your password").await.remove(0);
    assert!(mail.contains(app.url()) && !mail.contains("evil"), "{mail}");
    nobody.post("/v1/password-resets", json!({"email": email})).await.expect(202);
    let token = token_in(&mail);
    // No part of the store holds it.
    for file in std::fs::read_dir(app.data.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !bytes.windows(token.len()).any(|window| window == token.as_bytes()),
                "{}",
                path.display()
            );
        }
    }

    let confirm = |password: &str| json!({"token": token, "newPassword": password});
    nobody.post("/v1/password-resets/confirm", confirm("short")).await.expect(422);
    let known = nobody.post("/v1/password-resets/confirm", confirm(&email)).await.expect(422);
    assert_eq!(known["errors"][0]["code"], "weak_password");
    // Of two at once, one is first.
    let both = tokio::join!(
        nobody.post("/v1/password-resets/confirm", confirm("another-long-passphrase-1")),
        nobody.post("/v1/password-resets/confirm", confirm("another-long-passphrase-2")),
    );
    let statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
    assert!(statuses.contains(&204) && statuses.contains(&422), "{statuses:?}");
    let n = if statuses[0] == 204 { 1 } else { 2 };
    // All sessions ended, nobody was logged in, the old password is none, and others are as before.
    client.get("/v1/users/me").await.expect(401);
    other.get("/v1/users/me").await.expect(200);
    nobody.post("/v1/users/login", json!({"email": email, "password": PASSWORD})).await.expect(401);
    Client::log_in(app.url(), &email, &format!("another-long-passphrase-{n}")).await;
    nobody.post("/v1/password-resets/confirm", confirm("another-long-passphrase-3")).await.expect(422);
    mails(&app.data.path(), &email, "Subject: Your password was changed").await;
}

async fn who_has_no_account_gets_the_same_answer_and_no_mail(app: App) {
    let client = Client::register(app.url()).await;
    let known = client.get("/v1/users/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    let http = reqwest::Client::new();
    let mut answers = Vec::new();
    for email in [known.as_str(), "nobody@example.com"] {
        let answer = http.post(format!("{}/v1/password-resets", app.url())).json(&json!({"email": email}));
        let answer = answer.send().await.unwrap();
        let mut headers: Vec<String> = answer.headers().keys().map(ToString::to_string).collect();
        headers.sort();
        answers.push((answer.status().as_u16(), headers, answer.text().await.unwrap()));
    }
    assert_eq!(answers[0], answers[1]);
    mails(&app.data.path(), &known, "Subject: Reset").await;
    // Both jobs are done by now or soon, and only one had anyone to write to.
    let admin = Client::admin(app.url()).await;
    eventually("the outbox is empty", Duration::from_secs(20), async || {
        let jobs = admin.get("/v1/admin/jobs").await.expect(200);
        jobs["items"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    assert!(mails_now(&app.data.path(), "nobody@example.com", "").is_empty());
}

async fn a_password_change_ends_the_other_sessions(app: App) {
    let client = Client::register(app.url()).await;
    let email = client.get("/v1/users/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    let elsewhere = Client::log_in(app.url(), &email, PASSWORD).await;
    elsewhere.get("/v1/users/me").await.expect(200);
    let change = |current: &str, new: &str| json!({"currentPassword": current, "newPassword": new});
    let path = "/users/me/password";
    let wrong = client.put(path, change("not-the-password", "a-new-long-passphrase")).await.expect(422);
    assert_eq!(
        (&wrong["errors"][0]["field"], &wrong["errors"][0]["code"]),
        (&json!("/currentPassword"), &json!("wrong_password"))
    );
    let weak = client.put(path, change(PASSWORD, &email)).await.expect(422);
    assert_eq!(
        (&weak["errors"][0]["field"], &weak["errors"][0]["code"]),
        (&json!("/newPassword"), &json!("weak_password"))
    );
    client.put(path, change(PASSWORD, "a-new-long-passphrase")).await.expect(204);
    client.get("/v1/users/me").await.expect(200);
    elsewhere.get("/v1/users/me").await.expect(401);
    Client::log_in(app.url(), &email, "a-new-long-passphrase").await;
    mails(&app.data.path(), &email, "Subject: Your password was changed").await;
}

async fn a_user_without_a_password_sets_one_by_mail(app: App) {
    let admin = Client::admin(app.url()).await;
    admin.post("/v1/users", json!({"name": "Ida", "email": "ida@example.com"})).await.expect(201);
    let token =
        token_in(&mails(&app.data.path(), "ida@example.com", "Subject: Your Steward account").await[0]);
    let confirm = json!({"token": token, "newPassword": "idas-long-passphrase-9"});
    admin.post("/v1/email-verifications/confirm", json!({"token": token})).await.expect(422);
    admin.post("/v1/password-resets/confirm", confirm).await.expect(204);
    let ida = Client::log_in(app.url(), "ida@example.com", "idas-long-passphrase-9").await;
    assert_eq!(ida.get("/v1/users/me").await.expect(200)["emailVerified"], true);
}

async fn newlines_and_other_peoples_words_stay_out_of_mails(app: App) {
    let client = Client::new(app.url());
    let body = |name: &str| json!({"email": "victim@example.com", "password": PASSWORD, "name": name});
    client.post("/v1/users/register", body("A\r\nBcc: everyone@example.com")).await.expect(422);
    client.post("/v1/users/register", body("Win now at http://evil.example")).await.expect(201);
    for mail in mails(&app.data.path(), "victim@example.com", "Subject: Welcome").await {
        assert!(!mail.contains("evil") && !mail.contains("Bcc"), "{mail}");
    }
}
