//! Exchange rates: each day's as a record, so that the last good ones outlive their publisher's
//! outage and a sum can be told with the date of its rates.
//!
//! Who calls it: routes that show amounts in another currency; a schedule fetches. What never
//! happens here: a charge. Whoever pays, pays in the currency of the price.

mod convert;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::cluster::Clock;
use crate::money::{Currency, Money};
use crate::providers::{DailyRates, ExchangeRates, RatesError};
use crate::store::{
    Batch, Collection, CommitError, Entity, Field, Kind, PRIMARY, Query, Store, StoreError, find, load,
};
use crate::time::Timestamp;

/// One record a day; the date is the id.
pub static EXCHANGE_RATES: Collection = Collection {
    name: "exchange_rates",
    fields: &[
        Field::required("date", Kind::Text),
        Field::required("base", Kind::Text),
        Field::required("rates", Kind::Object),
        Field::required("fetchedAt", Kind::Time),
    ],
    indexes: &[],
    words: &[],
    expires: None,
};

/// The rates of one day, as they are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateTable {
    /// `YYYY-MM-DD`.
    date: String,
    base: Currency,
    /// Decimal text by code, as it was published.
    rates: BTreeMap<String, String>,
    fetched_at: Timestamp,
}

impl Entity for RateTable {
    fn collection() -> &'static Collection {
        &EXCHANGE_RATES
    }

    fn id(&self) -> &str {
        &self.date
    }
}

impl RateTable {
    fn of(daily: DailyRates, fetched_at: Timestamp) -> Self {
        let rates = daily.rates.into_iter().map(|(code, rate)| (code, rate.to_string())).collect();
        Self { date: daily.date.to_string(), base: daily.base, rates, fetched_at }
    }

    /// The day that the rates are of, `YYYY-MM-DD`.
    pub fn date(&self) -> &str {
        &self.date
    }

    /// How long ago these rates were fetched.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.fetched_at)
    }

    /// Whether there is a rate for this currency.
    pub fn has(&self, currency: Currency) -> bool {
        self.rate(currency).is_some()
    }

    /// The amount in another currency, rounded to its minor unit, half away from zero; `None` if a
    /// rate is missing or the result is too large for an amount.
    pub fn convert(&self, amount: Money, to: Currency) -> Option<Money> {
        convert::convert(amount, self.rate(amount.currency)?, to, self.rate(to)?)
    }

    /// How much of this currency one unit of the base is.
    fn rate(&self, currency: Currency) -> Option<Decimal> {
        if currency == self.base {
            return Some(Decimal::ONE);
        }
        Decimal::from_str_exact(self.rates.get(currency.code())?).ok().filter(|rate| *rate > Decimal::ZERO)
    }
}

/// Why the rates could not be brought up to date. The last good ones stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// The publisher's fault.
    #[error(transparent)]
    Provider(#[from] RatesError),
    /// They are of a day that has not come.
    #[error("the rates are of {0}, which has not come")]
    Future(Date),
    /// They could not be read or kept.
    #[error("the rates cannot be kept: {0}")]
    Store(String),
}

/// Exchange rates, as they are kept. Cheap to clone.
#[derive(Clone)]
pub struct Rates {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Rates {
    /// The rates in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// The latest rates there are; `None` before the first were fetched.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn latest(&self) -> Result<Option<RateTable>, StoreError> {
        self.before(None).await
    }

    /// The rates of that day or, as there are none at weekends, of the last one before it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn on(&self, date: Date) -> Result<Option<RateTable>, StoreError> {
        // No date's text is between a date and the same with something behind it.
        self.before(Some(format!("{date}~"))).await
    }

    async fn before(&self, until: Option<String>) -> Result<Option<RateTable>, StoreError> {
        let query = Query::by(&EXCHANGE_RATES, PRIMARY).range(None, until.map(Into::into));
        let (found, _) = find::<RateTable>(self.store.as_ref(), query.descending().limit(1)).await?;
        Ok(found.into_iter().next().map(|table| table.value))
    }

    /// Fetches the latest rates and keeps them. Two that do so at once keep the same.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn refresh(&self, provider: &dyn ExchangeRates) -> Result<(), RefreshError> {
        let daily = provider.latest().await?;
        let now = self.clock.now();
        if daily.date > last_day(now) {
            return Err(RefreshError::Future(daily.date));
        }
        let table = RateTable::of(daily, now);
        let failed = |error: &dyn ToString| RefreshError::Store(error.to_string());
        let known = load::<RateTable>(self.store.as_ref(), &table.date).await.map_err(|e| failed(&e))?;
        let version = known.map_or(0, |known| known.version);
        match self.store.commit(Batch::new().put(&table, version)).await {
            // Another replica has just kept the same day's.
            Ok(()) | Err(CommitError::Conflict(_)) => Ok(()),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// The day it is where it is latest: rates may be published there before the day begins in UTC.
fn last_day(now: Timestamp) -> Date {
    let ahead = now.plus(Duration::from_secs(14 * 3600));
    jiff::Timestamp::from_millisecond(ahead.as_millis())
        .map_or(Date::MAX, |at| at.to_zoned(jiff::tz::TimeZone::UTC).date())
}
