//! Access tokens and refresh tokens, over real HTTP.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::App;
use crate::support::{Backend, Client, DataDir, Replica};

crate::over_both_stores!(
    an_access_token_works_like_the_session_token_and_dies_with_it,
    another_program_verifies_our_tokens_with_the_key_set_alone,
    tokens_of_another_installation_are_refused,
    parallel_refreshes_leave_the_client_logged_in_and_a_replay_ends_it,
    a_refresh_token_logs_out,
    keys_outlive_a_restart,
);

const PASSWORD: &str = "quite-a-long-passphrase-7";

async fn login(app: &App) -> (Client, Value) {
    let client = Client::new(app.url());
    let email = format!("u{}@example.com", uuid::Uuid::new_v4().simple());
    let body = json!({"email": email, "name": "Ada", "password": PASSWORD});
    let login = client.post("/v1/users/register", body).await.expect(201);
    (client, login)
}

fn with(client: &Client, token: &Value) -> Client {
    let mut client = client.clone();
    client.token = Some(token.as_str().unwrap().to_owned());
    client
}

async fn an_access_token_works_like_the_session_token_and_dies_with_it(app: App) {
    let (client, login) = login(&app).await;
    assert_eq!(login["expiresIn"], 600);
    let thirty_days = 30 * 24 * 3600;
    assert!((thirty_days - 60..=thirty_days).contains(&login["refreshExpiresIn"].as_i64().unwrap()));
    let by_access = with(&client, &login["accessToken"]);
    let by_session = with(&client, &login["sessionToken"]);
    assert_eq!(
        by_access.get("/v1/users/me").await.expect(200),
        by_session.get("/v1/users/me").await.expect(200)
    );
    assert_eq!(by_access.get("/v1/sessions").await.expect(200)["items"][0]["current"], true);
    by_session.post("/v1/users/logout", json!({})).await.expect(204);
    by_access.get("/v1/users/me").await.expect(401);
    let refresh = json!({"refreshToken": login["refreshToken"]});
    assert_eq!(
        client.post("/v1/sessions/refresh", refresh).await.expect(401)["code"],
        "invalid_refresh_token"
    );
}

/// Verifies with nothing but what is published, by a library that has nothing to do with ours.
const VERIFY: &str = r#"
import json, sys, jwt
given = json.load(sys.stdin)
keys = jwt.PyJWKSet.from_dict(given["jwks"])
header = jwt.get_unverified_header(given["token"])
assert header["typ"] == "at+jwt", header
key = keys[header["kid"]]
claims = jwt.decode(given["token"], key, algorithms=["ES256"], issuer="steward", audience="steward",
                    options={"require": ["exp", "iat", "iss", "aud", "sub", "sid", "jti"]})
json.dump(claims, sys.stdout)
"#;

async fn another_program_verifies_our_tokens_with_the_key_set_alone(app: App) {
    let (_, login) = login(&app).await;
    let answer = reqwest::get(format!("{}/.well-known/jwks.json", app.url())).await.unwrap();
    assert!(answer.headers()["cache-control"].to_str().unwrap().starts_with("public, max-age="));
    let jwks: Value = answer.json().await.unwrap();
    let key = jwks["keys"][0].as_object().unwrap();
    assert!(!key.contains_key("d"), "only the public half");
    let python =
        std::env::var("STEWARD_TEST_PYTHON").expect("STEWARD_TEST_PYTHON is not set: see scripts/test");
    let mut verifier = Command::new(python)
        .args(["-c", VERIFY])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let given = json!({"jwks": jwks, "token": login["accessToken"]}).to_string();
    verifier.stdin.take().unwrap().write_all(given.as_bytes()).await.unwrap();
    let verified = verifier.wait_with_output().await.unwrap();
    assert!(verified.status.success(), "it needs pyjwt[crypto]");
    let claims: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&claims["sub"], &claims["sid"]), (&login["userId"], &login["sessionId"]));
    assert_eq!(claims["roles"], json!(["customer"]));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
}

