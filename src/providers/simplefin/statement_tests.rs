//! What a bank answers, whatever it is, comes out bounded and typed.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// 2001-01-02, 02:00 UTC.
const NOW: Timestamp = Timestamp::from_millis(978_400_800_000);

fn account() -> Value {
    json!({
        "org": {"domain": "mybank.example", "sfin-url": "https://sfin.mybank.example"},
        "id": "2930002", "name": "Savings", "currency": "USD", "balance": "100.23",
        "available-balance": "75.23", "balance-date": 978_366_153, "transactions": [],
    })
}

fn of(accounts: &[Value]) -> Result<Statement, String> {
    read(json!({"errors": [], "accounts": accounts}).to_string().as_bytes(), Some(NOW))
}

#[test]
fn an_account_of_no_stated_kind_is_a_checking_account() {
    let statement = of(&[account()]).unwrap();
    assert_eq!(statement.partial, None);
    let read = &statement.accounts[0];
    assert_eq!((read.balance.minor, read.institution.as_str()), (10_023, "mybank.example"));
    assert_eq!(read.balance_as_of.to_string(), "2001-01-01T16:22:33.000Z");
    assert!(matches!(read.details, BankDetails::Checking { overdraft_protection: None, .. }));
}

#[test]
fn what_is_owed_on_a_credit_account_is_positive() {
    let mut credit = account();
    credit["balance"] = "-1200.45".into();
    credit["extra"] = json!({
        "type": "credit", "credit-limit": "5000.00", "available-credit": "3799.55", "apr": "19.99",
        "due-date": "2025-06-15",
    });
    let statement = of(&[credit]).unwrap();
    assert_eq!(statement.accounts[0].balance.minor, 120_045);
    let BankDetails::Credit { apr, due_date, .. } = &statement.accounts[0].details else { panic!() };
    assert_eq!((apr.as_deref(), due_date.as_deref()), (Some("19.99"), Some("2025-06-15")));
}

#[test]
fn an_account_that_makes_no_sense_is_left_out_and_named() {
    for (field, bad, named) in [
        ("balance", json!("1e400"), "balance"),
        ("balance", json!("1.234"), "balance"),
        ("balance", json!(12.5), "balance"),
        ("balance", Value::Null, "balance"),
        ("org", json!(7), "bank"),
        ("name", Value::Null, "name"),
        ("balance-date", json!(i64::MAX), "date of its balance"),
        ("balance-date", json!(-1), "date of its balance"),
        ("balance-date", json!("today"), "date of its balance"),
        ("currency", json!("dollars"), "currency"),
        ("id", json!("x".repeat(300)), "id"),
    ] {
        let mut broken = account();
        broken[field] = bad.clone();
        broken["extra"] = Value::Null;
        let mut good = account();
        good["id"] = "other".into();
        let statement = of(&[good, broken.clone()]).unwrap();
        assert_eq!(statement.accounts.len(), 1, "{field} {bad}");
        let partial = statement.partial.unwrap();
        let whose = if field == "name" { "account 2 " } else { "Savings " };
        assert!(partial.starts_with(whose) && partial.contains(named), "{partial}");
        let internal = ["expected", "field", "struct", "i64", "line"];
        assert!(internal.iter().all(|word| !partial.contains(word)), "{partial}");
        assert!(of(&[broken]).is_err(), "{field} {bad}");
    }
}

fn named(id: &str) -> Value {
    let mut named = account();
    named["id"] = id.into();
    named["name"] = format!("Account {id}").into();
    named
}

fn spent(id: &str) -> Value {
    json!({"id": id, "posted": 978_366_000, "amount": "-10.00", "description": "Coffee"})
}

#[test]
fn a_pending_one_of_which_the_bank_does_not_say_when_is_of_today() {
    let pending = |posted: Value, made: Value| {
        json!({
            "id": "p", "posted": posted, "transacted_at": made, "amount": "-10.00", "description": "Coffee",
            "pending": true,
        })
    };
    let mut told = account();
    for (posted, made, day, undated) in [
        (json!(0), Value::Null, "2001-01-02", true),
        (Value::Null, Value::Null, "2001-01-02", true),
        (json!(0), json!(0), "2001-01-02", true),
        (json!(0), json!(978_200_000), "2000-12-30", false),
        (json!(978_200_000), Value::Null, "2000-12-30", false),
    ] {
        told["transactions"] = json!([pending(posted, made)]);
        let statement = of(&[told.clone()]).unwrap();
        assert_eq!(statement.partial, None);
        let read = &statement.accounts[0].transactions[0];
        assert_eq!((read.at.day().as_str(), read.pending, read.undated), (day, true, undated));
    }
    told["transactions"] = json!([pending(json!(-5), Value::Null)]);
    assert!(of(&[told]).unwrap().partial.is_some());
}

#[test]
fn a_transaction_of_a_time_that_has_no_day_or_of_years_ahead_is_left_out() {
    let mut told = account();
    let ahead = |days: i64| NOW.as_millis() / 1000 + days * 86_400;
    for (posted, read) in
        [(ahead(30), true), (ahead(3 * 366), false), (LATEST, false), (LATEST + 1, false), (i64::MAX, false)]
    {
        told["transactions"] =
            json!([{"id": "t", "posted": posted, "amount": "-10.00", "description": "Coffee"}]);
        let statement = of(&[told.clone()]).unwrap();
        assert_eq!(statement.accounts[0].transactions.len() == 1, read, "{posted}");
        assert_eq!(statement.partial.is_none(), read, "{posted}");
    }
    assert_eq!(time(LATEST).map(Timestamp::day).as_deref(), Some("9999-12-30"));
}

