//! The sandbox: a payment provider (Stripe's API), a bank (SimpleFIN's and Plaid's), a publisher of
//! exchange rates (the ECB's form) and one who knows addresses (OpenCage's API) that are not real,
//! served over real HTTP on a port of their own, so that Steward works out of the box and its tests
//! talk to something that fails as the real ones do.
//!
//! Who calls it: the composition root starts it; from then on only HTTP requests reach it, also
//! those of this process. Its state lies in a store of its own, is durable before it answers, and
//! is shared by all replicas that share that store: a witness that can be asked after a crash.
//! What never happens here: a call into the rest of Steward, a real card or bank.

mod answer;
mod bank;
mod control;
mod geocoding;
mod payments;
mod rates;
mod webhooks;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use secrecy::SecretString;
use steward_actors::cluster::StoreClock;
use steward_actors::store::{Collection, Store, StoreError};
use steward_actors::time::Timestamp;

/// Everything that the sandbox keeps. Whoever opens its store opens it with these.
pub static SCHEMA: &[&Collection] = &[
    &payments::INTENTS,
    &payments::REFUNDS,
    &payments::KEPT_ANSWERS,
    &bank::SETUP_TOKENS,
    &bank::ACCESSES,
    &bank::LEDGERS,
    &bank::POSTINGS,
    &bank::plaid::PUBLIC_TOKENS,
    &bank::plaid::ITEMS,
    &bank::plaid::WEBHOOK_KEYS,
    &control::SWITCHES,
];

/// Bytes of a request's body that are read.
const MAX_REQUEST: usize = 64 * 1024;

/// How the sandbox behaves.
#[derive(Clone, Copy, Debug)]
pub struct SandboxOptions {
    /// How late `pm_card_slow` and `sandbox-slow` answer.
    pub slow: Duration,
    /// What `Retry-After` says to a client that is limited; whole seconds.
    pub retry_after: Duration,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self { slow: Duration::from_secs(2), retry_after: Duration::from_secs(30) }
    }
}

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address is taken, or not ours.
    #[error("the sandbox cannot listen on {address}: {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Its store does not answer.
    #[error("the sandbox's store does not answer: {0}")]
    Store(#[from] StoreError),
}

/// Starts sandboxes.
pub struct Sandbox;

/// What all of the sandbox's handlers share.
struct World {
    store: Arc<dyn Store>,
    clock: Arc<StoreClock>,
    webhooks: webhooks::Webhooks,
    /// What signs webhooks of the bank.
    signing: bank::plaid::Signing,
    options: SandboxOptions,
    /// Idempotency keys whose first call is still running in this process.
    in_flight: Mutex<HashSet<String>>,
}

/// A sandbox that serves. Dropping this does not stop it.
pub struct Running {
    url: String,
    handle: ServerHandle,
    webhooks: webhooks::Webhooks,
    signing: bank::plaid::Signing,
}

impl Sandbox {
    /// Serves a sandbox over `store`, which holds [`SCHEMA`], at `bind`; port 0 picks a free one.
    /// It has a worker thread of its own. Call this inside an actix system or a tokio runtime,
    /// which must outlive it.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub async fn start(
        store: Arc<dyn Store>,
        bind: SocketAddr,
        options: SandboxOptions,
    ) -> Result<Running, SandboxError> {
        let failed = |source| SandboxError::Bind { address: bind, source };
        let clock = Arc::new(StoreClock::start(&*store).await?);
        let secret = control::webhook_secret(&*store).await?;
        let signing = bank::plaid::Signing::load(&*store).await?;
        let webhooks = webhooks::Webhooks::new(secret, signing.clone(), clock.clone());
        let (sender, signs) = (webhooks.clone(), signing.clone());
        let world =
            web::Data::new(World { store, clock, webhooks, signing, options, in_flight: Mutex::default() });
        let server = HttpServer::new(move || {
            App::new()
                .app_data(world.clone())
                .app_data(web::PayloadConfig::new(MAX_REQUEST))
                .app_data(web::JsonConfig::default().limit(MAX_REQUEST))
                .configure(payments::routes)
                .configure(bank::routes)
                .configure(rates::routes)
                .configure(geocoding::routes)
                .configure(bank::plaid::routes)
                .configure(bank::plaid::control)
                .configure(control::routes)
        })
        .workers(1)
        .disable_signals()
        .bind(bind)
        .map_err(failed)?;
        let address = server.addrs().first().copied().unwrap_or(bind);
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Ok(Running { url: format!("http://{address}"), handle, webhooks: sender, signing: signs })
    }
}

impl Running {
    /// Where it is: `http://host:port`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What its webhooks are signed with: made once, and kept with its state.
    pub fn webhook_secret(&self) -> &SecretString {
        self.webhooks.secret()
    }

    /// From now on every change to an intent is told there; what is new at the bank, at the same
    /// address with `plaid` in place of `stripe` at its end.
    pub fn send_webhooks_to(&self, url: String) {
        self.webhooks.send_to(url);
    }

    /// What `Plaid-Verification` says of a webhook's body, signed as the bank does at `now`.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn sign_bank_webhook(&self, body: &[u8], now: Timestamp) -> Result<String, String> {
        self.signing.sign(body, now)
    }

    /// Stops at once: open connections break. What was answered is in the store.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_no_mistakes() {
        for collection in SCHEMA {
            assert!(collection.mistakes().is_empty(), "{:?}", collection.mistakes());
        }
    }
}
