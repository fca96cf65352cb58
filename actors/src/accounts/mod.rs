//! Accounts of a personal-finance app: what a user owns and owes, typed by kind.
//!
//! Who calls it: HTTP lists and edits through [`Accounts`] and [`Ledger`]; account sync writes what a provider
//! told, in the same commit as its run; `steward seed` loads the sample data. What never happens
//! here: a balance without the time it was right, a floating-point number, a sync that overwrites
//! what the user chose, a sum of transactions taken for a balance: the balance of an account kept by
//! hand is what its user last said it is.

mod account;
mod days;
mod details;
mod errors;
mod forgetting;
mod ledger;
mod removal;
mod samples;
mod service;
#[cfg(test)]
mod tests;
mod transaction;
mod worth;

pub use account::{ACCOUNTS, Account};
pub use days::{BALANCES, DayBalance, day_balances};
pub use details::{AccountType, Details, DetailsEdit, DetailsError, ExactDecimal, Holding, NotExact};
pub use errors::EditError;
pub use ledger::{
    Ledger, MOST_CATEGORY_CHARS, MOST_NOTE_CHARS, NewTransaction, Recorded, TransactionEdit,
    TransactionFilter, TransactionPage,
};
pub use removal::{ACCOUNT_REMOVAL, AccountRemoval, DELETED_ACCOUNTS, sweep};
pub use samples::{SAMPLES, SampleError, seed};
pub use service::{
    AccountEdit, AccountPage, Accounts, BalancePage, HandEdit, MOST_ACCOUNTS, MOST_NAME_CHARS, MadeAccount,
    NewAccount, forget_copies, tell_of_change,
};
pub use transaction::{MergeRule, MergedFrom, TRANSACTIONS, Transaction};
pub use worth::{NetWorth, Part, Worth};
