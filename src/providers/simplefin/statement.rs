//! Reads an [account set](https://www.simplefin.org/protocol.html#account-set). Pure.
//!
//! Whatever a bank sends, what comes out is bounded and typed. An account that makes no sense is
//! left out and named; an answer in which nothing makes sense is an error. What is wrong with one
//! account says nothing of the others, and neither does a bank's word of a problem: it names no
//! account, and as a rule is about an institution of which none is told.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use steward_actors::money::{Currency, Money};
use steward_actors::providers::{BankAccount, BankDetails, BankTransaction, Statement};
use steward_actors::time::Timestamp;

/// Accounts of one connection.
const MOST_ACCOUNTS: usize = 500;
/// Transactions of one account in one answer.
const MOST_TRANSACTIONS: usize = 20_000;
/// Characters of a name, an id or a message.
const LONGEST: usize = 200;
/// Messages that are passed on.
const MOST_MESSAGES: usize = 3;
/// The end of the year 9999, in Unix seconds.
const LATEST: i64 = 253_402_300_799;

#[derive(Deserialize)]
struct AccountSet {
    #[serde(default)]
    errors: Vec<Value>,
    accounts: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Account {
    org: Option<Org>,
    id: String,
    name: String,
    currency: String,
    balance: String,
    balance_date: i64,
    extra: Option<Value>,
    #[serde(default)]
    transactions: Vec<Value>,
}

/// A [transaction](https://www.simplefin.org/protocol.html#transaction).
#[derive(Deserialize)]
struct Posting {
    id: String,
    posted: Option<i64>,
    amount: String,
    description: String,
    #[serde(default)]
    pending: bool,
    transacted_at: Option<i64>,
}

#[derive(Deserialize)]
struct Org {
    name: Option<String>,
    domain: Option<String>,
}

/// What the sandbox says of an account beyond the protocol.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
enum Extra {
    Checking {
        overdraft_protection: Option<bool>,
        routing_number: Option<String>,
    },
    Savings {
        apy: Option<String>,
    },
    Credit {
        credit_limit: Option<String>,
        available_credit: Option<String>,
        apr: Option<String>,
        due_date: Option<String>,
    },
    Loan {
        principal: Option<String>,
        interest_rate: Option<String>,
        remaining_term_months: Option<u32>,
    },
}

/// The statement in `body`, which was asked for `now`; the error is in words for users. Without the present
/// no pending transaction can be dated of which the bank does not say when it was made.
pub(super) fn read(body: &[u8], now: Option<Timestamp>) -> Result<Statement, String> {
    let set: AccountSet = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "the bank's answer is not a list of accounts".to_owned(),
        serde_json::error::Category::Eof => "the bank's answer breaks off".to_owned(),
        _ => "the bank's answer is not JSON".to_owned(),
    })?;
    if set.accounts.len() > MOST_ACCOUNTS {
        return Err(format!("the bank's answer has more than {MOST_ACCOUNTS} accounts"));
    }
    let mut problems: Vec<String> =
        set.errors.iter().filter_map(Value::as_str).map(one_line).filter(|text| !text.is_empty()).collect();
    if problems.is_empty() && !set.errors.is_empty() {
        problems.push("the bank reports a problem".to_owned());
    }
    let told = set.accounts.len();
    let mut unsupported = Vec::new();
    let mut accounts: Vec<BankAccount> = Vec::new();
    let mut places = HashMap::new();
    // An unreadable account may be any, and so may one of which the bank reports a problem.
    let mut all_accounts = set.errors.is_empty();
    for (position, account) in set.accounts.into_iter().enumerate() {
        match read_account(account, now, &mut problems) {
            Ok(account) => match places.get(&account.id) {
                None => {
                    places.insert(account.id.clone(), accounts.len());
                    accounts.push(account);
                }
                Some(&place) => {
                    accounts[place].whole = false;
                    problems.push(format!("{} is told of twice", account.name));
                }
            },
            Err(Unread::Unsupported(what)) => unsupported.push(what),
            Err(Unread::Unreadable(why)) => {
                all_accounts = false;
                problems.push(format!("account {} cannot be read: {why}", position + 1));
            }
        }
    }
    if accounts.is_empty() && unsupported.is_empty() && told > 0 {
        return Err(format!("the bank's answer makes no sense: {}", summary(&problems)));
    }
    let partial = (!problems.is_empty()).then(|| summary(&problems));
    let unsupported = (!unsupported.is_empty()).then(|| summary(&unsupported));
    Ok(Statement { accounts, partial, all_accounts, unsupported, ..Statement::default() })
}

