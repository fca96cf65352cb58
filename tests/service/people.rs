//! Users looked after: lists, changes, and how they go.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::App;
use crate::by_mail::mails;
use crate::support::{Client, eventually};

crate::over_both_stores!(
    users_are_made_found_changed_and_deleted_by_the_literal_routes,
    users_are_searched_filtered_sorted_and_paged,
    of_a_hundred_made_at_once_with_one_address_one_is_made,
    a_change_based_on_an_older_version_is_refused,
    one_changes_oneself_and_nobody_else,
    what_may_not_be_written_is_refused_by_its_name,
    who_deletes_themselves_is_gone,
    what_is_kept_of_me_can_be_had_and_goes_with_me,
);

const PASSWORD: &str = "quite-a-long-passphrase-7";

async fn if_match(client: &Client, method: Method, path: &str, tag: &str, body: Value) -> (u16, Value) {
    let http = reqwest::Client::new();
    let request = http.request(method, format!("{}{path}", client.url)).header("If-Match", tag);
    let answer = request.bearer_auth(client.token.as_ref().unwrap()).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

async fn users_are_made_found_changed_and_deleted_by_the_literal_routes(app: App) {
    let admin = Client::admin(app.url()).await;
    let body = json!({"name": "Grace", "email": "Grace@Example.com", "age": 85, "password": PASSWORD});
    let made = admin.post("/users/", body.clone()).await.expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!((&made["roles"], &made["emailVerified"]), (&json!(["customer"]), &json!(false)));
    assert!(made["createdAt"].is_string() && made["updatedAt"].is_string());
    assert_eq!(admin.post("/users", body).await.expect(409)["code"], "email_taken");

    let found = admin.get("/users/?email=grace@example.com").await.expect(200);
    assert_eq!(
        found["items"],
        json!([{"id": id, "username": null, "name": "Grace", "email": "Grace@Example.com", "age": 85}])
    );
    assert_eq!(admin.get(&format!("/users/{id}")).await.expect(200), made);
    let changed =
        admin.put(&format!("/users/{id}"), json!({"age": null, "name": "Grace H."})).await.expect(200);
    assert_eq!(
        (&changed["age"], &changed["name"], &changed["version"]),
        (&json!(null), &json!("Grace H."), &json!(2))
    );
    // And they can log in until they are disabled, or gone.
    let grace = Client::log_in(app.url(), "grace@example.com", PASSWORD).await;
    admin.patch(&format!("/users/{id}"), json!({"disabled": true})).await.expect(200);
    grace.get("/users/me").await.expect(401);
    admin.patch(&format!("/users/{id}"), json!({"disabled": false})).await.expect(200);
    grace.get("/users/me").await.expect(401);
    let grace = Client::log_in(app.url(), "grace@example.com", PASSWORD).await;
    admin.delete(&format!("/users/{id}")).await.expect(204);
    admin.delete(&format!("/users/{id}")).await.expect(404);
    admin.get(&format!("/users/{id}")).await.expect(404);
    grace.get("/users/me").await.expect(401);
}

async fn users_are_searched_filtered_sorted_and_paged(app: App) {
    let admin = Client::admin(app.url()).await;
    admin.put("/v1/roles/cook", json!({"permissions": []})).await.expect(200);
    admin.put("/v1/roles/cooks", json!({"permissions": []})).await.expect(200);
    let people =
        [("Åsa Berg", 31, "cook"), ("bo Berg", 17, "cooks"), ("Cleo", 64, "cook"), ("Dan", 18, "customer")];
    for (n, (name, age, role)) in people.into_iter().enumerate() {
        let body = json!({"name": name, "email": format!("p{n}@people.example"), "age": age, "password": PASSWORD, "roles": [role]});
        admin.post("/v1/users", body).await.expect(201);
    }
    let names = async |query: &str| -> Vec<String> {
        let found = admin.get(&format!("/v1/users?{query}")).await.expect(200);
        found["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("q=berg").await, ["bo Berg", "Åsa Berg"]);
    assert_eq!(names("q=people.example&sort=name").await, ["bo Berg", "Cleo", "Dan", "Åsa Berg"]);
    assert_eq!(names("q=people&sort=-email").await, ["Dan", "Cleo", "bo Berg", "Åsa Berg"]);
    assert_eq!(names("q=people&sort=createdAt").await, ["Åsa Berg", "bo Berg", "Cleo", "Dan"]);
    assert_eq!(names("minAge=18&maxAge=31").await, ["Dan", "Åsa Berg"]);
    assert_eq!(names("minAge=18&sort=-age").await, ["Cleo", "Åsa Berg", "Dan"]);
    assert_eq!(names("minAge=18&q=berg").await, ["Åsa Berg"]);
    assert_eq!(names("role=cook").await, ["Cleo", "Åsa Berg"]);
    assert_eq!(names("role=cook&q=berg&maxAge=40").await, ["Åsa Berg"]);
    assert_eq!(names("email=P3@people.example").await, ["Dan"]);
    assert_eq!(names("email=p3@people.example&minAge=19").await, Vec::<String>::new());
    // A page at a time, the same people; and whole ones if asked.
    let mut found = Vec::new();
    let mut path = "/v1/users?q=people&sort=age&limit=1&expand=profile".to_owned();
    for _ in 0..4 {
        let page = admin.get(&path).await.expect(200);
        let user = &page["items"][0];
        assert!(user["roles"].is_array(), "{user}");
        found.push(user["age"].as_i64().unwrap());
        let Some(next) = page["nextCursor"].as_str() else { break };
        path = format!("/v1/users?q=people&sort=age&limit=1&expand=profile&cursor={next}");
    }
    assert_eq!(found, [17, 18, 31, 64]);
    for bad in [
        "minAge=18&sort=name",
        "sort=password",
        "minAge=-1",
        "maxAge=151",
        "limit=0",
        "q[$ne]=",
        "expand=all",
    ] {
        admin.get(&format!("/v1/users?{bad}")).await.expect(422);
    }
    admin.get("/v1/users?cursor=AAAA").await.expect(400);
}

async fn of_a_hundred_made_at_once_with_one_address_one_is_made(app: App) {
    let admin = Client::admin(app.url()).await;
    let attempts = (0..100).map(|n| {
        let admin = admin.clone();
        async move {
            // Half of them in another case: it is the same address.
            let email = if n % 2 == 0 { "one@example.com" } else { "ONE@Example.com" };
            loop {
                let body = json!({"name": "One", "email": email, "password": PASSWORD});
                let answer = admin.post("/v1/users", body).await;
                // Too many at once are told to come back, as clients do.
                if answer.status != 503 {
                    return answer.status.as_u16();
                }
            }
        }
    });
    let statuses = join_all(attempts).await;
    let count = |status: u16| statuses.iter().filter(|had| **had == status).count();
    assert_eq!((count(201), count(409)), (1, 99), "{statuses:?}");
}

async fn a_change_based_on_an_older_version_is_refused(app: App) {
    let client = Client::register(app.url()).await;
    let (status, _) =
        if_match(&client, Method::PATCH, "/v1/users/me", "\"1\"", json!({"name": "First"})).await;
    assert_eq!(status, 200);
    for (method, body) in [(Method::PATCH, json!({"name": "Second"})), (Method::PUT, json!({"age": 3}))] {
        let (status, problem) = if_match(&client, method, "/v1/users/me", "\"1\"", body).await;
        assert_eq!((status, &problem["code"]), (412, &json!("precondition_failed")));
    }
    let (status, _) =
        if_match(&client, Method::DELETE, "/v1/users/me", "\"1\"", json!({"currentPassword": PASSWORD}))
            .await;
    assert_eq!(status, 412);
    assert_eq!(client.get("/v1/users/me").await.expect(200)["name"], "First");
    // Of many who change the same version at once, one does; without it all do, one after the other.
    let at_once = (0..8).map(|n| {
        let client = client.clone();
        async move {
            if_match(&client, Method::PATCH, "/v1/users/me", "\"2\"", json!({"name": format!("N{n}")}))
                .await
                .0
        }
    });
    let statuses = join_all(at_once).await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 412].contains(status)), "{statuses:?}");
}

