//! What a user is worth: the sum of their accounts in one currency, told with the date of its rates.
//! Pure, but for the reading of accounts.

use std::collections::BTreeMap;

use super::account::Account;
use super::details::AccountType;
use super::service::Accounts;
use crate::money::{Currency, MAX_DIGITS, Money};
use crate::rates::RateTable;
use crate::store::StoreError;
use crate::time::Timestamp;

/// Accounts that are read at once.
const PAGE: usize = 1000;
/// Pages that are read at most: more accounts than linking and [`super::MOST_ACCOUNTS`] allow.
const MOST_PAGES: usize = 60;

/// The sum of all of a user's accounts that are in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The currency.
    pub currency: Currency,
    /// The sum, what is owed subtracted; `None` if it has too many digits for an amount.
    pub amount: Option<Money>,
    /// The same in the currency that was asked for; `None` if there is no rate for it, or if it has
    /// too many digits.
    pub converted: Option<Money>,
}

/// What a user is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetWorth {
    /// The sum of all parts; `None` if one of them could not be converted: nothing is left out of it.
    pub total: Option<Money>,
    /// By currency, in the order of their codes.
    pub parts: Vec<Part>,
    /// As of when the balance is right that was told longest ago; `None` without accounts.
    pub as_of: Option<Timestamp>,
    /// The accounts that count.
    pub accounts: usize,
    /// Those of them that their provider no longer tells of.
    pub missing: usize,
}

/// Sums of balances in minor units, by currency. Hidden accounts don't count.
#[derive(Default)]
pub(super) struct Sums {
    by_currency: BTreeMap<&'static str, (Currency, i128)>,
    as_of: Option<Timestamp>,
    accounts: usize,
    missing: usize,
}

impl Sums {
    pub(super) fn add(&mut self, account: &Account) {
        if account.hidden {
            return;
        }
        let owed = matches!(account.account_type(), AccountType::Credit | AccountType::Loan);
        let minor = i128::from(account.balance.minor);
        let currency = account.balance.currency;
        let sum = &mut self.by_currency.entry(currency.code()).or_insert((currency, 0)).1;
        *sum += if owed { -minor } else { minor };
        self.as_of = Some(self.as_of.map_or(account.balance_as_of, |as_of| as_of.min(account.balance_as_of)));
        self.accounts += 1;
        self.missing += usize::from(account.missing_since.is_some());
    }

    /// Whether anything is in another currency than this one.
    fn needs_rates(&self, currency: Currency) -> bool {
        self.by_currency.values().any(|(of, _)| *of != currency)
    }

    fn in_currency(self, currency: Currency, rates: Option<&RateTable>) -> NetWorth {
        let part = |(of, sum): (Currency, i128)| {
            let amount = amount(sum, of);
            let converted = amount.and_then(|amount| match of == currency {
                true => Some(amount),
                false => rates?.convert(amount, currency),
            });
            Part { currency: of, amount, converted }
        };
        let parts: Vec<Part> = self.by_currency.into_values().map(part).collect();
        let converted: Option<Vec<i128>> =
            parts.iter().map(|part| part.converted.map(|money| i128::from(money.minor))).collect();
        let total = converted.and_then(|converted| amount(converted.into_iter().sum(), currency));
        NetWorth { total, parts, as_of: self.as_of, accounts: self.accounts, missing: self.missing }
    }
}

fn amount(minor: i128, currency: Currency) -> Option<Money> {
    let fits = minor.unsigned_abs() < 10_u128.pow(MAX_DIGITS);
    i64::try_from(minor).ok().filter(|_| fits).map(|minor| Money::new(minor, currency))
}

/// A user's accounts, read and summed up; still without rates.
pub struct Worth(Sums);

impl Worth {
    /// Whether it takes rates to tell it in this currency.
    pub fn needs_rates(&self, currency: Currency) -> bool {
        self.0.needs_rates(currency)
    }

    /// Tells it in this currency, by these rates. What no rate is known for is told as such.
    pub fn in_currency(self, currency: Currency, rates: Option<&RateTable>) -> NetWorth {
        self.0.in_currency(currency, rates)
    }
}

impl Accounts {
    /// What a user is worth: credit and loan balances are subtracted, hidden accounts don't count.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn worth(&self, user_id: &str) -> Result<Worth, StoreError> {
        let (mut sums, mut after) = (Sums::default(), None);
        for _ in 0..MOST_PAGES {
            let (page, next) = self.page(user_id, None, PAGE, after).await?;
            page.iter().for_each(|account| sums.add(&account.value));
            after = next;
            if after.is_none() {
                return Ok(Worth(sums));
            }
        }
        Err(StoreError::Unavailable(format!("there are more than {} accounts", PAGE * MOST_PAGES)))
    }
}
