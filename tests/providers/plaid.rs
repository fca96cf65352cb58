//! The sandbox bank through the Plaid client, with all of its faults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use steward::providers::{Courier, PlaidBank, PlaidSettings, PlaidWebhooks, Timeouts};
use steward_actors::cluster::Clock;
use steward_actors::providers::{Bank, BankDetails, BankError, ClaimError, Credential, Period, Statement};
use steward_actors::testing::{ManualClock, MemoryStore};
use steward_actors::time::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{World, answering, answering_in_turn, anywhere, good, impatient, nobody, silent};

fn plaid_at(url: &str, timeouts: Timeouts) -> PlaidBank {
    let settings = PlaidSettings {
        url: url.to_owned(),
        client_id: "client".to_owned(),
        secret: SecretString::from("secret"),
        webhook_url: None,
        country_codes: vec!["US".to_owned()],
    };
    PlaidBank::new(settings, Arc::new(ManualClock::default()), timeouts, Courier::free("plaid")).unwrap()
}

fn plaid(world: &World) -> PlaidBank {
    plaid_at(world.sandbox.url(), Timeouts::default())
}

fn since(cursor: Option<&str>) -> Option<Period> {
    let now = Timestamp::from_millis(1_750_000_000_000);
    Some(Period { from: now, until: now, cursor: cursor.map(str::to_owned) })
}

async fn linked(world: &World, token: &str) -> Credential {
    plaid(world).claim(token, "user-1").await.unwrap()
}

async fn asked(world: &World, credential: &Credential, cursor: Option<&str>) -> Result<Statement, BankError> {
    plaid(world).statement(credential, since(cursor)).await
}

async fn minted(world: &World, user: &str, fault: Option<&str>) -> String {
    let mut body = json!({ "userId": user });
    if let Some(fault) = fault {
        body["fault"] = fault.into();
    }
    let made = world.post("/_sandbox/public-tokens").json(&body).send().await.unwrap();
    let made: Value = made.json().await.unwrap();
    made["publicToken"].as_str().unwrap().to_owned()
}

async fn change(world: &World, body: Value) {
    let done = world.post("/_sandbox/bank").json(&body).send().await.unwrap();
    assert!(done.status().is_success(), "{}", done.text().await.unwrap());
}

/// What the bank knows: pending, day and cents, by description and account.
type Lines = BTreeMap<(String, String), (bool, String, i64)>;

async fn truth(world: &World, user: &str) -> Lines {
    let (mut lines, mut next) = (Lines::new(), String::new());
    loop {
        let page = world.get(&format!("/_sandbox/bank?userId={user}{next}")).await;
        for line in page["lines"].as_array().unwrap() {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            let key = (text("account"), format!("{} {}", text("date"), text("description")));
            let value = (line["pending"] == true, text("date"), line["cents"].as_i64().unwrap());
            assert!(lines.insert(key.clone(), value).is_none(), "{key:?}");
        }
        let Some(more) = page["next"].as_str() else { return lines };
        let more: String = url::form_urlencoded::byte_serialize(more.as_bytes()).collect();
        next = format!("&next={more}");
    }
}

/// A client's own copy, kept as the protocol says.
#[derive(Default)]
struct Copy {
    by_id: BTreeMap<String, (String, String, bool, String, i64)>,
    cursor: Option<String>,
}

impl Copy {
    fn take(&mut self, told: &Statement) {
        let changes = told.changes.as_ref().unwrap();
        for account in &told.accounts {
            let kind = match account.details {
                BankDetails::Credit { .. } => "credit",
                BankDetails::Savings { .. } => "savings",
                _ => "checking",
            };
            for t in &account.transactions {
                let line = (kind.to_owned(), t.description.clone(), t.pending, t.at.day(), t.amount.minor);
                self.by_id.insert(t.id.clone(), line);
            }
        }
        for id in &changes.removed {
            self.by_id.remove(id);
        }
        self.cursor = Some(changes.cursor.clone());
    }

