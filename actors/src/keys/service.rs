//! Making, loading and replacing the keys.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretSlice;
use tokio::sync::watch;

use super::AccessTokens;
use super::record::{BY_NUMBER, KEYS, Key, PublicKey, Purpose};
use super::schedule::{self, Due, SigningKey};
use super::token_key::TokenKey;
use crate::backoff::Backoff;
use crate::cluster::Clock;
use crate::seal::{SealError, Sealer};
use crate::store::{Batch, CommitError, Query, Store, StoreError, Versioned, find};
use crate::time::Timestamp;

/// How often keys are looked at; far more often than [`schedule::PUBLISHED_AHEAD`].
const LOOKED_AT_EVERY: Duration = Duration::from_secs(60);
/// Attempts at what other replicas may be doing at the same time.
const ATTEMPTS: u32 = 8;

/// Makes keys from the system's random source.
pub trait KeyMaker: Send + Sync + 'static {
    /// A new pair on P-256: PKCS #8, and its public half.
    ///
    /// # Errors
    /// What the system said.
    fn pair(&self) -> Result<(SecretSlice<u8>, PublicKey), String>;

    /// 32 random bytes.
    ///
    /// # Errors
    /// What the system said.
    fn random(&self) -> Result<SecretSlice<u8>, String>;
}

/// Why the keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The store.
    #[error("the keys cannot be loaded: {0}")]
    Store(#[from] StoreError),
    /// They were sealed by someone with another `secrets.key`.
    #[error(
        "the key {id} in the store cannot be opened: {error}; give the secrets.key that it was sealed with"
    )]
    Sealed {
        /// The key's record.
        id: String,
        /// What the sealer said.
        error: SealError,
    },
    /// A key cannot be made or used.
    #[error("keys cannot be made: {0}")]
    Broken(String),
}

/// What keys are made of.
pub struct KeysParts {
    /// Where they are kept.
    pub store: Arc<dyn Store>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// What keeps them secret there.
    pub sealer: Arc<dyn Sealer>,
    /// Where they come from.
    pub maker: Arc<dyn KeyMaker>,
    /// What signs with them.
    pub tokens: Arc<dyn AccessTokens>,
    /// Whether signing keys come from elsewhere (`auth.jwt_keys`): then none is made here.
    pub given: bool,
}

/// The keys of this installation.
pub struct Keys {
    parts: KeysParts,
    token_key: TokenKey,
}

