//! What a statement changes of the accounts that are known. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::connection::Connection;
use crate::accounts::{Account, Details, ExactDecimal, Transaction};
use crate::money::Money;
use crate::providers::{BankAccount, BankDetails, BankTransaction, Problems, Statement};
use crate::store::Versioned;
use crate::text::is_control;
use crate::time::Timestamp;

/// Accounts that a connection may have; a provider that tells of more is not believed.
pub(super) const MOST_ACCOUNTS: usize = 500;
/// Characters that are kept of a provider's text.
const MOST_CHARS: usize = 120;
/// Characters that are kept of the reason for a result.
const MOST_OF_REASON: usize = 600;

/// What a statement changes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Merged {
    /// Accounts to write, each with the version it is based on; 0 for new ones.
    pub(super) accounts: Vec<(Account, u64)>,
    pub(super) added: u32,
    pub(super) modified: u32,
    pub(super) removed: u32,
    /// Why it was not taken over whole; `None` if it was.
    pub(super) partial: Option<String>,
    /// The institution that it names.
    pub(super) institution: Option<String>,
}

/// Takes over what a statement tells, account by account. What the user chose stays; what cannot
/// be read leaves its account as it was and makes the result partial. Of the known transactions, by
/// account, only those count that may show which account is which.
pub(super) fn merge(
    connection: &Connection,
    known: &[Versioned<Account>],
    transactions: &BTreeMap<String, Vec<Versioned<Transaction>>>,
    statement: &Statement,
    now: Timestamp,
    new_id: &mut dyn FnMut() -> String,
) -> Merged {
    let by_external: HashMap<&str, &Versioned<Account>> =
        known.iter().filter_map(|account| Some((account.value.external_id.as_deref()?, account))).collect();
    let renamed = renamed(connection, known, &by_external, transactions, statement);
    let mut merged = Merged::default();
    let mut complaints: Problems = statement.partial.iter().map(|reason| words(reason)).collect();
    let mut told = BTreeSet::new();
    let mut room = MOST_ACCOUNTS.saturating_sub(known.len());
    let mut left_out = 0_u32;
    for account in &statement.accounts {
        if !told.insert(account.id.as_str()) {
            complaints.note(format!("{}: told of twice", short(&account.name)));
            continue;
        }
        let before =
            by_external.get(account.id.as_str()).or_else(|| renamed.get(account.id.as_str())).copied();
        if before.is_none() && room == 0 {
            left_out += 1;
            continue;
        }
        let details = match details(&account.details) {
            Ok(details) => details,
            Err(what) => {
                complaints.note(format!("{}: {what}", short(&account.name)));
                continue;
            }
        };
        match before {
            Some(before) => {
                told.extend(before.value.external_id.as_deref());
                merged.update(before, account, details, now);
            }
            None => {
                room -= 1;
                merged.added += 1;
                merged.accounts.push((fresh(connection, account, details, now, new_id()), 0));
            }
        }
    }
    if left_out > 0 {
        complaints.note(format!("more than {MOST_ACCOUNTS} accounts; {left_out} are left out"));
    }
    if complaints.is_empty() {
        merged.note_missing(known, &told, now);
    }
    merged.partial = complaints.summary();
    merged.institution = statement.accounts.first().map(|account| short(&account.institution));
    merged
}

/// Whether no account is there that the statement does not tell of.
pub(super) fn has_all_accounts(statement: &Statement) -> bool {
    statement.partial.is_none() || statement.all_accounts
}

/// Known accounts that are told of under another id, by that id: of the same institution, name, type and
/// currency, where that leaves no choice. That is not enough, as a bank may give a new account the name of
/// one that is closed, or that it does not tell of this time. Two of three must speak for it: that the
/// known one would be told of if it still had its id, that the connection was linked again, which gives
/// every account another id, and a transaction that both have.
fn renamed<'a>(
    connection: &Connection,
    known: &'a [Versioned<Account>],
    by_external: &HashMap<&str, &Versioned<Account>>,
    transactions: &BTreeMap<String, Vec<Versioned<Transaction>>>,
    statement: &'a Statement,
) -> HashMap<&'a str, &'a Versioned<Account>> {
    let told: BTreeSet<&str> = statement.accounts.iter().map(|account| account.id.as_str()).collect();
    let untold = |account: &&Versioned<Account>| {
        account.value.external_id.as_deref().is_some_and(|id| !told.contains(id))
    };
    let is_same = |account: &Account, told: &BankAccount| {
        account.provider == short(&told.institution)
            && account.provider_name == short(&told.name)
            && account.balance.currency == told.balance.currency
            && details(&told.details).is_ok_and(|details| details.account_type() == account.account_type())
    };
    let new = || statement.accounts.iter().filter(|told| !by_external.contains_key(told.id.as_str()));
    let (all, relinked) = (has_all_accounts(statement), connection.relinked);
    let mut renamed = HashMap::new();
    if !all && !relinked {
        return renamed;
    }
    for told in new() {
        let mut likely = known.iter().filter(untold).filter(|account| is_same(&account.value, told));
        let (Some(account), None) = (likely.next(), likely.next()) else { continue };
        if new().filter(|other| is_same(&account.value, other)).count() != 1 {
            continue;
        }
        let before = transactions.get(&account.value.id).map_or(&[][..], Vec::as_slice);
        if (all && relinked) || share_one(before, &told.transactions) {
            renamed.insert(told.id.as_str(), account);
        }
    }
    renamed
}

