//! What the accounts and a walk through the changes amount to: a statement. Pure.
//!
//! Who calls it: the client, once it has read what there is. What never happens here: an account or a
//! transaction left out without a word.

use std::time::Duration;

use steward_actors::providers::{BankAccount, BankError, Changes, Problems, Statement};

use super::changes::{Unread, Walk};
use super::wire::{self, Stage};

/// When to ask again for what is still being fetched.
const SOON: Duration = Duration::from_secs(60);

/// What was told before Plaid wanted to be asked less often. Of a list that was asked for from its begin the
/// pages so far are kept, and what they tell of no account is whole; its cursor stands for nothing. What
/// changed since a cursor is told again from there, and a part of it would be in the way.
pub(super) fn cut_short(
    found: wire::Accounts,
    walk: Walk,
    since_begin: bool,
    limited: BankError,
) -> Statement {
    let why = format!("some transactions are missing: {limited}");
    let told = if since_begin && walk.len() > 0 {
        let told = put_together(found, walk, String::new(), true);
        let accounts = told.accounts.into_iter().map(|account| BankAccount { whole: false, ..account });
        let before = told.partial.map(|partial| format!("; {partial}")).unwrap_or_default();
        Statement { accounts: accounts.collect(), partial: Some(format!("{why}{before}")), ..told }
    } else {
        early(found, why)
    };
    Statement { again_after: None, cut_short: Some(limited), ..told }
}

/// Accounts with their transactions; partial if anything could not be read. An account is whole unless
/// that was one of its own, or nobody knows whose it was.
pub(super) fn put_together(
    found: wire::Accounts,
    mut walk: Walk,
    cursor: String,
    since_begin: bool,
) -> Statement {
    let all_accounts = found.has_all();
    let wire::Accounts { mut accounts, mut problems, unsupported } = found;
    let stage = walk.stage;
    let mut doubtful = stage == Stage::Recent;
    for (id, Unread { count, why }) in std::mem::take(&mut walk.unread) {
        if id.as_ref().is_some_and(|id| unsupported.contains_key(id)) {
            continue;
        }
        let account = accounts.iter_mut().find(|account| id.as_ref() == Some(&account.id));
        let whose = account.as_ref().map(|account| format!("{}: ", account.name)).unwrap_or_default();
        problems.note(format!("{whose}some transactions cannot be read ({count}): {why}"));
        match account {
            Some(account) => account.whole = false,
            None => doubtful = true,
        }
    }
    if doubtful {
        accounts.iter_mut().for_each(|account| account.whole = false);
    }
    let mut remarks: Problems = unsupported.values().cloned().collect();
    if walk.unsupported > 0 && unsupported.is_empty() {
        remarks.note(format!(
            "{} transactions are not shown: their currency is not supported",
            walk.unsupported
        ));
    }
    let (told, removed) = walk.into_changes();
    let mut foreign = 0_u32;
    for (account_id, transaction) in told {
        match accounts.iter_mut().find(|account| account.id == account_id) {
            Some(account) => account.transactions.push(transaction),
            None if unsupported.contains_key(&account_id) => {}
            None => foreign += 1,
        }
    }
    if foreign > 0 {
        problems.note(format!("{foreign} transactions of accounts that are not told of"));
    }
    if stage == Stage::Recent {
        problems.note("the bank is still preparing older transactions".to_owned());
    }
    let again_after = (stage == Stage::Recent).then_some(SOON);
    let changes = Some(Changes { since_begin, removed, cursor });
    let (partial, unsupported) = (problems.summary(), remarks.summary());
    Statement { accounts, partial, all_accounts, unsupported, again_after, changes, ..Statement::default() }
}

/// Accounts without transactions, which are worth asking for again soon.
pub(super) fn early(found: wire::Accounts, reason: String) -> Statement {
    Statement {
        all_accounts: found.has_all(),
        unsupported: found.unsupported.into_values().collect::<Problems>().summary(),
        accounts: found.accounts,
        partial: Some(reason),
        again_after: Some(SOON),
        ..Statement::default()
    }
}

/// Accounts of whose transactions nothing is said.
pub(super) fn of_accounts(found: wire::Accounts) -> Statement {
    let partial = found.problems.summary();
    let unsupported = found.unsupported.into_values().collect::<Problems>().summary();
    Statement { accounts: found.accounts, partial, unsupported, ..Statement::default() }
}

pub(super) fn not_ready(found: wire::Accounts) -> Statement {
    early(found, "the bank is still preparing the transactions".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use steward_actors::time::Timestamp;

    use super::super::PAGE;
    use super::*;

    fn walked(added: &[Value], status: &str) -> Statement {
        let account = |id: &str, iso: Option<&str>, unofficial: Option<&str>| {
            let balances =
                json!({"current": 1, "iso_currency_code": iso, "unofficial_currency_code": unofficial});
            json!({"account_id": id, "name": id, "type": "depository", "balances": balances})
        };
        let told = [
            account("a", Some("USD"), None),
            account("b", Some("USD"), None),
            account("c", None, Some("BTC")),
        ];
        let body = json!({ "accounts": told }).to_string();
        let found = wire::accounts(body.as_bytes(), Timestamp::from_millis(1_750_000_000_000)).unwrap();
        let page = json!({
            "added": added, "modified": [], "removed": [], "next_cursor": "c", "has_more": false,
            "transactions_update_status": status,
        });
        let mut walk = Walk::new();
        walk.take(wire::page(page.to_string().as_bytes(), PAGE).unwrap());
        put_together(found, walk, "c".to_owned(), true)
    }

    fn posting(id: &str, account: &str, iso: Option<&str>, unofficial: Option<&str>) -> Value {
        json!({
            "transaction_id": id, "account_id": account, "amount": 1, "date": "2025-06-01", "name": "Shop",
            "iso_currency_code": iso, "unofficial_currency_code": unofficial,
        })
    }

    fn whole(statement: &Statement) -> Vec<bool> {
        statement.accounts.iter().map(|account| account.whole).collect()
    }

    #[test]
    fn an_account_in_coins_is_no_gap_and_the_user_is_told() {
        let told = [posting("t1", "a", Some("USD"), None), posting("t2", "c", None, Some("BTC"))];
        let statement = walked(&told, "HISTORICAL_UPDATE_COMPLETE");
        assert_eq!((statement.partial.as_deref(), whole(&statement)), (None, vec![true, true]));
        assert_eq!(statement.unsupported.as_deref(), Some("c is not shown: its currency is not supported"));
    }

    #[test]
    fn what_cannot_be_read_makes_its_own_account_doubtful_and_what_is_nobodys_all() {
        let mut odd = posting("t1", "a", Some("USD"), None);
        odd["amount"] = "much".into();
        let statement = walked(&[odd.clone()], "HISTORICAL_UPDATE_COMPLETE");
        assert!(statement.partial.as_ref().is_some_and(|why| why.starts_with("a: ")), "{statement:?}");
        assert_eq!(whole(&statement), [false, true]);
        odd["account_id"] = 7.into();
        assert_eq!(whole(&walked(&[odd], "HISTORICAL_UPDATE_COMPLETE")), [false, false]);
        assert_eq!(whole(&walked(&[], "INITIAL_UPDATE_COMPLETE")), [false, false]);
    }
}
