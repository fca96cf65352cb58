//! Feature flags: what is on for whom, without a deployment.
//!
//! Who calls it: whoever has two ways of doing something asks [`Flags::is_on`]; operators set flags
//! by their routes; the composition root keeps [`Flags::refresh`] going. Every replica has all flags
//! in memory, at most [`STALE`] old while the store answers; while it doesn't, what was known last
//! stands. A flag that nobody has made is off.
//!
//! What never happens here: a read of the store for a question, or chance. The same user gets the
//! same answer on every replica and stays in when a percentage grows.

mod flag;
mod service;

pub use flag::{FLAGS, Flag, FlagChange, MOST_USERS};
pub use service::{FlagError, Flags, STALE};
