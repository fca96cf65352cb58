//! Lists, ids and texts in an answer: what is kept of them is bounded, however much there is. Pure.
//!
//! Who calls it: what reads a bank's answer. What never happens here: an element of a list read into
//! something larger than itself.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Characters of a text, bytes of an id.
const LONGEST: usize = 200;

/// The first `MOST` elements of a JSON list, where they stand in the answer, and how many follow.
#[derive(Debug, Default)]
pub(super) struct AtMost<'a, const MOST: usize> {
    pub(super) kept: Vec<&'a RawValue>,
    pub(super) more: usize,
}

impl<'de: 'a, 'a, const MOST: usize> Deserialize<'de> for AtMost<'a, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Elements::<MOST>)
    }
}

struct Elements<const MOST: usize>;

impl<'de, const MOST: usize> Visitor<'de> for Elements<MOST> {
    type Value = AtMost<'de, MOST>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut read = AtMost { kept: Vec::new(), more: 0 };
        while read.kept.len() < MOST {
            match list.next_element::<&'de RawValue>()? {
                Some(element) => read.kept.push(element),
                None => return Ok(read),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            read.more += 1;
        }
        Ok(read)
    }
}

/// Why something in an answer is left out.
pub(super) enum Unread<T = ()> {
    /// It makes no sense; the text says why.
    Unreadable(String),
    /// It makes sense, and Steward shows nothing of the kind.
    Unsupported(T),
}

impl<T> From<String> for Unread<T> {
    fn from(why: String) -> Self {
        Self::Unreadable(why)
    }
}

impl<T> From<&str> for Unread<T> {
    fn from(why: &str) -> Self {
        Self::Unreadable(why.to_owned())
    }
}

pub(super) fn is_id(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// Text of a stranger, fit for a line on a screen.
pub(super) fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_kept_up_to_its_bound_and_read_to_its_end() {
        let body = format!("[{}]", vec!["{}"; 1000].join(","));
        let list: AtMost<'_, 3> = serde_json::from_slice(body.as_bytes()).unwrap();
        assert_eq!((list.kept.len(), list.more), (3, 997));
        assert!(list.kept.iter().all(|kept| kept.get() == "{}"));
        let short: AtMost<'_, 3> = serde_json::from_str("[1, \"two\"]").unwrap();
        assert_eq!((short.kept.len(), short.more), (2, 0));
        for bad in ["[1, 2, 3, 4", "[1, 2, 3, 4 5]", "7"] {
            assert!(serde_json::from_str::<AtMost<'_, 3>>(bad).is_err(), "{bad}");
        }
    }
}
