//! Every role on every route, generated from the API's own description; and the rules of who may
//! give which permission to whom.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use crate::App;
use crate::support::Client;

crate::over_both_stores!(
    every_role_on_every_route,
    nobody_gives_or_takes_a_permission_they_lack,
    the_last_admin_stays,
    a_role_that_changes_changes_what_its_holders_may_do_at_once,
);

/// What the contract says that routes need; a route that is not here needs no permission.
/// A trailing `*` stands for what follows.
const NEEDED: &[(&str, &str, &str)] = &[
    ("GET", "/v1/users", "users:read"),
    ("POST", "/v1/users", "users:write"),
    ("GET", "/v1/users/{id}/sessions", "users:read"),
    ("DELETE", "/v1/users/{id}/sessions", "users:write"),
    ("GET", "/v1/roles", "roles:write"),
    ("PUT", "/v1/roles/{name}", "roles:write"),
    ("PUT", "/v1/users/{id}/roles", "roles:write"),
    ("POST", "/v1/categories", "catalog:write"),
    ("PATCH", "/v1/categories/{id}", "catalog:write"),
    ("PUT", "/v1/categories/{id}", "catalog:write"),
    ("DELETE", "/v1/categories/{id}", "catalog:write"),
    ("POST", "/v1/products", "catalog:write"),
    ("PATCH", "/v1/products/{id}", "catalog:write"),
    ("PUT", "/v1/products/{id}", "catalog:write"),
    ("DELETE", "/v1/products/{id}", "catalog:write"),
    ("POST", "/v1/inventory/{sku}/adjustments", "inventory:write"),
    ("GET", "/v1/inventory/{sku}/movements", "inventory:read"),
    ("POST", "/v1/orders/{id}/ship", "orders:write"),
    ("POST", "/v1/orders/{id}/deliver", "orders:write"),
    ("POST", "/v1/orders/{id}/refunds", "orders:write"),
    ("GET", "/v1/admin*", "admin:read"),
    ("POST", "/v1/admin*", "admin:write"),
    ("PUT", "/v1/admin*", "admin:write"),
    ("DELETE", "/v1/admin*", "admin:write"),
];

fn needed(method: &str, path: &str) -> Option<&'static str> {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => pattern == path,
    };
    NEEDED.iter().find(|(of, pattern, _)| *of == method && fits(pattern)).map(|(.., permission)| *permission)
}

/// A user with these roles, and what they permit.
async fn holder(admin: &Client, roles: &[&str]) -> (Client, BTreeSet<String>) {
    let client = Client::register(&admin.url).await;
    let path = format!("/v1/users/{}/roles", client.user_id);
    admin.put(&path, json!({"roles": roles})).await.expect(200);
    let all = admin.get("/v1/roles").await.expect(200);
    let held =
        all["items"].as_array().unwrap().iter().filter(|role| roles.iter().any(|r| role["name"] == *r));
    let permissions = held.flat_map(|role| role["permissions"].as_array().unwrap().clone());
    (client, permissions.map(|permission| permission.as_str().unwrap().to_owned()).collect())
}

