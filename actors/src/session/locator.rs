//! The port to what finds sessions faster than the store does.

use std::time::Duration;

use async_trait::async_trait;

use super::TokenHash;

/// The locator can't be asked. The store can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session locator is away: {0}")]
pub struct LocatorError(pub String);

/// Says which session a token belongs to. What it says is only where to look: the session in the
/// store is the truth, so an entry too many or too few does no harm.
#[async_trait]
pub trait SessionLocator: Send + Sync + 'static {
    /// The id of the session with this token, if it is known here.
    ///
    /// # Errors
    /// [`LocatorError`].
    async fn get(&self, token: &TokenHash) -> Result<Option<String>, LocatorError>;

    /// Remembers it for `ttl`.
    ///
    /// # Errors
    /// [`LocatorError`].
    async fn put(&self, token: &TokenHash, session_id: &str, ttl: Duration) -> Result<(), LocatorError>;

    /// Forgets it.
    ///
    /// # Errors
    /// [`LocatorError`].
    async fn forget(&self, token: &TokenHash) -> Result<(), LocatorError>;
}
