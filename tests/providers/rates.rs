//! The sandbox's exchange rates through the client of the ECB's form, with all of their faults.

use std::time::Duration;

use serde_json::json;
use steward::providers::{EcbRates, Timeouts};
use steward_actors::providers::{ExchangeRates, RatesError};

use crate::support::{World, answering, impatient, nobody, silent};

fn at(url: &str, timeouts: Timeouts) -> EcbRates {
    EcbRates::new(&format!("{url}/ecb/eurofxref-daily.xml"), timeouts).unwrap()
}

#[tokio::test]
async fn a_working_days_rates_come_as_they_were_published() {
    let world = World::new().await;
    let rates = at(world.sandbox.url(), Timeouts::default()).latest().await.unwrap();
    assert_eq!(rates.base.code(), "EUR");
    assert_eq!(rates.rates["USD"].to_string(), "1.0850");
    assert!(rates.rates.len() >= 10 && !rates.rates.contains_key("EUR"));
    assert!(rates.date.weekday().to_monday_one_offset() <= 5, "{}", rates.date);
}

#[tokio::test]
async fn each_fault_becomes_its_honest_error_and_ends() {
    let world = World::new().await;
    let publisher = at(world.sandbox.url(), impatient());
    for (fault, malformed) in [
        ("down", false),
        ("rate-limited", false),
        ("expired", false),
        ("broken-pages", true),
        ("hostile", true),
    ] {
        world.set_faults(json!({"rates": fault})).await;
        match publisher.latest().await {
            Err(RatesError::Malformed(_)) => assert!(malformed, "{fault}"),
            Err(RatesError::Unavailable(_)) => assert!(!malformed, "{fault}"),
            Ok(rates) => panic!("{fault}: {rates:?}"),
        }
    }
    world.set_faults(json!({"rates": "up"})).await;
    publisher.latest().await.unwrap();
}

#[tokio::test]
async fn nobody_silence_and_slowness_are_unavailable() {
    let slow = World::slow(
        std::sync::Arc::new(steward_actors::testing::MemoryStore::default()),
        Duration::from_secs(60),
    )
    .await;
    slow.set_faults(json!({"rates": "slow"})).await;
    for url in [nobody().await, silent().await, slow.sandbox.url().to_owned()] {
        let failed = at(&url, impatient()).latest().await;
        assert!(matches!(failed, Err(RatesError::Unavailable(_))), "{url}: {failed:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let moved =
        answering("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
            .await;
    let refused = at(&moved, impatient()).latest().await;
    assert!(matches!(&refused, Err(RatesError::Unavailable(why)) if why.contains("302")), "{refused:?}");
    for bad in ["ftp://x", "nonsense", ""] {
        assert!(EcbRates::new(bad, Timeouts::default()).is_err(), "{bad}");
    }
}
