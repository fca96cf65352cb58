//! A server on port 0 and a client for it.

use std::io::Write;
use std::rc::Rc;
use std::sync::{Arc, Mutex, Once};

use actix_web::web::ServiceConfig;
use async_trait::async_trait;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use steward::config;
use steward::http::caller::{Authenticate, Authenticator};
use steward::http::{Limiting, Listener};
use steward_actors::session::AuthError;
use steward_actors::session::Principal;

/// The token that [`Recognise`] knows.
pub const TOKEN: &str = "token-of-ann";

/// Knows one token.
pub struct Recognise;

#[async_trait(?Send)]
impl Authenticate for Recognise {
    async fn authenticate(&self, token: &str) -> Result<Principal, AuthError> {
        if token != TOKEN {
            return Err(AuthError::Unauthenticated);
        }
        Ok(Principal {
            user_id: "ann".into(),
            session_id: "s1".into(),
            permissions: ["things:read".to_owned()].into(),
        })
    }
}

/// The settings that the frame is tested with.
pub fn settings() -> config::Http {
    config::Http {
        operations_bind: None,
        bind: "127.0.0.1:0".into(),
        public_url: None,
        cors_origins: vec!["https://app.example".into()],
        trusted_proxies: Vec::new(),
        workers: Some(1),
        max_connections: 100,
        head_seconds: 1,
        body_seconds: 1,
        idle_seconds: 30,
        deadline_seconds: 2,
        drain_seconds: 0,
        shutdown_seconds: 1,
    }
}

/// A running server.
pub struct Server {
    pub url: String,
    client: Client,
    running: Option<steward::http::Server>,
}

impl Server {
    /// Serves the API and what `worker` adds, until this is dropped.
    pub fn start<W>(settings: &config::Http, worker: W) -> Self
    where
        W: Fn(&mut ServiceConfig) + Clone + Send + 'static,
    {
        Self::start_limited(settings, None, worker)
    }

    /// The same, to clients that may ask so often.
    pub fn start_limited<W>(settings: &config::Http, limiting: Option<Arc<Limiting>>, worker: W) -> Self
    where
        W: Fn(&mut ServiceConfig) + Clone + Send + 'static,
    {
        prepare_process();
        let listener = Listener::bind(settings).unwrap().limiting(limiting);
        let url = format!("http://{}", listener.address());
        let running = listener
            .serve(move |config| {
                let authenticator: Authenticator = Rc::new(Recognise);
                config.app_data(authenticator);
                worker(config);
            })
            .unwrap();
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { url, client, running: Some(running) }
    }

    /// The server itself.
    pub fn running(&mut self) -> &mut steward::http::Server {
        self.running.as_mut().expect("it was not taken")
    }

    /// The server itself, to stop it.
    pub fn take(&mut self) -> steward::http::Server {
        self.running.take().expect("it was not taken")
    }

    /// A request to `path`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// The answer to GET `path`.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// The answer to POST `path` with this text as JSON.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        self.request(Method::POST, path)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
    }
}

/// The log lines of the request with this id. The whole test binary logs into memory, so ids are
/// for one test alone.
pub fn logged(request_id: &str) -> Vec<Value> {
    let lines = LOG.lock().unwrap().clone();
    let lines = String::from_utf8(lines).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["span"]["request_id"] == request_id).collect()
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().write(line)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn prepare_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let lines = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false);
        let lines = lines.with_writer(|| Log).finish();
        tracing::subscriber::set_global_default(lines).unwrap();
    });
}

/// A header's text; empty if it is not there.
pub fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// The status and the body of a problem, which must have the form of one.
pub async fn problem(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(header(&response, "content-type"), "application/problem+json");
    let id = header(&response, "x-request-id");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["requestId"], id.as_str());
    assert!(
        body["type"].as_str().unwrap().ends_with(&format!("/problems/{}", body["code"].as_str().unwrap()))
    );
    assert!(body["title"].is_string() && body["instance"].is_string());
    (status, body)
}
