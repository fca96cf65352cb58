//! [Webhooks of Plaid](https://plaid.com/docs/api/webhooks/webhook-verification/): which are genuine,
//! and what they say.
//!
//! Who calls it: the route `/v1/webhooks/plaid`. A webhook is a hint: it makes somebody look, and
//! nothing in it is believed. Keys come from Plaid by their id and are kept; how many are kept and how
//! often Plaid is asked is bounded, as the ids come from strangers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use steward_actors::cluster::Clock;
use steward_actors::hex;
use steward_actors::time::Timestamp;
use tokio::sync::Mutex;

use super::PlaidBank;

/// A webhook that was signed longer ago, or later, is stale.
const WINDOW: Duration = Duration::from_secs(300);
/// Characters of a token.
const LONGEST_TOKEN: usize = 4096;
/// Keys that are kept, those that there are none of included.
const MOST_KEYS: usize = 64;
/// How long a key is believed without asking again.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long a key is believed not to exist.
const KEPT_NOT: Duration = Duration::from_secs(60);
/// Times that Plaid is asked for keys in a minute.
const ASKED_A_MINUTE: u32 = 20;

/// Why a webhook is not heeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGenuine {
    /// There is no token that can be read.
    #[error("it is not signed")]
    Unsigned,
    /// It was signed too long ago, or is dated too far ahead.
    #[error("its signature is stale")]
    Stale,
    /// It is signed by somebody else, or was changed.
    #[error("its signature is wrong")]
    Wrong,
    /// The key could not be had now. It should be sent again.
    #[error("its key cannot be had now: {0}")]
    NoKey(String),
}

/// A public key, as a [JWK](https://www.rfc-editor.org/rfc/rfc7517).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct VerificationKey {
    pub(super) alg: String,
    pub(super) x: String,
    pub(super) y: String,
    pub(super) expired_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iat: i64,
    request_body_sha256: String,
}

#[derive(Default)]
struct Keys {
    kept: HashMap<String, Kept>,
    minute: i64,
    asked: u32,
}

struct Kept {
    key: Option<DecodingKey>,
    until: Timestamp,
}

/// Checks webhooks.
pub struct PlaidWebhooks {
    bank: Arc<PlaidBank>,
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
}

impl PlaidWebhooks {
    /// Checks with the keys that this Plaid has.
    pub fn new(bank: Arc<PlaidBank>, clock: Arc<dyn Clock>) -> Self {
        Self { bank, clock, keys: Mutex::default() }
    }

    /// Checks that `body` was signed by Plaid within five minutes of now. `token` is the header
    /// `Plaid-Verification`. Returns what names this webhook: a copy of it has the same name.
    ///
    /// # Errors
    /// [`NotGenuine`].
    pub async fn check(&self, token: Option<&str>, body: &[u8]) -> Result<String, NotGenuine> {
        let token = token.filter(|token| token.len() <= LONGEST_TOKEN).ok_or(NotGenuine::Unsigned)?;
        let header = decode_header(token).map_err(|_| NotGenuine::Unsigned)?;
        let kid = header.kid.filter(|kid| is_key_id(kid)).ok_or(NotGenuine::Unsigned)?;
        if header.alg != Algorithm::ES256 {
            return Err(NotGenuine::Wrong);
        }
        let now = self.clock.now();
        let key = self.key(&kid, now).await?.ok_or(NotGenuine::Wrong)?;
        let claims = decode::<Claims>(token, &key, &validation()).map_err(|_| NotGenuine::Wrong)?.claims;
        let apart = now.as_millis().abs_diff(claims.iat.saturating_mul(1000));
        if u128::from(apart) > WINDOW.as_millis() {
            return Err(NotGenuine::Stale);
        }
        let digest = hex::encode(&Sha256::digest(body));
        verify_slices_are_equal(digest.as_bytes(), claims.request_body_sha256.as_bytes())
            .map_err(|_| NotGenuine::Wrong)?;
        // Not of the token's own bytes: a signature can be written in two ways.
        Ok(hex::encode(&Sha256::digest(format!("{kid}/{}/{digest}", claims.iat))))
    }

    async fn key(&self, kid: &str, now: Timestamp) -> Result<Option<DecodingKey>, NotGenuine> {
        {
            let mut keys = self.keys.lock().await;
            if let Some(kept) = keys.kept.get(kid).filter(|kept| now < kept.until) {
                return Ok(kept.key.clone());
            }
            keys.count(now)?;
        }
        // Not under the lock: who invents key ids would keep the genuine ones waiting.
        let fetched = self.bank.verification_key(kid).await;
        let found = fetched.map_err(|error| NotGenuine::NoKey(error.to_string()))?;
        let usable = |key: &VerificationKey| {
            key.alg == "ES256" && key.expired_at.is_none_or(|at| now.as_millis() < at.saturating_mul(1000))
        };
        let key = found.filter(usable).and_then(|key| DecodingKey::from_ec_components(&key.x, &key.y).ok());
        let until = now.plus(if key.is_some() { KEPT } else { KEPT_NOT });
        self.keys.lock().await.keep(kid, Kept { key: key.clone(), until }, now);
        Ok(key)
    }
}

