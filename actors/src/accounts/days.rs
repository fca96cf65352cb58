//! The history of balances: one record an account and day, written in the commit that changes the
//! account.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::account::Account;
use crate::money::Money;
use crate::store::{Collection, Entity, Field, Index, Kind, Store, StoreError, Versioned, load_many};
use crate::time::Timestamp;

/// Balances of all accounts, by day.
pub static BALANCES: Collection = Collection {
    name: "balances",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("userId", Kind::Text),
        Field::required("accountId", Kind::Text),
        Field::required("date", Kind::Text),
        Field::required("balance", Kind::Object),
        Field::required("asOf", Kind::Time),
    ],
    indexes: &[Index::by("account", &["accountId", "date"]), Index::by("user", &["userId"])],
    words: &[],
    expires: None,
};

/// The last balance that was told of an account for a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DayBalance {
    /// The account's id and the day.
    pub id: String,
    /// Whose account it is.
    pub user_id: String,
    /// The account.
    pub account_id: String,
    /// The day in UTC of `as_of`, `YYYY-MM-DD`.
    pub date: String,
    /// The balance. Of credit and loan accounts, positive is owed.
    pub balance: Money,
    /// As of when it is right.
    pub as_of: Timestamp,
}

impl Entity for DayBalance {
    fn collection() -> &'static Collection {
        &BALANCES
    }
    fn id(&self) -> &str {
        &self.id
    }
}

impl DayBalance {
    /// The balance of an account as it is now.
    pub fn of(account: &Account) -> Self {
        let date = account.balance_as_of.day();
        Self {
            id: format!("{}.{date}", account.id),
            user_id: account.user_id.clone(),
            account_id: account.id.clone(),
            date,
            balance: account.balance,
            as_of: account.balance_as_of,
        }
    }
}

/// What is to be written, with the accounts and in their commit, so that the history knows their
/// balances: each with what the store has of that day. A day keeps the balance that is right as of
/// its latest point. With each account goes whether it is new, and so has no history.
///
/// # Errors
/// [`StoreError`].
pub async fn day_balances<'a>(
    store: &dyn Store,
    accounts: impl Iterator<Item = (&'a Account, bool)>,
) -> Result<Vec<(DayBalance, Option<Versioned<DayBalance>>)>, StoreError> {
    let days: Vec<(DayBalance, bool)> =
        accounts.map(|(account, is_new)| (DayBalance::of(account), is_new)).collect();
    let older = days.iter().filter(|(_, is_new)| !is_new);
    let ids: Vec<String> = older.map(|(day, _)| day.id.clone()).collect();
    let known = load_many::<DayBalance>(store, &ids).await?;
    let mut known: HashMap<String, Versioned<DayBalance>> =
        known.into_iter().map(|known| (known.value.id.clone(), known)).collect();
    let changed = days.into_iter().filter_map(|(day, _)| match known.remove(&day.id) {
        Some(known) if known.value.as_of > day.as_of || known.value == day => None,
        known => Some((day, known)),
    });
    Ok(changed.collect())
}
