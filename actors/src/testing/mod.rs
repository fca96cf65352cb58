//! Stand-ins for tests: a store in memory, a clock that a test moves, providers that do as told.

mod clock;
mod memory_store;

pub use clock::ManualClock;
pub use memory_store::{CommitFault, MemoryStore};
