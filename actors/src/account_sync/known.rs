//! What is read for the decision on a statement: as little as it needs, as a connection may have tens of
//! thousands of transactions.
//!
//! Who calls it: a run, before each of its commits. What never happens here: a decision, a write.

use std::collections::{BTreeSet, HashMap};

use super::connection::Connection;
use super::settle::{Known, Settled};
use super::telling::OVERLAP;
use super::work::Work;
use crate::accounts::{TRANSACTIONS, Transaction};
use crate::providers::Statement;
use crate::store::{Query, StoreError, Versioned, find};

/// Transactions that are read at once.
const PAGE: usize = 1000;
/// Ids that are looked up one by one; of more, all transactions are read.
const MOST_NAMED: usize = 300;

/// Which of the known transactions the decision on a statement needs.
struct Wanted<'a> {
    /// Those from this day on; none by day if absent.
    from: Option<String>,
    /// Those with these of the provider's ids.
    named: BTreeSet<&'a str>,
    /// The first day on which anything told of was made.
    first: Option<String>,
}

impl<'a> Wanted<'a> {
    fn of(statement: &'a Statement) -> Option<Self> {
        let told = || statement.accounts.iter().flat_map(|account| &account.transactions);
        let first = told().map(|told| told.at).min();
        let day = first.map(|at| at.day());
        match (&statement.changes, statement.told_since) {
            (Some(changes), _) => {
                let named = changes.removed.iter().chain(told().filter_map(|told| told.replaces.as_ref()));
                let named: BTreeSet<&str> = named.map(String::as_str).collect();
                let all = changes.since_begin || named.len() > MOST_NAMED;
                let from = if all { Some(String::new()) } else { first.map(|at| at.minus(OVERLAP).day()) };
                Some(Self { from, named: if all { BTreeSet::new() } else { named }, first: day })
            }
            (None, Some(since)) => {
                let from = Some(since.minus(OVERLAP).day());
                Some(Self { from, named: BTreeSet::new(), first: day })
            }
            (None, None) => None,
        }
    }

    /// Whether something is told of that is from before the day from which on all are known.
    fn tells_of_before(&self) -> bool {
        self.first.is_some() && self.first < self.from
    }
}

impl Work {
    /// What the decision on a statement needs to know. With `all` also the transactions of before
    /// its time: a provider may have given one of them a later day.
    pub(super) async fn known(
        &self,
        connection: &Connection,
        statement: Option<&Statement>,
        all: bool,
    ) -> Result<Known, StoreError> {
        let accounts = self.accounts().await?;
        let mut known = Known { accounts, ..Known::default() };
        let Some(wanted) = statement.and_then(Wanted::of) else { return Ok(known) };
        let from = if all { Some(String::new()) } else { wanted.from.clone() };
        let mut at_once = match &from {
            Some(from) if !from.is_empty() && known.accounts.len() > 1 => self.of_user(&known, from).await?,
            _ => None,
        };
        // Hardly ever is there one, so unless one is told of a look a day is enough.
        let today = self.desk.parts.clock.now().day();
        let looked = connection.last_success_at.is_some_and(|at| at.day() == today);
        let mut pending = match looked && !wanted.tells_of_before() {
            true => HashMap::new(),
            false => self.pending_before(&known, from.as_deref()).await?,
        };
        for account in &known.accounts {
            let id = account.value.id.as_str();
            let found = match (&mut at_once, &from) {
                (Some(at_once), _) => Some(at_once.remove(id).unwrap_or_default()),
                (None, Some(from)) => self.transactions(id, from.clone()).await?,
                (None, None) => Some(Vec::new()),
            };
            let Some(mut found) = found else {
                known.too_many_of = Some(account.value.name().to_owned());
                break;
            };
            found.extend(pending.remove(id).unwrap_or_default());
            let there: BTreeSet<String> =
                found.iter().filter_map(|found| found.value.external_id.clone()).collect();
            for named in wanted.named.iter().filter(|named| !there.contains(**named)) {
                let query = Query::by(&TRANSACTIONS, "external").equal(id).equal(*named).limit(1);
                found.extend(find::<Transaction>(self.store(), query).await?.0);
            }
            known.transactions.insert(id.to_owned(), found);
        }
        Ok(known)
    }

