//! The provider adapters against the sandbox over real HTTP, against servers that misbehave, and
//! against a real SMTP server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bank;
mod geocoding;
mod mail;
mod payments;
mod payments_faults;
mod rates;
mod smtp;
mod support;