fn fill(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "nobody-has-this" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// The same path to the router, another one to whoever compares text.
fn disguised(path: &str) -> String {
    let letter = path.find(|c: char| c.is_ascii_lowercase() && c != 'v').unwrap();
    format!("{}%{:02x}{}", &path[..letter], path.as_bytes()[letter], &path[letter + 1..])
}

async fn every_role_on_every_route(app: App) {
    // Given a user of each role, one of them made up here, and one without a session,
    let admin = Client::admin(app.url()).await;
    admin
        .put("/v1/roles/shopkeeper", json!({"permissions": ["catalog:write", "users:write"]}))
        .await
        .expect(200);
    let mut callers = BTreeMap::new();
    for role in ["customer", "support", "shopkeeper", "admin"] {
        callers.insert(role, holder(&admin, &[role]).await);
    }
    let http = reqwest::Client::new();
    let api = admin.get("/openapi.json").await.expect(200);
    let (mut routes, mut guarded) = (0, 0);
    for (path, item) in api["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(verb.to_uppercase().as_bytes()) else { continue };
            // Logging out ends the session that the other calls need; a webhook's caller is known by its
            // signature and has no role. Both have tests of their own.
            if path.ends_with("/logout") || path.contains("/webhooks/") {
                continue;
            }
            routes += 1;
            let needs = needed(method.as_str(), path);
            // The description says what the contract says.
            let stated: Vec<&str> = match operation["security"].as_array().map(Vec::as_slice) {
                Some([only]) => only["bearer"].as_array().unwrap().iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            };
            assert_eq!(stated, needs.into_iter().collect::<Vec<_>>(), "{method} {path}");
            let closed = matches!(operation["security"].as_array().map(Vec::as_slice), Some([_]));
            let call = async |token: Option<&String>, path: &str| {
                let mut request = http.request(method.clone(), format!("{}{path}", app.url()));
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                if !operation["requestBody"].is_null() {
                    request = request.json(&json!({}));
                }
                // Of a stream the head is enough.
                request.send().await.unwrap().status().as_u16()
            };
            // When they call it, then by its permission they are let in or not, whatever else.
            let real = fill(path);
            for path in [real.clone(), disguised(&real), real.replacen("/v1", "", 1)] {
                if closed {
                    let status = call(None, &path).await;
                    assert_eq!(status, 401, "{method} {path} by nobody");
                }
                for (role, (client, permissions)) in &callers {
                    let status = call(client.token.as_ref(), &path).await;
                    let may = needs.is_none_or(|needed| permissions.contains(needed));
                    assert_ne!(status, 401, "{method} {path} by {role}");
                    assert_eq!(status == 403, !may, "{method} {path} by {role} → {status}");
                    guarded += usize::from(!may);
                }
            }
        }
    }
    assert!(routes > 30 && guarded > 50, "{routes} routes, {guarded} refusals");
}

async fn nobody_gives_or_takes_a_permission_they_lack(app: App) {
    let admin = Client::admin(app.url()).await;
    admin
        .put("/v1/roles/clerk", json!({"permissions": ["users:read", "users:write", "roles:write"]}))
        .await
        .expect(200);
    admin.put("/v1/roles/keeper", json!({"permissions": ["catalog:write"]})).await.expect(200);
    let (clerk, _) = holder(&admin, &["clerk"]).await;
    let (keeper, _) = holder(&admin, &["keeper"]).await;
    let customer = Client::register(app.url()).await;
    let user = |of: &Client| format!("/v1/users/{}", of.user_id);
    let roles = |of: &Client| format!("/v1/users/{}/roles", of.user_id);

    // To give: to another, to oneself, by a role's definition, by making someone.
    for (path, body) in [
        (roles(&customer), json!({"roles": ["keeper"]})),
        (roles(&customer), json!({"roles": ["admin"]})),
        (roles(&clerk), json!({"roles": ["clerk", "keeper"]})),
        ("/v1/roles/clerk".to_owned(), json!({"permissions": ["roles:write", "orders:write"]})),
        ("/v1/roles/another".to_owned(), json!({"permissions": ["catalog:write"]})),
    ] {
        let refused = clerk.put(&path, body).await.expect(403);
        assert_eq!(refused["code"], "permission_required", "{path}");
    }
    let made = json!({"name": "X", "email": "x@example.com", "roles": ["keeper"]});
    clerk.post("/v1/users", made).await.expect(403);
    // To take: from another, and from a role.
    clerk.put(&roles(&keeper), json!({"roles": []})).await.expect(403);
    clerk.put("/v1/roles/keeper", json!({"permissions": []})).await.expect(403);
    // To change who holds more, in any way: an address is a way to the password.
    for body in [json!({"email": "mine@example.com"}), json!({"name": "X"}), json!({"disabled": true})] {
        clerk.put(&user(&keeper), body.clone()).await.expect(403);
        clerk.patch(&user(&admin), body).await.expect(403);
    }
    clerk.delete(&user(&keeper)).await.expect(403);
    clerk.delete(&format!("{}/sessions", user(&keeper))).await.expect(403);
    // Who lacks roles:write gives none, not even what they hold.
    admin.put("/v1/roles/maker", json!({"permissions": ["users:write"]})).await.expect(200);
    let (maker, _) = holder(&admin, &["maker"]).await;
    let made = json!({"name": "X", "email": "x@example.com", "roles": ["customer"]});
    maker.post("/v1/users", made).await.expect(403);

    // What they hold they may give and take; and nobody was changed by what was refused.
    clerk.put(&roles(&customer), json!({"roles": ["customer", "clerk"]})).await.expect(200);
    clerk.put(&roles(&customer), json!({"roles": ["customer"]})).await.expect(200);
    assert_eq!(admin.get(&user(&keeper)).await.expect(200)["roles"], json!(["keeper"]));
    assert_eq!(admin.get(&user(&clerk)).await.expect(200)["roles"], json!(["clerk"]));
    let none = admin.get("/v1/users?email=x@example.com").await.expect(200);
    assert_eq!(none["items"], json!([]));
    // The rest of what can't be: unknown roles and permissions, admin's own definition.
    admin.put(&roles(&customer), json!({"roles": ["nobility"]})).await.expect(422);
    admin.put(&roles(&customer), json!({"roles": ["customer", "customer"]})).await.expect(422);
    admin.put("/v1/roles/odd", json!({"permissions": ["everything"]})).await.expect(422);
    admin.put("/v1/roles/admin", json!({"permissions": []})).await.expect(409);
    admin.put("/v1/roles/Odd_1", json!({"permissions": []})).await.expect(404);
}