async fn one_changes_oneself_and_nobody_else(app: App) {
    let (ann, bob) = (Client::register(app.url()).await, Client::register(app.url()).await);
    let admin = Client::admin(app.url()).await;
    let bobs = format!("/v1/users/{}", bob.user_id);
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
        let body = (method != Method::GET).then(|| json!({}));
        let answer = ann.send(method.clone(), &bobs, body, None).await.unwrap();
        assert_eq!(answer.status, 404, "{method}");
    }
    // By their own id no one does more than as me.
    let own = format!("/v1/users/{}", ann.user_id);
    ann.put(&own, json!({"name": "Ann", "username": "ann.1"})).await.expect(200);
    ann.put(&own, json!({"email": "new@example.com"})).await.expect(400);
    ann.put(&own, json!({"disabled": false})).await.expect(403);
    ann.put(&format!("{own}/roles"), json!({"roles": ["admin"]})).await.expect(403);
    ann.delete(&own).await.expect(400);
    let wrong = json!({"currentPassword": "not-the-password"});
    assert_eq!(ann.send(Method::DELETE, &own, Some(wrong), None).await.unwrap().status, 422);
    // Nor does an admin: their own address needs their own password.
    let me = format!("/v1/users/{}", admin.user_id);
    admin.put(&me, json!({"email": "boss@example.com"})).await.expect(400);
    assert_eq!(ann.get("/v1/users/me").await.expect(200)["username"], "ann.1");
    ann.get("/v1/users/register").await.expect(405);
    bob.patch("/v1/users/me", json!({"username": "ANN.1"})).await.expect(409);
    bob.patch("/v1/users/me", json!({"username": null, "age": 150})).await.expect(200);
}