    fn lines(&self) -> Lines {
        let mut lines = Lines::new();
        for (kind, description, pending, date, cents) in self.by_id.values().cloned() {
            let key = (kind, format!("{date} {description}"));
            assert!(lines.insert(key.clone(), (pending, date, cents)).is_none(), "twice: {key:?}");
        }
        lines
    }
}

#[tokio::test]
async fn an_item_has_typed_accounts_and_a_year_of_transactions() {
    let world = World::new().await;
    let credential = linked(&world, &minted(&world, "u1", None).await).await;
    let told = asked(&world, &credential, None).await.unwrap();
    assert_eq!(told.partial, None);
    let kinds: Vec<String> = told.accounts.iter().map(|a| format!("{:?}", a.details)).collect();
    assert!(kinds[0].starts_with("Checking") && kinds[1].starts_with("Savings"), "{kinds:?}");
    let BankDetails::Credit { credit_limit: Some(limit), available_credit: Some(left), .. } =
        &told.accounts[2].details
    else {
        panic!("{kinds:?}")
    };
    assert_eq!(limit.minor - left.minor, told.accounts[2].balance.minor);
    assert!(told.accounts.iter().all(|account| account.transactions.len() > 100));
    let mut copy = Copy::default();
    copy.take(&told);
    assert_eq!(copy.lines(), truth(&world, "u1").await);
    // Nothing new: nothing told.
    let again = asked(&world, &credential, copy.cursor.as_deref()).await.unwrap();
    assert!(again.accounts.iter().all(|account| account.transactions.is_empty()));
    assert!(plaid(&world).reference(&credential).unwrap().starts_with("item-"));
}

#[tokio::test]
async fn what_is_new_other_or_gone_is_told_since_the_cursor_and_pages_are_walked_to_their_end() {
    let world = World::new().await;
    let credential = linked(&world, &minted(&world, "u1", None).await).await;
    let mut copy = Copy::default();
    copy.take(&asked(&world, &credential, None).await.unwrap());
    for step in [
        json!({"userId": "u1", "add": 1700, "days": 90}),
        json!({"userId": "u1", "pending": 5, "modify": 40, "remove": 30}),
        json!({"userId": "u1", "book": true}),
    ] {
        change(&world, step).await;
        let told = asked(&world, &credential, copy.cursor.as_deref()).await.unwrap();
        assert_eq!(told.partial, None);
        let booked = told.accounts.iter().flat_map(|account| &account.transactions);
        let named = booked.filter(|transaction| transaction.replaces.is_some()).count();
        copy.take(&told);
        assert_eq!(copy.lines(), truth(&world, "u1").await);
        assert!(named == 0 || named >= 4, "{named}");
    }
}

#[tokio::test]
async fn a_list_that_changes_under_its_pages_is_begun_again() {
    let world = World::new().await;
    change(&world, json!({"userId": "u1", "add": 900})).await;
    let credential = linked(&world, &minted(&world, "u1", Some("mutating")).await).await;
    let mut copy = Copy::default();
    copy.take(&asked(&world, &credential, None).await.unwrap());
    assert_eq!(copy.lines(), truth(&world, "u1").await, "what an abandoned page told is not believed");
}

#[tokio::test]
async fn shuffled_and_repeated_pages_amount_to_the_same() {
    let world = World::new().await;
    change(&world, json!({"userId": "u1", "add": 900})).await;
    let credential = linked(&world, &minted(&world, "u1", Some("shuffled")).await).await;
    let mut copy = Copy::default();
    copy.take(&asked(&world, &credential, None).await.unwrap());
    assert_eq!(copy.lines(), truth(&world, "u1").await);
}

#[tokio::test]
async fn each_fault_becomes_its_honest_error() {
    let world = World::new().await;
    let of = async |token: &str| asked(&world, &linked(&world, token).await, None).await;
    let limited = of("public-sandbox-rate-limited").await;
    assert_eq!(limited, Err(BankError::RateLimited { retry_after: Some(Duration::from_secs(30)) }));
    assert!(matches!(of("public-sandbox-expired").await, Err(BankError::NeedsReauth(_))));
    assert!(matches!(of("public-sandbox-institution-down").await, Err(BankError::Institution(_))));
    assert!(matches!(of("public-sandbox-down").await, Err(BankError::DownFor { .. })));
    let half = of("public-sandbox-broken-pages").await;
    assert_eq!(half, Err(BankError::Unusable("Plaid's answer breaks off".to_owned())));
    let hanging = linked(&world, "public-sandbox-hanging").await;
    let late = plaid_at(world.sandbox.url(), impatient()).statement(&hanging, since(None)).await;
    assert_eq!(late, Err(BankError::Down("Plaid did not answer in time".to_owned())));
}