impl Keys {
    /// Loads the keys, and makes those that are missing. Of two replicas that start together on an
    /// empty store both have the same afterwards.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn start(parts: KeysParts) -> Result<Self, KeysError> {
        let mut attempt = 0;
        let token_key = loop {
            if let Some(key) = load_all(&parts, Purpose::Tokens).await?.first() {
                break TokenKey::new(open(&parts, &key.value)?);
            }
            let secret = parts.maker.random().map_err(KeysError::Broken)?;
            make(&parts, Purpose::Tokens, 1, None, &secret, Timestamp::default(), attempt).await?;
            attempt += 1;
        };
        let keys = Self { parts, token_key };
        keys.tend().await?;
        Ok(keys)
    }

    /// The key for tokens that only Steward reads back.
    pub fn token_key(&self) -> TokenKey {
        self.token_key.clone()
    }

    /// Does what is due, and hands the signing keys on.
    ///
    /// # Errors
    /// [`KeysError`]. The keys that were handed on before stay in use.
    pub async fn tend(&self) -> Result<(), KeysError> {
        self.reseal(Purpose::Tokens).await?;
        if self.parts.given {
            return Ok(());
        }
        for attempt in 0..ATTEMPTS {
            let keys = load_all(&self.parts, Purpose::Signing).await?;
            let values: Vec<Key> = keys.iter().map(|key| key.value.clone()).collect();
            let due = schedule::due(&values, self.parts.clock.now());
            if due.is_empty() {
                self.reseal(Purpose::Signing).await?;
                return self.hand_on(&values);
            }
            for due in due {
                match due {
                    Due::Make { number, signs_from } => self.make_pair(number, signs_from, attempt).await?,
                    Due::Remove { id } => self.remove(&keys, &id).await,
                }
            }
        }
        Err(KeysError::Store(StoreError::Unavailable("others keep changing the keys".to_owned())))
    }

    /// Looks after the keys until `stop` becomes true.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOKED_AT_EVERY.mul_f64(0.5 + fastrand::f64())) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Err(error) = self.tend().await {
                tracing::warn!(%error, "the keys were not looked after");
            }
        }
    }

    /// Makes the next signing key now, whatever the schedule says; when it begins to sign. If one
    /// waits already to sign, that one.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn rotate(&self) -> Result<Timestamp, KeysError> {
        if self.parts.given {
            return Err(KeysError::Broken("they come from auth.jwt_keys; change that file".to_owned()));
        }
        let keys = load_all(&self.parts, Purpose::Signing).await?;
        let now = self.parts.clock.now();
        if let Some(last) = keys.last().filter(|last| last.value.signs_from <= now)
            && let Due::Make { number, signs_from } = schedule::next(&last.value, now)
        {
            self.make_pair(number, signs_from, 0).await?;
        }
        self.tend().await?;
        let keys = load_all(&self.parts, Purpose::Signing).await?;
        Ok(keys.last().map_or(now, |key| key.value.signs_from))
    }

    fn hand_on(&self, keys: &[Key]) -> Result<(), KeysError> {
        let mut signing = Vec::with_capacity(keys.len());
        for (n, key) in keys.iter().enumerate() {
            let Some(public) = key.public.clone() else {
                return Err(KeysError::Broken(format!("{} has no public half", key.id)));
            };
            signing.push(SigningKey {
                public,
                private: Some(open(&self.parts, key)?),
                signs_from: key.signs_from,
                verifies_until: schedule::verifies_until(keys, n),
            });
        }
        self.parts.tokens.take(signing).map_err(KeysError::Broken)
    }

    async fn make_pair(&self, number: u64, signs_from: Timestamp, attempt: u32) -> Result<(), KeysError> {
        let (secret, public) = self.parts.maker.pair().map_err(KeysError::Broken)?;
        tracing::info!(kid = public.kid, %signs_from, "a signing key is made");
        make(&self.parts, Purpose::Signing, number, Some(public), &secret, signs_from, attempt).await
    }

    /// One that stays is removed the next time.
    async fn remove(&self, keys: &[Versioned<Key>], id: &str) {
        let Some(key) = keys.iter().find(|key| key.value.id == id) else { return };
        match self.parts.store.commit(Batch::new().delete(key)).await {
            Ok(()) => tracing::info!(key = id, "a signing key has gone"),
            Err(error) => tracing::debug!(%error, key = id, "a signing key stays for now"),
        }
    }

    /// Seals again what was sealed with an older `secrets.key`.
    async fn reseal(&self, purpose: Purpose) -> Result<(), KeysError> {
        for Versioned { value: key, version } in load_all(&self.parts, purpose).await? {
            if self.parts.sealer.is_current(&key.secret) {
                continue;
            }
            let secret = sealed(&self.parts, &key.id, &open(&self.parts, &key)?)?;
            let written =
                self.parts.store.commit(Batch::new().replace(&Key { secret, ..key }, version)).await;
            if let Err(error) = written {
                tracing::debug!(%error, "a key is sealed again later");
            }
        }
        Ok(())
    }
}

async fn load_all(parts: &KeysParts, purpose: Purpose) -> Result<Vec<Versioned<Key>>, StoreError> {
    let purpose = match purpose {
        Purpose::Signing => "signing",
        Purpose::Tokens => "tokens",
    };
    Ok(find::<Key>(parts.store.as_ref(), Query::by(&KEYS, BY_NUMBER).equal(purpose)).await?.0)
}

fn open(parts: &KeysParts, key: &Key) -> Result<SecretSlice<u8>, KeysError> {
    let opened = parts.sealer.open(&Key::place(&key.id), &key.secret);
    opened.map_err(|error| KeysError::Sealed { id: key.id.clone(), error })
}

fn sealed(parts: &KeysParts, id: &str, secret: &SecretSlice<u8>) -> Result<crate::seal::Sealed, KeysError> {
    let sealed = parts.sealer.seal(&Key::place(id), secret);
    sealed.map_err(|error| KeysError::Sealed { id: id.to_owned(), error })
}

/// Whether it was made, by whom, and whether that is known, the next look tells.
async fn make(
    parts: &KeysParts,
    purpose: Purpose,
    number: u64,
    public: Option<PublicKey>,
    secret: &SecretSlice<u8>,
    signs_from: Timestamp,
    attempt: u32,
) -> Result<(), KeysError> {
    let id = Key::id_of(purpose, number);
    let secret = sealed(parts, &id, secret)?;
    let key = Key { id, purpose, number, public, secret, created_at: parts.clock.now(), signs_from };
    match parts.store.commit(Batch::new().insert(&key)).await {
        Ok(()) | Err(CommitError::Conflict(_)) => Ok(()),
        Err(error) if attempt + 1 >= ATTEMPTS => {
            Err(KeysError::Store(StoreError::Unavailable(error.to_string())))
        }
        Err(_) => {
            Backoff::CONTENTION.wait(attempt + 1).await;
            Ok(())
        }
    }
}