async fn what_may_not_be_written_is_refused_by_its_name(app: App) {
    let client = Client::register(app.url()).await;
    let admin = Client::admin(app.url()).await;
    let before = client.get("/v1/users/me").await.expect(200);
    let operator = json!({"$ne": null});
    for field in [
        "role",
        "roles",
        "_id",
        "id",
        "version",
        "emailVerified",
        "passwordHash",
        "pendingEmail",
        "credentialsVersion",
        "admin",
        "emailKey",
        "createdAt",
    ] {
        for value in [json!("x"), json!(true), json!(["admin"]), operator.clone()] {
            let refused = client.patch("/v1/users/me", json!({field: value})).await.expect(422);
            assert_eq!(refused["errors"][0]["field"], format!("/{field}"));
            let mut made = json!({"name": "X", "email": "mass@example.com", "password": PASSWORD});
            made[field] = value.clone();
            if field != "roles" {
                admin.post("/v1/users", made.clone()).await.expect(422);
            }
            client.post("/v1/users/register", made).await.expect(422);
        }
    }
    // Operators and control characters where values belong, on every route that takes some.
    let logins =
        [("/v1/users/login", "email"), ("/v1/users/login", "password"), ("/v1/users/register", "email")];
    let resets = [
        ("/v1/password-resets", "email"),
        ("/v1/password-resets/confirm", "token"),
        ("/v1/email-verifications/confirm", "token"),
    ];
    for (path, field) in logins.into_iter().chain(resets) {
        let mut body = json!({"email": "a@example.com", "password": PASSWORD});
        if path.contains("confirm") {
            body = json!({"token": "x", "newPassword": PASSWORD});
        }
        if path.ends_with("password-resets") {
            body = json!({});
        }
        if path.ends_with("verifications/confirm") {
            body = json!({});
        }
        body[field] = operator.clone();
        let status = client.post(path, body).await.status.as_u16();
        assert_eq!(status, 422, "{path} {field}");
    }
    for name in ["A\r\nBcc: everyone@example.com", "\u{0}", "\u{202e}nimdA", "", &"x".repeat(101)] {
        client.patch("/v1/users/me", json!({"name": name})).await.expect(422);
    }
    for email in [
        "a@b\r\nBcc: c@d.example",
        "ädä@example.com",
        "a@exämple.com",
        "a@b@c.example",
        "\u{ff41}@example.com",
    ] {
        client.patch("/v1/users/me", json!({"email": email, "currentPassword": PASSWORD})).await.expect(422);
        client.post("/v1/password-resets", json!({"email": email})).await.expect(422);
    }
    for (field, value) in
        [("name", json!(null)), ("email", json!(null)), ("age", json!(-1)), ("username", json!("me"))]
    {
        let refused = client.patch("/v1/users/me", json!({field: value})).await.expect(422);
        assert_eq!(refused["errors"][0]["field"], format!("/{field}"));
    }
    assert_eq!(client.get("/v1/users/me").await.expect(200), before);
}

async fn who_deletes_themselves_is_gone(app: App) {
    let client = Client::register(app.url()).await;
    let email = client.get("/v1/users/me").await.expect(200)["email"].as_str().unwrap().to_owned();
    let body = json!({"currentPassword": PASSWORD});
    client.send(Method::DELETE, "/v1/users/me", None, None).await.unwrap().expect(400);
    client.send(Method::DELETE, "/v1/users/me", Some(body), None).await.unwrap().expect(204);
    client.get("/v1/users/me").await.expect(401);
    let login = json!({"email": email, "password": PASSWORD});
    Client::new(app.url()).post("/v1/users/login", login).await.expect(401);
    mails(&app.data.path(), &email, "Subject: Your account was deleted").await;
    // The address is free again, for another account.
    let again = json!({"email": email, "password": PASSWORD});
    let again = Client::new(app.url()).post("/v1/users/register", again).await.expect(201);
    assert_ne!(again["userId"], client.user_id);
}

