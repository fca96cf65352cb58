//! Access tokens: what they say, and the port to what signs and reads them.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{PublicKey, SigningKey};
use crate::time::Timestamp;

/// How long an access token counts.
pub const ACCESS_LIFE: Duration = Duration::from_secs(600);

/// A signed access token. Known to its holder only; can't be printed.
#[derive(Clone)]
pub struct AccessToken(SecretString);

impl AccessToken {
    /// Wraps what an adapter made.
    pub fn new(token: String) -> Self {
        Self(token.into())
    }

    /// The token, to be given to its holder.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken([hidden])")
    }
}

/// What an access token says, besides who issued it and for whom, which adapters know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user (`sub`).
    pub user_id: String,
    /// The session (`sid`).
    pub session_id: String,
    /// The token's own id (`jti`).
    pub id: String,
    /// The user's roles when it was issued: for other services. Steward asks the user's record.
    pub roles: Vec<String>,
    /// The number of the refresh token that was issued with it (`rfn`).
    pub refresh_number: u64,
    /// When it was issued (`iat`); kept to the second.
    pub issued_at: Timestamp,
    /// From when on it counts no more (`exp`); kept to the second.
    pub expires_at: Timestamp,
}

/// Signs and reads access tokens. Pure computation, some ten microseconds a call; any thread.
pub trait AccessTokens: Send + Sync + 'static {
    /// These are the keys from now on, sorted by when they sign.
    ///
    /// # Errors
    /// What is wrong with a key; then the keys before stay in use.
    fn take(&self, keys: Vec<SigningKey>) -> Result<(), String>;

    /// Signs with the key that signs at `now`.
    ///
    /// # Errors
    /// There is none.
    fn issue(&self, claims: &Claims, now: Timestamp) -> Result<AccessToken, String>;

    /// What the token says if it is one of ours: the right algorithm and type, a known key whose
    /// time has not passed, signature, issuer and audience, not expired at `now`. It says nothing
    /// about whether the session lives.
    fn read(&self, token: &str, now: Timestamp) -> Option<Claims>;

    /// The keys with which tokens can be verified at `now` or soon.
    fn published(&self, now: Timestamp) -> Vec<PublicKey>;
}
