//! The conventions that hold on every route, tried on the routes of the frame itself and on a few
//! that exist only here.

use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use garde::Validate;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use steward::http::caller::Caller;
use steward::http::json::ValidJson;
use steward::http::page::{Binding, CursorText, Limit, Listed};
use steward::http::problem::Problem;
use steward::http::query::{InPath, PathId, ValidQuery};
use steward_actors::store::Cursor;

use crate::support::{Server, TOKEN, header, logged, problem, settings};

#[derive(Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Thing {
    #[garde(length(min = 1, max = 10))]
    thing_name: String,
    #[garde(dive)]
    parts: Vec<PartOfThing>,
}

#[derive(Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PartOfThing {
    #[garde(range(min = 1, max = 1000))]
    how_many: u32,
}

#[derive(Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Things {
    #[serde(default)]
    #[garde(skip)]
    limit: Limit,
    #[garde(skip)]
    cursor: Option<CursorText>,
    #[garde(length(max = 5))]
    kind: Option<String>,
}

async fn make(body: ValidJson<Thing>) -> HttpResponse {
    let count: u32 = body.0.parts.iter().map(|part| part.how_many).sum();
    HttpResponse::Created().json(json!({ "name": body.0.thing_name, "count": count }))
}

async fn list(request: HttpRequest, query: ValidQuery<Things>) -> Result<HttpResponse, Problem> {
    let binding = Binding::new("things", &query.0.kind);
    let after = binding.after(query.0.cursor.as_deref())?;
    let first = after.map_or(0, |cursor| cursor.keys[0].as_u64().unwrap());
    let last = first + query.0.limit.get() as u64;
    let next = Cursor { keys: vec![json!(last)], id: "x".into() };
    Ok(Listed::new((first..last).collect(), Some(&next), &binding).respond(&request))
}

async fn mine(caller: Caller) -> Result<String, Problem> {
    caller.require("things:read")?;
    Ok(caller.user_id.clone())
}

async fn forbidden(caller: Caller) -> Result<String, Problem> {
    caller.require("things:write")?;
    Ok(caller.user_id.clone())
}

async fn panics() -> HttpResponse {
    panic!("canary of a panic");
}

async fn never() -> HttpResponse {
    std::future::pending().await
}

async fn broken() -> Result<HttpResponse, Problem> {
    Err(Problem::internal("canary of a cause"))
}

fn things(config: &mut ServiceConfig) {
    config
        .route("/test/things", web::post().to(make))
        .route("/test/things", web::get().to(list))
        .route("/test/things/{id}", web::get().to(async |id: InPath<PathId>| id.0.0))
        .route("/test/mine", web::get().to(mine))
        .route("/test/forbidden", web::get().to(forbidden))
        .route("/test/panics", web::get().to(panics))
        .route("/test/never", web::route().to(never))
        .route("/test/broken", web::get().to(broken));
}

fn start() -> Server {
    Server::start(&settings(), things)
}

fn fields(body: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| (text(&error["field"]), text(&error["code"]))).collect()
}

#[actix_rt::test]
async fn the_versions_greet_apart() {
    let server = start();
    for (path, version) in [("/v1/hello", "v1"), ("/v2/hello", "v2"), ("/hello", "v1"), ("/v2/hello/", "v2")]
    {
        let answer = server.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["version"], version, "{path}");
        assert!(body["message"].is_string());
    }
}

