//! What a client may do to a connection, over real sockets: be slow, be honest, be rude.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, ServiceConfig};
use futures_util::stream;
use serde_json::Value;
use steward::config;
use steward::http::json::ValidJson;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{interval, timeout};

use crate::support::{Server, settings};

/// Far longer than any deadline of [`settings`].
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(serde::Deserialize, garde::Validate)]
#[garde(allow_unvalidated)]
#[serde(deny_unknown_fields)]
struct Anything {}

async fn read(_: ValidJson<Anything>) -> HttpResponse {
    HttpResponse::NoContent().finish()
}

/// Lets a stream of the server's go on.
static GO_ON: Notify = Notify::const_new();

async fn streamed() -> HttpResponse {
    let events = stream::unfold(0, async |count| {
        if count > 0 {
            GO_ON.notified().await;
        }
        Some((Ok::<_, std::io::Error>(Bytes::from(format!("data: {count}\n\n"))), count + 1))
    });
    HttpResponse::Ok().content_type("text/event-stream").streaming(Box::pin(events))
}

fn routes(config: &mut ServiceConfig) {
    config
        .route("/test/read", web::post().to(read))
        .route("/test/ignore", web::post().to(async || HttpResponse::NoContent().finish()))
        .route("/test/refuse", web::post().to(async || HttpResponse::Unauthorized().finish()))
        .route("/test/stream", web::get().to(streamed));
}

fn start() -> Server {
    start_with(|_| {})
}

fn start_with(change: impl FnOnce(&mut config::Http)) -> Server {
    let mut settings = settings();
    change(&mut settings);
    Server::start(&settings, routes)
}

/// One connection.
struct Wire(TcpStream);

/// One answer.
#[derive(Debug)]
struct Heard {
    status: u16,
    head: String,
    body: String,
}

impl Heard {
    fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }

    fn problem(&self) -> Value {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Wire {
    async fn to(server: &Server) -> Self {
        Self(TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap())
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn get(&mut self, path: &str) -> Heard {
        self.say(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        self.hear().await
    }

    /// The next whole answer.
    async fn hear(&mut self) -> Heard {
        timeout(PATIENCE, async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await.expect("an answer"));
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            self.0.read_exact(&mut body).await.unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            Heard { status, head, body: String::from_utf8(body).unwrap() }
        })
        .await
        .expect("an answer in time")
    }

    /// Waits until the server has closed.
    async fn ends(&mut self) {
        let mut rest = [0; 4096];
        let closed = async { while !matches!(self.0.read(&mut rest).await, Ok(0) | Err(_)) {} };
        timeout(PATIENCE, closed).await.expect("the server closes");
    }
}

/// Returns when whoever began a head before this call, and has not ended it, has been given up.
async fn heads_are_late(server: &Server) {
    let mut witness = Wire::to(server).await;
    witness.say("GET ").await;
    assert_eq!(witness.hear().await.status, 408);
}

#[actix_rt::test]
async fn a_head_that_comes_slowly_is_given_up_on_the_first_request_and_on_later_ones() {
    let server = start();
    for earlier_requests in [0, 1, 3] {
        let mut wire = Wire::to(&server).await;
        for _ in 0..earlier_requests {
            assert_eq!(wire.get("/v1/hello").await.status, 200);
        }
        wire.say("GET /v1/hello HTTP/1.1\r\nhost: h\r\n").await;
        let (mut reading, mut writing) = wire.0.into_split();
        // Never silent for as long as the deadline, so what counts is the whole.
        let drip = actix_rt::spawn(async move {
            let mut tick = interval(Duration::from_millis(100));
            while writing.write_all(b"x: y\r\n").await.is_ok() {
                tick.tick().await;
            }
        });
        let mut told = Vec::new();
        // What the client still writes meets a closed connection, so its end may be a reset.
        let _ = timeout(PATIENCE, reading.read_to_end(&mut told)).await.expect("it ends");
        drip.await.unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.starts_with("HTTP/1.1 408 "), "{earlier_requests}: {told}");
        assert!(told.contains("\"head_too_slow\""), "{told}");
    }
}

