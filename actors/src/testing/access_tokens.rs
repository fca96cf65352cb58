//! Access tokens that hide and prove nothing.

use crate::hex;
use crate::keys::{AccessToken, AccessTokens, Claims, PublicKey, SigningKey};
use crate::time::Timestamp;

/// Writes claims down as digits between two dots, and believes whatever it reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainTokens;

impl AccessTokens for PlainTokens {
    fn take(&self, _: Vec<SigningKey>) -> Result<(), String> {
        Ok(())
    }

    fn issue(&self, claims: &Claims, _: Timestamp) -> Result<AccessToken, String> {
        let json = serde_json::to_vec(claims).map_err(|error| error.to_string())?;
        Ok(AccessToken::new(format!("a.{}.z", hex::encode(&json))))
    }

    fn read(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let digits = token.strip_prefix("a.")?.strip_suffix(".z")?;
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        let json: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect::<Option<_>>()?;
        let claims: Claims = serde_json::from_slice(&json).ok()?;
        (now < claims.expires_at).then_some(claims)
    }

    fn published(&self, _: Timestamp) -> Vec<PublicKey> {
        Vec::new()
    }
}