#[tokio::test]
async fn what_was_told_before_too_many_requests_is_kept_and_of_changes_the_balances_are() {
    let world = World::new().await;
    let credential = linked(&world, &minted(&world, "u1", None).await).await;
    let accounts = good(&json!({"accounts": [{
        "account_id": "a", "name": "A", "type": "depository", "subtype": "checking",
        "balances": {"current": 12.5, "iso_currency_code": "USD"},
    }]}));
    let posting = json!({
        "transaction_id": "t", "account_id": "a", "amount": 1, "date": "2025-06-01", "name": "Shop",
        "iso_currency_code": "USD",
    });
    let page = good(&json!({
        "added": [posting], "modified": [], "removed": [], "next_cursor": "c1", "has_more": true,
        "transactions_update_status": "HISTORICAL_UPDATE_COMPLETE",
    }));
    let too_many = "HTTP/1.1 429 Status\r\nRetry-After: 77\r\nContent-Length: 0\r\n\r\n".to_owned();
    let limited = BankError::RateLimited { retry_after: Some(Duration::from_secs(77)) };
    let of = async |answers: &[&String], cursor: Option<&str>| {
        let answers = answers.iter().map(|&answer| answer.clone()).collect();
        let bank = plaid_at(&answering_in_turn(answers).await, Timeouts::default());
        bank.statement(&credential, since(cursor)).await
    };

    // From the begin: a part that is not whole, and a cursor that nobody goes on with.
    let told = of(&[&accounts, &page, &too_many], None).await.unwrap();
    assert_eq!((&told.cut_short, told.again_after), (&Some(limited.clone()), None));
    let account = &told.accounts[0];
    assert_eq!((account.balance.minor, account.transactions.len(), account.whole), (1250, 1, false));
    assert!(told.changes.unwrap().since_begin && told.partial.unwrap().contains("too many requests"));

    // Since a cursor: the next walk tells it again from there, so that nothing has to be told from the begin.
    for answers in [vec![&accounts, &page, &too_many], vec![&accounts, &too_many]] {
        let told = of(&answers, Some("c0")).await.unwrap();
        assert_eq!((&told.cut_short, &told.changes), (&Some(limited.clone()), &None));
        let account = &told.accounts[0];
        assert_eq!((account.balance.minor, account.transactions.len()), (1250, 0));
        assert!(told.partial.is_some());
    }
    // Nothing was told at all.
    assert_eq!(of(&[&too_many], None).await, Err(limited));
}

#[tokio::test]
async fn what_is_not_ready_is_partial_and_asked_for_again_soon() {
    let world = World::new().await;
    let credential = linked(&world, "public-sandbox-not-ready").await;
    for _ in 0..2 {
        let early = asked(&world, &credential, None).await.unwrap();
        assert!(early.partial.unwrap().contains("preparing"));
        assert_eq!((early.accounts.len(), early.changes), (3, None));
        assert!(early.again_after.unwrap() <= Duration::from_secs(60));
    }
    assert_eq!(asked(&world, &credential, None).await.unwrap().partial, None);
}

#[tokio::test]
async fn a_hostile_bank_is_bounded_and_believed_nothing() {
    let world = World::new().await;
    let credential = linked(&world, "public-sandbox-hostile").await;
    for wanted in ["larger than 5 MB", "not a page of transactions"] {
        let told = asked(&world, &credential, None).await;
        assert!(matches!(&told, Err(BankError::Unusable(why)) if why.contains(wanted)), "{wanted}: {told:?}");
    }
    let absurd = asked(&world, &credential, None).await.unwrap();
    assert!(absurd.partial.unwrap().contains("amount is no amount"));
    assert!(absurd.accounts.iter().all(|account| account.transactions.is_empty()));
}

