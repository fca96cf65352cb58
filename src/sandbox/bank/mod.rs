//! The bank face: [SimpleFIN](https://www.simplefin.org/protocol.html) with three accounts and a
//! year of transactions for every user, the same each time, and faults by setup token.
//!
//! | setup token | what its connection meets |
//! |---|---|
//! | `sandbox` | nothing wrong |
//! | `sandbox-slow` | answers late |
//! | `sandbox-rate-limited` | 429 with Retry-After |
//! | `sandbox-expired` | 403 |
//! | `sandbox-broken-pages` | in turn: an account missing, half a page |
//! | `sandbox-down` | 503 |
//! | `sandbox-shuffled` | transactions in any order, some of them twice |
//! | `sandbox-hanging` | accepts and says nothing |
//! | `sandbox-hostile` | in turn: an endless answer, wrong types, absurd numbers |

mod access;
mod data;
mod ledger;
pub(super) mod plaid;
mod routes;

pub(super) use access::{ACCESSES, Fault, SETUP_TOKENS, mint};
pub(super) use ledger::{LEDGERS, POSTINGS};
pub(super) use routes::routes;
