//! Reads what Plaid answers: [accounts](https://plaid.com/docs/api/accounts/),
//! [pages of changes](https://plaid.com/docs/api/products/transactions/#transactionssync) and
//! [errors](https://plaid.com/docs/errors/). Pure. Whatever is sent, what comes out is bounded and
//! typed; what makes no sense is left out and named.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use steward_actors::money::{Currency, Money};
use steward_actors::providers::{BankAccount, BankDetails, BankError, BankTransaction, Problems};
use steward_actors::time::Timestamp;

use crate::providers::bounded::{AtMost, Unread, is_id, one_line};

/// Accounts of one item.
const MOST_ACCOUNTS: usize = 500;
/// Changes of one page.
const MOST_ON_PAGE: usize = 500;

/// Why a call brought nothing that it was made for.
#[derive(Debug, PartialEq)]
pub(super) enum CallError {
    /// The list changed while it was paged through: begin again with the first page.
    Mutated,
    /// The provider is still fetching.
    NotReady,
    /// The cursor is none of this item's.
    BadCursor,
    /// The public token is unknown, used up or too old.
    BadToken,
    /// No key for webhooks has this id.
    UnknownKey,
    /// Anything else.
    Bank(BankError),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Failure {
    error_type: String,
    error_code: String,
    error_message: String,
    display_message: Option<String>,
}

/// What an answer that is not 200 means.
pub(super) fn failure(status: u16, body: &[u8], retry_after: Option<Duration>) -> CallError {
    let failure: Failure = serde_json::from_slice(body).unwrap_or_default();
    let bank = |error| CallError::Bank(error);
    match failure.error_code.as_str() {
        "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION" => return CallError::Mutated,
        "PRODUCT_NOT_READY" => return CallError::NotReady,
        "INVALID_PUBLIC_TOKEN" | "EXPIRED_PUBLIC_TOKEN" => return CallError::BadToken,
        "INVALID_WEBHOOK_VERIFICATION_KEY_ID" => return CallError::UnknownKey,
        "INVALID_FIELD" if failure.error_message.contains("cursor") => return CallError::BadCursor,
        "ITEM_LOGIN_REQUIRED" => {
            return bank(BankError::NeedsReauth(failure.words("log in at the bank again")));
        }
        "INVALID_ACCESS_TOKEN"
        | "ITEM_NOT_FOUND"
        | "ITEM_LOCKED"
        | "INVALID_CREDENTIALS"
        | "INVALID_MFA"
        | "INVALID_UPDATED_USERNAME"
        | "INSUFFICIENT_CREDENTIALS"
        | "USER_SETUP_REQUIRED"
        | "MFA_NOT_SUPPORTED"
        | "ACCESS_NOT_GRANTED"
        | "ACCESS_NOT_GRANTED_OAUTH"
        | "USER_PERMISSION_REVOKED"
        | "USER_ACCOUNT_REVOKED"
        | "PASSWORD_RESET_REQUIRED"
        | "NO_ACCOUNTS" => {
            let words = failure.words("the bank no longer accepts this connection");
            return bank(BankError::NeedsReauth(words));
        }
        "INVALID_API_KEYS" | "UNAUTHORIZED_ENVIRONMENT" | "MISSING_FIELDS" => {
            tracing::error!(code = failure.error_code, "Plaid refuses plaid.client_id or plaid.secret");
            return bank(BankError::Down("this server is not let in by Plaid".to_owned()));
        }
        _ => {}
    }
    // Of what Plaid says of itself only this, and what is no answer of its own, means that it is down.
    let is_down = status >= 500 || failure.error_type == "API_ERROR";
    let no_good = |why| if is_down { BankError::down(why, retry_after) } else { BankError::Unusable(why) };
    bank(match failure.error_type.as_str() {
        _ if status == 429 => BankError::RateLimited { retry_after },
        "RATE_LIMIT_EXCEEDED" => BankError::RateLimited { retry_after },
        "INSTITUTION_ERROR" => BankError::Institution(failure.words("the bank is not available")),
        "" => no_good(format!("Plaid answered with status {status}")),
        _ if failure.error_code.is_empty() => no_good(format!("Plaid answered with status {status}")),
        _ => no_good(format!("Plaid answered {}", one_line(&failure.error_code))),
    })
}

impl Failure {
    /// What Plaid has for users, or our words.
    fn words(&self, ours: &str) -> String {
        let theirs = self.display_message.as_deref().map(one_line).filter(|text| !text.is_empty());
        theirs.unwrap_or_else(|| ours.to_owned())
    }
}

/// What `/accounts/balance/get` tells.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub(super) accounts: Vec<BankAccount>,
    pub(super) problems: Problems,
    /// Those that Steward never shows, by their ids: which they are and why, for the user.
    pub(super) unsupported: BTreeMap<String, String>,
}