#[tokio::test]
async fn a_public_token_is_good_for_one_exchange_and_an_access_until_it_is_revoked() {
    let world = World::new().await;
    let token = minted(&world, "u1", None).await;
    let credential = linked(&world, &token).await;
    let used = plaid(&world).claim(&token, "u1").await;
    assert!(matches!(used, Err(ClaimError::Refused(_))), "{used:?}");
    assert!(matches!(plaid(&world).claim("nonsense", "u1").await, Err(ClaimError::Refused(_))));
    plaid(&world).revoke(&credential).await.unwrap();
    assert!(matches!(asked(&world, &credential, None).await, Err(BankError::NeedsReauth(_))));
    assert!(matches!(plaid(&world).revoke(&credential).await, Err(BankError::NeedsReauth(_))));
}

#[tokio::test]
async fn claims_tell_unreached_lost_and_refused_apart() {
    let of = async |url: String| plaid_at(&url, impatient()).claim("public-sandbox", "u1").await;
    assert!(matches!(of(nobody().await).await, Err(ClaimError::Unavailable { retry_after: None, .. })));
    let status = |code: u16| format!("HTTP/1.1 {code} Status\r\nContent-Length: 0\r\n\r\n");
    for lost in [silent().await, answering("").await, answering(status(500)).await] {
        assert!(matches!(of(lost).await, Err(ClaimError::OutcomeUnknown(_))));
    }
    assert!(matches!(of(answering(status(503)).await).await, Err(ClaimError::Unavailable { .. })));
    for code in [429, 503] {
        let later = format!("HTTP/1.1 {code} Status\r\nRetry-After: 77\r\nContent-Length: 0\r\n\r\n");
        let told = of(answering(later).await).await;
        let span = Duration::from_secs(77);
        assert!(
            matches!(told, Err(ClaimError::Unavailable { retry_after: Some(after), .. }) if after == span),
            "{told:?}"
        );
    }
    assert!(matches!(of(answering(status(302)).await).await, Err(ClaimError::Refused(_))));
}