#[actix_rt::test]
async fn a_bad_body_is_answered_with_the_field_that_is_wrong() {
    let server = start();
    let good = r#"{"thingName": "a", "parts": [{"howMany": 2}]}"#;
    assert_eq!(server.post("/test/things", good).await.status(), 201);

    for (body, status, code, field) in [
        ("", 400, "malformed_json", None),
        ("{", 400, "malformed_json", None),
        ("nul", 400, "malformed_json", None),
        ("{\"thingName\": \"\u{1}\"}", 400, "malformed_json", None),
        ("{\"parts\": []}", 400, "missing_field", Some(("/thingName", "missing"))),
        ("{\"thingName\": 1, \"parts\": []}", 422, "invalid_fields", Some(("/thingName", "type"))),
        ("{\"thingName\": null, \"parts\": []}", 422, "invalid_fields", Some(("/thingName", "type"))),
        ("[\"a\", []]", 422, "invalid_fields", Some(("", "type"))),
        ("{\"thingName\": \"a\", \"parts\": [[1]]}", 422, "invalid_fields", Some(("/parts/0", "type"))),
        ("{\"thingName\": \"a\", \"parts\": {\"$ne\": 1}}", 422, "invalid_fields", Some(("/parts", "type"))),
        (
            "{\"thingName\": \"a\", \"parts\": [], \"role\": 1}",
            422,
            "invalid_fields",
            Some(("/role", "unknown")),
        ),
        ("{\"thingName\": \"\", \"parts\": []}", 422, "invalid_fields", Some(("/thingName", "invalid"))),
        (
            "{\"thingName\": \"a\", \"parts\": [{\"howMany\": 1}, {\"howMany\": 0}]}",
            422,
            "invalid_fields",
            Some(("/parts/1/howMany", "invalid")),
        ),
    ] {
        let (got, problem) = problem(server.post("/test/things", body).await).await;
        assert_eq!((got, problem["code"].as_str().unwrap()), (status, code), "{body}: {problem}");
        let expected = field.map(|(name, code)| (name.to_owned(), code.to_owned()));
        assert_eq!(fields(&problem), expected.into_iter().collect::<Vec<_>>(), "{body}");
    }
}

#[actix_rt::test]
async fn all_broken_rules_are_named_at_once() {
    let server = start();
    let body = r#"{"thingName": "", "parts": [{"howMany": 0}]}"#;
    let (_, problem) = problem(server.post("/test/things", body).await).await;
    assert_eq!(fields(&problem).len(), 2);
}

#[actix_rt::test]
async fn a_huge_body_is_refused_before_it_is_read() {
    let server = start();
    let started = std::time::Instant::now();
    let huge = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
    // Without an end: whoever reads all of it never answers.
    let answer = server
        .request(Method::POST, "/test/things")
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(huge))
        .send()
        .await;
    // A client that is still writing may see the connection close instead of the answer.
    if let Ok(answer) = answer {
        assert_eq!(problem(answer).await.1["code"], "body_too_large");
    }
    let announced = server.post("/test/things", vec![b' '; 70_000]).await;
    assert_eq!(problem(announced).await.0, 413);
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(server.get("/v1/hello").await.status(), 200);
}

#[actix_rt::test]
async fn other_kinds_of_bodies_are_refused() {
    let server = start();
    let good = r#"{"thingName": "a", "parts": []}"#;
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "application/json; charset=latin1"),
        ("content-encoding", "gzip"),
    ] {
        let mut request = server.request(Method::POST, "/test/things").body(good);
        if name != "content-type" {
            request = request.header("content-type", "application/json");
        }
        let answer = request.header(name, value).send().await.unwrap();
        assert_eq!(problem(answer).await.0, 415, "{name}: {value}");
    }
    let bare = server.request(Method::POST, "/test/things").body(good).send().await.unwrap();
    assert_eq!(problem(bare).await.0, 415);
    let merge = server.request(Method::POST, "/test/things").body(good);
    let merge =
        merge.header("content-type", "application/merge-patch+json; charset=UTF-8").send().await.unwrap();
    assert_eq!(merge.status(), 201);
}

#[actix_rt::test]
async fn bad_parameters_are_named() {
    let server = start();
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("kind=yachts", "kind"),
        ("colour=red", "colour"),
    ] {
        let (status, problem) = problem(server.get(&format!("/test/things?{query}")).await).await;
        assert_eq!(status, 422, "{query}");
        assert_eq!(fields(&problem)[0].0, name, "{query}");
    }
    let (status, problem) = problem(server.get("/test/things?kind=%ff").await).await;
    assert_eq!((status, problem["code"].as_str().unwrap()), (400, "malformed_query"));
}

#[actix_rt::test]
async fn the_next_link_leads_through_the_list_and_fits_no_other() {
    let server = start();
    let first = server.get("/test/things?limit=2&kind=a%20b").await;
    let link = header(&first, "link");
    let next = link.strip_prefix('<').unwrap().split_once(">; rel=\"next\"").unwrap().0.to_owned();
    let second: Value = server.get(&next).await.json().await.unwrap();
    assert_eq!(second["items"], json!([2, 3]));
    let cursor = second["nextCursor"].as_str().unwrap();

    for path in [format!("/test/things?cursor={cursor}"), "/test/things?cursor=x".to_owned()] {
        let (status, problem) = problem(server.get(&path).await).await;
        assert_eq!((status, problem["code"].as_str().unwrap()), (400, "bad_cursor"));
    }
}

