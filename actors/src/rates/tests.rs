//! Rates that are fetched, kept and used.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use proptest::prelude::*;

use super::*;
use crate::providers::{Breaker, BreakerOptions, GuardedRates};
use crate::supervision::lock;
use crate::testing::{CommitFault, ManualClock, MemoryStore};

/// A publisher that says what a test wants, in turn.
#[derive(Default)]
struct Publisher(Mutex<VecDeque<Result<DailyRates, RatesError>>>);

impl Publisher {
    fn says(&self, said: Result<DailyRates, RatesError>) {
        lock(&self.0).push_back(said);
    }
}

#[async_trait]
impl ExchangeRates for Publisher {
    async fn latest(&self) -> Result<DailyRates, RatesError> {
        lock(&self.0).pop_front().unwrap_or_else(|| Err(RatesError::Unavailable("down".to_owned())))
    }
}

fn currency(code: &str) -> Currency {
    Currency::from_code(code).unwrap()
}

fn daily(date: &str, usd: &str) -> DailyRates {
    let rate = |code: &str, rate: &str| (code.to_owned(), Decimal::from_str_exact(rate).unwrap());
    let rates = BTreeMap::from([rate("USD", usd), rate("JPY", "163.21"), rate("KWD", "0.3234")]);
    DailyRates { date: date.parse().unwrap(), base: currency("EUR"), rates }
}

fn world() -> (Arc<ManualClock>, Arc<MemoryStore>, Rates) {
    let clock = Arc::new(ManualClock::default());
    let at: jiff::Timestamp = "2026-11-20T15:00:00Z".parse().unwrap();
    let now = clock.now();
    clock.advance(Timestamp::from_millis(at.as_millisecond()).since(now));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    (clock.clone(), store.clone(), Rates::new(store, clock))
}

#[test]
fn the_collection_is_declared_without_mistakes() {
    assert_eq!(EXCHANGE_RATES.mistakes(), Vec::<String>::new());
}

#[actix_rt::test]
async fn the_last_good_rates_outlive_an_outage_and_tell_their_age() {
    let (clock, _, rates) = world();
    let publisher = Publisher::default();
    assert_eq!(rates.latest().await, Ok(None));
    publisher.says(Ok(daily("2026-11-19", "1.05")));
    publisher.says(Ok(daily("2026-11-20", "1.10")));
    rates.refresh(&publisher).await.unwrap();
    rates.refresh(&publisher).await.unwrap();
    clock.advance(Duration::from_secs(3 * 24 * 3600));
    assert!(matches!(rates.refresh(&publisher).await, Err(RefreshError::Provider(_))));
    let latest = rates.latest().await.unwrap().unwrap();
    assert_eq!(latest.date(), "2026-11-20");
    assert_eq!(latest.age(clock.now()), Duration::from_secs(3 * 24 * 3600));
    let eur = Money::new(1000, currency("EUR"));
    assert_eq!(latest.convert(eur, currency("USD")), Some(Money::new(1100, currency("USD"))));
    // A weekend has the rates of its Friday, a day before all has none.
    for (day, expected) in
        [("2026-11-22", Some("2026-11-20")), ("2026-11-19", Some("2026-11-19")), ("2026-11-18", None)]
    {
        let found = rates.on(day.parse().unwrap()).await.unwrap();
        assert_eq!(found.as_ref().map(RateTable::date), expected, "{day}");
    }
}

#[actix_rt::test]
async fn a_publisher_that_fails_again_and_again_is_left_alone_for_a_while() {
    let (clock, _, rates) = world();
    let publisher = Arc::new(Publisher::default());
    let options = BreakerOptions { failures: 2, ..BreakerOptions::default() };
    let guarded = GuardedRates::new(publisher.clone(), Breaker::new("ecb", options, clock.clone()));
    for _ in 0..2 {
        publisher.says(Err(RatesError::Malformed("<html>".to_owned())));
        assert!(matches!(rates.refresh(&guarded).await, Err(RefreshError::Provider(_))));
    }
    publisher.says(Ok(daily("2026-11-20", "1.05")));
    assert!(matches!(rates.refresh(&guarded).await, Err(RefreshError::Provider(RatesError::Unavailable(_)))));
    assert_eq!(rates.latest().await, Ok(None));
    clock.advance(options.longest);
    rates.refresh(&guarded).await.unwrap();
    assert!(rates.latest().await.unwrap().is_some());
}

