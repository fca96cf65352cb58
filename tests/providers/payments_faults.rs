//! Payments that go wrong: lost replies, breakdowns, silence. What the client says must be true.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use steward_actors::providers::{IntentStatus, PaymentError, Payments};
use steward_actors::testing::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{KEY, World, answering, error, impatient, nobody, payments_at, request, silent};
use steward::providers::{StripePayments, Timeouts};

#[tokio::test]
async fn a_lost_reply_is_an_unknown_outcome_and_the_same_key_counts_once() {
    let world = World::new().await;
    let payments = world.payments();
    let intent = payments.create(&request("o1", "pm_card_lost_reply")).await.unwrap();
    for (step, status) in [("confirm", IntentStatus::Authorized), ("capture", IntentStatus::Captured)] {
        let call = async || match step {
            "confirm" => payments.confirm(&intent.id, step).await,
            _ => payments.capture(&intent.id, step).await,
        };
        let lost = call().await;
        assert!(matches!(lost, Err(PaymentError::OutcomeUnknown(_))), "{step}: {lost:?}");
        assert_eq!(payments.look_up(&intent.id).await.unwrap().status, status);
        assert_eq!(call().await.unwrap().status, status);
    }
    let ledger = world.ledger("o1").await;
    assert_eq!((&ledger["authorizations"], &ledger["captures"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_lost_reply_leaves_not_one_byte() {
    let world = World::new().await;
    let intent = world.payments().create(&request("o1", "pm_card_lost_reply")).await.unwrap();
    let host = world.sandbox.url().strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /v1/payment_intents/{}/confirm HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Length: 0\r\n\r\n",
        intent.id
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    assert_eq!(world.ledger("o1").await["authorizations"], 1);
}

#[tokio::test]
async fn a_flaky_card_fails_twice_at_each_step_without_effect_and_then_works_with_the_same_key() {
    let world = World::new().await;
    let payments = world.payments();
    let intent = payments.create(&request("o1", "pm_card_flaky")).await.unwrap();
    for _ in 0..2 {
        let failed = payments.confirm(&intent.id, "c").await;
        assert!(matches!(failed, Err(PaymentError::OutcomeUnknown(_))), "{failed:?}");
        assert_eq!(world.ledger("o1").await["authorizations"], 0);
    }
    assert_eq!(payments.confirm(&intent.id, "c").await.unwrap().status, IntentStatus::Authorized);
    for _ in 0..2 {
        assert!(payments.capture(&intent.id, "t").await.is_err());
    }
    assert_eq!(payments.capture(&intent.id, "t").await.unwrap().status, IntentStatus::Captured);
    assert_eq!(world.ledger("o1").await["captures"], 1);
}

#[tokio::test]
async fn a_slow_card_is_answered_late_but_well() {
    let world = World::slow(Arc::new(MemoryStore::default()), Duration::from_millis(50)).await;
    let payments = world.payments();
    let intent = payments.create(&request("o1", "pm_card_slow")).await.unwrap();
    let before = tokio::time::Instant::now();
    assert_eq!(payments.confirm(&intent.id, "c").await.unwrap().status, IntentStatus::Authorized);
    assert!(before.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_card_slower_than_the_deadline_is_an_unknown_outcome_and_its_key_is_in_use_meanwhile() {
    let world = World::slow(Arc::new(MemoryStore::default()), Duration::from_secs(600)).await;
    let payments = world.payments();
    let intent = payments.create(&request("o1", "pm_card_slow")).await.unwrap();
    let impatient = payments_at(world.sandbox.url(), impatient());
    let first = impatient.confirm(&intent.id, "c");
    let second = async {
        while payments.look_up(&intent.id).await.unwrap().status != IntentStatus::Authorized {}
        let path = format!("/v1/payment_intents/{}/confirm", intent.id);
        let raw = world.post(&path).header("Idempotency-Key", "c").send().await.unwrap();
        (error(raw).await, payments.confirm(&intent.id, "c").await)
    };
    let both = async { tokio::join!(first, second) };
    let (first, ((status, in_use), second)) =
        tokio::time::timeout(Duration::from_secs(30), both).await.expect("the slow card is authorised");
    assert!(
        matches!(&first, Err(PaymentError::OutcomeUnknown(why)) if why.contains("timed out")),
        "{first:?}"
    );
    assert_eq!((status, in_use["code"].as_str()), (409, Some("idempotency_key_in_use")));
    assert!(matches!(second, Err(PaymentError::OutcomeUnknown(_))), "{second:?}");
    assert_eq!(world.ledger("o1").await["authorizations"], 1);
}

#[tokio::test]
async fn a_provider_that_is_switched_off_does_nothing_and_comes_back() {
    let world = World::new().await;
    let payments = world.payments();
    world.set_faults(json!({"payments": "down"})).await;
    let down = payments.create(&request("o1", "pm_card_visa")).await;
    let second = Some(Duration::from_secs(1));
    assert!(
        matches!(down, Err(PaymentError::Unavailable { retry_after, .. }) if retry_after == second),
        "{down:?}"
    );
    let world = world.restarted().await;
    assert!(world.payments().look_up("pi_1").await.is_err());
    world.set_faults(json!({"payments": "up"})).await;
    world.payments().create(&request("o1", "pm_card_visa")).await.unwrap();
    assert_eq!(world.ledger("o1").await["intents"], 1);
}

#[tokio::test]
async fn a_call_that_reached_nobody_is_unavailable_and_not_unknown() {
    let payments = payments_at(&nobody().await, Timeouts::default());
    let gone = payments.confirm("pi_1", "c").await;
    assert!(matches!(gone, Err(PaymentError::Unavailable { .. })), "{gone:?}");
}

#[tokio::test]
async fn silence_after_a_change_is_unknown_and_after_a_look_unavailable() {
    let payments = payments_at(&silent().await, impatient());
    assert!(matches!(payments.capture("pi_1", "t").await, Err(PaymentError::OutcomeUnknown(_))));
    assert!(matches!(payments.look_up("pi_1").await, Err(PaymentError::Unavailable { .. })));
}

#[tokio::test]
async fn answers_that_make_no_sense_leave_the_outcome_unknown() {
    let huge = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", " ".repeat(3 * 1024 * 1024));
    let answers = [
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"id\": \"pi_1\"",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "garbage\r\n\r\n",
        "",
        &huge,
    ];
    for answer in answers {
        let payments = payments_at(&answering(answer).await, Timeouts::default());
        let told = payments.confirm("pi_1", "c").await;
        let shown = &answer[..answer.len().min(60)];
        assert!(matches!(told, Err(PaymentError::OutcomeUnknown(_))), "{shown}: {told:?}");
        let looked = payments.look_up("pi_1").await;
        assert!(matches!(looked, Err(PaymentError::Unavailable { .. })), "{shown}: {looked:?}");
    }
}

#[test]
fn a_live_key_is_not_sent_in_clear_text_and_no_message_of_the_set_up_holds_it() {
    for url in ["nonsense", "ftp://example.com", "http://api.example.com"] {
        let key = SecretString::from("sk_live_canary");
        let error = StripePayments::new(url, key, Timeouts::default()).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