#[actix_rt::test]
async fn a_client_that_says_nothing_is_left_without_a_word() {
    let server = start_with(|settings| settings.idle_seconds = 1);
    let mut silent = Wire::to(&server).await;
    let mut kept = Wire::to(&server).await;
    assert_eq!(kept.get("/v1/hello").await.status, 200);
    for wire in [&mut silent, &mut kept] {
        let mut told = Vec::new();
        timeout(PATIENCE, wire.0.read_to_end(&mut told)).await.expect("it ends").unwrap();
        assert!(told.is_empty());
    }
}

#[actix_rt::test]
async fn an_honest_client_keeps_its_connection_across_pauses_longer_than_a_head_may_take() {
    let server = start();
    let mut wire = Wire::to(&server).await;
    for _ in 0..2 {
        let heard = wire.get("/v1/hello").await;
        assert!(heard.status == 200 && !heard.closes(), "{heard:?}");
        heads_are_late(&server).await;
    }
    for path in ["/test/read", "/test/ignore"] {
        wire.say(&format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        ))
        .await;
        let heard = wire.hear().await;
        assert!(heard.status == 204 && !heard.closes(), "{heard:?}");
    }
    // Two at once, the second in two pieces.
    wire.say("GET /v1/hello HTTP/1.1\r\nhost: h\r\n\r\nGET /v2/hello HTTP/1.1\r\nho").await;
    assert_eq!(wire.hear().await.status, 200);
    wire.say("st: h\r\n\r\n").await;
    assert_eq!(wire.hear().await.status, 200);
}

#[actix_rt::test]
async fn a_body_that_never_ends_is_not_read_on_after_the_answer() {
    let server = start();
    let chunked = "transfer-encoding: chunked";
    let long = "content-length: 100000000";
    for (path, length, status) in [
        ("/test/refuse", chunked, 401),
        ("/test/refuse", long, 401),
        ("/test/ignore", chunked, 204),
        ("/test/read", chunked, 413),
        ("/test/read", long, 413),
        ("/nothing", chunked, 404),
    ] {
        let mut wire = Wire::to(&server).await;
        wire.say(&format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
        ))
        .await;
        let (mut reading, mut writing) = wire.0.into_split();
        let endless = actix_rt::spawn(async move {
            let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
            while writing.write_all(chunk.as_bytes()).await.is_ok() {}
        });
        let mut told = Vec::new();
        let heard = async {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = reading.read(&mut piece).await {
                told.extend_from_slice(&piece[..read]);
            }
        };
        timeout(PATIENCE, heard).await.expect("the server closes");
        timeout(PATIENCE, endless).await.expect("what is written finds nobody").unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {length}: {told}");
        assert!(told.to_lowercase().contains("\r\nconnection: close\r\n"), "{told}");
        assert_eq!(told.matches("HTTP/1.1").count(), 1, "{told}");
    }
}

#[actix_rt::test]
async fn a_body_that_stops_is_given_up_on_later_requests_too() {
    let server = start();
    let mut wire = Wire::to(&server).await;
    assert_eq!(wire.get("/v1/hello").await.status, 200);
    wire.say(
        "POST /test/read HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
    )
    .await;
    let heard = wire.hear().await;
    assert_eq!((heard.status, heard.problem()["code"].as_str()), (408, Some("body_too_slow")));
    assert!(heard.closes());
    wire.ends().await;
}