#[test]
fn an_account_told_of_twice_counts_once() {
    let statement = of(&[account(), account(), named("other")]).unwrap();
    assert_eq!(statement.accounts.len(), 2);
    assert!(statement.partial.is_some());
    assert_eq!(statement.accounts.iter().map(|account| account.whole).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn an_account_in_points_or_coins_is_no_gap_and_the_user_is_told() {
    for unit in ["https://points.example/miles", "BTC"] {
        let mut points = named("points");
        points["currency"] = unit.into();
        let statement = of(&[points.clone(), account()]).unwrap();
        assert_eq!((statement.accounts.len(), &statement.partial), (1, &None), "{unit}");
        assert!(statement.accounts[0].whole);
        let unsupported = statement.unsupported.unwrap();
        assert!(unsupported.contains("Account points") && unsupported.contains("currency"), "{unsupported}");
        assert!(of(&[points]).unwrap().accounts.is_empty());
    }
}

#[test]
fn what_is_wrong_with_one_account_and_what_the_bank_reports_leaves_the_others_whole() {
    let mut odd = named("odd");
    odd["transactions"] = json!([spent("t1"), {"id": "t2"}]);
    let mut broken = named("broken");
    broken["balance"] = "much".into();
    let mut fine = account();
    fine["transactions"] = json!([spent("t1")]);
    let set =
        json!({"errors": ["Connection to Other Bank may need attention"], "accounts": [odd, broken, fine]});
    let statement = read(set.to_string().as_bytes(), Some(NOW)).unwrap();
    assert!(statement.partial.is_some() && !statement.all_accounts);
    let told: Vec<_> =
        statement.accounts.iter().map(|account| (account.whole, account.transactions.len())).collect();
    assert_eq!(told, [(false, 1), (true, 1)]);
}

#[test]
fn an_older_part_makes_only_those_accounts_doubtful_that_it_does_not_tell_whole() {
    let mut newest = of(&[named("a"), named("b"), named("c")]).unwrap();
    let (mut a, mut b) = (named("a"), named("b"));
    a["transactions"] = json!([spent("t1")]);
    b["transactions"] = json!([{"id": "t2"}]);
    add_older(&mut newest, of(&[a, b]).unwrap());
    let told: Vec<_> =
        newest.accounts.iter().map(|account| (account.whole, account.transactions.len())).collect();
    assert_eq!(told, [(true, 1), (false, 0), (false, 0)]);
    assert!(newest.partial.is_some() && newest.all_accounts);
}

#[test]
fn the_banks_own_errors_make_it_partial_and_are_bounded() {
    let errors: Vec<String> = (0..50).map(|n| format!("{n}\n{}", "x".repeat(1000))).collect();
    let statement = read(json!({"errors": errors, "accounts": []}).to_string().as_bytes(), None).unwrap();
    let partial = statement.partial.unwrap();
    assert!(partial.len() < 1000 && !partial.contains('\n') && partial.ends_with("and 47 more"), "{partial}");
}

#[test]
fn more_than_there_is_room_for_is_left_out_and_said_so() {
    let many = |most: usize| (0..most).map(|n| spent(&n.to_string())).collect::<Vec<_>>();
    let told: Vec<Value> = (0..4)
        .map(|n| {
            let mut told = named(&n.to_string());
            told["transactions"] = json!(many(if n == 0 { MOST_TRANSACTIONS + 5 } else { 18_000 }));
            told
        })
        .collect();
    let statement = of(&told).unwrap();
    let kept: Vec<_> = statement.accounts.iter().map(|told| (told.whole, told.transactions.len())).collect();
    assert_eq!(kept, [(false, MOST_TRANSACTIONS), (true, 18_000), (false, 12_000), (false, 0)]);
    let partial = statement.partial.unwrap();
    assert!(partial.contains("Account 0: it has too many transactions; 5 are left out"), "{partial}");
    assert!(statement.all_accounts);
}

#[test]
fn transactions_that_make_no_sense_are_one_problem_of_their_account() {
    let mut odd = account();
    odd["transactions"] = json!(vec![json!({}); MOST_TRANSACTIONS]);
    let statement = of(&[odd]).unwrap();
    assert_eq!(
        statement.partial.as_deref(),
        Some("Savings: some transactions cannot be read (20000): it has no description")
    );
    assert!(!statement.accounts[0].whole);
}

#[test]
fn half_an_answer_and_no_answer_are_told_apart() {
    assert_eq!(read(b"{\"accounts\": [", None).unwrap_err(), "the bank's answer breaks off");
    assert_eq!(read(b"<html>", None).unwrap_err(), "the bank's answer is not JSON");
    assert_eq!(read(b"{\"accounts\": 7}", None).unwrap_err(), "the bank's answer is not a list of accounts");
}

#[test]
fn too_many_accounts_are_refused() {
    assert!(of(&vec![account(); MOST_ACCOUNTS + 1]).is_err());
}

proptest! {
    #[test]
    fn nothing_that_is_sent_makes_it_panic(balance in ".*", date in any::<i64>(), id in ".*", kind in "credit|loan|savings|.*") {
        let mut odd = account();
        odd["balance"] = balance.into();
        odd["balance-date"] = date.into();
        odd["id"] = id.into();
        odd["extra"] = json!({"type": kind, "apy": "1", "principal": "1", "interest-rate": "1", "remaining-term-months": 3});
        let _ = of(&[odd]);
    }
}
