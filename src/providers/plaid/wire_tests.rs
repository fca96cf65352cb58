//! What Plaid answers, whatever it is, comes out bounded and typed.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

fn error(kind: &str, code: &str) -> Vec<u8> {
    json!({"error_type": kind, "error_code": code, "error_message": "m", "display_message": null})
        .to_string()
        .into_bytes()
}

#[test]
fn each_error_means_what_a_user_can_do() {
    let of = |kind: &str, code: &str| failure(400, &error(kind, code), None);
    assert_eq!(of("TRANSACTIONS_ERROR", "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION"), CallError::Mutated);
    assert_eq!(of("ITEM_ERROR", "PRODUCT_NOT_READY"), CallError::NotReady);
    assert_eq!(of("INVALID_INPUT", "INVALID_PUBLIC_TOKEN"), CallError::BadToken);
    let bank = |kind: &str, code: &str| match of(kind, code) {
        CallError::Bank(error) => error,
        other => panic!("{other:?}"),
    };
    for code in ["ITEM_LOGIN_REQUIRED", "ITEM_NOT_FOUND", "USER_PERMISSION_REVOKED"] {
        assert!(matches!(bank("ITEM_ERROR", code), BankError::NeedsReauth(_)), "{code}");
    }
    assert!(matches!(bank("INSTITUTION_ERROR", "INSTITUTION_DOWN"), BankError::Institution(_)));
    assert!(matches!(bank("API_ERROR", "INTERNAL_SERVER_ERROR"), BankError::Down(_)));
    assert!(matches!(bank("INVALID_INPUT", "INVALID_API_KEYS"), BankError::Down(_)));
    let after = Some(Duration::from_secs(7));
    let limited = failure(429, &error("RATE_LIMIT_EXCEEDED", "TRANSACTIONS_SYNC_LIMIT"), after);
    assert_eq!(limited, CallError::Bank(BankError::RateLimited { retry_after: after }));
    // What is answered, but is no good, is told from what is down.
    assert!(matches!(bank("INVALID_REQUEST", "INVALID_BODY"), BankError::Unusable(_)));
    let missing = failure(404, b"<html>", None);
    assert_eq!(missing, CallError::Bank(BankError::Unusable("Plaid answered with status 404".to_owned())));
    let later = failure(503, b"", after);
    assert_eq!(later, CallError::Bank(BankError::down("Plaid answered with status 503".to_owned(), after)));
    let garbage = failure(502, b"<html>", None);
    assert_eq!(garbage, CallError::Bank(BankError::Down("Plaid answered with status 502".to_owned())));
}

fn told(kind: &str, subtype: &str, balances: Value) -> BankAccount {
    let account = json!({
        "account_id": "a1", "name": "N", "official_name": null, "mask": "0000", "type": kind,
        "subtype": subtype, "balances": balances,
    });
    let body = json!({"accounts": [account], "item": {"institution_name": "First Bank"}}).to_string();
    accounts(body.as_bytes(), NOW).unwrap().accounts.remove(0)
}

#[test]
fn each_type_of_account_becomes_ours_and_nothing_is_made_up() {
    let balances = json!({"available": 100.5, "current": 110.10, "limit": 2000, "iso_currency_code": "USD"});
    let credit = told("credit", "credit card", balances.clone());
    assert_eq!((credit.balance.minor, credit.name.as_str()), (11_010, "N …0000"));
    let BankDetails::Credit { credit_limit, available_credit, apr, .. } = credit.details else { panic!() };
    assert_eq!((credit_limit.unwrap().minor, available_credit.unwrap().minor, apr), (200_000, 10_050, None));
    for (kind, subtype, wanted) in [
        ("depository", "checking", "Checking"),
        ("depository", "savings", "Savings"),
        ("loan", "mortgage", "Loan"),
        ("investment", "401k", "Investment"),
    ] {
        let details = format!("{:?}", told(kind, subtype, balances.clone()).details);
        assert!(details.starts_with(wanted), "{details}");
    }
}

