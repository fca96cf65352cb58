//! One walk through [`/transactions/sync`](https://plaid.com/docs/api/products/transactions/#transactionssync):
//! pages in order, what they amount to together. Pure.

use std::collections::{BTreeMap, BTreeSet};

use steward_actors::providers::BankTransaction;

use super::wire::{Page, Stage};

/// What the pages so far amount to. A page may take back what an earlier one told.
#[derive(Debug)]
pub(super) struct Walk {
    told: BTreeMap<String, (String, BankTransaction)>,
    removed: BTreeSet<String>,
    pub(super) problems: Vec<String>,
    pub(super) stage: Stage,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { told: BTreeMap::new(), removed: BTreeSet::new(), problems: Vec::new(), stage: Stage::Whole }
    }

    /// Takes the next page's changes.
    pub(super) fn take(&mut self, page: Page) {
        self.stage = page.stage;
        self.problems.extend(page.problems);
        for (account, transaction) in page.told {
            self.removed.remove(&transaction.id);
            self.told.insert(transaction.id.clone(), (account, transaction));
        }
        for id in page.removed {
            self.told.remove(&id);
            self.removed.insert(id);
        }
    }

    /// How many changes there are.
    pub(super) fn len(&self) -> usize {
        self.told.len() + self.removed.len()
    }

    /// What is there now, each with its account's id, and what is not there any more.
    pub(super) fn into_changes(self) -> (Vec<(String, BankTransaction)>, Vec<String>) {
        (self.told.into_values().collect(), self.removed.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use steward_actors::money::{Currency, Money};
    use steward_actors::time::Timestamp;

    use super::*;

    fn page(told: &[&str], removed: &[&str]) -> Page {
        let transaction = |id: &&str| BankTransaction {
            id: (*id).to_owned(),
            at: Timestamp::from_millis(0),
            amount: Money::new(1, Currency::from_code("USD").unwrap()),
            description: String::new(),
            pending: false,
            replaces: None,
        };
        Page {
            told: told.iter().map(|id| ("a1".to_owned(), transaction(id))).collect(),
            removed: removed.iter().map(|&id| id.to_owned()).collect(),
            next_cursor: String::new(),
            has_more: false,
            stage: Stage::Whole,
            problems: Vec::new(),
        }
    }

    #[test]
    fn later_pages_count_more_than_earlier_ones() {
        let mut walk = Walk::new();
        walk.take(page(&["a", "b", "b"], &["c"]));
        walk.take(page(&["c"], &["a", "d"]));
        let (told, removed) = walk.into_changes();
        let told: Vec<_> = told.into_iter().map(|(_, transaction)| transaction.id).collect();
        assert_eq!(
            (told, removed),
            (vec!["b".to_owned(), "c".to_owned()], vec!["a".to_owned(), "d".to_owned()])
        );
    }
}
