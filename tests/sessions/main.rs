//! Sessions of several replicas over a real Redis.
//!
//! Two replicas here are two of everything but the store, which is in memory: what is tested is
//! what Redis does to sessions, not the store. What destroys a Redis runs on one of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod limits;
mod places;
mod redis_farm;
mod redis_server;
mod replica;
mod revocation;
mod unreliable_redis;

use secrecy::SecretString;

/// The Redis that `scripts/services` starts.
fn shared_redis() -> SecretString {
    let uri = std::env::var("STEWARD_TEST_REDIS_URI").expect(
        "STEWARD_TEST_REDIS_URI is not set: run `scripts/services` first, which starts a Redis and says where, \
         or `scripts/test`, which does it all",
    );
    SecretString::from(uri)
}