fn one_page(change: impl FnOnce(&mut Value)) -> Result<Page, String> {
    let mut posting = json!({
        "transaction_id": "t1", "account_id": "a1", "amount": 12.30, "iso_currency_code": "USD",
        "date": "2025-06-01", "name": "Shop", "pending": false, "pending_transaction_id": "p1",
    });
    change(&mut posting);
    let body = json!({
        "added": [posting], "modified": [], "removed": [{"transaction_id": "t0"}],
        "next_cursor": "c", "has_more": false,
    });
    page(body.to_string().as_bytes(), 10)
}

#[test]
fn what_leaves_the_account_is_negative_and_names_what_it_replaces() {
    let page = one_page(|_| {}).unwrap();
    let (account, transaction) = &page.told[0];
    assert_eq!((account.as_str(), transaction.amount.minor), ("a1", -1230));
    assert_eq!(transaction.replaces.as_deref(), Some("p1"));
    assert_eq!(
        (transaction.at.day().as_str(), page.removed.as_slice()),
        ("2025-06-01", &["t0".to_owned()][..])
    );
    assert_eq!(page.stage, Stage::Whole);
}

#[test]
fn a_transaction_that_makes_no_sense_is_a_problem_and_no_guess() {
    for (field, bad) in [
        ("amount", json!(1.234)),
        ("amount", json!(1e300)),
        ("amount", json!("12.30")),
        ("iso_currency_code", Value::Null),
        ("date", json!("yesterday")),
        ("transaction_id", json!("x".repeat(300))),
        ("transaction_id", json!(7)),
        ("pending_transaction_id", json!("a\u{0}b")),
    ] {
        let page = one_page(|posting| posting[field] = bad.clone()).unwrap();
        assert_eq!((page.told.len(), page.unread.len()), (0, 1), "{field} {bad}");
        assert_eq!(page.unread[0].account.as_deref(), Some("a1"), "{field} {bad}");
        let internal = ["expected", "invalid type", "struct", "i64", "line"];
        assert!(internal.iter().all(|word| !page.unread[0].why.contains(word)), "{}", page.unread[0].why);
    }
}

#[test]
fn what_is_in_points_or_coins_is_no_problem() {
    let page = one_page(|posting| {
        posting["iso_currency_code"] = Value::Null;
        posting["unofficial_currency_code"] = "BTC".into();
    });
    let page = page.unwrap();
    assert_eq!((page.told.len(), page.unread.len(), page.unsupported), (0, 0, 1));
    let account = |id: &str, iso: Value, unofficial: Value| {
        let balances =
            json!({"current": 1, "iso_currency_code": iso, "unofficial_currency_code": unofficial});
        json!({"account_id": id, "name": id, "type": "depository", "balances": balances})
    };
    let told = [
        account("usd", "USD".into(), Value::Null),
        account("btc", Value::Null, "BTC".into()),
        account("none", Value::Null, Value::Null),
    ];
    let found = accounts(json!({ "accounts": told }).to_string().as_bytes(), NOW).unwrap();
    assert_eq!(found.accounts.len(), 1);
    let problems = found.problems.summary();
    assert_eq!(problems.as_deref(), Some("none cannot be read: its currency is none"));
    assert!(found.unsupported["btc"].contains("currency is not supported"), "{:?}", found.unsupported);
}

#[test]
fn what_is_no_page_is_told_apart() {
    assert_eq!(page(b"{\"added\": [", 1).unwrap_err(), "Plaid's answer breaks off");
    assert_eq!(page(b"<html>", 1).unwrap_err(), "Plaid's answer is not JSON");
    assert_eq!(page(b"{}", 1).unwrap_err(), "Plaid's answer is not a page of transactions");
    assert!(
        page(br#"{"added": [1, 2], "modified": [], "removed": [], "next_cursor": "", "has_more": false}"#, 1)
            .is_err()
    );
}

proptest! {
    #[test]
    fn nothing_that_is_sent_makes_it_panic(text in ".*", amount in any::<f64>(), kind in "credit|loan|depository|.*") {
        let _ = one_page(|posting| { posting["date"] = text.clone().into(); posting["amount"] = json!(amount); });
        let account = json!({"account_id": text, "name": text, "type": kind, "balances": {"current": amount, "iso_currency_code": "USD"}});
        let _ = accounts(json!({"accounts": [account]}).to_string().as_bytes(), NOW);
        let _ = failure(400, text.as_bytes(), None);
    }
}
