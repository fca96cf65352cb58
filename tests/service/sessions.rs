//! Users and sessions.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::App;
use crate::support::{ADMIN_EMAIL, Client};

crate::over_both_stores!(
    a_registered_user_logs_in_reads_herself_and_logs_out,
    the_literal_login_route_answers_with_the_token_in_a_header,
    a_name_is_set_and_read_back,
    a_taken_address_is_refused_whatever_its_case,
    of_many_at_once_with_one_address_one_is_registered,
    a_wrong_password_and_an_unknown_address_get_the_same_answer,
    tokens_that_are_none_are_refused,
    devices_are_listed_and_ended_by_their_owner_only,
    an_operator_lists_and_ends_a_users_sessions,
    of_many_passwords_at_once_some_are_told_to_come_back_and_other_routes_go_on,
);

async fn a_registered_user_logs_in_reads_herself_and_logs_out(app: App) {
    let mut client = Client::new(app.url());
    let body = json!({"email": "Ada@example.com", "username": "ada", "name": "Ada", "password": "a-fine-passphrase-12"});

    let registered = client.post("/v1/users/register", body).await.expect(201);
    let user_id = registered["userId"].as_str().unwrap();
    for login in [json!({"email": "ada@example.com"}), json!({"username": "ada"})] {
        let mut login = login;
        login["password"] = json!("a-fine-passphrase-12");
        let answer = client.post("/v1/users/login", login).await.expect(200);
        assert_eq!(answer["userId"], user_id);
        client.token = Some(answer["sessionToken"].as_str().unwrap().to_owned());
    }
    let me = client.get("/v1/users/me").await.expect(200);
    assert_eq!(
        (&me["id"], &me["name"], &me["email"]),
        (&json!(user_id), &json!("Ada"), &json!("Ada@example.com"))
    );
    assert!(!me.to_string().to_lowercase().contains("argon2"), "{me}");

    client.post("/v1/users/logout", json!({})).await.expect(204);
    let refused = client.get("/v1/users/me").await.expect(401);
    assert_eq!(refused["status"], 401);
}

async fn the_literal_login_route_answers_with_the_token_in_a_header(app: App) {
    let client = Client::new(app.url());
    let body = json!({"email": "b@example.com", "name": "Bea", "password": "a-fine-passphrase-12"});
    client.post("/users/register", body).await.expect(201);

    let http = reqwest::Client::new();
    let body = json!({"email": "b@example.com", "password": "a-fine-passphrase-12"});
    let answer = http.post(format!("{}/login", app.url())).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let header = answer.headers()["authorization"].to_str().unwrap().to_owned();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let token = header.strip_prefix("Bearer ").unwrap();
    assert_eq!(uuid::Uuid::parse_str(token).unwrap().get_version_num(), 4);

    let named =
        http.get(format!("{}/getName", app.url())).header("Authorization", header).send().await.unwrap();
    assert_eq!(named.json::<serde_json::Value>().await.unwrap(), json!({"name": "Bea"}));
}

async fn a_name_is_set_and_read_back(app: App) {
    let client = Client::register(app.url()).await;
    assert_eq!(client.post("/setName", json!({"name": "Grace"})).await.expect(200), json!({"name": "Grace"}));
    assert_eq!(client.get("/getName").await.expect(200), json!({"name": "Grace"}));
    assert_eq!(client.get("/v1/users/me").await.expect(200)["name"], "Grace");
}

async fn a_taken_address_is_refused_whatever_its_case(app: App) {
    let client = Client::new(app.url());
    let body = |email: &str| json!({"email": email, "name": "X", "password": "a-fine-passphrase-12"});
    client.post("/v1/users/register", body("c@example.com")).await.expect(201);
    let refused = client.post("/v1/users/register", body("C@Example.com")).await.expect(409);
    assert_eq!(refused["code"], "email_taken");
}

async fn of_many_at_once_with_one_address_one_is_registered(app: App) {
    let client = Client::new(app.url());
    let attempts = (0..12).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let body = json!({"email": "d@example.com", "name": "X", "password": "a-fine-passphrase-12"});
            client.post("/v1/users/register", body).await.status.as_u16()
        })
    });
    let mut statuses = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        statuses.push(attempt.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 409, 503].contains(status)), "{statuses:?}");
}

async fn a_wrong_password_and_an_unknown_address_get_the_same_answer(app: App) {
    let client = Client::new(app.url());
    let login = async |email: &str| {
        let mut answer = client
            .post("/v1/users/login", json!({"email": email, "password": "not-this-one-0"}))
            .await
            .expect(401);
        answer["requestId"] = json!(null);
        answer
    };
    assert_eq!(login(ADMIN_EMAIL).await, login("nobody@example.com").await);
}

async fn tokens_that_are_none_are_refused(app: App) {
    let http = reqwest::Client::new();
    for header in
        ["Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", "Bearer 00000000-0000-4000-8000-000000000000"]
    {
        let answer = http
            .get(format!("{}/v1/users/me", app.url()))
            .header("Authorization", header)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{header}");
        assert!(answer.headers().contains_key("www-authenticate"), "{header}");
    }
    let query = format!("{}/v1/users/me?token=x&access_token=x", app.url());
    assert_eq!(http.get(query).send().await.unwrap().status(), 401);
}

