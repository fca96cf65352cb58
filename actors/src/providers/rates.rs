//! The port to whoever publishes exchange rates.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::breaker::Breaker;
use crate::money::Currency;

/// Currencies that one day's rates have at most.
pub const MOST_RATES: usize = 200;

/// The reference rates of one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyRates {
    /// The day they are of.
    pub date: Date,
    /// The currency that they are rates of.
    pub base: Currency,
    /// How much of each currency, by its code, one unit of `base` is: positive, without `base`.
    pub rates: BTreeMap<String, Decimal>,
}

/// Why there are no rates. Asking again does no harm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatesError {
    /// Nobody answered in time, or the answer was a refusal.
    #[error("the rates cannot be had: {0}")]
    Unavailable(String),
    /// The answer is too large, or is no list of rates.
    #[error("the rates make no sense: {0}")]
    Malformed(String),
}

/// A publisher of reference rates.
#[async_trait]
pub trait ExchangeRates: Send + Sync + 'static {
    /// The latest rates.
    ///
    /// # Errors
    /// [`RatesError`].
    async fn latest(&self) -> Result<DailyRates, RatesError>;
}

/// A publisher that is left alone for a while when it does not answer, or talks nonsense.
pub struct GuardedRates {
    inner: Arc<dyn ExchangeRates>,
    breaker: Breaker,
}

impl GuardedRates {
    /// `inner` behind `breaker`.
    pub fn new(inner: Arc<dyn ExchangeRates>, breaker: Breaker) -> Self {
        Self { inner, breaker }
    }
}

#[async_trait]
impl ExchangeRates for GuardedRates {
    async fn latest(&self) -> Result<DailyRates, RatesError> {
        let asked = self.breaker.guard(self.inner.latest(), Result::is_ok).await;
        asked.unwrap_or_else(|_| {
            Err(RatesError::Unavailable(format!("{} did not answer several times", self.breaker.name())))
        })
    }
}