async fn tokens_of_another_installation_are_refused(app: App) {
    let data = DataDir::new();
    let other = Replica::start(&data.path(), &Backend::Embedded, &[]).await;
    let (client, login) = login(&app).await;
    with(&client, &login["accessToken"]).get("/v1/users/me").await.expect(200);
    let elsewhere = Client::new(&other.url);
    for token in ["accessToken", "sessionToken", "refreshToken"] {
        with(&elsewhere, &login[token]).get("/v1/users/me").await.expect(401);
    }
    elsewhere.post("/v1/sessions/refresh", json!({"refreshToken": login["refreshToken"]})).await.expect(401);
}

async fn parallel_refreshes_leave_the_client_logged_in_and_a_replay_ends_it(app: App) {
    let (client, login) = login(&app).await;
    let other = login_again(&client, &login).await;
    // Given fifty tabs that refresh at once, of which one gets its answer,
    let body = json!({"refreshToken": login["refreshToken"]});
    let tabs = (0..50).map(|_| client.post("/v1/sessions/refresh", body.clone()));
    let answers: Vec<Value> =
        futures_util::future::join_all(tabs).await.into_iter().map(|answer| answer.expect(200)).collect();
    assert!(answers.iter().all(|answer| answer["refreshToken"] == answers[0]["refreshToken"]));
    let second = &answers[49];
    for stays in ["sessionId", "sessionToken", "userId"] {
        assert_eq!(second[stays], login[stays], "{stays}");
    }
    // when it is used while others are a moment late,
    with(&client, &second["accessToken"]).get("/v1/users/me").await.expect(200);
    client.post("/v1/sessions/refresh", body.clone()).await.expect(200);
    // then all goes on;
    let next = json!({"refreshToken": second["refreshToken"]});
    let third = client.post("/v1/sessions/refresh", next).await.expect(200);
    with(&client, &third["accessToken"]).get("/v1/users/me").await.expect(200);
    with(&client, &login["sessionToken"]).get("/v1/users/me").await.expect(200);
    // and when a copy that was kept comes back, this session has ended, and no other.
    let refused = client.post("/v1/sessions/refresh", body).await.expect(401);
    assert_eq!(refused["code"], "invalid_refresh_token");
    for token in [&third["accessToken"], &login["sessionToken"]] {
        with(&client, token).get("/v1/users/me").await.expect(401);
    }
    client.post("/v1/sessions/refresh", json!({"refreshToken": third["refreshToken"]})).await.expect(401);
    with(&client, &other["accessToken"]).get("/v1/users/me").await.expect(200);
}

async fn login_again(client: &Client, login: &Value) -> Value {
    let body = json!({"email": login["user"]["email"], "password": PASSWORD});
    client.post("/v1/users/login", body).await.expect(200)
}

async fn a_refresh_token_logs_out(app: App) {
    let (client, login) = login(&app).await;
    client.post("/v1/users/logout", json!({"refreshToken": "nonsense"})).await.expect(401);
    client.post("/v1/users/logout", json!({})).await.expect(401);
    // Whatever else the client sends: its access token may have expired.
    let late = with(&client, &json!("an.expired.token"));
    late.post("/v1/users/logout", json!({})).await.expect(401);
    late.post("/v1/users/logout", json!({"refreshToken": login["refreshToken"]})).await.expect(204);
    with(&client, &login["sessionToken"]).get("/v1/users/me").await.expect(401);
    with(&client, &login["accessToken"]).get("/v1/users/me").await.expect(401);
}

async fn keys_outlive_a_restart(app: App) {
    let (client, login) = login(&app).await;
    let App { replica, backend, data } = app;
    assert_eq!(replica.terminate().await, Some(0));
    let again = Replica::start(&data.path(), &backend, &[]).await;
    let client = client.at(&again.url);
    with(&client, &login["accessToken"]).get("/v1/users/me").await.expect(200);
    client.post("/v1/sessions/refresh", json!({"refreshToken": login["refreshToken"]})).await.expect(200);
}