impl Accounts {
    /// Whether there are any, and none that could not be read.
    pub(super) fn has_all(&self) -> bool {
        !self.accounts.is_empty() && self.problems.is_empty()
    }
}

#[derive(Deserialize)]
struct AccountsBody<'a> {
    #[serde(borrow)]
    accounts: AtMost<'a, MOST_ACCOUNTS>,
    item: Option<Item>,
}

#[derive(Deserialize)]
struct Item {
    institution_id: Option<String>,
    institution_name: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    account_id: String,
    name: String,
    official_name: Option<String>,
    mask: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    subtype: Option<String>,
    balances: Balances,
}

#[derive(Deserialize)]
struct Balances {
    available: Option<Box<RawValue>>,
    current: Option<Box<RawValue>>,
    limit: Option<Box<RawValue>>,
    iso_currency_code: Option<String>,
    unofficial_currency_code: Option<String>,
    last_updated_datetime: Option<String>,
}

/// The accounts in `body`, as of `now` unless they say otherwise; the error is for users.
pub(super) fn accounts(body: &[u8], now: Timestamp) -> Result<Accounts, String> {
    let read: AccountsBody<'_> =
        serde_json::from_slice(body).map_err(|error| no_sense("a list of accounts", &error))?;
    if read.accounts.more > 0 {
        return Err(format!("Plaid's answer has more than {MOST_ACCOUNTS} accounts"));
    }
    let institution = read.item.and_then(|item| item.institution_name.or(item.institution_id));
    let institution = institution.map_or_else(|| "Plaid".to_owned(), |name| one_line(&name));
    let told = read.accounts.kept.len();
    let mut found = Accounts::default();
    for (position, account) in read.accounts.kept.iter().enumerate() {
        match self::account(account, &institution, now) {
            Ok(account) => found.accounts.push(account),
            Err(Unread::Unsupported((id, what))) => {
                found.unsupported.insert(id, what);
            }
            Err(Unread::Unreadable(why)) => {
                let whose = name_of(account).unwrap_or_else(|| format!("account {}", position + 1));
                found.problems.note(format!("{whose} cannot be read: {why}"));
            }
        }
    }
    if found.accounts.is_empty() && found.unsupported.is_empty() && told > 0 {
        let why = found.problems.summary().unwrap_or_default();
        return Err(format!("Plaid's answer makes no sense: {why}"));
    }
    Ok(found)
}

/// The name of an account that cannot be read otherwise.
fn name_of(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let named = serde_json::from_str::<Named>(raw.get()).ok()?;
    Some(one_line(&named.name)).filter(|name| !name.is_empty())
}

