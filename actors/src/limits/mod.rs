//! Limits: how often something may be done. A quota is so many uses in a window, for each key (a
//! user, an address, an account that somebody guesses passwords of).
//!
//! Who calls it: the edge, before it does what costs something, and whatever has to slow a guesser
//! down. What never happens here: an error. Whoever counts elsewhere falls back on memory
//! ([`MemoryLimits`]), so a limit never makes a request fail that would have been answered.
//!
//! Uses are counted by the generic cell rate algorithm: a key has one number, the time at which its
//! uses will all have been forgotten. There is no window that all keys begin together, a key that
//! rests for `window / uses` gets one use back, and one at rest takes no memory.

mod gcra;
mod memory;

use async_trait::async_trait;

pub use gcra::{Decision, Quota, decide};
pub use memory::MemoryLimits;

/// Counts uses.
#[async_trait]
pub trait Limits: Send + Sync + 'static {
    /// Uses the quota of `key` once, if there is a use left. A refused use does not count.
    async fn take(&self, quota: &Quota, key: &str) -> Decision;

    /// Takes one use back: what it was taken for did not count, such as a log-in that was right.
    async fn give_back(&self, quota: &Quota, key: &str);
}
