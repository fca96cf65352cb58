//! Appending, and reading newest first.

use std::sync::Arc;

use super::entry::{AUDIT, AuditEntry};
use crate::store::{Batch, CommitError, Cursor, PRIMARY, Query, Store, StoreError, Versioned, find};

/// Appends an entry for what has no commit of its own.
///
/// # Errors
/// [`CommitError`].
pub async fn append(store: &dyn Store, entry: &AuditEntry) -> Result<(), CommitError> {
    store.commit(Batch::shared().insert(entry)).await
}

/// What is looked for: all, or one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditFilter {
    /// Everything.
    #[default]
    All,
    /// What this user (or `system`, `command-line`) did.
    Actor(String),
    /// This act.
    Act(String),
    /// What was done to this.
    Target(String),
}

/// The log as operators read it. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    store: Arc<dyn Store>,
}

impl AuditLog {
    /// The log in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The query that finds these entries, newest first.
    pub fn query(filter: &AuditFilter) -> Query {
        match filter {
            AuditFilter::All => Query::by(&AUDIT, PRIMARY),
            AuditFilter::Actor(actor) => Query::by(&AUDIT, "actor").equal(actor.as_str()),
            AuditFilter::Act(act) => Query::by(&AUDIT, "act").equal(act.as_str()),
            AuditFilter::Target(target) => Query::by(&AUDIT, "target").equal(target.as_str()),
        }
        .descending()
    }

    /// A page of entries.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(
        &self,
        query: Query,
    ) -> Result<(Vec<Versioned<AuditEntry>>, Option<Cursor>), StoreError> {
        find(self.store.as_ref(), query).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{By, KEPT};
    use crate::cluster::Clock;
    use crate::testing::{ManualClock, MemoryStore};
    use crate::time::Timestamp;

    #[test]
    fn what_is_kept_is_bounded() {
        assert_eq!(AUDIT.mistakes(), Vec::<String>::new());
        let long = "ä".repeat(10_000);
        let by = By::user(&long, Some(long.clone()), Some(long.clone()));
        let names: [&'static str; 20] = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
            "t",
        ];
        let entry = AuditEntry::new(&by, "job.retry", &long, Timestamp::default());
        let entry = names.iter().fold(entry, |entry, name| entry.with(name, long.as_str()));
        assert!(serde_json::to_vec(&entry).unwrap().len() < 10_000);
        assert_eq!(entry.details().len(), 16);
    }

    #[tokio::test]
    async fn entries_are_found_newest_first_by_who_what_and_on_what() {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let log = AuditLog::new(store.clone());
        let una = By::user("una", Some("192.0.2.1".to_owned()), Some("r1".to_owned()));
        for (by, act, target) in [
            (&una, "job.retry", "job/j1"),
            (&By::system(), "job.drop", "job/j2"),
            (&una, "job.drop", "job/j1"),
        ] {
            append(store.as_ref(), &AuditEntry::new(by, act, target, clock.now())).await.unwrap();
        }
        let found = async |filter| {
            let (entries, _) = log.find(AuditLog::query(&filter)).await.unwrap();
            entries.into_iter().map(|e| (e.value.act().to_owned(), e.value.target().to_owned())).collect()
        };
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let all: Vec<_> = found(AuditFilter::All).await;
        assert_eq!(all, pairs(&[("job.drop", "job/j1"), ("job.drop", "job/j2"), ("job.retry", "job/j1")]));
        let una: Vec<_> = found(AuditFilter::Actor("una".to_owned())).await;
        assert_eq!(una, pairs(&[("job.drop", "job/j1"), ("job.retry", "job/j1")]));
        let drops: Vec<_> = found(AuditFilter::Act("job.drop".to_owned())).await;
        assert_eq!(drops.len(), 2);
        let second: Vec<_> = found(AuditFilter::Target("job/j2".to_owned())).await;
        assert_eq!(second, pairs(&[("job.drop", "job/j2")]));
    }

    #[tokio::test]
    async fn an_entry_says_when_it_may_be_forgotten() {
        let now = Timestamp::from_millis(5);
        let entry =
            AuditEntry::new(&By::system(), "flag.set", "flag/new-checkout", now).with("enabled", true);
        let body = crate::store::Entity::body(&entry);
        assert_eq!(body["forgetAt"], now.plus(KEPT).as_millis());
        assert_eq!(body["details"]["enabled"], true);
    }
}