impl Keys {
    fn count(&mut self, now: Timestamp) -> Result<(), NotGenuine> {
        let minute = now.as_millis().div_euclid(60_000);
        if minute != self.minute {
            (self.minute, self.asked) = (minute, 0);
        }
        if self.asked >= ASKED_A_MINUTE {
            return Err(NotGenuine::NoKey("too many were asked for".to_owned()));
        }
        self.asked += 1;
        Ok(())
    }

    /// Keeps one more. Of too many, those that are none go first.
    fn keep(&mut self, kid: &str, kept: Kept, now: Timestamp) {
        if self.kept.len() >= MOST_KEYS {
            self.kept.retain(|_, kept| now < kept.until && kept.key.is_some());
        }
        if self.kept.len() < MOST_KEYS {
            self.kept.insert(kid.to_owned(), kept);
        }
    }
}

fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    // There is none; the age is told by `iat`, by the store's clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

fn is_key_id(kid: &str) -> bool {
    (1..=64).contains(&kid.len())
        && kid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// The header for `body`, as Plaid makes it with the key `kid`; `key` is PKCS #8.
///
/// # Errors
/// The key is none.
pub fn sign(kid: &str, key: &SecretSlice<u8>, body: &[u8], now: Timestamp) -> Result<String, String> {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    let iat = now.as_millis().div_euclid(1000);
    let claims = Claims { iat, request_body_sha256: hex::encode(&Sha256::digest(body)) };
    encode(&header, &claims, &EncodingKey::from_ec_der(key.expose_secret()))
        .map_err(|error| error.to_string())
}

/// What a genuine webhook says: something about this item is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaidNotice {
    /// The item.
    pub item_id: String,
    /// What, such as `TRANSACTIONS/SYNC_UPDATES_AVAILABLE`; for logs.
    pub what: String,
}

#[derive(Deserialize)]
struct Told {
    webhook_type: String,
    webhook_code: String,
    item_id: String,
}

/// What a genuine webhook says; `None` if it is about something that nobody here needs to know, or
/// makes no sense.
pub fn read(body: &[u8]) -> Option<PlaidNotice> {
    let told: Told = serde_json::from_slice(body).ok()?;
    let heeded = match told.webhook_type.as_str() {
        "TRANSACTIONS" => true,
        "ITEM" => told.webhook_code != "WEBHOOK_UPDATE_ACKNOWLEDGED",
        _ => false,
    };
    let sane = |text: &str| text.len() <= 200 && !text.chars().any(char::is_control);
    if !heeded || !sane(&told.item_id) || !sane(&told.webhook_code) {
        return None;
    }
    Some(PlaidNotice { item_id: told.item_id, what: format!("{}/{}", told.webhook_type, told.webhook_code) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_items_and_transactions_is_heeded_and_nonsense_is_not() {
        let of = |kind: &str, code: &str| {
            let body = format!(r#"{{"webhook_type":"{kind}","webhook_code":"{code}","item_id":"i1","x":1}}"#);
            read(body.as_bytes()).map(|notice| notice.what)
        };
        assert_eq!(
            of("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE").as_deref(),
            Some("TRANSACTIONS/SYNC_UPDATES_AVAILABLE")
        );
        assert!(of("ITEM", "ERROR").is_some());
        assert_eq!(of("ITEM", "WEBHOOK_UPDATE_ACKNOWLEDGED"), None);
        assert_eq!(of("INCOME", "ERROR"), None);
        for nonsense in [&b""[..], b"null", b"[]", br#"{"webhook_type": 7}"#] {
            assert_eq!(read(nonsense), None);
        }
    }

    #[test]
    fn strangers_fill_no_memory_and_ask_plaid_only_so_often() {
        let (mut keys, now) = (Keys::default(), Timestamp::from_millis(1_750_000_000_000));
        for n in 0..1000 {
            let kept = Kept { key: None, until: now.plus(KEPT_NOT) };
            keys.keep(&n.to_string(), kept, now);
        }
        assert!(keys.kept.len() <= MOST_KEYS);
        let asked = (0..1000).filter(|_| keys.count(now).is_ok()).count();
        assert_eq!(asked, ASKED_A_MINUTE as usize);
        assert!(keys.count(now.plus(Duration::from_secs(60))).is_ok());
    }
}
