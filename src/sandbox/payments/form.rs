//! Parameters as Stripe takes them: form-encoded, strictly.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use steward_actors::hex;

use crate::sandbox::answer::Answer;

/// The parameters that were not taken yet.
pub(super) struct Form {
    fields: BTreeMap<String, String>,
}

impl Form {
    /// Reads a body or a query string.
    pub(super) fn read(encoded: &[u8]) -> Self {
        let fields = url::form_urlencoded::parse(encoded)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Self { fields }
    }

    /// A digest of all parameters and `what` they are for: what tells whether a request with a
    /// known idempotency key is the same one.
    pub(super) fn fingerprint(&self, what: &str) -> String {
        let mut digest = Sha256::new();
        digest.update(what);
        for (name, value) in &self.fields {
            digest.update(format!("\n{}:{name}={value}", name.len()));
        }
        hex::encode(&digest.finalize())
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.fields.remove(name)
    }

    pub(super) fn require(&mut self, name: &str) -> Result<String, Answer> {
        self.take(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Answer::invalid("parameter_missing", Some(name), format!("Missing required param: {name}."))
        })
    }

    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>, Answer> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let invalid =
            || Answer::invalid("parameter_invalid_integer", Some(name), format!("Invalid integer: {text}"));
        text.parse().map(Some).map_err(|_| invalid())
    }

    /// Refuses any value but `only`; absent is fine.
    pub(super) fn only(&mut self, name: &str, only: &str) -> Result<(), Answer> {
        match self.take(name) {
            Some(value) if value != only => {
                let message = format!("The sandbox supports {name}={only} alone.");
                Err(Answer::invalid("parameter_invalid", Some(name), message))
            }
            _ => Ok(()),
        }
    }

    /// <https://docs.stripe.com/api/metadata>: up to 50 keys of 40 characters, values of 500.
    pub(super) fn metadata(&mut self) -> Result<BTreeMap<String, String>, Answer> {
        let mut metadata = BTreeMap::new();
        self.fields.retain(|name, value| {
            match name.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']')) {
                Some(key) => {
                    metadata.insert(key.to_owned(), std::mem::take(value));
                    false
                }
                None => true,
            }
        });
        let fits =
            |(key, value): (&String, &String)| key.chars().count() <= 40 && value.chars().count() <= 500;
        if metadata.len() > 50 || !metadata.iter().all(fits) {
            let message = "Metadata has at most 50 keys of 40 characters with values of 500.";
            return Err(Answer::invalid("parameter_invalid", Some("metadata"), message));
        }
        Ok(metadata)
    }

    /// Refuses what was not taken.
    pub(super) fn finish(self) -> Result<(), Answer> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(name) => {
                let message = format!("Received unknown parameter: {name}");
                Err(Answer::invalid("parameter_unknown", Some(name), message))
            }
        }
    }
}
