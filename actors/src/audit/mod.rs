//! The audit log: who did what to what, when, and from where.
//!
//! Who calls it: whoever does something that must be accounted for (an operator's act, a change of
//! rights, a replayed token) inserts an [`AuditEntry`] in the batch that does it, so that neither is
//! there without the other; what has no batch of its own is told to [`append`]. Operators read it
//! through [`AuditLog`].
//!
//! What never happens here: a secret, a body that somebody sent, an entry that is changed. Details
//! are single values, named by us and cut to a length. An entry is kept for [`KEPT`].

mod entry;
mod log;

pub use entry::{AUDIT, Act, AuditEntry, By, Detail, KEPT};
pub use log::{AuditFilter, AuditLog, append};
