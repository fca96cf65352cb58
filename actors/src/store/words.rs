//! Word search, the same on every adapter: a record is found if each word asked for begins a word
//! in one of the collection's word fields.
//!
//! Pure. A word is a run of letters and digits, in lower case; accents stay. Adapters index
//! [`of_record`] and look up prefixes of it; they never use their database's own text search,
//! whose hits and order differ from one to the next.
//!
//! Labels are looked up in the same index. There they begin with [`LABEL`], which no word does.

use serde_json::Value;

use super::{Body, Collection};

/// Characters that are kept of a word.
pub const LONGEST: usize = 40;
/// Words that are kept of a text.
pub const MOST: usize = 64;

/// The words of `text`: sorted, each once, at most [`MOST`].
pub fn of(text: &str) -> Vec<String> {
    let mut words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(MOST)
        .map(|word| word.to_lowercase().chars().take(LONGEST).collect())
        .collect();
    words.sort_unstable();
    words.dedup();
    words
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
