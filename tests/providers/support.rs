//! What the tests share: a sandbox on a free port, and servers that answer as they are told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::Value;
use steward::providers::{Courier, SimpleFinBank, StripePayments, Timeouts};
use steward::sandbox::{Running, Sandbox, SandboxOptions};
use steward_actors::money::{Currency, Money};
use steward_actors::providers::IntentRequest;
use steward_actors::store::Store;
use steward_actors::testing::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const KEY: &str = "sk_test_sandbox";

/// A sandbox over a store that outlives it.
pub struct World {
    pub store: Arc<dyn Store>,
    pub sandbox: Running,
    client: Client,
}

impl World {
    pub async fn new() -> Self {
        Self::over(Arc::new(MemoryStore::default())).await
    }

    pub async fn over(store: Arc<dyn Store>) -> Self {
        Self::slow(store, Duration::ZERO).await
    }

    pub async fn slow(store: Arc<dyn Store>, slow: Duration) -> Self {
        let options = SandboxOptions { slow, ..SandboxOptions::default() };
        let sandbox = Sandbox::start(store.clone(), anywhere(), options).await.unwrap();
        Self { store, sandbox, client: client() }
    }

    /// Stops the sandbox at once and starts another one over the same store, on another port.
    pub async fn restarted(self) -> Self {
        self.sandbox.stop().await;
        Self::over(self.store).await
    }

    pub fn payments(&self) -> StripePayments {
        payments_at(self.sandbox.url(), Timeouts::default())
    }

    pub fn bank(&self) -> SimpleFinBank {
        bank_at(self.sandbox.url(), Timeouts::default())
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.sandbox.url())).bearer_auth(KEY)
    }

    pub async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.sandbox.url())).bearer_auth(KEY);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// The sandbox's own account of an order.
    pub async fn ledger(&self, order_id: &str) -> Value {
        self.get(&format!("/_sandbox/ledger?orderId={order_id}")).await["orders"][0].clone()
    }

    pub async fn set_faults(&self, faults: Value) {
        let response = self.post("/_sandbox/faults").json(&faults).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

/// A client that needs no certificate authorities, as there is no https here.
pub fn client() -> Client {
    Client::builder().tls_certs_only([]).build().unwrap()
}

pub fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub fn payments_at(url: &str, timeouts: Timeouts) -> StripePayments {
    StripePayments::new(url, SecretString::from(KEY), timeouts).unwrap()
}

pub fn bank_at(url: &str, timeouts: Timeouts) -> SimpleFinBank {
    let hosts = ["bridge.simplefin.org".to_owned()];
    SimpleFinBank::new(&hosts, Some(url), timeouts, Courier::free("simplefin")).unwrap()
}

/// A deadline that a server which never answers runs into.
pub fn impatient() -> Timeouts {
    Timeouts { call: Duration::from_secs(1), ..Timeouts::default() }
}

pub fn request(order_id: &str, method: &str) -> IntentRequest {
    IntentRequest {
        key: format!("{order_id}-create"),
        order_id: order_id.to_owned(),
        amount: Money::new(1999, Currency::from_code("USD").unwrap()),
        payment_method: method.to_owned(),
    }
}

pub async fn error(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, response.json::<Value>().await.unwrap()["error"].clone())
}

/// A server that reads each request's head and answers it with these bytes, then hangs up.
pub async fn answering(bytes: impl Into<Vec<u8>>) -> String {
    let bytes = bytes.into();
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
        }
    });
    url
}

/// A server that answers each request with the next of these, and with the last of them from then on.
pub async fn answering_in_turn(answers: Vec<String>) -> String {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for turn in 0_usize.. {
            let (mut socket, _) = listener.accept().await.unwrap();
            take_request(&mut socket).await;
            let _ = socket.write_all(answers[turn.min(answers.len() - 1)].as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    url
}

/// Reads a request to its end.
async fn take_request(socket: &mut TcpStream) {
    let mut request = Vec::new();
    loop {
        let head = request.windows(4).position(|window| window == b"\r\n\r\n");
        let length = head.map_or(usize::MAX, |head| {
            let lines = String::from_utf8_lossy(&request[..head]).to_lowercase();
            let length = lines.lines().find_map(|line| line.strip_prefix("content-length:"));
            head + 4 + length.map_or(0, |length| length.trim().parse::<usize>().unwrap())
        });
        if request.len() >= length || socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// What answers with this JSON, and hangs up.
pub fn good(body: &Value) -> String {
    let body = body.to_string();
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A server that accepts and says nothing.
pub async fn silent() -> String {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut sockets = Vec::new();
        loop {
            sockets.push(listener.accept().await.unwrap());
        }
    });
    format!("http://{address}")
}

/// An address where nobody listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
