//! Users: who there is, what they may do, and how they are recognised.
//!
//! Who calls it: HTTP, the session service, the command line. A plain service over the store;
//! every write is based on the version it read. What never happens here: an unparsed value, a
//! password that could be printed, hashing on an async thread.

mod passwords;
pub mod roles;
mod service;
mod user;
mod values;

pub use passwords::{HashError, PasswordHash, PasswordHasher};
pub(crate) use service::pause;
pub use service::{ChangeError, FirstAdmin, RegisterError, Sample, Users};
pub use user::{NewUser, USERS, User};
pub use values::{Age, DisplayName, Email, InvalidValue, Password, Username};

#[cfg(test)]
mod tests;