#[actix_rt::test]
async fn unknown_routes_and_methods_are_problems_too() {
    let server = start();
    for path in
        ["/", "/v1", "/v3/hello", "/nothing", "/v1/nothing/at/all", "/docs/../etc/passwd", "/docs/none.js"]
    {
        assert_eq!(problem(server.get(path).await).await.0, 404, "{path}");
    }
    for path in ["/v1/hello", "/hello/", "/v2/hello", "/healthz"] {
        let answer = server.request(Method::DELETE, path).send().await.unwrap();
        assert_eq!(header(&answer, "allow"), "GET, HEAD, OPTIONS", "{path}");
        assert_eq!(problem(answer).await.0, 405, "{path}");
    }
    let options = server.request(Method::OPTIONS, "/v1/hello").send().await.unwrap();
    assert_eq!((options.status().as_u16(), header(&options, "allow").as_str()), (204, "GET, HEAD, OPTIONS"));
}

#[actix_rt::test]
async fn the_type_of_a_problem_leads_to_what_it_means() {
    let server = start();
    let (_, told) = problem(server.get("/nothing").await).await;
    let kind = told["type"].as_str().unwrap().strip_prefix(&server.url).unwrap().to_owned();
    let meaning: Value = server.get(&kind).await.json().await.unwrap();
    assert_eq!((&meaning["code"], &meaning["status"]), (&json!("not_found"), &json!(404)));
    let page = server.request(Method::GET, &kind).header("accept", "text/html,*/*").send().await.unwrap();
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().contains("<code>not_found</code>"));
    assert_eq!(problem(server.get("/problems/no_such_code").await).await.0, 404);
    let all: Value = server.get("/problems").await.json().await.unwrap();
    assert!(all.as_array().unwrap().contains(&meaning));
}

#[actix_rt::test]
async fn head_answers_as_get_without_the_body() {
    let server = start();
    let head = server.request(Method::HEAD, "/v1/hello").send().await.unwrap();
    let get = server.get("/v1/hello").await;
    assert_eq!(head.status(), 200);
    assert_eq!(header(&head, "content-length"), header(&get, "content-length"));
    assert!(head.bytes().await.unwrap().is_empty());
    assert_eq!(server.get("/v1/hello").await.status(), 200);
}

#[actix_rt::test]
async fn ids_that_no_resource_can_have_are_not_found() {
    let server = start();
    assert_eq!(server.get("/test/things/acc1").await.text().await.unwrap(), "acc1");
    for id in ["me", "a.b", "%24ne", "a%2Fb", "%ff", &"x".repeat(65)] {
        assert_eq!(problem(server.get(&format!("/test/things/{id}")).await).await.0, 404, "{id}");
    }
}

#[actix_rt::test]
async fn a_request_id_is_kept_if_sane_and_made_otherwise() {
    let server = start();
    let ask = async |id: &str, path: &str| {
        let answer = server.request(Method::GET, path).header("x-request-id", id).send().await.unwrap();
        header(&answer, "x-request-id")
    };
    assert_eq!(ask("abc-1.2_3", "/v1/hello").await, "abc-1.2_3");
    assert_eq!(ask("abc", "/nothing").await, "abc");
    assert_eq!(ask("abc", "/test/panics").await, "abc");
    for bad in ["", "a b", "a\"b", "a,b", &"x".repeat(129)] {
        let made = ask(bad, "/v1/hello").await;
        assert!(made != bad && made.len() == 36, "{bad}: {made}");
    }
    assert_ne!(header(&server.get("/v1/hello").await, "x-request-id"), "");
}

#[actix_rt::test]
async fn a_panic_costs_one_answer_and_tells_nothing() {
    let server = start();
    for _ in 0..3 {
        let (status, body) = problem(server.get("/test/panics").await).await;
        assert_eq!((status, body["code"].as_str().unwrap()), (500, "internal"));
        assert!(!body.to_string().contains("canary"));
        assert_eq!(server.get("/v1/hello").await.status(), 200);
    }
    let (status, body) = problem(server.get("/test/broken").await).await;
    assert_eq!(status, 500);
    assert!(!body.to_string().contains("canary"));
}

