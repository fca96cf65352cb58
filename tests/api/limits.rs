//! Rate limits, on a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use reqwest::{Method, Response};
use steward::config;
use steward::http::Limiting;
use steward::http::caller::Caller;
use steward_actors::limits::MemoryLimits;
use steward_actors::testing::ManualClock;

use crate::support::{Server, TOKEN, header, problem, settings};

fn routes(config: &mut ServiceConfig) {
    config
        .route("/test/mine", web::get().to(async |caller: Caller| caller.user_id.clone()))
        .route("/test/open", web::get().to(async || "open"));
}

/// A server where a user may ask six times a minute and an address three times.
fn start(trusted_proxies: &[&str]) -> (Server, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let counted = Arc::new(MemoryLimits::new(clock.clone(), 1000));
    let limits = config::Limits { enabled: true, user_per_minute: 6, address_per_minute: 3 };
    let trusted_proxies = trusted_proxies.iter().map(|&text| text.to_owned()).collect();
    let settings = config::Http { trusted_proxies, ..settings() };
    (Server::start_limited(&settings, Limiting::new(counted, &limits), routes), clock)
}

async fn ask(server: &Server, path: &str, token: Option<&str>, from: &str) -> Response {
    let request = server.request(Method::GET, path).header("x-forwarded-for", from);
    let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
    request.send().await.unwrap()
}

#[actix_rt::test]
async fn a_user_is_told_what_is_left_and_refused_when_nothing_is() {
    let (server, clock) = start(&[]);
    for left in (0..6).rev() {
        let answer = ask(&server, "/test/mine", Some(TOKEN), "").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "ratelimit-policy"), "\"user\";q=6;w=60");
        assert_eq!(header(&answer, "ratelimit"), format!("\"user\";r={left};t={}", (6 - left) * 10));
    }
    let refused = ask(&server, "/test/mine", Some(TOKEN), "").await;
    assert_eq!(header(&refused, "retry-after"), "10");
    assert_eq!(header(&refused, "ratelimit"), "\"user\";r=0;t=60");
    let (status, body) = problem(refused).await;
    assert_eq!((status, body["code"].as_str()), (429, Some("rate_limited")));
    // Their address is not refused for it, and health is never counted.
    assert_eq!(ask(&server, "/test/open", None, "").await.status(), 200);
    clock.advance(Duration::from_secs(10));
    assert_eq!(ask(&server, "/test/mine", Some(TOKEN), "").await.status(), 200);
    assert_eq!(ask(&server, "/test/mine", Some(TOKEN), "").await.status(), 429);
}

#[actix_rt::test]
async fn whoever_brings_no_good_token_is_counted_by_address() {
    for (path, token) in [
        ("/test/open", None),
        ("/test/mine", None),
        ("/test/mine", Some("guess")),
        ("/nothing", None),
        // Credentials that nobody looks at are no way around.
        ("/test/open", Some("guess")),
        ("/nothing", Some("guess")),
    ] {
        let (server, _) = start(&[]);
        for _ in 0..3 {
            let answer = ask(&server, path, token, "").await;
            assert_ne!(answer.status(), 429, "{path} {token:?}");
            assert_eq!(header(&answer, "ratelimit-policy"), "\"address\";q=3;w=60", "{path} {token:?}");
        }
        let mut statuses = Vec::new();
        for _ in 0..2 {
            statuses.push(ask(&server, path, token, "").await.status().as_u16());
        }
        // What is only counted afterwards is refused from the next one on.
        assert_eq!(statuses[1], 429, "{path} {token:?}");
        for _ in 0..5 {
            let health = server.get("/healthz").await;
            assert!(health.status() == 200 && header(&health, "ratelimit").is_empty());
        }
    }
}

#[actix_rt::test]
async fn addresses_come_from_trusted_proxies_only() {
    let (server, _) = start(&[]);
    for n in 0..4 {
        let answer = ask(&server, "/test/open", None, &format!("203.0.113.{n}")).await;
        assert_eq!(answer.status().as_u16(), if n < 3 { 200 } else { 429 });
    }
    let (server, _) = start(&["127.0.0.0/8"]);
    for n in 0..8 {
        let answer = ask(&server, "/test/open", None, &format!("6.6.6.6, 203.0.113.{n}")).await;
        assert_eq!(answer.status(), 200);
    }
    // Of version 6 a whole network counts as one.
    for n in 0..4 {
        let answer = ask(&server, "/test/open", None, &format!("2001:db8::{n}")).await;
        assert_eq!(answer.status().as_u16(), if n < 3 { 200 } else { 429 });
    }
}
