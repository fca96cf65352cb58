//! How a credential is kept: sealed, as that of its connection and of no other one.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::providers::Credential;
use crate::seal::{SealError, Sealed, Sealer};

/// The key id of a credential that was stored before credentials were sealed.
const PLAIN: &str = "plain";

/// A credential in the form in which it is stored. Cannot be printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedCredential {
    /// [`PLAIN`], or absent: what was sealed names its key itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    sealed: Sealed,
}

fn place(connection_id: &str) -> String {
    format!("connections/{connection_id}/credential")
}

impl SealedCredential {
    /// Seals it as that of this connection.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn seal(
        sealer: &dyn Sealer,
        connection_id: &str,
        credential: &Credential,
    ) -> Result<Self, SealError> {
        let secret = credential.0.expose_secret().as_bytes().to_vec().into();
        Ok(Self { key_id: None, sealed: sealer.seal(&place(connection_id), &secret)? })
    }

    /// Opens it for a call to the provider.
    ///
    /// # Errors
    /// [`SealError`]: its key is not at hand, or it is another connection's.
    pub fn open(&self, sealer: &dyn Sealer, connection_id: &str) -> Result<Credential, SealError> {
        if self.is_plain() {
            return Ok(Credential(SecretString::from(self.sealed.as_str().to_owned())));
        }
        let opened = sealer.open(&place(connection_id), &self.sealed)?;
        let text = std::str::from_utf8(opened.expose_secret()).map_err(|_| SealError::Broken)?;
        Ok(Credential(SecretString::from(text.to_owned())))
    }

    /// Whether it is sealed with the key that seals now.
    pub fn is_current(&self, sealer: &dyn Sealer) -> bool {
        !self.is_plain() && sealer.is_current(&self.sealed)
    }

    /// The same credential, sealed with the key that seals now.
    ///
    /// # Errors
    /// [`SealError`], as [`Self::open`] and [`Self::seal`].
    pub fn resealed(&self, sealer: &dyn Sealer, connection_id: &str) -> Result<Self, SealError> {
        if self.is_current(sealer) {
            return Ok(self.clone());
        }
        Self::seal(sealer, connection_id, &self.open(sealer, connection_id)?)
    }

    fn is_plain(&self) -> bool {
        self.key_id.as_deref() == Some(PLAIN)
    }
}

impl fmt::Debug for SealedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedCredential([hidden])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::WeakSealer;

    fn canary() -> Credential {
        Credential(SecretString::from("https://u:canary@bank"))
    }

    #[test]
    fn a_sealed_credential_opens_as_its_connections_alone_and_never_shows() {
        let sealer = WeakSealer::new(&["k1"]);
        let sealed = SealedCredential::seal(&sealer, "c1", &canary()).unwrap();
        assert_eq!(sealed.open(&sealer, "c1").unwrap().0.expose_secret(), "https://u:canary@bank");
        assert_eq!(sealed.open(&sealer, "c2").unwrap_err(), SealError::Broken);
        let stored = serde_json::to_string(&sealed).unwrap();
        assert!(!format!("{sealed:?}{stored}").contains("canary"), "{stored}");
    }

    #[test]
    fn a_credential_under_another_key_does_not_open() {
        let sealed = SealedCredential::seal(&WeakSealer::new(&["k1"]), "c1", &canary()).unwrap();
        let opened = sealed.open(&WeakSealer::new(&["k2"]), "c1");
        assert_eq!(opened.unwrap_err(), SealError::UnknownKey("k1".to_owned()));
    }

    #[test]
    fn what_was_stored_in_the_open_or_under_an_older_key_is_sealed_with_the_present_one() {
        let (old, both) = (WeakSealer::new(&["k1"]), WeakSealer::new(&["k2", "k1"]));
        let plain = r#"{"keyId":"plain","sealed":"https://u:canary@bank"}"#;
        let before = [
            serde_json::from_str::<SealedCredential>(plain).unwrap(),
            SealedCredential::seal(&old, "c1", &canary()).unwrap(),
        ];
        for sealed in before {
            assert!(!sealed.is_current(&both));
            let again = sealed.resealed(&both, "c1").unwrap();
            assert!(again.is_current(&both));
            let opened = again.open(&WeakSealer::new(&["k2"]), "c1").unwrap();
            assert_eq!(opened.0.expose_secret(), "https://u:canary@bank");
        }
    }
}
