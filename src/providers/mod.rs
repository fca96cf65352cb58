//! Adapters of the provider ports: Stripe, SimpleFIN, Plaid, the ECB's rates, OpenCage's addresses, and
//! mail by SMTP or into files.
//!
//! Who makes them: the composition root. What never happens here: an unknown outcome told as a
//! failure, an answer read without a bound, a redirect followed, a secret printed.

mod bounded;
mod courier;
mod ecb;
mod http;
mod mail;
mod opencage;
mod plaid;
mod public_dns;
mod simplefin;
mod stripe;
pub(crate) mod stripe_amounts;
pub mod stripe_webhook;

pub use courier::Courier;
pub use ecb::EcbRates;
pub use http::{SetupError, Timeouts};
pub use mail::{FileMailer, SmtpMailer};
pub use opencage::OpenCage;
pub use plaid::{
    NotGenuine as PlaidNotGenuine, PlaidBank, PlaidNotice, PlaidSettings, PlaidWebhooks, read_plaid_webhook,
    sign_plaid_webhook,
};
pub use simplefin::SimpleFinBank;
pub use stripe::StripePayments;