#[tokio::test]
async fn a_page_for_a_new_link_and_one_to_be_let_in_again_have_their_tokens() {
    let world = World::new().await;
    let credential = linked(&world, "public-sandbox").await;
    for credential in [None, Some(&credential)] {
        let token = plaid(&world).link_token("u1", credential).await.unwrap().unwrap();
        assert!(token.token.starts_with("link-sandbox-"));
    }
    let gone = Credential(SecretString::from(r#"{"access_token":"x","item_id":"i"}"#));
    assert!(matches!(plaid(&world).link_token("u1", Some(&gone)).await, Err(BankError::NeedsReauth(_))));
    assert!(!format!("{credential:?}").contains(credential.0.expose_secret()));
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_our_secret() {
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = inside.local_addr().unwrap();
    let access = Credential(SecretString::from(r#"{"access_token":"a","item_id":"i"}"#));
    for code in [301, 302, 307, 308] {
        let redirect =
            format!("HTTP/1.1 {code} Found\r\nLocation: http://{here}/x\r\nContent-Length: 0\r\n\r\n");
        let bank = plaid_at(&answering(redirect).await, impatient());
        let told = bank.statement(&access, since(None)).await;
        assert_eq!(told, Err(BankError::Unusable(format!("Plaid answered with status {code}"))));
        assert!(matches!(bank.claim("public", "user-1").await, Err(ClaimError::Refused(_))));
        assert!(bank.greet().await.is_err());
    }
    let arrived = timeout(Duration::from_millis(100), inside.accept()).await;
    assert!(arrived.is_err(), "somebody was sent inside");
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let page = json!({"added": [], "modified": [], "removed": [], "next_cursor": "x", "has_more": true});
    let accounts = json!({"accounts": [], "item": null});
    let mut both = page.as_object().unwrap().clone();
    both.extend(accounts.as_object().unwrap().clone());
    let body = Value::Object(both).to_string();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let credential = Credential(SecretString::from(r#"{"access_token":"x","item_id":"i"}"#));
    let told = plaid_at(&answering(answer).await, impatient()).statement(&credential, since(None)).await;
    assert_eq!(told, Err(BankError::Unusable("Plaid's list has no end".to_owned())));
}

#[tokio::test]
async fn a_webhook_is_genuine_with_a_key_that_plaid_knows_and_for_five_minutes() {
    let world = World::over(Arc::new(MemoryStore::default())).await;
    let clock = Arc::new(ManualClock::default());
    let webhooks = PlaidWebhooks::new(Arc::new(plaid(&world)), clock.clone());
    let body = br#"{"webhook_type": "ITEM"}"#;
    let good = world.sandbox.sign_bank_webhook(body, clock.now()).unwrap();
    let name = webhooks.check(Some(&good), body).await.unwrap();
    assert_eq!(webhooks.check(Some(&good), body).await.unwrap(), name, "a copy has the same name");

    let mut flipped = body.to_vec();
    flipped[5] ^= 1;
    assert!(webhooks.check(Some(&good), &flipped).await.is_err());
    for (n, sign) in good.bytes().enumerate().step_by(7) {
        let mut bytes = good.clone().into_bytes();
        bytes[n] = if sign == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(changed == good || webhooks.check(Some(&changed), body).await.is_err(), "{n}");
    }
    for nothing in [None, Some(""), Some("a.b.c"), Some("eyJhbGciOiJub25lIiwia2lkIjoieCJ9.e30.")] {
        assert!(webhooks.check(nothing, body).await.is_err(), "{nothing:?}");
    }
    clock.advance(Duration::from_secs(299));
    assert!(webhooks.check(Some(&good), body).await.is_ok());
    clock.advance(Duration::from_secs(2));
    assert!(webhooks.check(Some(&good), body).await.is_err(), "stale");
    let later = clock.now().plus(Duration::from_secs(301));
    let early = world.sandbox.sign_bank_webhook(body, later).unwrap();
    assert!(webhooks.check(Some(&early), body).await.is_err(), "of a time to come");
    // Another's key, under the name of ours.
    let forger = World::over(Arc::new(MemoryStore::default())).await;
    let forged = forger.sandbox.sign_bank_webhook(body, clock.now()).unwrap();
    assert!(webhooks.check(Some(&forged), body).await.is_err());
}

/// A server that answers its first request with this JSON, and says nothing to those after it. The
/// other side of the channel hears of each connection.
async fn answering_once(body: Value) -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (arrived, arrivals) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = arrived.send(());
            if held.is_empty() {
                let mut asked = Vec::new();
                while !asked.ends_with(b"}") {
                    assert_ne!(socket.read_buf(&mut asked).await.unwrap(), 0);
                }
                let body = body.to_string();
                let head =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
            held.push(socket);
        }
    });
    (url, arrivals)
}

#[tokio::test]
async fn who_invents_key_ids_keeps_no_genuine_webhook_waiting() {
    let world = World::new().await;
    let clock = Arc::new(ManualClock::default());
    let asked = world
        .post("/webhook_verification_key/get")
        .header("PLAID-CLIENT-ID", "c")
        .header("PLAID-SECRET", "s")
        .json(&json!({"key_id": "sandbox-webhooks"}));
    let key: Value = asked.send().await.unwrap().json().await.unwrap();
    let (url, mut arrivals) = answering_once(key).await;
    let webhooks = Arc::new(PlaidWebhooks::new(Arc::new(plaid_at(&url, Timeouts::default())), clock.clone()));
    let good = world.sandbox.sign_bank_webhook(b"{}", clock.now()).unwrap();
    webhooks.check(Some(&good), b"{}").await.unwrap();
    arrivals.recv().await;

    let header = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "typ": "JWT", "kid": "invented"}).to_string());
    let strange = webhooks.clone();
    let asking = tokio::spawn(async move { strange.check(Some(&format!("{header}.e30.AA")), b"{}").await });
    arrivals.recv().await;
    let checked = timeout(Duration::from_secs(5), webhooks.check(Some(&good), b"{}")).await;
    assert!(checked.expect("it does not wait for the other").is_ok());
    assert!(!asking.is_finished());
    asking.abort();
}
