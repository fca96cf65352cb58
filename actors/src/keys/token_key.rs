//! The key that authenticates tokens which only Steward reads back. Pure.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

/// HMAC-SHA-256 ([RFC 2104](https://www.rfc-editor.org/rfc/rfc2104)) under a key of 32 random bytes
/// that all replicas share. Cheap to clone; can't be printed.
#[derive(Clone)]
pub struct TokenKey(Arc<SecretSlice<u8>>);

impl TokenKey {
    /// Wraps the key.
    pub fn new(key: SecretSlice<u8>) -> Self {
        Self(Arc::new(key))
    }

    /// The authentication code of `parts` for this purpose. Each part counts with its length, so
    /// that no two lists of parts give the same.
    pub fn code(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        self.mac(purpose, parts).finalize().into_bytes().into()
    }

    /// Whether `code` is that of `parts` for this purpose; takes as long either way.
    pub fn is_code(&self, purpose: &str, parts: &[&[u8]], code: &[u8]) -> bool {
        self.mac(purpose, parts).verify_slice(code).is_ok()
    }

    /// A key for one thing, derived from this one.
    pub fn derive(&self, purpose: &str, parts: &[&[u8]]) -> Self {
        Self::new(self.code(purpose, parts).to_vec().into())
    }

    fn mac(&self, purpose: &str, parts: &[&[u8]]) -> Hmac<Sha256> {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()) else {
            unreachable!("HMAC takes keys of any length")
        };
        for part in [purpose.as_bytes()].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey([hidden])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_of_its_key_its_purpose_and_its_parts() {
        let key = TokenKey::new(vec![7; 32].into());
        let code = key.code("a", &[b"bc", b"d"]);
        assert!(key.is_code("a", &[b"bc", b"d"], &code));
        assert!(!key.is_code("ab", &[b"c", b"d"], &code));
        assert!(!key.is_code("a", &[b"b", b"cd"], &code));
        assert!(!key.is_code("a", &[b"bc", b"d"], &code[..31]));
        assert!(!TokenKey::new(vec![8; 32].into()).is_code("a", &[b"bc", b"d"], &code));
        assert!(!key.derive("a", &[]).is_code("a", &[b"bc", b"d"], &code));
        assert_eq!(format!("{key:?}"), "TokenKey([hidden])");
    }
}