async fn what_is_kept_of_me_can_be_had_and_goes_with_me(app: App) {
    let admin = Client::admin(app.url()).await;
    let sku = admin.product(5.0, 10).await;
    let client = Client::register(app.url()).await;
    let other = Client::register(app.url()).await;
    for owner in [&client, &other] {
        let link = json!({"provider": "sandbox", "setupToken": "sandbox"});
        owner.post("/v1/connections", link).await.expect(201);
        let address = json!({"name": "Ada Lovelace", "line1": "Somewhere 1", "city": "London", "postalCode": "N1", "country": "GB"});
        let mut order = crate::support::order(&sku, 1, "pm_card_visa");
        order["shippingAddress"] = address;
        owner.post_with_key("/v1/orders", order, "k").await.expect(202);
        let hold = json!({"lines": [{"sku": sku, "quantity": 1}], "ttlSeconds": 900});
        owner.post_with_key("/v1/holds", hold.clone(), "h1").await.expect(201);
        owner.post_with_key("/v1/holds", hold, "h2").await.expect(201);
        eventually("accounts are synced", Duration::from_secs(30), async || {
            let accounts = owner.get(&format!("/v1/users/{}/accounts", owner.user_id)).await.expect(200);
            (accounts["accounts"].as_array().unwrap().len() == 3).then_some(())
        })
        .await;
    }
    // All of it, page by page, of every kind, nothing of another's and no secret.
    let mut kinds = std::collections::BTreeMap::new();
    let mut text = String::new();
    let mut path = "/v1/users/me/export?limit=2".to_owned();
    loop {
        let page = client.get(&path).await.expect(200);
        assert!(page["items"].as_array().unwrap().len() <= 2, "{page}");
        for item in page["items"].as_array().unwrap() {
            *kinds.entry(item["kind"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        text.push_str(&page.to_string());
        let Some(next) = page["nextCursor"].as_str() else { break };
        path = format!("/v1/users/me/export?limit=2&cursor={next}");
    }
    assert!(kinds.remove("transaction").is_some_and(|count| count > 400), "a year of them");
    let found: Vec<(&str, i32)> = kinds.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    let expected = [
        ("account", 3),
        ("balance", 3),
        ("connection", 1),
        ("hold", 2),
        ("order", 1),
        ("profile", 1),
        ("session", 1),
    ];
    assert_eq!(found, expected);
    assert!(text.contains("Ada Lovelace") && !text.contains(&other.user_id));
    for secret in ["argon2", "tokenHash", "passwordHash", "credential\""] {
        assert!(!text.contains(secret), "{secret}");
    }
    let cursor = path.split("cursor=").nth(1).unwrap().to_owned();
    other.get(&format!("/v1/users/me/export?limit=2&cursor={cursor}")).await.expect(400);

    // Gone, all of it goes, but for what was sold; and nothing of another's.
    let goodbye = json!({"currentPassword": PASSWORD});
    client.send(Method::DELETE, "/v1/users/me", Some(goodbye), None).await.unwrap().expect(204);
    let orders = async |of: &Client| admin.get(&format!("/v1/orders?userId={}", of.user_id)).await.body;
    eventually("all is removed", Duration::from_secs(60), async || {
        let jobs = admin.get("/v1/admin/jobs?limit=100").await.expect(200).to_string();
        (!jobs.contains("user_removal")).then_some(())
    })
    .await;
    let accounts = admin.get(&format!("/v1/users/{}/accounts", client.user_id)).await.body;
    assert_eq!(accounts["accounts"], json!([]), "{accounts}");
    let left = orders(&client).await.to_string();
    assert!(!left.contains("Lovelace") && !left.contains("Somewhere"), "{left}");
    // Nothing is held for somebody who is gone; what another holds stays held.
    eventually("two are sold and two are held", Duration::from_secs(30), async || {
        let stock = admin.get(&format!("/v1/inventory/{sku}")).await.expect(200);
        (stock["onHand"] == 8 && stock["held"] == 2).then_some(())
    })
    .await;
    other.get(&format!("/v1/users/{}/accounts", other.user_id)).await.expect(200);
    let kept = other.get("/v1/orders").await.expect(200).to_string();
    assert!(kept.contains("Ada Lovelace"), "{kept}");
}
