//! Accounts of a personal-finance app: what a user owns and owes, typed by kind.
//!
//! Who calls it: HTTP lists and edits through [`Accounts`] and [`Ledger`]; account sync writes what a provider
//! told, in the same commit as its run; `steward seed` loads the sample data. What never happens
//! here: a balance without the time it was right, a floating-point number, a sync that overwrites
//! what the user chose.

mod account;
mod details;
mod ledger;
mod samples;
mod service;
mod transaction;

pub use account::{ACCOUNTS, Account};
pub use details::{AccountType, Details, ExactDecimal, Holding, NotExact};
pub use ledger::{
    Ledger, MOST_CATEGORY_CHARS, MOST_NOTE_CHARS, NewTransaction, TransactionEdit, TransactionFilter,
    TransactionPage,
};
pub use samples::{SAMPLES, SampleError, seed};
pub use service::{AccountEdit, AccountPage, Accounts, EditError, MOST_NAME_CHARS};
pub use transaction::{MergeRule, MergedFrom, TRANSACTIONS, Transaction};
