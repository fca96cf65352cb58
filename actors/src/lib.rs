//! Steward's domain and the supervised actors that own it.
//!
//! Who calls it: the server crate (`steward`), which gives the actors their adapters and puts
//! HTTP in front of them. What never happens here: HTTP, SQL, MongoDB, Redis or a provider's SDK.
//! Those are reached through ports: [`store::Store`], [`cluster::Clock`] and [`providers`].
//!
//! Inside, pure modules (`state`, `decide`, `money`, `time`) know no clock, no I/O and no async;
//! the actix part of each actor is a thin shell around them.

pub mod account_sync;
pub mod accounts;
pub mod addresses;
pub mod audit;
pub mod backoff;
pub mod catalog;
pub mod cluster;
pub mod copies;
pub mod figures;
pub mod flags;
pub mod hex;
pub mod ids;
pub mod inventory;
pub mod keys;
pub mod limits;
pub mod money;
pub mod order_saga;
pub mod outbox;
pub mod pauses;
pub mod providers;
pub mod rates;
pub mod seal;
pub mod session;
pub mod store;
pub mod supervision;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod time;
mod tombstone;
pub mod trace;
pub mod users;
