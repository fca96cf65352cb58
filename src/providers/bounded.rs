//! Lists in an answer, and what is wrong with it: both keep no more than they may, however much there
//! is. Pure.
//!
//! Who calls it: what reads a bank's answer. What never happens here: an element of a list read into
//! something larger than itself.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Problems that a summary quotes.
const MOST_QUOTED: usize = 3;

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

/// What is wrong with an answer: the first few problems, in words for the user, and how many more.
#[derive(Debug, Default)]
pub(super) struct Problems {
    quoted: Vec<String>,
    more: usize,
}

impl Problems {
    /// One more. What was said before is counted and not said again.
    pub(super) fn note(&mut self, what: String) {
        if self.quoted.len() < MOST_QUOTED && !self.quoted.contains(&what) {
            self.quoted.push(what);
        } else {
            self.more += 1;
        }
    }

    /// As many more, of which nothing is to be said.
    pub(super) fn count(&mut self, more: usize) {
        self.more += more;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.quoted.is_empty() && self.more == 0
    }

    /// All of them in a line; `None` if there are none.
    pub(super) fn summary(&self) -> Option<String> {
        let quoted = self.quoted.join("; ");
        match self.more {
            _ if self.is_empty() => None,
            0 => Some(quoted),
            more => Some(format!("{quoted}; and {more} more")),
        }
    }
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

    #[test]
    fn problems_are_quoted_up_to_a_bound_and_each_once() {
        let mut problems = Problems::default();
        assert_eq!((problems.is_empty(), problems.summary()), (true, None));
        for n in [1, 1, 2] {
            problems.note(n.to_string());
        }
        assert_eq!(problems.summary().as_deref(), Some("1; 2; and 1 more"));
        (3..100_000).for_each(|n| problems.note(n.to_string()));
        problems.count(5);
        assert_eq!(problems.summary().as_deref(), Some("1; 2; 3; and 100002 more"));
    }
}
