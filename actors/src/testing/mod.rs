//! Stand-ins for tests: a store in memory, a clock that a test moves, providers that do as told.

mod clock;
mod memory_store;
mod providers;

pub use clock::ManualClock;
pub use memory_store::{CommitFault, MemoryStore};
pub use providers::{
    BankCall, BankFault, Held, MailFault, OrderLedger, PaymentCall, PaymentFault, RecordingMailer,
    ScriptedBank, ScriptedPayments,
};
