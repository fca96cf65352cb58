//! What is wrong with an answer, in a line for the user. Pure.
//!
//! Who calls it: adapters that read a bank's answer, and account sync, which takes it over. What never
//! happens here: more kept than is said.

/// Problems that a summary quotes.
const MOST_QUOTED: usize = 3;

/// What is wrong with an answer: the first few problems, in words for the user, and how many more.
#[derive(Debug, Default)]
pub struct Problems {
    quoted: Vec<String>,
    more: usize,
}

impl Problems {
    /// One more. What was said before is counted and not said again.
    pub fn note(&mut self, what: String) {
        if self.quoted.len() < MOST_QUOTED && !self.quoted.contains(&what) {
            self.quoted.push(what);
        } else {
            self.more += 1;
        }
    }

    /// As many more, of which nothing is to be said.
    pub fn count(&mut self, more: usize) {
        self.more += more;
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.quoted.is_empty() && self.more == 0
    }

    /// All of them in a line; `None` if there are none.
    pub fn summary(&self) -> Option<String> {
        let quoted = self.quoted.join("; ");
        match self.more {
            _ if self.is_empty() => None,
            0 => Some(quoted),
            more => Some(format!("{quoted}; and {more} more")),
        }
    }
}

impl FromIterator<String> for Problems {
    fn from_iter<I: IntoIterator<Item = String>>(all: I) -> Self {
        let mut problems = Self::default();
        all.into_iter().for_each(|what| problems.note(what));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_quoted_up_to_a_bound_and_each_once() {
        let none = Problems::default();
        assert_eq!((none.is_empty(), none.summary()), (true, None));
        let mut problems: Problems = [1, 1, 2].map(|n| n.to_string()).into_iter().collect();
        assert_eq!(problems.summary().as_deref(), Some("1; 2; and 1 more"));
        (3..100_000).for_each(|n| problems.note(n.to_string()));
        problems.count(5);
        assert_eq!(problems.summary().as_deref(), Some("1; 2; 3; and 100002 more"));
    }
}
