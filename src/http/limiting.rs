//! Rate limits at the edge, in the form of
//! [draft-ietf-httpapi-ratelimit-headers-10](https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10).
//!
//! A request is counted once: for its user when it has a good token, for its address otherwise. An
//! address that was refused is refused before anything is looked up for it, whatever it sends.
//! Called by the frame and by [`super::caller`]. Health and metrics are not counted.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use steward_actors::limits::{Decision, Limits, Quota};
use steward_actors::supervision::lock;
use tokio::time::Instant;

use super::problem::Problem;
use crate::config;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const UNCOUNTED: [&str; 4] = ["/healthz", "/readyz", "/health", "/metrics"];
const WINDOW: Duration = Duration::from_secs(60);
/// Refused addresses that are remembered.
const MOST_REFUSED: usize = 10_000;

/// How often users and addresses may ask.
pub struct Limiting {
    limits: Arc<dyn Limits>,
    user: Quota,
    address: Quota,
    /// Until when.
    refused: Mutex<HashMap<String, Instant>>,
}

impl std::fmt::Debug for Limiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiting")
            .field("user", &self.user)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Limiting {
    /// Counts with `limits`; none if the settings say so.
    pub fn new(limits: Arc<dyn Limits>, settings: &config::Limits) -> Option<Arc<Self>> {
        settings.enabled.then(|| {
            Arc::new(Self {
                limits,
                user: Quota::new("user", settings.user_per_minute, WINDOW),
                address: Quota::new("address", settings.address_per_minute, WINDOW),
                refused: Mutex::default(),
            })
        })
    }

    /// How long this address is refused still.
    fn refused_for(&self, address: &str) -> Option<Duration> {
        let until = *lock(&self.refused).get(address)?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    fn remember(&self, address: &str, span: Duration) {
        let now = Instant::now();
        let mut refused = lock(&self.refused);
        if refused.len() >= MOST_REFUSED {
            refused.retain(|_, until| *until > now);
        }
        if refused.len() < MOST_REFUSED {
            refused.insert(address.to_owned(), now + span);
        }
    }
}

/// What one request is counted on.
#[derive(Debug)]
pub(super) struct Count {
    limiting: Arc<Limiting>,
    address: String,
    counted: Cell<Option<(Quota, Decision)>>,
}

impl Count {
    /// Begins with a request of `path`; none if it is not counted.
    pub(super) fn of(limiting: Option<&Arc<Limiting>>, address: Option<IpAddr>, path: &str) -> Option<Self> {
        if UNCOUNTED.contains(&path.trim_end_matches('/')) {
            return None;
        }
        Some(Self { limiting: limiting?.clone(), address: key(address?), counted: Cell::new(None) })
    }

    /// Before anything is done for the request. `anonymous`: it brings no credentials.
    ///
    /// # Errors
    /// 429.
    pub(super) async fn begin(&self, anonymous: bool) -> Result<(), Problem> {
        if let Some(left) = self.limiting.refused_for(&self.address) {
            let quota = self.limiting.address;
            let decision = Decision { allowed: false, remaining: 0, reset: left, retry_after: left };
            self.counted.set(Some((quota, decision)));
            return Err(Problem::too_many(left));
        }
        if anonymous { self.on_address().await } else { Ok(()) }
    }

    /// The caller is this user.
    ///
    /// # Errors
    /// 429.
    pub(super) async fn on_user(&self, user_id: &str) -> Result<(), Problem> {
        if self.counted.get().is_some() {
            return Ok(());
        }
        self.take(self.limiting.user, user_id).await
    }

    /// The caller is nobody that is known.
    ///
    /// # Errors
    /// 429.
    pub(super) async fn on_address(&self) -> Result<(), Problem> {
        if self.counted.get().is_some() {
            return Ok(());
        }
        let taken = self.take(self.limiting.address, &self.address).await;
        if let (Err(_), Some((_, decision))) = (&taken, self.counted.get()) {
            self.limiting.remember(&self.address, decision.retry_after);
        }
        taken
    }

    async fn take(&self, quota: Quota, key: &str) -> Result<(), Problem> {
        let decision = self.limiting.limits.take(&quota, key).await;
        self.counted.set(Some((quota, decision)));
        if decision.allowed { Ok(()) } else { Err(Problem::too_many(decision.retry_after)) }
    }

    /// Says what is left.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        let Some((quota, decision)) = self.counted.get() else { return };
        let seconds = |span: Duration| span.as_secs() + u64::from(span.subsec_nanos() > 0);
        let (name, window) = (quota.name(), seconds(Duration::from_micros(quota.window_micros())));
        let policy = format!("\"{name}\";q={};w={window}", quota.uses());
        let state = format!("\"{name}\";r={};t={}", decision.remaining, seconds(decision.reset));
        for (header, text) in [(POLICY, policy), (STATE, state)] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(header, value);
            }
        }
    }
}

/// What an address is counted by: who has one of version 6 has 2^64 of them.
fn key(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).to_string(),
    }
}