/// Takes over the transactions of an older part of the same statement. An account that this part does
/// not tell of, or not whole, is not whole.
pub(super) fn add_older(statement: &mut Statement, older: Statement) {
    let mut by_id: HashMap<String, BankAccount> =
        older.accounts.into_iter().map(|account| (account.id.clone(), account)).collect();
    let mut missing = None;
    for account in &mut statement.accounts {
        match by_id.remove(&account.id) {
            Some(older) => {
                account.whole &= older.whole;
                account.transactions.extend(older.transactions);
            }
            None => {
                account.whole = false;
                missing = Some(format!("older transactions of {} are missing", account.name));
            }
        }
    }
    statement.partial = statement.partial.take().or(older.partial).or(missing);
}

/// Leaves out what is older than this, as it could not be had.
pub(super) fn end_early(statement: &mut Statement, why: &str) {
    let before = statement.partial.take().map(|partial| format!("; {partial}")).unwrap_or_default();
    statement.partial = Some(format!("{why}{before}"));
}

fn summary(problems: &[String]) -> String {
    let mut text = problems.iter().take(MOST_MESSAGES).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > MOST_MESSAGES {
        text.push_str(&format!("; and {} more", problems.len() - MOST_MESSAGES));
    }
    text
}

/// Why an account is not among those that are told.
enum Unread {
    /// It makes no sense; the text says why.
    Unreadable(String),
    /// It makes sense, and Steward shows no such accounts; the text says which it is.
    Unsupported(String),
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Self::Unreadable(why)
    }
}

impl From<&str> for Unread {
    fn from(why: &str) -> Self {
        Self::Unreadable(why.to_owned())
    }
}

fn read_account(
    account: Value,
    now: Option<Timestamp>,
    problems: &mut Vec<String>,
) -> Result<BankAccount, Unread> {
    let account: Account = serde_json::from_value(account).map_err(|error| one_line(&error.to_string()))?;
    let Some(currency) = Currency::from_code(&account.currency) else {
        if !is_other_unit(&account.currency) {
            return Err("its currency is none".into());
        }
        let name = one_line(&account.name);
        return Err(Unread::Unsupported(format!("{name} is not shown: its currency is not supported")));
    };
    let balance = amount("balance", &account.balance, currency)?;
    let balance_as_of = time(account.balance_date).ok_or("its balance-date is no time")?;
    if account.transactions.len() > MOST_TRANSACTIONS {
        return Err(format!("it has more than {MOST_TRANSACTIONS} transactions").into());
    }
    let details = details(account.extra, currency)?;
    let owed = matches!(details, BankDetails::Credit { .. } | BankDetails::Loan { .. });
    let name = one_line(&account.name);
    let mut transactions = Vec::with_capacity(account.transactions.len());
    let told = account.transactions.len();
    for posting in account.transactions {
        match read_transaction(posting, currency, now) {
            Ok(transaction) => transactions.push(transaction),
            Err(why) => problems.push(format!("{name}: a transaction cannot be read: {why}")),
        }
    }
    let org = account.org.and_then(|org| org.name.or(org.domain)).unwrap_or_default();
    Ok(BankAccount {
        id: Some(account.id).filter(|id| is_id(id)).ok_or("its id is malformed")?,
        institution: one_line(&org),
        name,
        // SimpleFIN shows what is owed as negative.
        balance: if owed { Money::new(-balance.minor, currency) } else { balance },
        balance_as_of,
        details,
        whole: transactions.len() == told,
        transactions,
    })
}

