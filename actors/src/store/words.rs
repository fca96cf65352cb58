//! Word search, the same on every adapter: a record is found if each word asked for begins a word
//! in one of the collection's word fields.
//!
//! Pure. A word is a run of letters and digits; accents stay. Spellings that differ only in case, or
//! in how Unicode writes one and the same text (é as one character or as two), are one word.
//! Adapters index [`of_record`] and look up prefixes of it; they never use their database's own text
//! search, whose hits and order differ from one to the next.
//!
//! Labels are looked up in the same index. There they begin with [`LABEL`], which no word does.

use std::collections::BTreeSet;

use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::{Body, Collection};

/// The number of the way in which words are made; a later way gets a higher one. Adapters keep it
/// beside what they index, and index anew what was made in another way.
pub const FORM: u32 = 2;
/// Characters that are kept of a word.
pub const LONGEST: usize = 40;
/// Words that are kept of a text: as many as can be in 10,000 characters, the longest text that
/// any record is searched by.
pub const MOST: usize = 5000;
/// Words of a text that are looked up.
pub const MOST_ASKED: usize = 64;

/// The words of `text`: sorted, each once, at most [`MOST`].
pub fn of(text: &str) -> Vec<String> {
    first(text, MOST)
}

/// The words that are looked up for who asks for `text`: sorted, each once, at most [`MOST_ASKED`].
pub fn asked(text: &str) -> Vec<String> {
    first(text, MOST_ASKED)
}

fn first(text: &str, most: usize) -> Vec<String> {
    let text: String = text.nfkc().collect();
    let mut words = BTreeSet::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if words.len() == most {
            break;
        }
        words.insert(folded(word));
    }
    words.into_iter().collect()
}

/// Without regard to case: by way of upper case, as that has one letter for ς and σ, and SS for ß.
fn folded(word: &str) -> String {
    let upper = word.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).nfkc().take(LONGEST).collect()
}

/// What a label begins with in the index.
pub const LABEL: char = '=';
/// What comes after all labels in the index.
pub const AFTER_LABELS: &str = ">";

/// The label as the index has it.
pub fn of_label(label: &str) -> String {
    format!("{LABEL}{label}")
}

/// The labels of a record, as they are in its body.
pub fn labels<'a>(collection: &'static Collection, body: &'a Body) -> impl Iterator<Item = &'a str> {
    let fields = collection.label_fields().filter_map(|field| body.get(field)?.as_array());
    fields.flatten().filter_map(Value::as_str)
}

/// The words of a record, those of all its collection's word fields, and its labels as the index
/// has them: sorted, each once.
pub fn of_record(collection: &'static Collection, body: &Body) -> Vec<String> {
    let mut words: Vec<String> = collection
        .words
        .iter()
        .filter_map(|field| body.get(*field).and_then(Value::as_str))
        .flat_map(of)
        .chain(labels(collection, body).map(of_label))
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Whether each of `asked` begins one of `words`.
pub fn matches(asked: &[String], words: &[String]) -> bool {
    asked.iter().all(|prefix| words.iter().any(|word| word.starts_with(prefix.as_str())))
}

/// The smallest string that is greater than every string beginning with `prefix`; `None` if there
/// is none. `[prefix, end)` is the range an index scans.
pub fn prefix_end(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = (last as u32 + 1..=char::MAX as u32).find_map(char::from_u32);
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_runs_of_letters_and_digits() {
        assert_eq!(of("Blue T-Shirt (XL), blue!"), ["blue", "shirt", "t", "xl"]);
        assert_eq!(of("Ärger 2x"), ["2x", "ärger"]);
        assert!(of(" -- ").is_empty());
    }

    #[test]
    fn one_text_has_the_same_words_however_unicode_writes_it() {
        for (one, other) in [
            ("caf\u{e9} \u{c5}", "cafe\u{301} A\u{30a}"),
            ("A\u{30a}", "\u{212b}"),
            ("\u{d55c}", "\u{1112}\u{1161}\u{11ab}"),
            ("file", "\u{fb01}le"),
            ("ABC 42", "\u{ff21}\u{ff22}\u{ff23} \u{ff14}\u{ff12}"),
            ("STRASSE", "Straße"),
            ("straße", "STRA\u{1e9e}E"),
            ("ΟΔΟΣ", "οδος"),
        ] {
            assert_eq!(of(one), of(other), "{one} {other}");
        }
        assert_ne!(of("cafe"), of("café"), "accents stay");
    }

    #[test]
    fn all_words_of_a_long_text_are_kept_and_a_bounded_number_is_looked_up() {
        let text: String = (0..1500).map(|n| format!("w{n} same ")).collect();
        let words = of(&text);
        assert_eq!(words.len(), 1501);
        assert!(matches(&asked("w1499"), &words));
        assert_eq!(asked(&text).len(), MOST_ASKED);
        let endless: String = (0..=MOST).map(|n| format!("{n} ")).collect();
        assert_eq!(of(&endless).len(), MOST);
    }

    #[test]
    fn a_prefix_matches_and_all_must() {
        let words = of("Blue Shirt");
        assert!(matches(&of("shi blu"), &words));
        assert!(!matches(&of("shirts"), &words));
        assert!(matches(&[], &words));
    }

    #[test]
    fn the_end_of_a_prefix_bounds_it() {
        assert_eq!(prefix_end("ab").as_deref(), Some("ac"));
        assert_eq!(prefix_end("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(prefix_end(""), None);
        assert_eq!(prefix_end("\u{D7FF}").as_deref(), Some("\u{E000}"));
    }
}
