//! The bank's other face: [Plaid's API](https://plaid.com/docs/api/) over the ledger. Each item has
//! accounts and transactions under ids of its own, as a new link has at the real one.
//!
//! | public token | what its item meets |
//! |---|---|
//! | `public-sandbox` | nothing wrong |
//! | `public-sandbox-slow` | answers late |
//! | `public-sandbox-rate-limited` | 429 with Retry-After |
//! | `public-sandbox-expired` | ITEM_LOGIN_REQUIRED |
//! | `public-sandbox-broken-pages` | in turn: half a page, a whole one |
//! | `public-sandbox-down` | 503 |
//! | `public-sandbox-institution-down` | INSTITUTION_DOWN |
//! | `public-sandbox-not-ready` | two walks in vain: PRODUCT_NOT_READY, then a page that says so |
//! | `public-sandbox-shuffled` | pages in any order, some lines twice |
//! | `public-sandbox-mutating` | the list changes under its first two walks |
//! | `public-sandbox-hanging` | accepts and says nothing |
//! | `public-sandbox-hostile` | in turn: an endless answer, wrong types, absurd numbers |
//!
//! Each word is good again and again, for a new user of the bank each time. A token for a certain user
//! is made by `POST /_sandbox/public-tokens`.

mod items;
mod notify;
mod routes;
mod sync;

pub(in crate::sandbox) use items::{ITEMS, PUBLIC_TOKENS};
pub(in crate::sandbox) use notify::{Signing, WEBHOOK_KEYS};
pub(in crate::sandbox) use routes::{control, routes};