async fn the_last_admin_stays(app: App) {
    let first = Client::admin(app.url()).await;
    let user = |of: &Client| format!("/v1/users/{}", of.user_id);
    let roles = |of: &Client| format!("{}/roles", user(of));
    // Alone, an admin can't stop being one, in any way.
    first.put(&roles(&first), json!({"roles": ["customer"]})).await.expect(409);
    first.put(&user(&first), json!({"disabled": true})).await.expect(409);
    let password = json!({"currentPassword": crate::support::ADMIN_PASSWORD});
    let refused = first.send(Method::DELETE, "/v1/users/me", Some(password), None).await.unwrap();
    assert_eq!(refused.expect(409)["code"], "last_admin");

    // Of two who demote each other at the same time, one stays. A disabled one doesn't count.
    for round in 0..5 {
        let (second, _) = holder(&first, &["admin"]).await;
        let down = json!({"roles": ["customer"]});
        let (a, b) = (roles(&second), roles(&first));
        let answers = tokio::join!(first.put(&a, down.clone()), second.put(&b, down));
        let statuses = [answers.0.status.as_u16(), answers.1.status.as_u16()];
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{round}: {statuses:?}");
        // Whoever is an admin still makes things as they were.
        let left = if statuses[0] == 200 { &first } else { &second };
        left.put(&roles(&first), json!({"roles": ["admin"]})).await.expect(200);
        if statuses[0] != 200 {
            first.put(&a, json!({"roles": ["customer"]})).await.expect(200);
        }
    }
    let (second, _) = holder(&first, &["admin"]).await;
    first.put(&user(&second), json!({"disabled": true})).await.expect(200);
    first.put(&roles(&first), json!({"roles": []})).await.expect(409);
}

async fn a_role_that_changes_changes_what_its_holders_may_do_at_once(app: App) {
    let admin = Client::admin(app.url()).await;
    admin.put("/v1/roles/reader", json!({"permissions": ["users:read"]})).await.expect(200);
    let (reader, _) = holder(&admin, &["reader"]).await;
    reader.get("/v1/users").await.expect(200);
    admin.put("/v1/roles/reader", json!({"permissions": []})).await.expect(200);
    reader.get("/v1/users").await.expect(403);
    admin.put("/v1/roles/reader", json!({"permissions": ["users:read"]})).await.expect(200);
    reader.get("/v1/users").await.expect(200);
    admin
        .put(&format!("/v1/users/{}/roles", reader.user_id), json!({"roles": ["customer"]}))
        .await
        .expect(200);
    reader.get("/v1/users").await.expect(403);
    // And both acts are in the audit log.
    let log = admin.get("/v1/admin/audit?limit=100").await.expect(200).to_string();
    assert!(log.contains("role.set") && log.contains("user.set_roles"), "{log}");
}
