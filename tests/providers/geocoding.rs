//! The sandbox's addresses through the client of OpenCage's form, with all of their faults.

use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::json;
use steward::providers::{OpenCage, Timeouts};
use steward_actors::providers::{Finding, Geocoding, GeocodingError, PostalAddress};
use steward_actors::testing::MemoryStore;

use crate::support::{World, answering, impatient, nobody, silent};

fn at(url: &str, key: &str, timeouts: Timeouts) -> OpenCage {
    OpenCage::new(&format!("{url}/geocode/v1/json"), SecretString::from(key), timeouts).unwrap()
}

fn street(street: &str) -> PostalAddress {
    PostalAddress {
        street: street.to_owned(),
        city: "Weimar".to_owned(),
        region: Some("Thüringen & more".to_owned()),
        postal_code: "99423".to_owned(),
        country: "DE".to_owned(),
    }
}

#[tokio::test]
async fn an_address_is_known_or_not() {
    let world = World::new().await;
    let provider = at(world.sandbox.url(), "key", Timeouts::default());
    assert_eq!(provider.look_up(&street("Frauenplan 1")).await, Ok(Finding::Known));
    assert_eq!(provider.look_up(&street("Nowhere Lane 9")).await, Ok(Finding::Unknown));
    let keyless = at(world.sandbox.url(), "", Timeouts::default()).look_up(&street("Frauenplan 1")).await;
    assert!(matches!(keyless, Err(GeocodingError::Unavailable(why)) if why.contains("401")));
}

#[tokio::test]
async fn each_fault_becomes_its_honest_error_and_ends() {
    let world = World::new().await;
    let provider = at(world.sandbox.url(), "canary", impatient());
    for fault in ["quota-spent", "rate-limited", "garbage", "endless", "down"] {
        world.set_faults(json!({"geocoding": fault})).await;
        let begun = Instant::now();
        let failed = provider.look_up(&street("Nowhere Lane 9")).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(20), "{fault} took {:?}", begun.elapsed());
        let expected = match fault {
            "quota-spent" => matches!(failed, GeocodingError::Spent { retry_after: None, .. }),
            "rate-limited" => matches!(failed, GeocodingError::Spent { retry_after: Some(_), .. }),
            "down" => matches!(failed, GeocodingError::Unavailable(_)),
            _ => matches!(failed, GeocodingError::Malformed(_)),
        };
        assert!(expected, "{fault}: {failed:?}");
    }
    world.set_faults(json!({"geocoding": "up"})).await;
    assert_eq!(provider.look_up(&street("Nowhere Lane 9")).await, Ok(Finding::Unknown));
}

#[tokio::test]
async fn nobody_silence_and_slowness_are_unavailable_and_errors_show_neither_key_nor_address() {
    let slow = World::slow(Arc::new(MemoryStore::default()), Duration::from_secs(60)).await;
    slow.set_faults(json!({"geocoding": "slow"})).await;
    for url in [nobody().await, silent().await, slow.sandbox.url().to_owned()] {
        let failed = at(&url, "canary", impatient()).look_up(&street("Frauenplan 1")).await.unwrap_err();
        assert!(matches!(failed, GeocodingError::Unavailable(_)), "{url}: {failed:?}");
        let shown = format!("{failed} {failed:?}");
        assert!(!shown.contains("canary") && !shown.contains("Frauenplan"), "{shown}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_an_odd_question_is_refused() {
    let head = |status: &str| {
        format!("HTTP/1.1 {status}\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
    };
    let moved = answering(head("302 Found")).await;
    let failed = at(&moved, "key", impatient()).look_up(&street("Frauenplan 1")).await;
    assert!(matches!(failed, Err(GeocodingError::Unavailable(why)) if why.contains("302")));
    let picky = answering(head("400 Bad Request")).await;
    let failed = at(&picky, "key", impatient()).look_up(&street("Frauenplan 1")).await;
    assert!(matches!(failed, Err(GeocodingError::Refused(_))));
}
