//! How a credential is kept. Today as it came; encryption at rest takes this module's place
//! without anyone else noticing: [`SealedCredential::seal`] and [`SealedCredential::open`] are the
//! only two doors.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::providers::Credential;

/// The key id of a credential that is not encrypted.
const PLAIN: &str = "plain";

/// A credential in the form in which it is stored. Cannot be printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedCredential {
    key_id: String,
    sealed: String,
}

impl SealedCredential {
    /// Seals it for the store.
    pub fn seal(credential: &Credential) -> Self {
        Self { key_id: PLAIN.to_owned(), sealed: credential.0.expose_secret().to_owned() }
    }

    /// Opens it for a call to the provider; `None` if the key is not at hand.
    pub fn open(&self) -> Option<Credential> {
        (self.key_id == PLAIN).then(|| Credential(SecretString::from(self.sealed.clone())))
    }
}

impl fmt::Debug for SealedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedCredential({})", self.key_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_credential_opens_and_never_prints() {
        let sealed = SealedCredential::seal(&Credential(SecretString::from("https://u:canary@bank")));
        assert_eq!(sealed.open().unwrap().0.expose_secret(), "https://u:canary@bank");
        assert!(!format!("{sealed:?}").contains("canary"));
    }

    #[test]
    fn a_credential_under_another_key_does_not_open() {
        let sealed = SealedCredential { key_id: "2031-a".to_owned(), sealed: "?".to_owned() };
        assert!(sealed.open().is_none());
    }
}
