//! The sandbox bank through the SimpleFIN client, with all of its faults.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use steward::providers::{Courier, SimpleFinBank, Timeouts};
use steward_actors::providers::{Bank, BankDetails, BankError, ClaimError, Credential, Period, Statement};
use steward_actors::testing::MemoryStore;
use steward_actors::time::Timestamp;
use tokio::net::TcpListener;

use crate::support::{World, answering, answering_in_turn, bank_at, good, impatient, nobody, silent};

async fn statement(world: &World, token: &str) -> Result<Statement, BankError> {
    let bank = world.bank();
    let credential = bank.claim(token, "user-1").await.unwrap();
    bank.statement(&credential, None).await
}

#[tokio::test]
async fn a_user_has_three_accounts_that_are_the_same_each_time() {
    let world = World::new().await;
    let first = statement(&world, "sandbox").await.unwrap();
    assert_eq!(first.partial, None);
    // Each time as of then.
    let mut again = statement(&world, "sandbox").await.unwrap();
    for (again, first) in again.accounts.iter_mut().zip(&first.accounts) {
        again.balance_as_of = first.balance_as_of;
    }
    assert_eq!(first, again);
    let [checking, savings, credit] = &first.accounts[..] else { panic!("{first:?}") };
    assert!(
        matches!(&checking.details, BankDetails::Checking { routing_number, .. } if routing_number.as_ref().is_some_and(|number| number.len() == 9))
    );
    assert!(matches!(&savings.details, BankDetails::Savings { .. }));
    let BankDetails::Credit {
        credit_limit: Some(limit), available_credit: Some(available), due_date, ..
    } = &credit.details
    else {
        panic!()
    };
    assert_eq!(limit.minor - available.minor, credit.balance.minor);
    assert!(credit.balance.minor >= 0 && due_date.is_some());
    assert_eq!(credit.institution, "Sandbox Bank");
}

#[tokio::test]
async fn a_credential_survives_a_restart_on_another_port() {
    let world = World::new().await;
    let credential = world.bank().claim("sandbox", "user-1").await.unwrap();
    let before = world.bank().statement(&credential, None).await.unwrap();
    let world = world.restarted().await;
    assert_eq!(
        world.bank().statement(&credential, None).await.unwrap().accounts.len(),
        before.accounts.len()
    );
}

#[tokio::test]
async fn a_setup_token_is_good_for_one_claim() {
    let world = World::new().await;
    let minted =
        world.post("/_sandbox/setup-tokens").json(&json!({"userId": "user-1"})).send().await.unwrap();
    let minted: serde_json::Value = minted.json().await.unwrap();
    let token = minted["setupToken"].as_str().unwrap();
    let (here, there) = (world.bank(), world.bank());
    let (a, b) = tokio::join!(here.claim(token, "ignored"), there.claim(token, "ignored"));
    let (good, bad) = if a.is_ok() { (a, b) } else { (b, a) };
    assert_eq!(here.statement(&good.unwrap(), None).await.unwrap().accounts.len(), 3);
    assert!(matches!(bad, Err(ClaimError::Refused(_))));
    assert!(matches!(here.claim(token, "ignored").await, Err(ClaimError::Refused(_))));
}

#[tokio::test]
async fn tokens_that_are_none_are_refused() {
    let world = World::new().await;
    for token in ["", "sandbox-nonsense", "aGVsbG8=", "aHR0cHM6Ly9ldmlsLmV4YW1wbGUvY2xhaW0="] {
        let refused = world.bank().claim(token, "user-1").await;
        assert!(matches!(refused, Err(ClaimError::Refused(_))), "{token}: {refused:?}");
    }
}

#[tokio::test]
async fn each_fault_becomes_its_honest_error() {
    let world = World::new().await;
    let limited = statement(&world, "sandbox-rate-limited").await;
    assert_eq!(limited, Err(BankError::RateLimited { retry_after: Some(Duration::from_secs(30)) }));
    assert!(matches!(statement(&world, "sandbox-expired").await, Err(BankError::NeedsReauth(_))));
    let down = statement(&world, "sandbox-down").await;
    let reason = "the bank answered with status 503".to_owned();
    assert_eq!(down, Err(BankError::DownFor { reason, retry_after: Duration::from_secs(1) }));
}