/// Whether a transaction of the same day, amount and description is among both.
fn share_one(known: &[Versioned<Transaction>], told: &[BankTransaction]) -> bool {
    let known = known.iter().map(|known| &known.value);
    let known: HashSet<(&str, Money, &str)> =
        known.map(|known| (known.date.as_str(), known.amount, known.description.as_str())).collect();
    told.iter().any(|told| {
        let description: String = told.description.chars().filter(is_shown).collect();
        known.contains(&(told.at.day().as_str(), told.amount, description.as_str()))
    })
}

impl Merged {
    /// Makes it partial, for what was not taken over either.
    pub(super) fn leave_out(&mut self, why: &str) {
        let before = self.partial.take().map(|partial| format!("; {partial}")).unwrap_or_default();
        self.partial = Some(format!("{}{before}", short(why)));
    }

    fn update(&mut self, before: &Versioned<Account>, told: &BankAccount, details: Details, now: Timestamp) {
        let old = &before.value;
        let mut new = Account {
            external_id: Some(told.id.clone()),
            provider: short(&told.institution),
            provider_name: short(&told.name),
            missing_since: None,
            ..old.clone()
        };
        let as_of = as_of(told, now);
        // What was right before the time of what is known is no news: banks tell from copies of their own.
        if as_of >= old.balance_as_of {
            new.balance = told.balance;
            new.details = details;
        }
        let changed = new != *old;
        // A balance that is only confirmed is written, and is no change.
        new.balance_as_of = as_of.max(old.balance_as_of);
        if new == *old {
            return;
        }
        new.last_updated = now;
        self.modified += u32::from(changed);
        self.accounts.push((new, before.version));
    }

    /// Only a whole statement can tell that an account is gone.
    fn note_missing(&mut self, known: &[Versioned<Account>], told: &BTreeSet<&str>, now: Timestamp) {
        for account in known {
            let is_told = account.value.external_id.as_deref().is_some_and(|id| told.contains(id));
            if !is_told && account.value.missing_since.is_none() {
                self.removed += 1;
                let missing = Account { missing_since: Some(now), ..account.value.clone() };
                self.accounts.push((missing, account.version));
            }
        }
    }
}

fn fresh(
    connection: &Connection,
    told: &BankAccount,
    details: Details,
    now: Timestamp,
    id: String,
) -> Account {
    Account {
        id,
        user_id: connection.user_id.clone(),
        connection_id: Some(connection.id.clone()),
        external_id: Some(told.id.clone()),
        provider: short(&told.institution),
        provider_name: short(&told.name),
        custom_name: None,
        hidden: false,
        balance: told.balance,
        balance_as_of: as_of(told, now),
        last_updated: now,
        missing_since: None,
        command: None,
        details,
    }
}

/// No balance is right as of a time to come, whatever a provider's clock says.
fn as_of(told: &BankAccount, now: Timestamp) -> Timestamp {
    told.balance_as_of.min(now)
}

fn details(told: &BankDetails) -> Result<Details, &'static str> {
    let rate =
        |text: &Option<String>, what| text.as_deref().map(ExactDecimal::parse).transpose().map_err(|_| what);
    Ok(match told {
        BankDetails::Checking { overdraft_protection, routing_number } => Details::Checking {
            overdraft_protection: *overdraft_protection,
            routing_number: routing_number.as_deref().map(short).filter(|number| !number.is_empty()),
        },
        BankDetails::Savings { apy } => {
            Details::Savings { apy: rate(apy, "the yield is no decimal number")? }
        }
        BankDetails::Credit { credit_limit, available_credit, apr, due_date } => Details::Credit {
            credit_limit: *credit_limit,
            available_credit: *available_credit,
            apr: rate(apr, "the annual rate is no decimal number")?,
            due_date: match due_date {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| "the due date is no date")?),
            },
        },
        BankDetails::Loan { principal, interest_rate, remaining_term_months } => Details::Loan {
            principal: *principal,
            interest_rate: rate(interest_rate, "the interest rate is no decimal number")?,
            remaining_term_months: *remaining_term_months,
        },
        BankDetails::Investment => Details::Investment { holdings: Vec::new() },
    })
}

pub(super) fn short(text: &str) -> String {
    text.chars().filter(is_shown).take(MOST_CHARS).collect()
}

/// A reason as the user gets to see it.
pub(super) fn words(reason: &str) -> String {
    reason.chars().filter(is_shown).take(MOST_OF_REASON).collect()
}

/// Whether a provider's character is kept.
pub(super) fn is_shown(c: &char) -> bool {
    !is_control(*c)
}
