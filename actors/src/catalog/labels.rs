//! The labels that products are searched by and counted by. Pure.
//!
//! A label that facets count begins with `+`, another with `-`, so that one look-up by prefix finds
//! the former. Attributes are JSON inside, so that no name and value look like another pair.

/// What the labels begin with that facets count.
pub(super) const COUNTED: &str = "+";

const CATEGORY: &str = "+category=";
const ATTRIBUTE: &str = "+attribute=";
const BAND: &str = "+band=";
const NAME: &str = "-name=";
const WORD: &str = "-word=";

/// A label that was counted, as it was made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Products directly in a category.
    Category(String),
    /// Products with an attribute of this name and value.
    Attribute(String, String),
    /// Products in a band of prices.
    Band(usize),
}

pub(super) fn category(id: &str) -> String {
    format!("{CATEGORY}{id}")
}

pub(super) fn attribute(name: &str, value: &str) -> String {
    format!("{ATTRIBUTE}{}", serde_json::json!([name, value]))
}

pub(super) fn band(band: usize) -> String {
    format!("{BAND}{band}")
}

/// Of a product whose name has these words and no others.
pub(super) fn name(words: &[String]) -> String {
    format!("{NAME}{}", words.join(" "))
}

/// Of a product whose name has this word; a prefix of it, of one with a word that begins so.
pub(super) fn word(word: &str) -> String {
    format!("{WORD}{word}")
}

/// Reads a label that [`COUNTED`] begins.
pub(super) fn read(label: &str) -> Option<Counted> {
    if let Some(id) = label.strip_prefix(CATEGORY) {
        return Some(Counted::Category(id.to_owned()));
    }
    if let Some(pair) = label.strip_prefix(ATTRIBUTE) {
        let (name, value) = serde_json::from_str(pair).ok()?;
        return Some(Counted::Attribute(name, value));
    }
    label.strip_prefix(BAND)?.parse().ok().map(Counted::Band)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_pair_of_an_attribute_looks_like_another() {
        let pairs = [("a", "b=c"), ("a=b", "c"), ("a\",\"b", "c"), ("a", "b\",\"c"), ("", "a"), ("a", "")];
        let labels: BTreeSet<String> = pairs.iter().map(|(name, value)| attribute(name, value)).collect();
        assert_eq!(labels.len(), pairs.len());
        for (name, value) in pairs {
            let read = read(&attribute(name, value));
            assert_eq!(read, Some(Counted::Attribute(name.to_owned(), value.to_owned())));
        }
    }

    #[test]
    fn what_is_counted_is_read_back() {
        assert_eq!(read(&category("c1")), Some(Counted::Category("c1".to_owned())));
        assert_eq!(read(&band(7)), Some(Counted::Band(7)));
        for other in ["+band=x", "+attribute={}", "-name=x", "+", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
