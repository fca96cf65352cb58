//! What may be a SKU. The one place that says so.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A stock-keeping unit: 1 to 64 of `A-Z a-z 0-9 . _ -`, unique in the shop for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

/// A text that is no SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SKU is 1 to 64 letters, digits, dots, underscores or hyphens")]
pub struct NotASku;

impl Sku {
    /// Reads a SKU.
    ///
    /// # Errors
    /// [`NotASku`].
    pub fn parse(text: impl Into<String>) -> Result<Self, NotASku> {
        let text = text.into();
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) { Ok(Self(text)) } else { Err(NotASku) }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sku {
    type Error = NotASku;
    fn try_from(text: String) -> Result<Self, NotASku> {
        Self::parse(text)
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> Self {
        sku.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_dots_underscores_and_hyphens_make_a_sku() {
        for good in ["A", "tee.blue_XL-2", &"x".repeat(64)] {
            assert_eq!(Sku::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a/b", "é", "a:b", &"x".repeat(65)] {
            assert_eq!(Sku::parse(bad), Err(NotASku), "{bad}");
        }
    }
}
