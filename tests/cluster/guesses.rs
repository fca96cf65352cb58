//! A thousand guesses at one account, spread over three processes and as many addresses.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::support::{Backend, DataDir, Replica};

const PASSWORD: &str = "quite-a-long-passphrase-7";
const GUESSES: usize = 1000;

struct Caller {
    http: reqwest::Client,
    urls: Vec<String>,
}

impl Caller {
    /// Logs in at the n-th replica from an address of its own; the status and the answer. Comes back if
    /// told to, as clients do.
    async fn log_in(&self, n: usize, address: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/v1/users/login", self.urls[n % self.urls.len()]);
        loop {
            let asked = self.http.post(&url).header("X-Forwarded-For", address).json(body);
            let answer = asked.send().await.unwrap();
            if answer.status() != 503 {
                return (answer.status().as_u16(), answer.json().await.unwrap());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_guesses_ten_are_looked_at_and_the_owner_logs_in_meanwhile() {
    let backend = Backend::cluster();
    let data = [DataDir::new(), DataDir::new(), DataDir::new()];
    // So that each guess can come from an address of its own.
    let settings = [("STEWARD__HTTP__TRUSTED_PROXIES", "127.0.0.1")];
    let mut replicas = Vec::new();
    for data in &data {
        replicas.push(Replica::start(&data.path(), &backend, &settings).await);
    }
    let urls = replicas.iter().map(|replica| replica.url.clone()).collect();
    let caller = Caller { http: reqwest::Client::new(), urls };
    let body = json!({"email": "ada@example.com", "username": "ada", "password": PASSWORD});
    let url = format!("{}/v1/users/register", caller.urls[0]);
    let registered = caller.http.post(url).json(&body).send().await.unwrap();
    assert_eq!(registered.status(), 201);
    let device = registered.json::<Value>().await.unwrap()["deviceToken"].clone();

    // Given guesses by address and by username, many at a time, on every replica,
    let guessing = stream::iter(0..GUESSES).map(|n| {
        let name = if n % 2 == 0 { json!({"email": "ADA@example.com"}) } else { json!({"username": "Ada"}) };
        let mut body = name;
        body["password"] = json!(format!("guess number {n}"));
        let caller = &caller;
        async move { caller.log_in(n, &format!("10.{}.{}.1", n / 250, n % 250), &body).await.0 }
    });
    let guessed = async {
        let statuses: Vec<u16> = guessing.buffer_unordered(30).collect().await;
        let mut counted = BTreeMap::new();
        statuses.into_iter().for_each(|status| *counted.entry(status).or_insert(0) += 1);
        counted
    };
    // and the owner, who logs in from her own device all the while,
    let owner = async {
        for n in 0..9 {
            let mut body = json!({"email": "ada@example.com", "password": PASSWORD});
            body["deviceToken"] = device.clone();
            let (status, answer) = caller.log_in(n, "192.0.2.1", &body).await;
            assert_eq!(status, 200, "{answer}");
        }
    };
    let (counted, ()) = tokio::join!(guessed, owner);

    // then ten guesses are looked at by all of them together, and the others cost nothing.
    let looked_at = counted.get(&401).copied().unwrap_or_default();
    assert!((1..=10).contains(&looked_at), "{counted:?}");
    assert_eq!(looked_at + counted.get(&429).copied().unwrap_or_default(), GUESSES, "{counted:?}");
    // A stranger with the right password waits too, on each of them.
    for n in 0..3 {
        let right = json!({"email": "ada@example.com", "password": PASSWORD});
        let (status, answer) = caller.log_in(n, "192.0.2.99", &right).await;
        assert_eq!((status, &answer["code"]), (429, &json!("rate_limited")), "{answer}");
    }
}
