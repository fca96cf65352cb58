//! One walk through [`/transactions/sync`](https://plaid.com/docs/api/products/transactions/#transactionssync):
//! pages in order, what they amount to together. Pure.

use std::collections::{BTreeMap, BTreeSet};

use steward_actors::providers::BankTransaction;

use super::wire::{Page, Stage};

/// Accounts whose unreadable changes are counted apart.
const MOST_ACCOUNTS: usize = 500;

/// What the pages so far amount to. A page may take back what an earlier one told.
#[derive(Debug)]
pub(super) struct Walk {
    told: BTreeMap<String, (String, BankTransaction)>,
    removed: BTreeSet<String>,
    /// Changes that make no sense, by account; without one, those of which that cannot be read either.
    pub(super) unread: BTreeMap<Option<String>, Unread>,
    /// How many are in what is no currency here.
    pub(super) unsupported: usize,
    pub(super) stage: Stage,
}

/// How many changes make no sense, and why the first one does not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) count: usize,
    pub(super) why: String,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self {
            told: BTreeMap::new(),
            removed: BTreeSet::new(),
            unread: BTreeMap::new(),
            unsupported: 0,
            stage: Stage::Whole,
        }
    }

    /// Takes the next page's changes.
    pub(super) fn take(&mut self, page: Page) {
        self.stage = page.stage;
        self.unsupported += page.unsupported;
        for unread in page.unread {
            let account = unread.account.filter(|id| {
                self.unread.len() < MOST_ACCOUNTS || self.unread.contains_key(&Some(id.clone()))
            });
            let before = self.unread.entry(account).or_insert(Unread { count: 0, why: unread.why });
            before.count += 1;
        }
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

    use super::super::wire::UnreadPosting;
    use super::*;

    fn page(told: &[&str], removed: &[&str]) -> Page {
        let transaction = |id: &&str| BankTransaction {
            id: (*id).to_owned(),
            at: Timestamp::from_millis(0),
            amount: Money::new(1, Currency::from_code("USD").unwrap()),
            description: String::new(),
            pending: false,
            replaces: None,
            undated: false,
        };
        Page {
            told: told.iter().map(|id| ("a1".to_owned(), transaction(id))).collect(),
            removed: removed.iter().map(|&id| id.to_owned()).collect(),
            next_cursor: String::new(),
            has_more: false,
            stage: Stage::Whole,
            unread: Vec::new(),
            unsupported: 0,
        }
    }

    #[test]
    fn changes_that_make_no_sense_are_counted_by_account_and_not_kept() {
        let unread = |n: usize| UnreadPosting { account: Some(format!("a{}", n % 700)), why: format!("{n}") };
        let mut walk = Walk::new();
        walk.take(Page { unread: (0..2100).map(unread).collect(), ..page(&[], &[]) });
        assert_eq!(walk.unread[&Some("a0".to_owned())], Unread { count: 3, why: "0".to_owned() });
        assert_eq!(walk.unread.len(), MOST_ACCOUNTS + 1);
        assert_eq!(walk.unread.values().map(|unread| unread.count).sum::<usize>(), 2100);
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
