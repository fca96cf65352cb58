//! The port to password hashing.
//!
//! Who calls it: registration and log-in. What never happens here: hashing on an async thread,
//! and a queue without an end.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Password;

/// A salted password hash as a
/// [PHC string](https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md). Can't be
/// printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Wraps a PHC string.
    pub fn new(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string, for the hasher only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash([hidden])")
    }
}

/// Why a password was not hashed or verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Too many are waiting, or it took too long. Try again later.
    #[error("too many passwords are being checked")]
    Busy,
    /// It doesn't work: a hash that is none, or a fallen hasher.
    #[error("a password could not be hashed: {0}")]
    Failed(String),
}

/// Hashes and verifies passwords, slowly by design, with a bound on how many wait.
#[async_trait]
pub trait PasswordHasher: Send + Sync + 'static {
    /// A new hash with a new salt.
    ///
    /// # Errors
    /// [`HashError`].
    async fn hash(&self, password: &Password) -> Result<PasswordHash, HashError>;

    /// Whether `hash` is of `password`.
    ///
    /// # Errors
    /// [`HashError`].
    async fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, HashError>;

    /// Whether anyone who knows this much about its user would guess the password soon.
    ///
    /// # Errors
    /// [`HashError`].
    async fn is_guessable(&self, password: &Password, about: &[&str]) -> Result<bool, HashError>;

    /// Whether a hash was made with other parameters than those of today, and should be made anew
    /// when its password is at hand.
    fn is_outdated(&self, hash: &PasswordHash) -> bool;

    /// A hash that costs as much to verify as any other. Whoever asks for a user that does not
    /// exist is made to wait for this one, so that the time tells nothing.
    fn nobody(&self) -> &PasswordHash;
}
