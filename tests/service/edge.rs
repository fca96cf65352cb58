//! What holds for every route.

use serde_json::json;

use crate::App;
use crate::orders::place;
use crate::support::{Client, order};

crate::over_both_stores!(
    the_literal_routes_answer_with_and_without_prefix_and_slash,
    health_and_readiness_are_told,
    the_api_describes_itself,
    a_parameter_that_a_route_does_not_know_is_refused_by_its_name,
);

async fn the_literal_routes_answer_with_and_without_prefix_and_slash(app: App) {
    let client = Client::register(app.url()).await;
    for path in ["/v1/users/me", "/users/me", "/users/me/", "/v1/users/me/", "/getName", "/getName/"] {
        client.get(path).await.expect(200);
    }
    for (path, version) in [("/v1/hello", "v1"), ("/v2/hello", "v2")] {
        assert_eq!(client.get(path).await.expect(200)["version"], version);
    }
    client.get("/v1/nothing-here").await.expect(404);
    client.post("/v1/hello", json!({})).await.expect(405);
}

async fn health_and_readiness_are_told(app: App) {
    let client = Client::new(app.url());
    client.get("/healthz").await.expect(200);
    client.get("/readyz").await.expect(200);
    client.get("/health").await.expect(200);
}

async fn the_api_describes_itself(app: App) {
    let client = Client::new(app.url());
    let api = client.get("/openapi.json").await.expect(200);
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"), "{}", api["openapi"]);
    for path in ["/v1/users/register", "/v1/users/login", "/v1/connections", "/v1/orders", "/v1/products"] {
        assert!(api["paths"][path].is_object(), "{path}");
    }
    client.get("/docs/").await.expect(200);

    // A body that may be missing is not null for that.
    for (path, method) in [
        ("/v1/orders/{id}/ship", "post"),
        ("/v1/orders/{id}/refunds", "post"),
        ("/v1/users/logout", "post"),
        ("/v1/users/{id}", "delete"),
    ] {
        let body = &api["paths"][path][method]["requestBody"];
        let schema = &body["content"]["application/json"]["schema"];
        assert!(schema["$ref"].is_string() && body["required"] != true, "{path}: {body}");
    }
    for (view, field, values) in [
        ("HoldView", "status", json!(["held", "committed", "released", "returned"])),
        ("MovementView", "kind", json!(["adjusted", "held", "sold", "released", "returned"])),
    ] {
        let schema = api["components"]["schemas"][view]["properties"][field]["$ref"].as_str().unwrap();
        let schema = api.pointer(schema.strip_prefix('#').unwrap()).unwrap();
        assert_eq!(schema["enum"], values, "{view}");
    }
}

async fn a_parameter_that_a_route_does_not_know_is_refused_by_its_name(app: App) {
    let client = Client::admin(app.url()).await;
    let sku = client.product(1.0, 1).await;
    let id = place(&client, "k", order(&sku, 1, "pm_card_visa")).await;
    for path in [
        format!("/v1/orders/{id}"),
        format!("/orders/{id}/"),
        format!("/v1/orders/{id}/timeline"),
        format!("/v1/inventory/{sku}"),
        "/v1/users/me".to_owned(),
        "/v1/orders".to_owned(),
    ] {
        client.get(&path).await.expect(200);
        let refused = client.get(&format!("{path}?x=1")).await.expect(422);
        let error = &refused["errors"][0];
        assert_eq!((&error["field"], &error["code"]), (&json!("x"), &json!("unknown")), "{path}");
    }
    client.post("/v1/orders?x=1", order(&sku, 1, "pm_card_visa")).await.expect(422);
    client.get("/v1/users/me?x=%").await.expect(400);
    Client::new(app.url()).get("/v1/users/me?x=1").await.expect(401);

    // Where others make up the URL it is as without.
    for path in ["/healthz", "/openapi.json", "/docs/"] {
        client.get(&format!("{path}?x=1")).await.expect(200);
    }
    let unsigned = client.post("/v1/webhooks/stripe", json!({})).await;
    let queried = client.post("/v1/webhooks/stripe?x=1", json!({})).await;
    assert_eq!((queried.status, &queried.body["code"]), (unsigned.status, &unsigned.body["code"]));
}
