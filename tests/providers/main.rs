//! The provider adapters against the sandbox over real HTTP, against servers that misbehave, and
//! against an SMTP server and a Stripe server that were not written here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bank;
mod geocoding;
mod localstripe;
mod mail;
mod payments;
mod payments_faults;
#[path = "../support/peer.rs"]
mod peer;
mod plaid;
mod rates;
mod smtp;
mod support;
