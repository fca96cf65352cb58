//! Providers that do as a test told them: outcomes queued per method, calls stopped half-way, and
//! an honest record of what really happened behind lost replies.

mod bank;
mod mail;
mod payments;
mod script;

pub use bank::{BankCall, BankFault, ScriptedBank};
pub use mail::{MailFault, RecordingMailer};
pub use payments::{OrderLedger, PaymentCall, PaymentFault, ScriptedPayments};
pub use script::Held;
