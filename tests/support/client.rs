//! A client that speaks real HTTP to a replica.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ADMIN_EMAIL, ADMIN_PASSWORD, eventually};

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    /// The body, if the status is the expected one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }
}

/// A client with, perhaps, a session.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    pub url: String,
    pub token: Option<String>,
    pub user_id: String,
}

impl Client {
    pub fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().expect("a client");
        Self { http, url: url.to_owned(), token: None, user_id: String::new() }
    }

    /// The same session, speaking to another address.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// Sends a request; an error if there was no whole answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        key: Option<&str>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let response = request.send().await?;
        let status = response.status();
        let bytes = response.bytes().await?;
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// Asks again for as long as a part is unavailable for the moment, as clients should: a machine
    /// that stands still for seconds fails no test that is about something else.
    pub async fn get(&self, path: &str) -> Answer {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.send(Method::GET, path, None, None).await.expect("an answer");
            if answer.body["code"] != "unavailable" || Instant::now() > until {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body), None).await.expect("an answer")
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body), None).await.expect("an answer")
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body), None).await.expect("an answer")
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, None).await.expect("an answer")
    }

    pub async fn post_with_key(&self, path: &str, body: Value, key: &str) -> Answer {
        self.send(Method::POST, path, Some(body), Some(key)).await.expect("an answer")
    }

    /// A new user with a session.
    pub async fn register(url: &str) -> Self {
        let mut client = Self::new(url);
        let email = format!("u{}@example.com", uuid::Uuid::new_v4().simple());
        let body = json!({"email": email, "name": "Someone", "password": "quite-a-long-passphrase-7"});
        let login = client.post("/v1/users/register", body).await.expect(201);
        client.take_session(&login);
        client
    }

    /// The first admin, with a session.
    pub async fn admin(url: &str) -> Self {
        Self::log_in(url, ADMIN_EMAIL, ADMIN_PASSWORD).await
    }

    /// A user who is there already, with a new session.
    pub async fn log_in(url: &str, email: &str, password: &str) -> Self {
        let mut client = Self::new(url);
        let body = json!({"email": email, "password": password});
        let login = client.post("/v1/users/login", body).await.expect(200);
        client.take_session(&login);
        client
    }

    fn take_session(&mut self, login: &Value) {
        self.token = Some(login["sessionToken"].as_str().expect("a token").to_owned());
        self.user_id = login["userId"].as_str().expect("a user id").to_owned();
    }

    /// A product with one SKU and so much stock; the SKU.
    pub async fn product(&self, price: f64, stock: i64) -> String {
        self.product_in("USD", price, stock).await
    }

    /// The same in another currency.
    pub async fn product_in(&self, currency: &str, price: f64, stock: i64) -> String {
        let sku = format!("SKU-{}", uuid::Uuid::new_v4().simple());
        let variant = json!({"sku": sku, "name": "One", "price": price, "currency": currency});
        let product = json!({"name": "Thing", "description": "For tests", "variants": [variant]});
        self.post("/v1/products", product).await.expect(201);
        self.adjust(&sku, stock).await;
        sku
    }

    /// Adds to (or takes from) the stock of a SKU.
    pub async fn adjust(&self, sku: &str, delta: i64) {
        let key = uuid::Uuid::new_v4().to_string();
        let body = json!({"delta": delta, "reason": "received"});
        self.post_with_key(&format!("/v1/inventory/{sku}/adjustments"), body, &key).await.expect(201);
    }

    /// One's own order, once it is confirmed.
    pub async fn confirmed(&self, id: &str) -> Value {
        eventually("the order is confirmed", Duration::from_secs(40), async || {
            let order = self.get(&format!("/v1/orders/{id}")).await.expect(200);
            (order["status"] == "confirmed").then_some(order)
        })
        .await
    }
}
