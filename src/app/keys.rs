//! What seals, and the keys that tokens are made with: configured, or made once and kept in the
//! store.

use std::path::PathBuf;
use std::sync::Arc;

use steward_actors::cluster::Clock;
use steward_actors::keys::{AccessTokens, Keys, KeysError, KeysParts, local_secret};
use steward_actors::seal::{SealError, Sealer};
use steward_actors::store::{Store, StoreError};

use crate::config::Config;
use crate::crypto::{AesSealer, BadSecretsKey, JwtTokens, SystemKeys, from_pem, new_secrets_key};

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum OpenKeysError {
    /// `secrets.key` won't do.
    #[error("secrets.key {0}")]
    Secret(#[from] BadSecretsKey),
    /// None can be made up.
    #[error(transparent)]
    MadeUp(#[from] SealError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys in the store.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// `auth.jwt_keys` won't do.
    #[error("auth.jwt_keys, {path}: {problem}", path = .path.display())]
    Given {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What encrypts at rest.
///
/// # Errors
/// [`OpenKeysError`].
pub(super) async fn sealer(config: &Config, store: &dyn Store) -> Result<Arc<dyn Sealer>, OpenKeysError> {
    let key = match &config.secrets.key {
        Some(key) => key.clone(),
        None => local_secret(store, new_secrets_key()?).await?,
    };
    Ok(Arc::new(AesSealer::new(&key)?))
}

/// What signs and reads access tokens, and what looks after the keys.
///
/// # Errors
/// [`OpenKeysError`].
pub(super) async fn open(
    config: &Config,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    sealer: Arc<dyn Sealer>,
) -> Result<(Arc<dyn AccessTokens>, Arc<Keys>), OpenKeysError> {
    let auth = &config.auth;
    let tokens: Arc<dyn AccessTokens> = Arc::new(JwtTokens::new(auth.issuer.clone(), auth.audience.clone()));
    if let Some(path) = &auth.jwt_keys {
        let given = |problem| OpenKeysError::Given { path: path.clone(), problem };
        let text = std::fs::read(path).map_err(|error| given(error.to_string()))?;
        tokens.take(from_pem(&text).map_err(given)?).map_err(given)?;
    }
    let parts = KeysParts {
        store,
        clock,
        sealer,
        maker: Arc::new(SystemKeys),
        tokens: tokens.clone(),
        given: auth.jwt_keys.is_some(),
    };
    Ok((tokens, Arc::new(Keys::start(parts).await?)))
}
