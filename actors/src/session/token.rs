//! Session tokens, and the hashes under which they are kept.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::hex;

/// A session token: a UUIDv4 ([RFC 9562](https://www.rfc-editor.org/rfc/rfc9562#section-5.4)) from
/// the system's random source. Known to its holder only; can't be printed.
#[derive(Clone)]
pub struct SessionToken(SecretString);

impl SessionToken {
    /// A new token.
    pub fn generate() -> Self {
        Self(Uuid::new_v4().to_string().into())
    }

    /// The token that is this UUID.
    pub(super) fn of_uuid(uuid: Uuid) -> Self {
        Self(uuid.to_string().into())
    }

    /// The UUID that the token is.
    pub(super) fn uuid(&self) -> Uuid {
        Uuid::parse_str(self.expose()).unwrap_or_default()
    }

    /// The token, to be given to its holder.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What the token is kept as.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.expose())
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken([hidden])")
    }
}

/// SHA-256 of a token, in hex in the store and in Redis. A token has 122 random bits, so nothing
/// slower is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of what a caller says is their token; `None` if it has not the form of one.
    pub fn of_presented(text: &str) -> Option<Self> {
        // The parser takes other forms of UUIDs too; only the one that was given out counts.
        if text.len() != 36 {
            return None;
        }
        let token = Uuid::try_parse(text).ok()?;
        Some(Self::of(token.hyphenated().encode_lower(&mut Uuid::encode_buffer())))
    }

    /// The hash of an access token's text, under which it is remembered.
    pub(super) fn of_access(text: &str) -> Self {
        Self::of(text)
    }

    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for TokenHash {
    type Error = &'static str;

    fn try_from(hex: String) -> Result<Self, Self::Error> {
        hex::decode(&hex).map(Self).ok_or("a token's hash is 64 hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_random_uuids_that_cannot_be_printed() {
        let (a, b) = (SessionToken::generate(), SessionToken::generate());
        assert_ne!(a.expose(), b.expose());
        assert_eq!(Uuid::parse_str(a.expose()).unwrap().get_version_num(), 4);
        assert!(!format!("{a:?}").contains(a.expose()));
        assert!(!a.hash().to_string().contains(a.expose()));
    }

    #[test]
    fn the_hash_is_sha_256_in_hex() {
        let token = "00000000-0000-4000-8000-00000000000a";
        let hash = TokenHash::of_presented(token).unwrap();
        assert_eq!(hash, TokenHash::of_presented(&token.to_uppercase()).unwrap());
        let hex = hash.to_string();
        // Computed with another program: python's hashlib.
        assert_eq!(hex, "1ad35d608dd7b52a115ee45d1330f5f69327c1a3bd6dd5cc615c5d28ecbeab33");
        assert_eq!(TokenHash::try_from(hex), Ok(hash));
        assert!(TokenHash::try_from("é".repeat(32)).is_err());
    }

    #[test]
    fn only_the_form_that_was_given_out_counts() {
        let token = SessionToken::generate();
        assert_eq!(TokenHash::of_presented(token.expose()), Some(token.hash()));
        let simple = token.expose().replace('-', "");
        for bad in ["", "x", &simple, &format!("{{{}}}", token.expose()), &"é".repeat(18)] {
            assert_eq!(TokenHash::of_presented(bad), None, "{bad}");
        }
    }
}
