//! Webhooks as Stripe and Plaid send them: signed, again until they are taken, and if it is told to several
//! times and in any order. Kept in memory: the real ones, too, are no promise.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Client;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_actors::cluster::{Clock, StoreClock};
use steward_actors::ids::new_id;
use steward_actors::supervision::lock;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::bank::plaid::Signing;
use crate::providers::stripe_webhook::sign;

/// How often one is sent until somebody takes it.
const ATTEMPTS: u32 = 8;
/// The pause after the first attempt; doubled each time.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an attempt may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Webhooks under way at once; more are dropped.
const MOST: usize = 2000;
/// Attempts under way at once.
const AT_ONCE: usize = 32;

/// How they are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sending {
    /// Once taken, not again.
    #[default]
    Up,
    /// Not at all.
    Down,
    /// One to three times each, in any order.
    Shuffled,
}

/// In whose form one is sent.
#[derive(Clone, Copy)]
enum By {
    Stripe,
    Plaid,
}

/// Sends them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Webhooks {
    inner: Arc<Inner>,
}

struct Inner {
    secret: SecretString,
    signing: Signing,
    clock: Arc<StoreClock>,
    client: Client,
    target: Mutex<Option<String>>,
    under_way: Arc<Semaphore>,
    attempts: Semaphore,
}

impl Webhooks {
    pub(super) fn new(secret: SecretString, signing: Signing, clock: Arc<StoreClock>) -> Self {
        // Plain http to this machine or the next; https needs no authority that it could not have.
        let client = Client::builder().timeout(DEADLINE).no_proxy().tls_certs_only([]).build();
        let inner = Inner {
            secret,
            signing,
            clock,
            client: client.unwrap_or_default(),
            target: Mutex::new(None),
            under_way: Arc::new(Semaphore::new(MOST)),
            attempts: Semaphore::new(AT_ONCE),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn secret(&self) -> &SecretString {
        &self.inner.secret
    }

    pub(super) fn target(&self) -> Option<String> {
        lock(&self.inner.target).clone()
    }

    pub(super) fn send_to(&self, url: String) {
        *lock(&self.inner.target) = Some(url);
    }

    /// Sends an event about `object`, in the background.
    pub(super) fn send(&self, kind: &'static str, object: Value, sending: Sending) {
        let Some(target) = self.target().filter(|_| sending != Sending::Down) else { return };
        let now = self.inner.clock.now();
        let event = json!({
            "id": format!("evt_{}", new_id().replace('-', "")),
            "object": "event",
            "created": now.as_millis().div_euclid(1000),
            "livemode": false,
            "type": kind,
            "data": {"object": object},
        });
        self.send_body(target, event.to_string(), By::Stripe, sending);
    }

    /// Sends what is new at the bank, in the background.
    pub(super) fn send_of_bank(&self, body: String, sending: Sending) {
        let target = self.target().filter(|_| sending != Sending::Down);
        let target = target.and_then(|url| Some(format!("{}plaid", url.strip_suffix("stripe")?)));
        if let Some(target) = target {
            self.send_body(target, body, By::Plaid, sending);
        }
    }

    fn send_body(&self, target: String, body: String, by: By, sending: Sending) {
        let (copies, latest) = match sending {
            Sending::Shuffled => (fastrand::u32(1..=3), Duration::from_millis(500)),
            _ => (1, Duration::ZERO),
        };
        for _ in 0..copies {
            let Ok(place) = self.inner.under_way.clone().try_acquire_owned() else { return };
            let (inner, target, body) = (self.inner.clone(), target.clone(), body.clone());
            tokio::spawn(async move {
                sleep(latest.mul_f64(fastrand::f64())).await;
                inner.deliver(&target, &body, by).await;
                drop(place);
            });
        }
    }
}

impl Inner {
    async fn deliver(&self, target: &str, body: &str, by: By) {
        for attempt in 0..ATTEMPTS {
            let Ok(turn) = self.attempts.acquire().await else { return };
            let now = self.clock.now();
            let (header, signature) = match by {
                By::Stripe => ("Stripe-Signature", sign(&self.secret, body.as_bytes(), now)),
                By::Plaid => {
                    ("Plaid-Verification", self.signing.sign(body.as_bytes(), now).unwrap_or_default())
                }
            };
            let sent = self
                .client
                .post(target)
                .header("Content-Type", "application/json; charset=utf-8")
                .header(header, signature)
                .body(body.to_owned())
                .send()
                .await;
            if sent.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            drop(turn);
            sleep((PAUSE * 2u32.pow(attempt)).mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }
}
