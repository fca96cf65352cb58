//! Ports to the outside: payments, banks, mail, exchange rates, addresses. The server's adapters speak
//! the real protocols (Stripe, SimpleFIN, SMTP, the ECB's, OpenCage's), against the real services or the
//! built-in sandbox.
//!
//! Who calls them: the order saga, account sync and the outbox, always after the commit that makes
//! the call a durable intention, never inside one; and, where nothing is changed, schedules and
//! routes. Every call has a deadline of its own and every answer is bounded in size. What never happens here: an unknown outcome told as a failure.

mod bank;
mod breaker;
mod budget;
mod circuit;
mod circuits;
mod geocoding;
mod guarded;
mod mail;
mod parts;
mod payments;
mod problems;
mod rates;

pub use bank::{
    Bank, BankAccount, BankDetails, BankError, BankTransaction, Changes, ClaimError, Credential, LinkToken,
    Period, Statement,
};
pub use breaker::{Breaker, Heard};
pub use budget::Budget;
pub use circuit::{BreakerOptions, BreakerState, Circuit};
pub use geocoding::{Finding, Geocoding, GeocodingError, GuardedGeocoding, PostalAddress};
pub use guarded::{GuardedBank, GuardedMailer, GuardedPayments};
pub use mail::{Mail, MailError, Mailer};
pub use payments::{
    Intent, IntentRequest, IntentStatus, NotChargeable, PaymentError, Payments, ProviderRefund,
    ProviderRefundStatus, RefundRequest,
};
pub use problems::Problems;
pub use rates::{DailyRates, ExchangeRates, GuardedRates, MOST_RATES, RatesError};