#[actix_rt::test]
async fn chunks_that_cannot_be_read_are_answered_before_the_connection_closes() {
    let server = start();
    let head = "POST /test/read HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n";
    for chunks in ["zz\r\n", "\r\n", "2\r\n{}zz\r\n", "fffffffffffffffff\r\n"] {
        for handler_waits in [false, true] {
            let mut wire = Wire::to(&server).await;
            if handler_waits {
                wire.say(&format!("{head}expect: 100-continue\r\n\r\n")).await;
                assert_eq!(wire.hear().await.status, 100);
                wire.say(chunks).await;
            } else {
                wire.say(&format!("{head}\r\n{chunks}")).await;
            }
            let heard = wire.hear().await;
            assert_eq!((heard.status, heard.problem()["code"].as_str()), (400, Some("incomplete_body")));
            assert!(heard.closes());
            wire.ends().await;
        }
    }
}

#[actix_rt::test]
async fn slow_clients_leave_room_for_others() {
    let server = start_with(|settings| settings.max_connections = 8);
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut wire = Wire::to(&server).await;
        wire.say("GET /v1/hello HTTP/1.1\r\nhost: h\r\n").await;
        slow.push(wire);
    }
    // Behind them in the queue, and still served: each gives its place up in time.
    let mut honest = Wire::to(&server).await;
    assert_eq!(honest.get("/v1/hello").await.status, 200);
}

#[actix_rt::test]
async fn a_crowded_server_keeps_no_connection_for_later() {
    let server = start_with(|settings| settings.max_connections = 8);
    let mut first = Wire::to(&server).await;
    assert!(!first.get("/v1/hello").await.closes());
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(Wire::to(&server).await);
    }
    let mut last = Wire::to(&server).await;
    assert!(last.get("/v1/hello").await.closes());
    last.ends().await;
}

#[actix_rt::test]
async fn a_stream_stays_open_for_longer_than_any_deadline() {
    let server = start_with(|settings| {
        settings.idle_seconds = 1;
        settings.deadline_seconds = 1;
    });
    let mut wire = Wire::to(&server).await;
    wire.say("GET /test/stream HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut told = String::new();
    for count in 0..3 {
        while !told.contains(&format!("data: {count}")) {
            let mut piece = [0; 1024];
            let read = timeout(PATIENCE, wire.0.read(&mut piece)).await.expect("an event").unwrap();
            assert_ne!(read, 0, "it was closed: {told}");
            told.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        heads_are_late(&server).await;
        GO_ON.notify_one();
    }
}

#[actix_rt::test]
async fn what_is_no_request_is_answered_as_a_problem() {
    let server = start();
    let long = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n", "y".repeat(140_000));
    for (text, status, code) in [
        ("nonsense\r\n\r\n", 400, "malformed_request"),
        ("GET /v1/hello HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400, "malformed_request"),
        (long.as_str(), 431, "head_too_large"),
    ] {
        for earlier_requests in [0, 1] {
            let mut wire = Wire::to(&server).await;
            for _ in 0..earlier_requests {
                assert_eq!(wire.get("/v1/hello").await.status, 200);
            }
            wire.say(text).await;
            let heard = wire.hear().await;
            let problem = heard.problem();
            assert_eq!((heard.status, problem["code"].as_str()), (status, Some(code)), "{heard:?}");
            assert!(heard.closes() && problem["type"].as_str().unwrap().ends_with(code));
            wire.ends().await;
        }
    }
}

#[actix_rt::test]
async fn a_server_that_stops_answers_what_it_let_in_and_refuses_the_rest() {
    let mut server = start();
    let mut kept = Wire::to(&server).await;
    assert!(!kept.get("/v1/hello").await.closes());
    server.running().show_everyone_out();
    assert!(kept.get("/v1/hello").await.closes());
    kept.ends().await;
    // Connected before the end, and asking in it.
    let mut late = Wire::to(&server).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let stopping = actix_rt::spawn(server.take().stop(Duration::from_secs(5)));
    assert!(late.get("/v1/hello").await.closes());
    let refused = async { while TcpStream::connect(&address).await.is_ok() {} };
    timeout(PATIENCE, refused).await.expect("nobody is let in");
    timeout(PATIENCE, stopping).await.expect("it ends").unwrap();
}
