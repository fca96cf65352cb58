//! Reads an [account set](https://www.simplefin.org/protocol.html#account-set). Pure.
//!
//! Whatever a bank sends, what comes out is bounded and typed. An account that makes no sense is
//! left out and named; an answer in which nothing makes sense is an error. What is wrong with one
//! account says nothing of the others, and neither does a bank's word of a problem: it names no
//! account, and as a rule is about an institution of which none is told.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use steward_actors::money::{Currency, Money};
use steward_actors::providers::{BankAccount, BankDetails, BankError, BankTransaction, Statement};
use steward_actors::time::Timestamp;

use crate::providers::bounded::{AtMost, Problems};

/// Accounts of one connection.
const MOST_ACCOUNTS: usize = 500;
/// Transactions of one account in one answer.
const MOST_TRANSACTIONS: usize = 20_000;
/// Transactions of all accounts in one answer.
const MOST_IN_ALL: usize = 50_000;
/// Characters of a name, an id or a message.
const LONGEST: usize = 200;
/// Messages of the bank that are looked at.
const MOST_MESSAGES: usize = 3;
/// Bytes of what an account has beyond the protocol; of more nothing is read.
const MOST_EXTRA: usize = 4096;
/// The latest time that has a day, in Unix seconds: 9999-12-30T21:59:59Z.
const LATEST: i64 = 253_402_207_199;
/// How far ahead a transaction may be dated.
const AHEAD: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Deserialize)]
struct AccountSet<'a> {
    #[serde(borrow, default)]
    errors: AtMost<'a, MOST_MESSAGES>,
    #[serde(borrow)]
    accounts: AtMost<'a, MOST_ACCOUNTS>,
}

/// An account, each of its fields whatever it is: one that makes no sense is to be named.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Account<'a> {
    #[serde(borrow)]
    org: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    currency: Option<&'a RawValue>,
    #[serde(borrow)]
    balance: Option<&'a RawValue>,
    #[serde(borrow)]
    balance_date: Option<&'a RawValue>,
    #[serde(borrow)]
    extra: Option<&'a RawValue>,
    #[serde(borrow)]
    transactions: Option<&'a RawValue>,
}

/// A [transaction](https://www.simplefin.org/protocol.html#transaction), likewise.
#[derive(Deserialize)]
struct Posting<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    posted: Option<&'a RawValue>,
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    pending: Option<&'a RawValue>,
    #[serde(borrow)]
    transacted_at: Option<&'a RawValue>,
}

/// Who keeps an account.
#[derive(Default, Deserialize)]
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
    let set: AccountSet<'_> = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "the bank's answer is not a list of accounts".to_owned(),
        serde_json::error::Category::Eof => "the bank's answer breaks off".to_owned(),
        _ => "the bank's answer is not JSON".to_owned(),
    })?;
    if set.accounts.more > 0 {
        return Err(format!("the bank's answer has more than {MOST_ACCOUNTS} accounts"));
    }
    let (mut problems, mut unsupported) = (reported(&set.errors), Problems::default());
    let mut accounts: Vec<BankAccount> = Vec::new();
    let mut places = HashMap::new();
    // An unreadable account may be any, and so may one of which the bank reports a problem.
    let mut all_accounts = problems.is_empty();
    let mut room = MOST_IN_ALL;
    for (position, raw) in set.accounts.kept.iter().enumerate() {
        let nameless = || format!("account {}", position + 1);
        let Ok(described) = serde_json::from_str::<Account<'_>>(raw.get()) else {
            all_accounts = false;
            problems.note(format!("{} cannot be read", nameless()));
            continue;
        };
        let name = sensible::<String>(described.name).map(|name| one_line(&name));
        let whose = name.clone().filter(|name| !name.is_empty()).unwrap_or_else(nameless);
        match read_account(&described, name) {
            Ok(mut account) if !places.contains_key(&account.id) => {
                let told = read_transactions(&described, account.balance.currency, now, &mut room);
                account.whole = told.problem.is_none();
                if let Some(what) = told.problem {
                    problems.note(format!("{whose}: {what}"));
                }
                account.transactions = told.transactions;
                places.insert(account.id.clone(), accounts.len());
                accounts.push(account);
            }
            Ok(account) => {
                if let Some(first) = places.get(&account.id).and_then(|&place| accounts.get_mut(place)) {
                    first.whole = false;
                }
                problems.note(format!("{whose} is told of twice"));
            }
            Err(Unread::Unsupported) => {
                unsupported.note(format!("{whose} is not shown: its currency is not supported"));
            }
            Err(Unread::Unreadable(why)) => {
                all_accounts = false;
                problems.note(format!("{whose} cannot be read: {why}"));
            }
        }
    }
    if accounts.is_empty() && unsupported.is_empty() && !set.accounts.kept.is_empty() {
        let why = problems.summary().unwrap_or_default();
        return Err(format!("the bank's answer makes no sense: {why}"));
    }
    let (partial, unsupported) = (problems.summary(), unsupported.summary());
    Ok(Statement { accounts, partial, all_accounts, unsupported, ..Statement::default() })
}