fn account(
    raw: &RawValue,
    institution: &str,
    now: Timestamp,
) -> Result<BankAccount, Unread<(String, String)>> {
    let told: Account = serde_json::from_str(raw.get()).map_err(|_| "it is not told of as accounts are")?;
    let codes = (&told.balances.iso_currency_code, &told.balances.unofficial_currency_code);
    let currency = currency(codes).map_err(|unread| match unread {
        Unread::Unreadable(why) => Unread::Unreadable(why),
        Unread::Unsupported(()) => {
            let what = format!("{} is not shown: its currency is not supported", one_line(&told.name));
            Unread::Unsupported((told.account_id.clone(), what))
        }
    })?;
    let amount = |field, raw: &Option<Box<RawValue>>| match raw {
        None => Ok(None),
        Some(raw) => amount(field, raw, currency).map(Some),
    };
    let available = amount("available balance", &told.balances.available)?;
    let current = amount("current balance", &told.balances.current)?;
    let limit = amount("limit", &told.balances.limit)?;
    let balance = current.or(available).ok_or("it has no balance")?;
    let details = match (told.kind.as_str(), told.subtype.as_deref().unwrap_or_default()) {
        ("credit", _) => {
            let left = || limit.and_then(|limit| limit.minor.checked_sub(balance.minor));
            let available = available.or_else(|| left().map(|minor| Money::new(minor, currency)));
            BankDetails::Credit {
                credit_limit: limit,
                available_credit: available,
                apr: None,
                due_date: None,
            }
        }
        ("loan", _) => {
            BankDetails::Loan { principal: None, interest_rate: None, remaining_term_months: None }
        }
        ("investment" | "brokerage", _) => BankDetails::Investment,
        ("depository", "savings" | "money market" | "cd" | "hsa") => BankDetails::Savings { apy: None },
        ("depository" | "other", _) => {
            BankDetails::Checking { overdraft_protection: None, routing_number: None }
        }
        (kind, _) => return Err(format!("its type {:?} is not known", one_line(kind)).into()),
    };
    let name = one_line(told.official_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&told.name));
    let mask = told.mask.as_deref().map(one_line).filter(|mask| !mask.is_empty());
    let as_of = told.balances.last_updated_datetime.as_deref().and_then(Timestamp::parse);
    Ok(BankAccount {
        id: id(told.account_id)?,
        institution: institution.to_owned(),
        name: mask.map_or_else(|| name.clone(), |mask| format!("{name} …{mask}")),
        balance,
        balance_as_of: as_of.unwrap_or(now),
        details,
        transactions: Vec::new(),
        whole: true,
    })
}

/// A page of changes.
#[derive(Debug)]
pub(super) struct Page {
    /// Added and modified ones, each with its account's id.
    pub(super) told: Vec<(String, BankTransaction)>,
    pub(super) removed: Vec<String>,
    pub(super) next_cursor: String,
    pub(super) has_more: bool,
    pub(super) stage: Stage,
    pub(super) unread: Vec<UnreadPosting>,
    /// How many are in what is no currency here.
    pub(super) unsupported: usize,
}

/// A change that makes no sense.
#[derive(Debug)]
pub(super) struct UnreadPosting {
    /// Its account's id, if that much can be read.
    pub(super) account: Option<String>,
    pub(super) why: String,
}

/// How far the provider is with fetching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    NotReady,
    /// The last month is there.
    Recent,
    Whole,
}

#[derive(Deserialize)]
struct PageBody<'a> {
    #[serde(borrow)]
    added: AtMost<'a, MOST_ON_PAGE>,
    #[serde(borrow)]
    modified: AtMost<'a, MOST_ON_PAGE>,
    removed: Vec<Removed>,
    next_cursor: String,
    has_more: bool,
    transactions_update_status: Option<String>,
}

#[derive(Deserialize)]
struct Removed {
    transaction_id: String,
}

#[derive(Deserialize)]
struct Posting {
    transaction_id: String,
    account_id: String,
    amount: Box<RawValue>,
    iso_currency_code: Option<String>,
    unofficial_currency_code: Option<String>,
    date: String,
    name: Option<String>,
    merchant_name: Option<String>,
    #[serde(default)]
    pending: bool,
    pending_transaction_id: Option<String>,
}

