//! Account sync: links to institutions, one actor per connection in use, and the runs that bring
//! their accounts up to date.
//!
//! Who calls it: HTTP through [`Connections`]; the composition root supervises
//! [`Connections::schedule`]. How it works: whoever wants a run makes it a record (`queued`) and
//! the connection due, in one commit. The actor claims the connection by replacing its record, asks
//! the bank, and commits accounts, run and connection in one batch that is fenced by the
//! connection's version and its claim. A run that was cut off keeps its record; when its claim
//! lapses the connection is due again, and whoever looks next resumes it.
//!
//! What never happens here: a call to a bank inside a commit or without a deadline, two effective
//! runs of one connection at once, a cut-off run that counts as a success, a credential in a log.

mod actor;
mod connection;
mod connections;
mod credential;
mod errors;
mod forgetting;
mod known;
mod link;
mod merge;
mod notice;
mod options;
mod pace;
mod parts;
mod perform;
mod postings;
mod relink;
mod reseal;
mod revocation;
mod run;
mod schedule;
mod settle;
mod survey;
mod telling;
#[cfg(test)]
mod tests;
mod under_way;
mod work;

pub use actor::AccountSync;
pub use connection::{CONNECTIONS, Claim, Connection, ConnectionStatus, Disposal};
pub use connections::{ConnectionPage, Connections, RunPage};
pub use credential::SealedCredential;
pub use errors::{LinkError, SyncError};
pub use link::{LinkRequest, Linked};
pub use notice::{BANK_NOTICES, Heeded};
pub use options::{Banks, SyncOptions};
pub use parts::SyncParts;
pub use relink::RelinkRequest;
pub use reseal::{Resealed, reseal};
pub use revocation::{BANK_REVOCATION, Revocations};
pub use run::{Outcome, RUNS, Run, RunStatus};
pub use survey::{Survey, survey};
pub use under_way::LINKS_UNDER_WAY;
