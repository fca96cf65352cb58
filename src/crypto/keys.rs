//! Signing keys on P-256: made here, or given as PEM.

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::{PemObject, SectionKind};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};
use steward_actors::keys::{KeyMaker, PublicKey, SigningKey};
use steward_actors::time::Timestamp;

/// Keys from the system's random source.
pub struct SystemKeys;

impl KeyMaker for SystemKeys {
    fn pair(&self) -> Result<(SecretSlice<u8>, PublicKey), String> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let made = made.map_err(|_| "a key pair cannot be made".to_owned())?;
        let private = SecretSlice::from(made.as_ref().to_vec());
        let public = public_half(&private)?;
        Ok((private, public))
    }

    fn random(&self) -> Result<SecretSlice<u8>, String> {
        let mut bytes = vec![0; 32];
        rand::fill(&mut bytes).map_err(|_| "there are no random bytes".to_owned())?;
        Ok(bytes.into())
    }
}

fn public_half(pkcs8: &SecretSlice<u8>) -> Result<PublicKey, String> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.expose_secret());
    let pair = pair.map_err(|_| "not a private key on P-256 in PKCS #8".to_owned())?;
    let point = pair.public_key().as_ref();
    // An uncompressed point: 4, and two coordinates of 32 bytes (SEC 1, 2.3.3).
    match point.split_first() {
        Some((4, coordinates)) if coordinates.len() == 64 => {
            Ok(public(&coordinates[..32], &coordinates[32..]))
        }
        _ => Err("not an uncompressed point on P-256".to_owned()),
    }
}

fn public(x: &[u8], y: &[u8]) -> PublicKey {
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    // RFC 7638: the required members in the order of the alphabet, without spaces.
    let thumbprint = Sha256::digest(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#));
    PublicKey { kid: URL_SAFE_NO_PAD.encode(thumbprint), x, y }
}

/// The keys of a PEM text with one or more private keys on P-256 (`PRIVATE KEY`, PKCS #8). The
/// first signs, all of them verify: to change keys put the new one second, restart every replica,
/// then put it first, restart, and drop the old one ten minutes later.
///
/// # Errors
/// What is wrong with it.
pub fn from_pem(text: &[u8]) -> Result<Vec<SigningKey>, String> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|error| format!("not PEM: {error:?}"))?;
        if kind != SectionKind::PrivateKey {
            return Err("has something in it that is no PRIVATE KEY (PKCS #8)".to_owned());
        }
        let private = SecretSlice::from(der);
        keys.push(SigningKey {
            public: public_half(&private)?,
            private: keys.is_empty().then_some(private),
            signs_from: Timestamp::default(),
            verifies_until: None,
        });
    }
    if keys.is_empty() { Err("has no key in it".to_owned()) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn pem(der: &SecretSlice<u8>) -> String {
        format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.expose_secret())
        )
    }

    #[test]
    fn a_pair_has_a_public_half_with_a_thumbprint_of_its_own() {
        let ((private, public), (_, other)) = (SystemKeys.pair().unwrap(), SystemKeys.pair().unwrap());
        assert_eq!(public_half(&private).unwrap(), public);
        assert_ne!(public.kid, other.kid);
        assert_eq!((public.x.len(), public.y.len(), public.kid.len()), (43, 43, 43));
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // Computed with another program: python's hashlib over the canonical text.
        let public = public(&[1; 32], &[2; 32]);
        assert_eq!(public.kid, "kOFKxjJdOqJD5G4Yuw-cxHe64VGyxKEO_hoV83QfGj0");
    }

    #[test]
    fn of_given_keys_the_first_signs() {
        let ((a, _), (b, _)) = (SystemKeys.pair().unwrap(), SystemKeys.pair().unwrap());
        let given = from_pem(format!("{}{}", pem(&a), pem(&b)).as_bytes()).unwrap();
        assert_eq!(given.iter().map(|key| key.private.is_some()).collect::<Vec<_>>(), [true, false]);
        for bad in [
            "",
            "x",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            &pem(&vec![1, 2].into()),
        ] {
            assert!(from_pem(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
