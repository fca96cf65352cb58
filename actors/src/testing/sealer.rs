//! A sealer that protects nothing, and yet keeps the rules.

use secrecy::{ExposeSecret, SecretSlice};

use crate::seal::{SealError, Sealed, Sealer};

/// Seals as `KEY|PLACE|the secret backwards, in hexadecimal digits`.
#[derive(Clone, Debug)]
pub struct WeakSealer {
    keys: Vec<String>,
}

impl WeakSealer {
    /// The first of these keys seals, all of them open.
    pub fn new(keys: &[&str]) -> Self {
        Self { keys: keys.iter().map(|&key| key.to_owned()).collect() }
    }

    fn parts(sealed: &Sealed) -> Option<(&str, &str, &str)> {
        let (key, rest) = sealed.as_str().split_once('|')?;
        let (place, digits) = rest.split_once('|')?;
        Some((key, place, digits))
    }
}

impl Default for WeakSealer {
    fn default() -> Self {
        Self::new(&["k1"])
    }
}

impl Sealer for WeakSealer {
    fn seal(&self, place: &str, secret: &SecretSlice<u8>) -> Result<Sealed, SealError> {
        let key = self.keys.first().ok_or(SealError::Failed)?;
        let digits: String = secret.expose_secret().iter().rev().map(|byte| format!("{byte:02x}")).collect();
        Ok(Sealed::new(format!("{key}|{place}|{digits}")))
    }

    fn open(&self, place: &str, sealed: &Sealed) -> Result<SecretSlice<u8>, SealError> {
        let (key, sealed_as, digits) = Self::parts(sealed).ok_or(SealError::Broken)?;
        if !self.keys.iter().any(|known| known == key) {
            return Err(SealError::UnknownKey(key.to_owned()));
        }
        if sealed_as != place {
            return Err(SealError::Broken);
        }
        let byte = |at| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).rev().map(byte).collect();
        bytes.map(SecretSlice::from).ok_or(SealError::Broken)
    }

    fn is_current(&self, sealed: &Sealed) -> bool {
        Self::parts(sealed).is_some_and(|(key, ..)| self.keys.first().is_some_and(|first| first == key))
    }
}