#[actix_rt::test]
async fn what_takes_too_long_is_answered_with_what_is_known() {
    let server = Server::start(&steward::config::Http { deadline_seconds: 0, ..settings() }, things);
    let get = server.get("/test/never").await;
    assert_eq!(header(&get, "retry-after"), "1");
    assert_eq!(problem(get).await.1["code"], "unavailable");
    let post = server.post("/test/never", "{}").await;
    assert_eq!(problem(post).await.1["code"], "outcome_unknown");
}

#[actix_rt::test]
async fn callers_come_by_the_authorization_header_only() {
    let server = start();
    let ask = async |path: &str, authorization: &[&str]| {
        let request = server.request(Method::GET, path);
        let request =
            authorization.iter().fold(request, |request, value| request.header("authorization", *value));
        request.send().await.unwrap()
    };
    let bearer = format!("Bearer {TOKEN}");
    let known = ask("/test/mine", &[&bearer]).await;
    assert_eq!(header(&known, "cache-control"), "private, no-cache");
    assert!(header(&known, "vary").contains("Origin"));
    assert!(known.headers().get_all("vary").iter().any(|value| value == "Authorization"));
    assert_eq!(known.text().await.unwrap(), "ann");
    assert_eq!(ask("/test/mine", &[&format!("bearer {TOKEN}")]).await.status(), 200);

    let in_query = format!("/test/mine?access_token={TOKEN}&token={TOKEN}");
    for (path, authorization) in [
        ("/test/mine", vec![]),
        (in_query.as_str(), vec![]),
        ("/test/mine", vec!["Bearer other"]),
        ("/test/mine", vec!["Bearer"]),
        ("/test/mine", vec!["Bearer "]),
        ("/test/mine", vec!["Basic dG9rZW4="]),
        ("/test/mine", vec![TOKEN]),
        ("/test/mine", vec![bearer.as_str(), "Bearer other"]),
    ] {
        let answer = ask(path, &authorization).await;
        assert_eq!(header(&answer, "www-authenticate"), "Bearer", "{authorization:?}");
        assert_eq!(problem(answer).await.0, 401, "{authorization:?}");
    }
    let (status, body) = problem(ask("/test/forbidden", &[&bearer]).await).await;
    assert_eq!(status, 403);
    assert!(body["detail"].as_str().unwrap().contains("things:write"));
}

#[actix_rt::test]
async fn every_answer_has_the_security_headers() {
    let server = start();
    for path in ["/v1/hello", "/nothing", "/test/panics", "/openapi.json", "/docs"] {
        let answer = server.get(path).await;
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header(&answer, "x-frame-options"), "DENY", "{path}");
        assert_eq!(header(&answer, "referrer-policy"), "no-referrer", "{path}");
        let policy = header(&answer, "content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(header(&answer, "strict-transport-security"), "", "{path}");
    }
    let public_url = Some("https://api.example/".to_owned());
    let behind_tls = Server::start(&steward::config::Http { public_url, ..settings() }, things);
    let answer = behind_tls.get("/nothing").await;
    assert!(header(&answer, "strict-transport-security").starts_with("max-age="));
    assert_eq!(problem(answer).await.1["type"], "https://api.example/problems/not_found");
}

#[actix_rt::test]
async fn browsers_may_call_from_listed_origins_only() {
    let server = start();
    let ask = async |method: Method, origin: &str| {
        let request = server.request(method, "/v1/hello").header("origin", origin);
        request.header("access-control-request-method", "POST").send().await.unwrap()
    };
    let preflight = ask(Method::OPTIONS, "https://app.example").await;
    assert_eq!(preflight.status(), 204);
    assert_eq!(header(&preflight, "access-control-allow-origin"), "https://app.example");
    assert!(header(&preflight, "access-control-allow-headers").contains("Authorization"));
    let answer = ask(Method::GET, "https://app.example").await;
    assert_eq!(header(&answer, "access-control-allow-origin"), "https://app.example");
    assert!(header(&answer, "access-control-expose-headers").contains("Idempotency-Replayed"));

    for method in [Method::OPTIONS, Method::GET] {
        let answer = ask(method, "https://evil.example").await;
        assert_eq!(header(&answer, "access-control-allow-origin"), "");
        assert_eq!(header(&answer, "vary"), "Origin");
    }
}