/// Whether this names something that accounts are kept in, if not a currency: points and miles have an
/// address [by the protocol](https://www.simplefin.org/protocol.html#custom-currencies), and what is
/// traded like a currency has a code like one.
fn is_other_unit(currency: &str) -> bool {
    let is_code = (3..=5).contains(&currency.len())
        && currency.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_code || url::Url::parse(currency).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

fn read_transaction(
    posting: Value,
    currency: Currency,
    now: Option<Timestamp>,
) -> Result<BankTransaction, String> {
    let posting: Posting = serde_json::from_value(posting).map_err(|error| one_line(&error.to_string()))?;
    // What is not booked yet has 0 there, and says when it was made if the bank knows. If it does not, it
    // was made by today, and so it is told of until it is booked.
    let posted = posting.posted.filter(|at| *at != 0);
    let pending = posting.pending || posted.is_none();
    let at = if pending { posting.transacted_at.filter(|at| *at != 0).or(posted) } else { posted };
    let at = match at {
        Some(at) => time(at).filter(|at| at.as_millis() > 0),
        None => now,
    };
    Ok(BankTransaction {
        at: at.ok_or("it has no time")?,
        amount: amount("amount", &posting.amount, currency)?,
        description: one_line(&posting.description),
        pending,
        replaces: None,
        id: Some(posting.id).filter(|id| is_id(id)).ok_or("its id is malformed")?,
    })
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(seconds).filter(|seconds| (0..=LATEST).contains(seconds)).map(|s| Timestamp::from_millis(s * 1000))
}

/// The protocol knows no kinds of accounts. What does not say what it is counts as a checking
/// account: its balance is shown as the bank tells it, and nothing is made up.
fn details(extra: Option<Value>, currency: Currency) -> Result<BankDetails, String> {
    let typed = extra.filter(|extra| extra.get("type").is_some_and(Value::is_string));
    let Some(extra) = typed.and_then(|extra| serde_json::from_value(extra).ok()) else {
        return Ok(BankDetails::Checking { overdraft_protection: None, routing_number: None });
    };
    let amount = |field, text: Option<String>| text.map(|text| amount(field, &text, currency)).transpose();
    let rate = |field, text: Option<String>| text.map(|text| rate(field, text)).transpose();
    Ok(match extra {
        Extra::Checking { overdraft_protection, routing_number } => BankDetails::Checking {
            overdraft_protection,
            routing_number: routing_number.as_deref().map(one_line),
        },
        Extra::Savings { apy } => BankDetails::Savings { apy: rate("apy", apy)? },
        Extra::Credit { credit_limit, available_credit, apr, due_date } => BankDetails::Credit {
            credit_limit: amount("credit-limit", credit_limit)?,
            available_credit: amount("available-credit", available_credit)?,
            apr: rate("apr", apr)?,
            due_date: due_date.filter(|date| date.parse::<jiff::civil::Date>().is_ok()),
        },
        Extra::Loan { principal, interest_rate, remaining_term_months } => BankDetails::Loan {
            principal: amount("principal", principal)?,
            interest_rate: rate("interest-rate", interest_rate)?,
            remaining_term_months,
        },
    })
}

fn amount(field: &str, text: &str, currency: Currency) -> Result<Money, String> {
    let plain = text.len() <= 40;
    let amount = if plain { Money::from_decimal_text(text, currency).ok() } else { None };
    amount.ok_or_else(|| format!("its {field} is no amount of {currency}"))
}

/// Decimal text with at most four digits before the point and six after it.
fn rate(field: &str, text: String) -> Result<String, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if digits(whole, 4) && digits(fraction, 6) { Ok(text) } else { Err(format!("its {field} is no rate")) }
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// Text of a stranger, fit for a line on a screen.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

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
            ("balance", json!(12.5), "string"),
            ("balance-date", json!(i64::MAX), "balance-date"),
            ("balance-date", json!(-1), "balance-date"),
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
            assert!(partial.contains("account 2") && partial.contains(named), "{partial}");
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
        for (posted, made, day) in [
            (json!(0), Value::Null, "2001-01-02"),
            (Value::Null, Value::Null, "2001-01-02"),
            (json!(0), json!(0), "2001-01-02"),
            (json!(0), json!(978_200_000), "2000-12-30"),
            (json!(978_200_000), Value::Null, "2000-12-30"),
        ] {
            told["transactions"] = json!([pending(posted, made)]);
            let statement = of(&[told.clone()]).unwrap();
            assert_eq!(statement.partial, None);
            let read = &statement.accounts[0].transactions[0];
            assert_eq!((read.at.day().as_str(), read.pending), (day, true));
        }
        told["transactions"] = json!([pending(json!(-5), Value::Null)]);
        assert!(of(&[told]).unwrap().partial.is_some());
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
            assert!(
                unsupported.contains("Account points") && unsupported.contains("currency"),
                "{unsupported}"
            );
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
        let set = json!({"errors": ["Connection to Other Bank may need attention"], "accounts": [odd, broken, fine]});
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
        assert!(
            partial.len() < 1000 && !partial.contains('\n') && partial.ends_with("and 47 more"),
            "{partial}"
        );
    }

    #[test]
    fn half_an_answer_and_no_answer_are_told_apart() {
        assert_eq!(read(b"{\"accounts\": [", None).unwrap_err(), "the bank's answer breaks off");
        assert_eq!(read(b"<html>", None).unwrap_err(), "the bank's answer is not JSON");
        assert_eq!(
            read(b"{\"accounts\": 7}", None).unwrap_err(),
            "the bank's answer is not a list of accounts"
        );
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
}
