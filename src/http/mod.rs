//! The API over HTTP, as `/openapi.json` describes it.
//!
//! The frame, the same for every route: [`server`] listens, `frame` wraps each request (ids,
//! deadline, panics, headers, the access log), [`routes`] says which handler answers, the
//! extractors ([`caller`], [`json`], [`query`]) let only good requests through, and [`problem`] with
//! [`errors`] say what went wrong. Around it one file per resource; `docs/adding-a-route.md` shows
//! how to add one.
//!
//! Who calls it: the composition root ([`crate::app`]). What never happens here: a decision of the
//! domain, or a call to an adapter. Handlers parse, ask a service or an actor, and render.

#![allow(unused_qualifications, reason = "the macros of utoipa write some")]

pub mod address;
pub mod caller;
mod codes;
mod cors;
pub mod errors;
mod etag;
mod exchange;
mod fallback;
mod fields;
mod frame;
mod guard;
mod idempotency;
pub mod json;
mod limiting;
mod openapi;
pub mod page;
pub mod problem;
pub mod query;
mod request_id;
pub mod routes;
pub mod server;
mod strict;
mod template;
pub mod values;

mod account_input;
mod accounts;
mod admin;
mod balances;
mod bank_webhooks;
mod categories;
mod connections;
mod docs;
mod export;
pub mod health;
mod hello;
mod holds;
mod inventory;
pub mod keys;
mod linking;
mod links;
mod measure;
pub mod metrics;
mod net_worth;
mod order_commands;
pub mod order_events;
mod order_placing;
mod orders;
mod people;
mod product_commands;
mod product_search;
mod products;
mod profiles;
mod recovery;
mod roles;
mod sessions;
mod transaction_commands;
mod transactions;
mod user_view;
mod users;
pub mod webhooks;

pub use limiting::Limiting;
pub use openapi::document as openapi_document;
pub use request_id::RequestId;
pub use server::{Listener, Server};

use actix_web::http::header::{CACHE_CONTROL, HeaderName};

/// For answers that nobody may keep, such as those with a token in them:
/// `HttpResponse::Ok().insert_header(NO_STORE)`.
pub const NO_STORE: (HeaderName, &str) = (CACHE_CONTROL, "no-store");
