//! Users: who there is, what they may do, and how they are recognised.
//!
//! Who calls it: HTTP, the session service, the command line. A plain service over the store;
//! every write is based on the version it read. What never happens here: an unparsed value, a
//! password that could be printed, hashing on an async thread.

mod belongings;
mod change;
mod confirmation;
mod creation;
mod edit;
mod list;
pub mod mail;
mod passwords;
mod recovery;
mod removal;
mod role;
pub mod roles;
mod service;
mod tokens;
mod user;
mod values;

pub use belongings::{Belongings, Records, UserRemoval};
pub use change::ChangeError;
pub use confirmation::CurrentPassword;
pub use creation::NewPerson;
pub use edit::{Edit, Editor};
pub use list::{UserFilter, UserSort};
pub use passwords::{HashError, PasswordHash, PasswordHasher};
pub use removal::USER_REMOVAL;
pub use service::{FirstAdmin, RegisterError, Sample, Users, Verified};
pub use tokens::USER_TOKENS;
pub use user::{NewUser, USERS, User};
pub use values::{Age, DisplayName, Email, InvalidValue, Password, Username};

#[cfg(test)]
mod tests;
