//! The port to whoever knows which addresses there are.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::breaker::Breaker;

/// A place that post can be sent to; nobody's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostalAddress {
    /// Street and number, or what stands for them.
    pub street: String,
    /// The place's name.
    pub city: String,
    /// State, province or the like.
    pub region: Option<String>,
    /// The postal code.
    pub postal_code: String,
    /// ISO 3166-1 alpha-2, in capitals.
    pub country: String,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Something there, be it only the town.
    Known,
    /// Nothing in that country is called anything like that.
    Unknown,
}

/// Why nothing can be said of an address. Asking again does no harm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeocodingError {
    /// Nobody answered in time, or the answer was a failure.
    #[error("addresses cannot be looked up: {0}")]
    Unavailable(String),
    /// We have asked too often, or more than was paid for.
    #[error("no more addresses are looked up for us: {reason}")]
    Spent {
        /// What the provider said.
        reason: String,
        /// When to ask again, if the provider told.
        retry_after: Option<Duration>,
    },
    /// The provider takes the question for none. The next one may do.
    #[error("the question was refused: {0}")]
    Refused(String),
    /// The answer is too large, or makes no sense.
    #[error("the answer makes no sense: {0}")]
    Malformed(String),
}

/// Somebody who knows addresses.
#[async_trait]
pub trait Geocoding: Send + Sync + 'static {
    /// What is known of this address.
    ///
    /// # Errors
    /// [`GeocodingError`].
    async fn look_up(&self, address: &PostalAddress) -> Result<Finding, GeocodingError>;
}

/// A provider that is left alone for a while when it does not answer, or is not paid any more.
pub struct GuardedGeocoding {
    inner: Arc<dyn Geocoding>,
    breaker: Breaker,
}

impl GuardedGeocoding {
    /// `inner` behind `breaker`.
    pub fn new(inner: Arc<dyn Geocoding>, breaker: Breaker) -> Self {
        Self { inner, breaker }
    }
}

#[async_trait]
impl Geocoding for GuardedGeocoding {
    async fn look_up(&self, address: &PostalAddress) -> Result<Finding, GeocodingError> {
        // What somebody writes into an address must not shut the provider off for everybody.
        let answered = |outcome: &Result<_, _>| matches!(outcome, Ok(_) | Err(GeocodingError::Refused(_)));
        self.breaker.guard(self.inner.look_up(address), answered).await.unwrap_or_else(|_| {
            Err(GeocodingError::Unavailable(format!("{} failed several times", self.breaker.name())))
        })
    }
}
