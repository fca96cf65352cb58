//! Accounts of a personal-finance app: what a user owns and owes, typed by kind.
//!
//! Who calls it: HTTP lists and edits through [`Accounts`]; account sync writes what a provider
//! told, in the same commit as its run; `steward seed` loads the sample data. What never happens
//! here: a balance without the time it was right, a floating-point number, a sync that overwrites
//! what the user chose.

mod account;
mod details;
mod samples;
mod service;

pub use account::{ACCOUNTS, Account};
pub use details::{AccountType, Details, ExactDecimal, Holding, NotExact};
pub use samples::{SAMPLES, SampleError, seed};
pub use service::{AccountEdit, AccountPage, Accounts, EditError, MOST_NAME_CHARS};