#[actix_rt::test]
async fn rates_of_a_day_that_has_not_come_are_refused() {
    let (_, _, rates) = world();
    let publisher = Publisher::default();
    publisher.says(Ok(daily("2999-12-31", "1.05")));
    assert!(matches!(rates.refresh(&publisher).await, Err(RefreshError::Future(_))));
    assert_eq!(rates.latest().await, Ok(None));
}

#[actix_rt::test]
async fn the_same_day_again_is_kept_anew_and_a_lost_answer_is_no_success() {
    let (_, store, rates) = world();
    let publisher = Publisher::default();
    publisher.says(Ok(daily("2026-11-20", "1.05")));
    publisher.says(Ok(daily("2026-11-20", "1.06")));
    store.fail_commits([CommitFault::LostBefore]);
    assert!(matches!(rates.refresh(&publisher).await, Err(RefreshError::Store(_))));
    rates.refresh(&publisher).await.unwrap();
    let one = Money::new(100, currency("EUR"));
    let latest = rates.latest().await.unwrap().unwrap();
    assert_eq!(latest.convert(one, currency("USD")), Some(Money::new(106, currency("USD"))));
}

fn table(rates: &[(&str, &str)]) -> RateTable {
    let rates = rates.iter().map(|(code, rate)| ((*code).to_owned(), (*rate).to_owned())).collect();
    let (date, fetched_at) = ("2026-11-20".to_owned(), Timestamp::from_millis(0));
    RateTable { date, base: currency("EUR"), rates, fetched_at }
}

#[test]
fn amounts_are_rounded_once_half_away_from_zero() {
    let table = table(&[("USD", "1.125"), ("JPY", "160"), ("KWD", "0.5"), ("GBP", "0"), ("CHF", "junk")]);
    for (minor, from, to, expected) in [
        (100, "EUR", "USD", Some(113)),
        (-100, "EUR", "USD", Some(-113)),
        (100, "EUR", "JPY", Some(160)),
        (1, "JPY", "EUR", Some(1)),
        (100, "USD", "KWD", Some(444)),
        (100, "USD", "USD", Some(100)),
        (100, "EUR", "PLN", None),
        (100, "EUR", "GBP", None),
        (100, "CHF", "EUR", None),
        (999_999_999_999_999, "EUR", "JPY", None),
    ] {
        let found = table.convert(Money::new(minor, currency(from)), currency(to));
        assert_eq!(found, expected.map(|minor| Money::new(minor, currency(to))), "{minor} {from} in {to}");
    }
}

proptest! {
    /// Against exact fractions: with rates `a` and `b` in millionths, `minor × b / a`, moved by the
    /// currencies' exponents.
    #[test]
    fn a_converted_amount_is_within_half_a_minor_unit_of_the_exact_one(
        minor in -10_i64.pow(12)..10_i64.pow(12),
        a in 1_000_i64..1_000_000_000,
        b in 1_000_i64..1_000_000_000,
        codes in prop::sample::select(vec![("USD", "JPY"), ("JPY", "KWD"), ("USD", "GBP"), ("KWD", "USD")]),
    ) {
        let text = |millionths: i64| Decimal::new(millionths, 6).to_string();
        let (from, to) = (currency(codes.0), currency(codes.1));
        let table = table(&[(codes.0, &text(a)), (codes.1, &text(b))]);
        let (up, down) = (10_i128.pow(to.exponent()), 10_i128.pow(from.exponent()));
        let (exact, by) = (i128::from(minor) * i128::from(b) * up, i128::from(a) * down);
        match table.convert(Money::new(minor, from), to) {
            Some(found) => {
                let off = (i128::from(found.minor) * by - exact).abs();
                prop_assert!(off * 2 <= by, "{found} is {off}/{by} off");
                let negated = table.convert(Money::new(-minor, from), to);
                prop_assert_eq!(negated.map(|negated| negated.minor), Some(-found.minor));
            }
            None => prop_assert!((exact / by).abs() >= 10_i128.pow(14)),
        }
    }
}