async fn devices_are_listed_and_ended_by_their_owner_only(app: App) {
    let ada = Client::register(app.url()).await;
    let email = ada.get("/v1/users/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    let login = json!({"email": email, "password": "quite-a-long-passphrase-7", "deviceName": "Phone"});
    for (path, email) in [("/v1/users/login", email.as_str()), ("/v1/users/register", "new@example.com")] {
        for bad in ["a\nb", "\u{202e}enohP", " "] {
            let body = json!({"email": email, "password": "quite-a-long-passphrase-7", "deviceName": bad});
            let refused = ada.post(path, body).await.expect(422);
            assert_eq!(refused["errors"][0]["field"], "/deviceName", "{refused}");
        }
    }
    let phone = ada.post("/v1/users/login", login.clone()).await.expect(200);
    let laptop = ada.post("/v1/users/login", login).await.expect(200);
    let with = |login: &serde_json::Value| {
        let mut client = ada.clone();
        client.token = login["sessionToken"].as_str().map(str::to_owned);
        client
    };
    let listed = ada.get("/v1/sessions").await.expect(200);
    let listed = listed["items"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 3);
    let current: Vec<_> = listed.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!((&listed[0]["deviceName"], &listed[2]["deviceName"]), (&json!("Phone"), &json!(null)));
    assert_eq!(listed[0]["ip"], "127.0.0.1");
    let page = ada.get("/v1/sessions?limit=2").await.expect(200);
    let next = format!("/v1/sessions?limit=2&cursor={}", page["nextCursor"].as_str().unwrap());
    assert_eq!(ada.get(&next).await.expect(200)["items"][0], listed[2]);

    let one = format!("/v1/sessions/{}", phone["sessionId"].as_str().unwrap());
    let delete = reqwest::Method::DELETE;
    let bob = Client::register(app.url()).await;
    bob.send(delete.clone(), &one, None, None).await.unwrap().expect(404);
    with(&phone).get("/v1/users/me").await.expect(200);
    ada.send(delete.clone(), &one, None, None).await.unwrap().expect(204);
    with(&phone).get("/v1/users/me").await.expect(401);
    ada.send(delete.clone(), &one, None, None).await.unwrap().expect(404);
    ada.send(delete, "/sessions/", None, None).await.unwrap().expect(204);
    with(&laptop).get("/v1/users/me").await.expect(401);
    ada.get("/v1/users/me").await.expect(200);
    assert_eq!(ada.get("/v1/sessions").await.expect(200)["items"].as_array().unwrap().len(), 1);
}

async fn an_operator_lists_and_ends_a_users_sessions(app: App) {
    let (ada, bob) = (Client::register(app.url()).await, Client::register(app.url()).await);
    let admin = Client::admin(app.url()).await;
    let path = format!("/v1/users/{}/sessions", ada.user_id);
    let delete = reqwest::Method::DELETE;
    bob.get(&path).await.expect(403);
    bob.send(delete.clone(), &path, None, None).await.unwrap().expect(403);
    let listed = admin.get(&path).await.expect(200);
    assert_eq!(
        (listed["items"].as_array().unwrap().len(), &listed["items"][0]["current"]),
        (1, &json!(false))
    );
    admin.send(delete.clone(), &path, None, None).await.unwrap().expect(204);
    ada.get("/v1/users/me").await.expect(401);
    bob.get("/v1/users/me").await.expect(200);
    let log = admin.get("/v1/admin/audit?act=user.end_sessions").await.expect(200);
    let told: Vec<_> =
        log["items"].as_array().unwrap().iter().map(|entry| (&entry["actor"], &entry["target"])).collect();
    assert_eq!(told, [(&json!(admin.user_id), &json!(format!("user/{}", ada.user_id)))]);
    admin.get("/v1/users/nobody/sessions").await.expect(404);
    admin.send(delete, "/v1/users/nobody/sessions", None, None).await.unwrap().expect(404);
}

/// Memory of the process, in MiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

async fn of_many_passwords_at_once_some_are_told_to_come_back_and_other_routes_go_on(app: App) {
    let client = Client::register(app.url()).await;
    let before = resident(app.replica.pid());
    // More than the queues of all password threads hold.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
    let http = reqwest::Client::new();
    let registering = (0..threads * 64 * 3 + 100).map(|n| {
        let body = json!({"email": format!("many{n}@example.com"), "password": "a-fine-passphrase-12"});
        let asked = http.post(format!("{}/v1/users/register", app.url())).json(&body).send();
        async move {
            let answer = asked.await.unwrap();
            (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
        }
    });
    let many = futures_util::future::join_all(registering);
    let meanwhile = async {
        let mut longest = Duration::ZERO;
        for _ in 0..50 {
            let asked = Instant::now();
            client.get("/v1/users/me").await.expect(200);
            longest = longest.max(asked.elapsed());
        }
        longest
    };
    let (answers, longest) = tokio::join!(many, meanwhile);
    let count = |status: u16| answers.iter().filter(|(had, _)| *had == status).count();
    assert!(count(201) > 0 && count(503) > 0, "{} made, {} told to come back", count(201), count(503));
    assert_eq!(count(201) + count(503), answers.len(), "{answers:?}");
    assert!(answers.iter().all(|(status, retry)| *status == 201 || *retry), "when to come back is said");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    // One hash a thread has its memory, and no more.
    let grown = resident(app.replica.pid()).saturating_sub(before);
    assert!(grown < 100 + 20 * threads as u64, "{grown} MiB more");
}
