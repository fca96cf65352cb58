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
use steward_actors::providers::{BankAccount, BankDetails, BankError, BankTransaction, Problems, Statement};
use steward_actors::time::Timestamp;

use crate::providers::bounded::{AtMost, Unread, is_id, one_line};

/// Accounts of one connection.
const MOST_ACCOUNTS: usize = 500;
/// Transactions of one account in one answer.
const MOST_TRANSACTIONS: usize = 20_000;
/// Transactions of all accounts in one answer.
const MOST_IN_ALL: usize = 50_000;
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
            Err(Unread::Unsupported(())) => {
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

/// The account without its transactions.
fn read_account(account: &Account<'_>, name: Option<String>) -> Result<BankAccount, Unread> {
    let name = name.ok_or("it has no name")?;
    let code = sensible::<String>(account.currency).ok_or("it has no currency")?;
    let Some(currency) = Currency::from_code(&code) else {
        return Err(if is_other_unit(&code) {
            Unread::Unsupported(())
        } else {
            "its currency is none".into()
        });
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

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