#[tokio::test]
async fn broken_pages_are_partial_or_break_off() {
    let world = World::new().await;
    let bank = world.bank();
    let credential = bank.claim("sandbox-broken-pages", "user-1").await.unwrap();
    for _ in 0..2 {
        let partial = bank.statement(&credential, None).await.unwrap();
        assert_eq!(partial.accounts.len(), 2);
        assert!(partial.partial.unwrap().contains("savings"));
        let half = bank.statement(&credential, None).await;
        assert_eq!(half, Err(BankError::Unusable("the bank's answer breaks off".to_owned())));
    }
}

/// A year.
fn year() -> Period {
    let until = Timestamp::from_millis(1_750_000_000_000);
    Period { from: until.minus(Duration::from_secs(365 * 24 * 3600)), until, cursor: None }
}

#[tokio::test]
async fn what_is_wrong_with_an_account_keeps_no_older_transactions_back() {
    let world = World::new().await;
    let credential = world.bank().claim("sandbox", "user-1").await.unwrap();
    let account = |id: &str, balance: &str| {
        json!({
            "id": id, "name": id, "currency": "USD", "balance": balance, "balance-date": 1_749_000_000,
            "transactions": [],
        })
    };
    let answer = good(&json!({"errors": ["Connection to Other Bank may need attention"],
        "accounts": [account("Fine", "1.00"), account("Odd", "much")]}));
    let bank = bank_at(&answering(answer).await, Timeouts::default());
    let told = bank.statement(&credential, Some(year())).await.unwrap();
    assert_eq!(told.told_since, Some(year().from), "{told:?}");
    let partial = told.partial.unwrap();
    assert!(partial.contains("Other Bank") && partial.contains("Odd cannot be read"), "{partial}");
    assert!(told.accounts.len() == 1 && told.accounts[0].whole);
}

#[tokio::test]
async fn a_call_for_older_transactions_that_fails_ends_the_statement_where_it_was() {
    let world = World::new().await;
    let bank = world.bank();
    let credential = bank.claim("sandbox-broken-pages", "user-1").await.unwrap();
    let told = bank.statement(&credential, Some(year())).await.unwrap();
    assert_eq!(told.told_since, Some(year().until.minus(Duration::from_secs(90 * 24 * 3600))));
    let partial = told.partial.unwrap();
    assert!(partial.contains("savings") && partial.contains("are missing"), "{partial}");
    assert!(told.accounts.iter().all(|account| account.whole) && !told.all_accounts);
}