/// What the bank itself says is wrong.
fn reported(errors: &AtMost<'_, MOST_MESSAGES>) -> Problems {
    let mut problems = Problems::default();
    for &error in &errors.kept {
        let text = sensible::<String>(Some(error)).map(|text| one_line(&text));
        problems.note(text.filter(|text| !text.is_empty()).unwrap_or_else(|| A_PROBLEM.to_owned()));
    }
    problems.count(errors.more);
    problems
}

/// What a bank reports that has no words for it.
const A_PROBLEM: &str = "the bank reports a problem";

/// The value, if it is such a one.
fn sensible<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// The value if there is one, or `why` it makes no sense.
fn optional<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    why: &'static str,
) -> Result<Option<T>, &'static str> {
    raw.map(|raw| serde_json::from_str(raw.get()).map_err(|_| why)).transpose()
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

/// Leaves out what is older than this, as it could not be had: `error` says what was in the way, `why` tells
/// the user.
pub(super) fn end_early(statement: &mut Statement, why: &str, error: BankError) {
    let before = statement.partial.take().map(|partial| format!("; {partial}")).unwrap_or_default();
    statement.partial = Some(format!("{why}{before}"));
    statement.cut_short = Some(error);
}

/// Why an account is not among those that are told.
enum Unread {
    /// It makes no sense; the text says why.
    Unreadable(String),
    /// It makes sense, and Steward shows no accounts in such a currency.
    Unsupported,
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

/// The account without its transactions.
fn read_account(account: &Account<'_>, name: Option<String>) -> Result<BankAccount, Unread> {
    let name = name.ok_or("it has no name")?;
    let code = sensible::<String>(account.currency).ok_or("it has no currency")?;
    let Some(currency) = Currency::from_code(&code) else {
        return Err(if is_other_unit(&code) { Unread::Unsupported } else { "its currency is none".into() });
    };
    let balance = amount("balance", account.balance, currency)?;
    let as_of = sensible::<i64>(account.balance_date).and_then(time);
    let details = details(account.extra, currency)?;
    let owed = matches!(details, BankDetails::Credit { .. } | BankDetails::Loan { .. });
    let org: Org = optional(account.org, "its bank has no name")?.unwrap_or_default();
    Ok(BankAccount {
        id: sensible::<String>(account.id).filter(|id| is_id(id)).ok_or("its id is none")?,
        institution: one_line(&org.name.or(org.domain).unwrap_or_default()),
        name,
        // SimpleFIN shows what is owed as negative.
        balance: if owed { Money::new(-balance.minor, currency) } else { balance },
        balance_as_of: as_of.ok_or("the date of its balance is none")?,
        details,
        transactions: Vec::new(),
        whole: true,
    })
}

/// An account's transactions, and why they are not all.
#[derive(Default)]
struct Told {
    transactions: Vec<BankTransaction>,
    problem: Option<String>,
}

/// The transactions of an account, for which there is so much `room` in the answer.
fn read_transactions(
    account: &Account<'_>,
    currency: Currency,
    now: Option<Timestamp>,
    room: &mut usize,
) -> Told {
    let list =
        optional::<AtMost<'_, MOST_TRANSACTIONS>>(account.transactions, "its transactions are no list");
    let list = match list {
        Ok(list) => list.unwrap_or_default(),
        Err(why) => return Told { problem: Some(why.to_owned()), ..Told::default() },
    };
    let fit = list.kept.len().min(*room);
    *room -= fit;
    let mut told = Told { transactions: Vec::with_capacity(fit), problem: None };
    let (mut unread, mut first) = (0_usize, None);
    for raw in &list.kept[..fit] {
        match read_transaction(raw, currency, now) {
            Ok(transaction) => told.transactions.push(transaction),
            Err(why) => {
                unread += 1;
                first = first.or(Some(why));
            }
        }
    }
    let left_out = list.kept.len() - fit + list.more;
    if left_out > 0 {
        told.problem = Some(format!("it has too many transactions; {left_out} are left out"));
    } else if let Some(why) = first {
        told.problem = Some(format!("some transactions cannot be read ({unread}): {why}"));
    }
    told
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
    raw: &RawValue,
    currency: Currency,
    now: Option<Timestamp>,
) -> Result<BankTransaction, String> {
    const NO_TIME: &str = "it has no time";
    let posting: Posting<'_> = serde_json::from_str(raw.get()).map_err(|_| "it is none")?;
    // What is not booked yet has 0 there, and says when it was made if the bank knows. If it does not, it
    // was made by today.
    let posted = optional::<i64>(posting.posted, NO_TIME)?.filter(|at| *at != 0);
    let made = optional::<i64>(posting.transacted_at, NO_TIME)?.filter(|at| *at != 0);
    let is_pending = optional::<bool>(posting.pending, "it does not say whether it is pending")?;
    let pending = is_pending == Some(true) || posted.is_none();
    let said = if pending { made.or(posted) } else { posted };
    let at = match said {
        Some(at) => time(at).filter(|at| at.as_millis() > 0),
        None => now,
    };
    let at = at.ok_or(NO_TIME)?;
    if now.is_some_and(|now| at > now.plus(AHEAD)) {
        return Err("it is dated years ahead".to_owned());
    }
    let description = sensible::<String>(posting.description).ok_or("it has no description")?;
    Ok(BankTransaction {
        at,
        amount: amount("amount", posting.amount, currency)?,
        description: one_line(&description),
        pending,
        replaces: None,
        undated: said.is_none(),
        id: sensible::<String>(posting.id).filter(|id| is_id(id)).ok_or("its id is none")?,
    })
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(seconds).filter(|seconds| (0..=LATEST).contains(seconds)).map(|s| Timestamp::from_millis(s * 1000))
}

/// The protocol knows no kinds of accounts. What does not say what it is counts as a checking
/// account: its balance is shown as the bank tells it, and nothing is made up.
fn details(extra: Option<&RawValue>, currency: Currency) -> Result<BankDetails, String> {
    let extra = extra.filter(|extra| extra.get().len() <= MOST_EXTRA);
    let Some(extra) = sensible::<Extra>(extra) else {
        return Ok(BankDetails::Checking { overdraft_protection: None, routing_number: None });
    };
    let amount = |field, text: Option<String>| text.map(|text| amount_of(field, &text, currency)).transpose();
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

fn amount(field: &str, raw: Option<&RawValue>, currency: Currency) -> Result<Money, String> {
    amount_of(field, &sensible::<String>(raw).unwrap_or_default(), currency)
}

fn amount_of(field: &str, text: &str, currency: Currency) -> Result<Money, String> {
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
    use serde_json::{Value, json};

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
        for (posted, read) in [
            (ahead(30), true),
            (ahead(3 * 366), false),
            (LATEST, false),
            (LATEST + 1, false),
            (i64::MAX, false),
        ] {
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
        let kept: Vec<_> =
            statement.accounts.iter().map(|told| (told.whole, told.transactions.len())).collect();
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
