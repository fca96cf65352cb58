//! How much of a result a run writes at once, by how its commits went. A commit that meets what somebody
//! else writes is decided again from what is known then; the less it writes, the less it meets, so that a
//! run comes to its end however much its user edits meanwhile. Pure.
//!
//! Who asks it: a run, before each commit of its result.

use std::collections::BTreeSet;

use crate::store::{CommitError, Conflict};

/// So many transactions are tried at once however much is in the way.
const LEAST: usize = 50;
/// By how much a commit that failed is cut down for the next try.
const CUT: usize = 4;

/// The pace of one run.
pub(super) struct Pace {
    most: usize,
    now: usize,
    contested: BTreeSet<String>,
    beyond_its_time: bool,
}

impl Pace {
    /// A pace of at most so many transactions in a commit; it begins with that.
    pub(super) fn new(most: usize) -> Self {
        Self { most, now: most, contested: BTreeSet::new(), beyond_its_time: false }
    }

    /// Transactions that the next commit may write.
    pub(super) fn at_once(&self) -> usize {
        self.now
    }

    /// Records that commits met under way: to be read last and written last.
    pub(super) fn contested(&self) -> &BTreeSet<String> {
        &self.contested
    }

    /// Whether transactions of before the statement's time have to be known too: a provider may
    /// have given one of them a later day.
    pub(super) fn needs_all(&self) -> bool {
        self.beyond_its_time
    }

    /// A commit that wrote so many transactions did not count.
    pub(super) fn failed(&mut self, error: &CommitError, transactions: usize) {
        if transactions > 0 {
            self.now = (transactions.min(self.now) / CUT).max(LEAST).min(self.most);
        }
        match error {
            CommitError::Conflict(Conflict::Version { id, .. }) => {
                self.contested.insert(id.clone());
            }
            CommitError::Conflict(Conflict::Unique { .. }) => self.beyond_its_time = true,
            _ => {}
        }
    }

    /// A commit counted.
    pub(super) fn stored(&mut self) {
        self.now = self.now.saturating_mul(2).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::TRANSACTIONS;

    fn moved_on(id: &str) -> CommitError {
        Conflict::Version { collection: TRANSACTIONS.name, id: id.to_owned() }.into()
    }

    #[test]
    fn each_failure_cuts_what_is_written_next_down_to_a_least_and_success_lets_it_grow_again() {
        let mut pace = Pace::new(5000);
        let tried: Vec<usize> = std::iter::repeat_with(|| {
            pace.failed(&moved_on("t1"), pace.at_once().min(4000));
            pace.at_once()
        })
        .take(5)
        .collect();
        assert_eq!(tried, [1000, 250, 62, 50, 50]);
        let grown = std::iter::repeat_with(|| {
            pace.stored();
            pace.at_once()
        });
        assert_eq!(grown.take(8).collect::<Vec<_>>(), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn what_was_in_the_way_is_remembered_and_a_taken_id_asks_for_all_that_is_there() {
        let mut pace = Pace::new(10);
        pace.failed(&moved_on("t1"), 10);
        pace.failed(&moved_on("a1"), 0);
        pace.stored();
        assert_eq!(pace.at_once(), 10, "it is never more than the most");
        assert_eq!(pace.contested().iter().collect::<Vec<_>>(), ["a1", "t1"]);
        assert!(!pace.needs_all());
        pace.failed(&Conflict::Unique { collection: TRANSACTIONS.name, index: "external" }.into(), 1);
        assert!(pace.needs_all());
    }
}