#[actix_rt::test]
async fn the_openapi_document_is_whole() {
    let server = start();
    let document: Value = server.get("/openapi.json").await.json().await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no id"));
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(operation["responses"]["default"].is_object());
            for (status, response) in operation["responses"].as_object().unwrap() {
                let told = response["description"].is_string() || response["$ref"].is_string();
                assert!(told, "{status} of {method} {path} has no description");
            }
        }
    }
    assert!(document["paths"]["/v1/hello"]["get"].is_object());
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_eq!(document["components"]["schemas"]["Problem"]["properties"]["code"]["type"], "string");
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    for reference in references {
        assert!(
            document.pointer(reference.strip_prefix('#').unwrap()).is_some(),
            "{reference} leads nowhere"
        );
    }
    let mut choices = Vec::new();
    collect_choices(&document, &mut choices);
    assert_eq!(choices, Vec::<Value>::new(), "one value may be of several kinds: anyOf says so");
    let items = &document["components"]["schemas"]["Listed_ItemView"]["properties"]["items"]["items"];
    assert_eq!(items["anyOf"].as_array().map(Vec::len), Some(2), "{items}");
}

/// Every `oneOf` that doesn't say which one it is; to tell something from nothing it need not.
fn collect_choices(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(members) => {
            let ways = members.get("oneOf").and_then(Value::as_array).into_iter().flatten();
            let kinds = ways.filter(|way| way["type"] != "null").count();
            if kinds > 1 && !members.contains_key("discriminator") {
                found.push(value.clone());
            }
            members.values().for_each(|member| collect_choices(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_choices(item, found)),
        _ => {}
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.push(reference.clone());
            }
            members.values().for_each(|member| collect_references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

#[actix_rt::test]
async fn the_browsable_page_loads_nothing_from_elsewhere() {
    let server = start();
    for path in ["/docs", "/docs/"] {
        let page = server.get(path).await;
        assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
        assert!(header(&page, "content-security-policy").contains("script-src 'self'"));
        let page = page.text().await.unwrap();
        assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("\"//"));
        let assets = page.split(['"']).filter(|text| text.starts_with("/docs/"));
        for asset in assets.collect::<Vec<_>>() {
            assert_eq!(server.get(asset).await.status(), 200, "{asset}");
        }
    }
    let start = server.get("/docs/start.js").await.text().await.unwrap();
    assert!(start.contains("/openapi.json") && !start.contains("://"));
}

#[actix_rt::test]
async fn health_is_told_without_credentials() {
    let server = start();
    for path in ["/healthz", "/readyz", "/health"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "cache-control").as_str()), (200, "no-store"));
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["status"], "ok");
    }
}

#[actix_rt::test]
async fn each_request_has_one_line_in_the_log_and_no_token_in_it() {
    let server = start();
    let ask = async |id: &str, path: &str| {
        let request = server.request(Method::GET, path).header("x-request-id", id);
        request.bearer_auth(TOKEN).send().await.unwrap();
        let lines = logged(id);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(!lines[0].to_string().contains(TOKEN));
        lines[0].clone()
    };
    let line = ask("log-1", "/test/things/acc1?limit=canary").await;
    assert_eq!((line["route"].as_str(), line["status"].as_u64()), (Some("/test/things/{id}"), Some(200)));
    assert_eq!((line["span"]["method"].as_str(), line["level"].as_str()), (Some("GET"), Some("INFO")));
    assert!(line["took_ms"].is_u64() && !line.to_string().contains("canary"));

    assert_eq!(ask("log-2", "/test/mine").await["span"]["user_id"], "ann");
    assert_eq!(ask("log-3", "/nothing").await["code"], "not_found");
    let broken = ask("log-4", "/test/broken").await;
    assert_eq!(
        (broken["level"].as_str(), broken["cause"].as_str()),
        (Some("ERROR"), Some("canary of a cause"))
    );
    let panicked = ask("log-5", "/test/panics").await;
    assert_eq!(
        (panicked["level"].as_str(), panicked["route"].as_str()),
        (Some("ERROR"), Some("/test/panics"))
    );
}
