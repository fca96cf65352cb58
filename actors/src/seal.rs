//! The port to sealing: what must stay secret is encrypted before it reaches the store, so that a
//! dump of the database holds none of it.
//!
//! Who calls it: [`crate::keys`], and whoever keeps credentials of providers. What never happens
//! here: a secret that could be printed, a sealed value that opens in another place than its own.

use std::fmt;

use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};

/// What was sealed, as text that says with which key. Safe to store; opens only with the key, and
/// only as what it was sealed as.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Wraps what an adapter made.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed([hidden])")
    }
}

/// Why something was not sealed or opened. Trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was sealed with a key that is not in `secrets.key` (any more).
    #[error("it was sealed with the key {0}, which is not in secrets.key")]
    UnknownKey(String),
    /// It is not what was sealed here as this.
    #[error("it is not what was sealed, or not as this")]
    Broken,
    /// The system's random source or the cipher fails.
    #[error("it cannot be sealed")]
    Failed,
}

/// Encrypts with authentication. Cheap: microseconds, no I/O.
pub trait Sealer: Send + Sync + 'static {
    /// Seals `secret` as `place`: what it is and where it is kept, such as
    /// `connections/ID/access_url`. The same secret sealed twice gives two texts.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    fn seal(&self, place: &str, secret: &SecretSlice<u8>) -> Result<Sealed, SealError>;

    /// Opens what was sealed as `place`.
    ///
    /// # Errors
    /// [`SealError`].
    fn open(&self, place: &str, sealed: &Sealed) -> Result<SecretSlice<u8>, SealError>;

    /// Whether it was sealed with the key that seals now. What was not should be opened and sealed
    /// again when it is written next, so that the old key can go.
    fn is_current(&self, sealed: &Sealed) -> bool;
}