/// The page in `body`, of at most `most` changes; the error is for users.
pub(super) fn page(body: &[u8], most: usize) -> Result<Page, String> {
    let read: PageBody<'_> =
        serde_json::from_slice(body).map_err(|error| no_sense("a page of transactions", &error))?;
    let changes = |list: &AtMost<'_, MOST_ON_PAGE>| list.kept.len() + list.more;
    if changes(&read.added) + changes(&read.modified) + read.removed.len() > most.min(MOST_ON_PAGE) {
        return Err(format!("Plaid's answer has more than {most} changes"));
    }
    if read.next_cursor.len() > MOST_CURSOR {
        return Err("Plaid's cursor is too long".to_owned());
    }
    let (mut unread, mut unsupported) = (Vec::new(), 0);
    let mut told = Vec::with_capacity(read.added.kept.len() + read.modified.kept.len());
    for raw in read.added.kept.into_iter().chain(read.modified.kept) {
        match posting(raw) {
            Ok(posting) => told.push(posting),
            Err(Unread::Unsupported(())) => unsupported += 1,
            Err(Unread::Unreadable(why)) => unread.push(UnreadPosting { account: account_of(raw), why }),
        }
    }
    Ok(Page {
        told,
        removed: read.removed.into_iter().map(|removed| removed.transaction_id).collect(),
        next_cursor: read.next_cursor,
        has_more: read.has_more,
        stage: match read.transactions_update_status.as_deref() {
            Some("NOT_READY") => Stage::NotReady,
            Some("INITIAL_UPDATE_COMPLETE") => Stage::Recent,
            _ => Stage::Whole,
        },
        unread,
        unsupported,
    })
}

/// The id of the account of a change that cannot be read otherwise.
fn account_of(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Owned {
        account_id: String,
    }
    serde_json::from_str::<Owned>(raw.get()).ok().and_then(|owned| id(owned.account_id).ok())
}

/// The currency by the official code. Others, and what has only an unofficial one (points, coins), are
/// not supported.
fn currency((official, unofficial): (&Option<String>, &Option<String>)) -> Result<Currency, Unread> {
    match (official.as_deref().map(Currency::from_code), unofficial) {
        (Some(Some(currency)), _) => Ok(currency),
        (Some(None), _) | (None, Some(_)) => Err(Unread::Unsupported(())),
        (None, None) => Err("its currency is none".into()),
    }
}

/// Characters of a cursor; Plaid says 256.
const MOST_CURSOR: usize = 1024;

fn posting(raw: &RawValue) -> Result<(String, BankTransaction), Unread> {
    let told: Posting = serde_json::from_str(raw.get()).map_err(|_| "something is missing")?;
    let currency = currency((&told.iso_currency_code, &told.unofficial_currency_code))?;
    let left = amount("amount", &told.amount, currency)?;
    // Plaid shows what leaves the account as positive.
    let minor = left.minor.checked_neg().ok_or("its amount is out of range")?;
    let at = Timestamp::parse(&format!("{}T00:00:00Z", told.date)).ok_or("it has no date")?;
    let description = told.name.or(told.merchant_name).unwrap_or_default();
    let transaction = BankTransaction {
        id: id(told.transaction_id)?,
        at,
        amount: Money::new(minor, currency),
        description: one_line(&description),
        pending: told.pending,
        replaces: told.pending_transaction_id.filter(|id| !id.is_empty()).map(id).transpose()?,
        undated: false,
    };
    Ok((id(told.account_id)?, transaction))
}

/// An amount as it was written: no digit goes through a float.
fn amount(field: &str, raw: &RawValue, currency: Currency) -> Result<Money, String> {
    let text = raw.get();
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    let plain = text.len() <= 40 && !text.starts_with('"');
    let amount = if plain { Money::from_decimal_text(text, currency).ok() } else { None };
    amount.ok_or_else(|| format!("its {field} is no amount of {currency}"))
}

fn id(id: String) -> Result<String, String> {
    if is_id(&id) { Ok(id) } else { Err("an id is malformed".to_owned()) }
}

fn no_sense(wanted: &str, error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => format!("Plaid's answer is not {wanted}"),
        serde_json::error::Category::Eof => "Plaid's answer breaks off".to_owned(),
        _ => "Plaid's answer is not JSON".to_owned(),
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
