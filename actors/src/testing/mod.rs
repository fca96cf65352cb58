//! Stand-ins for tests: a store in memory, a clock that a test moves, providers that do as told.

mod access_tokens;
mod at_commit;
mod clock;
mod memory_store;
mod passwords;
mod providers;
mod sealer;
mod territory;
mod watched_store;

pub use access_tokens::PlainTokens;
pub use at_commit::AtCommit;
pub use clock::ManualClock;
pub use memory_store::{CommitFault, MemoryStore};
pub use passwords::FastHasher;
pub use providers::{
    BankCall, BankFault, Held, MailFault, OrderLedger, PaymentCall, PaymentFault, RecordingMailer,
    ScriptedBank, ScriptedPayments,
};
pub use sealer::WeakSealer;
pub use territory::ScriptedTerritory;
pub use watched_store::WatchedStore;