#[tokio::test]
async fn a_bank_that_is_asked_too_often_for_older_transactions_says_when_to_come_again() {
    let world = World::new().await;
    let credential = world.bank().claim("sandbox", "user-1").await.unwrap();
    let account = json!({
        "id": "a", "name": "A", "currency": "USD", "balance": "1.00", "balance-date": 1_749_000_000,
        "transactions": [{"id": "t", "posted": 1_749_000_000, "amount": "-10.00", "description": "Coffee"}],
    });
    let told = good(&json!({"errors": [], "accounts": [account]}));
    for (said, retry_after) in [("Retry-After: 77\r\n", Some(Duration::from_secs(77))), ("", None)] {
        let answers = vec![told.clone(), told.clone(), status_with(429, said)];
        let bank = bank_at(&answering_in_turn(answers).await, Timeouts::default());
        let told = bank.statement(&credential, Some(year())).await.unwrap();
        assert_eq!(told.cut_short, Some(BankError::RateLimited { retry_after }));
        // What was had before is there, and says back to when it is whole.
        let two_parts = year().until.minus(Duration::from_secs(2 * 90 * 24 * 3600));
        assert_eq!((told.told_since, told.accounts[0].whole), (Some(two_parts), true));
        assert_eq!(told.accounts[0].transactions.len(), 2, "each part has told of it");
        let partial = told.partial.unwrap();
        assert!(partial.contains(&two_parts.day()) && partial.contains("too many requests"), "{partial}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_good_is_told_from_none() {
    let world = World::new().await;
    let credential = world.bank().claim("sandbox", "user-1").await.unwrap();
    let of = async |bytes: String| {
        bank_at(&answering(bytes).await, impatient()).statement(&credential, None).await
    };
    for code in [400, 402, 404, 410] {
        let told = of(status(code)).await;
        assert_eq!(told, Err(BankError::Unusable(format!("the bank answered with status {code}"))));
    }
    for code in [500, 502, 504] {
        let told = of(status(code)).await;
        assert_eq!(told, Err(BankError::Down(format!("the bank answered with status {code}"))));
    }
    for (code, said) in [(429, "77"), (503, "77"), (503, "99999999999999999999"), (503, "tomorrow")] {
        let told = of(status_with(code, &format!("Retry-After: {said}\r\n"))).await.unwrap_err();
        let span = told.retry_after().map(|span| span.as_secs());
        assert_eq!(span, said.parse::<u128>().ok().map(|said| said.min(86_400) as u64), "{code} {said}");
    }
    let html = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".to_owned();
    assert_eq!(of(html).await, Err(BankError::Unusable("the bank's answer is not JSON".to_owned())));
    // A body that does not come to its end is no answer.
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html>".to_owned();
    assert!(matches!(of(cut).await, Err(BankError::Down(_))));
}

#[tokio::test]
async fn a_hostile_bank_is_bounded_and_believed_nothing() {
    let world = World::new().await;
    let bank = world.bank();
    let credential = bank.claim("sandbox-hostile", "user-1").await.unwrap();
    for wanted in ["larger than 5 MB", "not a list of accounts", "balance is no amount"] {
        let told = bank.statement(&credential, None).await;
        assert!(matches!(&told, Err(BankError::Unusable(why)) if why.contains(wanted)), "{wanted}: {told:?}");
    }
}

#[tokio::test]
async fn a_slow_bank_is_waited_for_until_the_deadline() {
    let store = Arc::new(MemoryStore::default());
    let world = World::slow(store.clone(), Duration::from_millis(50)).await;
    assert_eq!(statement(&world, "sandbox-slow").await.unwrap().accounts.len(), 3);
    let world = World::slow(store, Duration::from_secs(600)).await;
    let credential = world.bank().claim("sandbox-slow", "user-1").await.unwrap();
    let late = bank_at(world.sandbox.url(), impatient()).statement(&credential, None).await;
    assert_eq!(late, Err(BankError::Down("the bank did not answer in time".to_owned())));
}

#[tokio::test]
async fn the_whole_bank_can_be_switched_off_and_on() {
    let world = World::new().await;
    let credential = world.bank().claim("sandbox", "user-1").await.unwrap();
    world.set_faults(json!({"bank": "down"})).await;
    let unavailable = world.bank().claim("sandbox", "user-1").await;
    assert!(matches!(unavailable, Err(ClaimError::Unavailable { .. })), "{unavailable:?}");
    assert!(matches!(world.bank().statement(&credential, None).await, Err(BankError::DownFor { .. })));
    world.set_faults(json!({"bank": "expired"})).await;
    assert!(matches!(world.bank().statement(&credential, None).await, Err(BankError::NeedsReauth(_))));
    world.set_faults(json!({"bank": "up"})).await;
    assert!(world.bank().statement(&credential, None).await.is_ok());
}

#[tokio::test]
async fn a_wrong_password_needs_a_new_link() {
    let world = World::new().await;
    let credential = world.bank().claim("sandbox", "user-1").await.unwrap();
    let forged = credential.0.expose_secret().replacen("@", "0@", 1);
    let told = world.bank().statement(&Credential(SecretString::from(forged)), None).await;
    assert!(matches!(told, Err(BankError::NeedsReauth(_))), "{told:?}");
}

#[tokio::test]
async fn claims_tell_unreached_lost_and_refused_apart() {
    let of = async |url: String| bank_at(&url, impatient()).claim("sandbox", "user-1").await;
    assert!(matches!(of(nobody().await).await, Err(ClaimError::Unavailable { retry_after: None, .. })));
    for code in [429, 503] {
        let told = of(answering(status_with(code, "Retry-After: 77\r\n")).await).await;
        let reason = format!("the bank answered with status {code}");
        assert_eq!(
            told.err(),
            Some(ClaimError::Unavailable { reason, retry_after: Some(Duration::from_secs(77)) })
        );
    }
    for lost in [silent().await, answering("").await, answering(status(500)).await] {
        let told = of(lost).await;
        assert!(matches!(told, Err(ClaimError::OutcomeUnknown(_))), "{told:?}");
    }
    for (code, said) in [
        (302, "answered with status 302"),
        (400, "answered with status 400"),
        (402, "wants to be paid"),
        (403, "claimed before"),
        (404, "claimed before"),
    ] {
        let told = of(answering(status(code)).await).await;
        assert!(matches!(&told, Err(ClaimError::Refused(why)) if why.contains(said)), "{code}: {told:?}");
    }
    let late = of(answering(status(408)).await).await;
    assert!(matches!(late, Err(ClaimError::Unavailable { .. })), "{late:?}");
}

#[tokio::test]
async fn a_claim_that_is_answered_with_no_access_url_is_refused_whatever_it_is() {
    let pages = [b"<html>".to_vec(), vec![0xff, 0xfe, 0xfd], vec![b'x'; 5000]];
    for body in pages {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(&body);
        let told = bank_at(&answering(answer).await, impatient()).claim("sandbox", "user-1").await;
        let words = "the bank returned no access URL".to_owned();
        assert_eq!(told.err(), Some(ClaimError::Refused(words)), "{} bytes", body.len());
    }
}

#[tokio::test]
async fn an_access_url_that_leads_elsewhere_is_not_taken() {
    for url in ["https://u:p@169.254.169.254/", "http://u:p@127.0.0.1:1/simplefin/access", "nonsense"] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{url}", url.len());
        let told = bank_at(&answering(answer).await, impatient()).claim("sandbox", "user-1").await;
        assert!(matches!(told, Err(ClaimError::Refused(_))), "{url}: {told:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_wherever_it_leads() {
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = inside.local_addr().unwrap();
    let world = World::new().await;
    let credential = world.bank().claim("sandbox", "user-1").await.unwrap();
    for code in [301, 302, 303, 307, 308] {
        for location in [
            format!("http://{here}/latest/meta-data"),
            format!("//{here}/simplefin/access/accounts"),
            format!("{}/simplefin/access/accounts", world.sandbox.url()),
            "http://169.254.169.254/latest/meta-data".to_owned(),
            "file:///etc/passwd".to_owned(),
        ] {
            let redirect =
                format!("HTTP/1.1 {code} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let bank = bank_at(&answering(redirect).await, Timeouts::default());
            let told = bank.statement(&credential, None).await;
            assert_eq!(told, Err(BankError::Unusable(format!("the bank answered with status {code}"))));
            let claimed = bank.claim("sandbox", "user-1").await;
            assert!(matches!(claimed, Err(ClaimError::Refused(_))), "{claimed:?}");
        }
    }
    let arrived = tokio::time::timeout(Duration::from_millis(100), inside.accept()).await;
    assert!(arrived.is_err(), "somebody was sent inside");
}

#[tokio::test]
async fn what_cannot_be_reached_is_down() {
    let world = World::new().await;
    let credential = world.bank().claim("sandbox", "user-1").await.unwrap();
    let told = bank_at(&nobody().await, impatient()).statement(&credential, None).await;
    assert_eq!(told, Err(BankError::Down("the bank could not be reached".to_owned())));
}

fn status(code: u16) -> String {
    status_with(code, "")
}

fn status_with(code: u16, headers: &str) -> String {
    format!("HTTP/1.1 {code} Status\r\n{headers}Content-Length: 0\r\n\r\n")
}

#[tokio::test]
async fn a_listed_name_that_leads_inside_is_refused_and_said_to_be() {
    let hosts = ["localhost".to_owned()];
    let bank = SimpleFinBank::new(&hosts, None, impatient(), Courier::free("simplefin")).unwrap();
    let token = STANDARD.encode("https://localhost/claim/x");
    let refused = bank.claim(&token, "u1").await;
    assert!(matches!(&refused, Err(ClaimError::Refused(why)) if why.contains("public")), "{refused:?}");
    let credential = Credential(SecretString::from("https://u:p@localhost/simplefin"));
    let told = bank.statement(&credential, None).await;
    assert!(matches!(&told, Err(BankError::Down(why)) if why.contains("public")), "{told:?}");
}
