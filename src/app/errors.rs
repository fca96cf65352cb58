//! Why a replica did not start, or had to end.

use steward_actors::store::{CommitError, StoreError};
use steward_actors::supervision::Escalation;

use super::first_admin::AdminError;
use super::keys::OpenKeysError;
use super::outside::OutsideError;
use super::stores::OpenStoreError;
use crate::storage::redis::RedisError;

/// Why Steward did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Production refuses this configuration.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenStoreError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store does not take this replica's record.
    #[error("this replica cannot join: {0}")]
    Join(#[from] CommitError),
    /// There are no keys for tokens.
    #[error(transparent)]
    Keys(#[from] OpenKeysError),
    /// Several replicas need one Redis to tell each other about sessions.
    #[error(
        "{host} runs on this database with {theirs}, this replica has {ours}: replicas need the same \
         redis.uri and redis.prefix to tell each other which sessions were ended; set them, or stop \
         the other replica"
    )]
    OneRedisNeeded {
        /// Where the other one runs.
        host: String,
        /// What it has.
        theirs: String,
        /// What this one has.
        ours: String,
    },
    /// Redis cannot be used.
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    /// A provider, the sandbox or the mailer cannot be made.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The first admin cannot be made.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The address is taken, or the system gives no threads.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part that the replica cannot do without fell too often.
    #[error("{} fell too often: {}", .0.kind, .0.reason)]
    Escalated(Escalation),
}
