//! What is read for the decision on a statement: as little as it needs, as a connection may have tens of
//! thousands of transactions.
//!
//! Who calls it: a run, before each of its commits. What never happens here: a decision, a write.

use std::collections::{BTreeMap, BTreeSet};

use super::settle::{Known, OVERLAP};
use super::work::Work;
use crate::accounts::{TRANSACTIONS, Transaction};
use crate::providers::Statement;
use crate::store::{Query, StoreError, Versioned, find};

/// Pages of 1,000 transactions that are known of an account and read for a run.
const MOST_PAGES: usize = 50;
/// Ids that are looked up one by one; of more, all transactions are read.
const MOST_NAMED: usize = 300;

/// Which of the known transactions the decision on a statement needs.
struct Wanted<'a> {
    /// Those from this day on; none by day if absent.
    from: Option<String>,
    /// Those with these of the provider's ids.
    named: BTreeSet<&'a str>,
}

impl<'a> Wanted<'a> {
    fn of(statement: &'a Statement) -> Option<Self> {
        let told = || statement.accounts.iter().flat_map(|account| &account.transactions);
        match (&statement.changes, statement.told_since) {
            (Some(changes), _) => {
                let named = changes.removed.iter().chain(told().filter_map(|told| told.replaces.as_ref()));
                let named: BTreeSet<&str> = named.map(String::as_str).collect();
                let all = changes.since_begin || named.len() > MOST_NAMED;
                let first = told().map(|told| told.at).min();
                let from = if all { Some(String::new()) } else { first.map(|at| at.minus(OVERLAP).day()) };
                Some(Self { from, named: if all { BTreeSet::new() } else { named } })
            }
            (None, Some(since)) => {
                Some(Self { from: Some(since.minus(OVERLAP).day()), named: BTreeSet::new() })
            }
            (None, None) => None,
        }
    }
}

impl Work {
    /// What the decision on a statement needs to know. With `all` also the transactions of before
    /// its time: a provider may have given one of them a later day.
    pub(super) async fn known(&self, statement: Option<&Statement>, all: bool) -> Result<Known, StoreError> {
        let accounts = self.accounts().await?;
        let mut transactions = BTreeMap::new();
        if let Some(wanted) = statement.and_then(Wanted::of) {
            for account in &accounts {
                let id = account.value.id.as_str();
                let from = if all { Some(String::new()) } else { wanted.from.clone() };
                let mut known = match from {
                    Some(from) => self.transactions(id, from).await?,
                    None => Vec::new(),
                };
                let there: BTreeSet<String> =
                    known.iter().filter_map(|found| found.value.external_id.clone()).collect();
                for named in wanted.named.iter().filter(|named| !there.contains(**named)) {
                    let query = Query::by(&TRANSACTIONS, "external").equal(id).equal(*named).limit(1);
                    known.extend(find::<Transaction>(self.store(), query).await?.0);
                }
                transactions.insert(id.to_owned(), known);
            }
        }
        Ok(Known { accounts, transactions })
    }

    async fn transactions(&self, id: &str, from: String) -> Result<Vec<Versioned<Transaction>>, StoreError> {
        let (mut all, mut after) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let query = Query::by(&TRANSACTIONS, "account").equal(id).range(Some(from.clone().into()), None);
            let (page, next) = find::<Transaction>(self.store(), query.limit(1000).after(after)).await?;
            all.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(all)
    }
}
