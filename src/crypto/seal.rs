//! Sealing with AES-256-GCM ([NIST SP 800-38D](https://doi.org/10.6028/NIST.SP.800-38D)).
//!
//! `secrets.key` is one or more keys of 32 bytes in base64, separated by commas: the first seals,
//! all of them open. To change it, put the new key in front, let everything be sealed again, and
//! drop the old one. A sealed value is `1.<key id>.<base64url of nonce, ciphertext and tag>`; the
//! key's id is the beginning of its SHA-256, which tells nothing about it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::{Digest, Sha256};
use steward_actors::hex;
use steward_actors::seal::{SealError, Sealed, Sealer};

/// Why `secrets.key` won't do. It is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not 32 bytes in base64 (several, separated by commas, to change it): try `openssl rand -base64 32`"
)]
pub struct BadSecretsKey;

/// Seals with the keys of `secrets.key`.
pub struct AesSealer {
    /// The first one seals.
    keys: Vec<(String, LessSafeKey)>,
}

impl AesSealer {
    /// Reads `secrets.key`.
    ///
    /// # Errors
    /// [`BadSecretsKey`].
    pub fn new(secrets_key: &SecretString) -> Result<Self, BadSecretsKey> {
        let keys = secrets_key.expose_secret().split(',').map(|text| key(text.trim()));
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    fn key(&self, id: &str) -> Option<&LessSafeKey> {
        self.keys.iter().find(|(known, _)| known == id).map(|(_, key)| key)
    }
}

fn key(text: &str) -> Result<(String, LessSafeKey), BadSecretsKey> {
    let bytes = SecretSlice::from(STANDARD.decode(text).map_err(|_| BadSecretsKey)?);
    let unbound = UnboundKey::new(&AES_256_GCM, bytes.expose_secret()).map_err(|_| BadSecretsKey)?;
    let id = hex::encode(&Sha256::digest(bytes.expose_secret())[..4]);
    Ok((id, LessSafeKey::new(unbound)))
}

/// A new `secrets.key`.
///
/// # Errors
/// [`SealError::Failed`] if the system has no random bytes.
pub fn new_secrets_key() -> Result<SecretString, SealError> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| SealError::Failed)?;
    Ok(STANDARD.encode(bytes).into())
}

impl Sealer for AesSealer {
    fn seal(&self, place: &str, secret: &SecretSlice<u8>) -> Result<Sealed, SealError> {
        let (id, key) = self.keys.first().ok_or(SealError::Failed)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Failed)?;
        let mut sealed = secret.expose_secret().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .map_err(|_| SealError::Failed)?;
        let text = URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat());
        Ok(Sealed::new(format!("1.{id}.{text}")))
    }

    fn open(&self, place: &str, sealed: &Sealed) -> Result<SecretSlice<u8>, SealError> {
        let mut parts = sealed.as_str().split('.');
        let (Some("1"), Some(id), Some(text), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SealError::Broken);
        };
        let key = self.key(id).ok_or_else(|| SealError::UnknownKey(id.to_owned()))?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::Broken)?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Broken)?;
        let mut opened = ciphertext.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length =
            key.open_in_place(nonce, Aad::from(place), &mut opened).map_err(|_| SealError::Broken)?.len();
        opened.truncate(length);
        Ok(opened.into())
    }

    fn is_current(&self, sealed: &Sealed) -> bool {
        self.keys.first().is_some_and(|(id, _)| sealed.as_str().split('.').nth(1) == Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SecretSlice<u8> {
        b"https://user:hunter2@bank.example/access".to_vec().into()
    }

    #[test]
    fn what_is_sealed_opens_as_what_it_was_sealed_as_and_shows_nothing() {
        let sealer = AesSealer::new(&new_secrets_key().unwrap()).unwrap();
        let sealed = sealer.seal("connections/1/access", &secret()).unwrap();
        assert_ne!(sealed, sealer.seal("connections/1/access", &secret()).unwrap());
        assert!(!sealed.as_str().contains("hunter2") && !format!("{sealed:?}").contains(sealed.as_str()));
        let opened = sealer.open("connections/1/access", &sealed).unwrap();
        assert_eq!(opened.expose_secret(), secret().expose_secret());
        assert_eq!(sealer.open("connections/2/access", &sealed).unwrap_err(), SealError::Broken);
    }

    #[test]
    fn any_changed_character_breaks_it() {
        let sealer = AesSealer::new(&new_secrets_key().unwrap()).unwrap();
        let sealed = sealer.seal("p", &secret()).unwrap();
        for n in 0..sealed.as_str().len() {
            let mut text = sealed.as_str().to_owned();
            let other = if &text[n..=n] == "A" { "B" } else { "A" };
            text.replace_range(n..=n, other);
            assert!(sealer.open("p", &Sealed::new(text)).is_err(), "{n}");
        }
        for broken in ["", "1", "1.x", "1..", "2.a.b"] {
            assert!(sealer.open("p", &Sealed::new(broken.to_owned())).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_new_key_in_front_seals_and_the_old_one_still_opens() {
        let (old, new) = (new_secrets_key().unwrap(), new_secrets_key().unwrap());
        let before = AesSealer::new(&old).unwrap();
        let sealed = before.seal("p", &secret()).unwrap();
        let both = format!("{}, {}", new.expose_secret(), old.expose_secret());
        let both = AesSealer::new(&both.into()).unwrap();
        assert!(before.is_current(&sealed) && !both.is_current(&sealed));
        let again = both.seal("p", &both.open("p", &sealed).unwrap()).unwrap();
        let after = AesSealer::new(&new).unwrap();
        assert!(after.is_current(&again) && after.open("p", &again).is_ok());
        assert!(matches!(after.open("p", &sealed), Err(SealError::UnknownKey(_))));
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for bad in ["", "hunter2", "aHVudGVyMg==", ","] {
            let refused = AesSealer::new(&bad.into()).map(|_| ()).unwrap_err();
            assert!(!refused.to_string().contains("hunter2"), "{bad}");
        }
    }
}