    /// The transactions of all accounts of the user from a day on, by account, in one look; `None` if they
    /// are too many for that.
    async fn of_user(
        &self,
        known: &Known,
        from: &str,
    ) -> Result<Option<HashMap<String, Vec<Versioned<Transaction>>>>, StoreError> {
        let Some(user_id) = known.accounts.first().map(|account| account.value.user_id.as_str()) else {
            return Ok(None);
        };
        let query = Query::by(&TRANSACTIONS, "user").equal(user_id).range(Some(from.into()), None);
        let (page, next) = find::<Transaction>(self.store(), query.limit(PAGE)).await?;
        if next.is_some() {
            return Ok(None);
        }
        let mut by_account: HashMap<String, Vec<Versioned<Transaction>>> = HashMap::new();
        for one in page {
            by_account.entry(one.value.account_id.clone()).or_default().push(one);
        }
        Ok(Some(by_account))
    }

    /// What is pending and of before this day (of any, if there is none), by account. However long ago it
    /// was made, it is told of again, booked, or gone.
    async fn pending_before(
        &self,
        known: &Known,
        day: Option<&str>,
    ) -> Result<HashMap<String, Vec<Versioned<Transaction>>>, StoreError> {
        let mut by_account: HashMap<String, Vec<Versioned<Transaction>>> = HashMap::new();
        let Some(user_id) = known.accounts.first().map(|account| account.value.user_id.as_str()) else {
            return Ok(by_account);
        };
        // From the first day on all are read anyway.
        if day == Some("") {
            return Ok(by_account);
        }
        let (mut count, mut after) = (0, None);
        loop {
            let query = Query::by(&TRANSACTIONS, "pending").equal(user_id).limit(PAGE).after(after);
            let query = match day {
                Some(day) => query.range(None, Some(day.into())),
                None => query,
            };
            let (page, next) = find::<Transaction>(self.store(), query).await?;
            count += page.len();
            for one in page {
                by_account.entry(one.value.account_id.clone()).or_default().push(one);
            }
            after = next;
            if after.is_none() || count >= self.desk.parts.options.most_known {
                return Ok(by_account);
            }
        }
    }

    /// The transactions of an account from a day on; `None` if they are more than [`super::SyncOptions::most_known`].
    async fn transactions(
        &self,
        id: &str,
        from: String,
    ) -> Result<Option<Vec<Versioned<Transaction>>>, StoreError> {
        let most = self.desk.parts.options.most_known;
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = Query::by(&TRANSACTIONS, "account").equal(id).range(Some(from.clone().into()), None);
            let (page, next) =
                find::<Transaction>(self.store(), query.limit(PAGE.min(most)).after(after)).await?;
            all.extend(page);
            after = next;
            match after {
                None => return Ok(Some(all)),
                Some(_) if all.len() >= most => return Ok(None),
                Some(_) => {}
            }
        }
    }
}

impl Known {
    /// What is known once this is committed, without reading it again.
    pub(super) fn after(mut self, settled: &Settled) -> Self {
        for (account, version) in &settled.accounts {
            let written = Versioned { value: account.clone(), version: version + 1 };
            match self.accounts.iter_mut().find(|known| known.value.id == account.id) {
                Some(known) => *known = written,
                None => self.accounts.push(written),
            }
        }
        let changed = settled.transactions.iter().map(|written| (written.0.id.as_str(), written));
        let mut changed: HashMap<&str, &(Transaction, u64)> = changed.collect();
        let written =
            |(value, version): &(Transaction, u64)| Versioned { value: value.clone(), version: version + 1 };
        for known in self.transactions.values_mut().flatten() {
            if let Some(change) = changed.remove(known.value.id.as_str()) {
                *known = written(change);
            }
        }
        let gone: BTreeSet<&str> = settled.gone.iter().map(|gone| gone.value.id.as_str()).collect();
        for known in self.transactions.values_mut() {
            known.retain(|known| !gone.contains(known.value.id.as_str()));
        }
        // The others are new.
        for one in settled.transactions.iter().filter(|one| changed.contains_key(one.0.id.as_str())) {
            self.transactions.entry(one.0.account_id.clone()).or_default().push(written(one));
        }
        self
    }
}
