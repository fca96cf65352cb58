//! The flags of this replica.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::flag::{FLAGS, Flag, FlagChange};
use crate::audit::{AuditEntry, By};
use crate::cluster::Clock;
use crate::store::{Batch, CommitError, PRIMARY, Query, Store, StoreError, Versioned, find, load};
use crate::supervision::lock;

/// How old the flags in memory are at most, while the store answers.
pub const STALE: Duration = Duration::from_secs(1);
/// Flags that there may be.
const MOST: usize = 1000;
/// How often a change is decided anew when others change the flag.
const ATTEMPTS: usize = 5;

/// Why a flag was left as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// It is no longer the version that the change was based on.
    #[error("the flag has changed meanwhile")]
    Changed,
    /// There are as many flags as there may be.
    #[error("there are {MOST} flags already")]
    TooMany,
    /// The store did not take it.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All flags. Cheap to clone.
#[derive(Clone)]
pub struct Flags {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    known: Arc<Mutex<Arc<BTreeMap<String, Flag>>>>,
}

impl Flags {
    /// The flags in `store`, none of them known yet.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, known: Arc::default() }
    }

    /// Whether the flag is on for this user, or, without one, for everyone. From memory.
    pub fn is_on(&self, name: &str, user_id: Option<&str>) -> bool {
        self.known().get(name).is_some_and(|flag| flag.is_on(user_id))
    }

    /// Every flag that is known, by name. From memory.
    pub fn known(&self) -> Arc<BTreeMap<String, Flag>> {
        lock(&self.known).clone()
    }

    /// Reads the flags anew, again and again, until `stop` becomes true.
    pub async fn refresh(&self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.read().await {
                tracing::warn!(%error, "flags could not be read; those known last stand");
            }
            tokio::select! {
                () = self.clock.sleep(STALE / 2) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Reads the flags anew.
    ///
    /// # Errors
    /// [`StoreError`]; those known last stand.
    pub async fn read(&self) -> Result<(), StoreError> {
        let query = Query::by(&FLAGS, PRIMARY).limit(MOST);
        let (flags, _) = find::<Flag>(self.store.as_ref(), query).await?;
        let known = flags.into_iter().map(|flag| (flag.value.id.clone(), flag.value)).collect();
        *lock(&self.known) = Arc::new(known);
        Ok(())
    }

    /// The flag with this name, from the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, name: &str) -> Result<Option<Versioned<Flag>>, StoreError> {
        load(self.store.as_ref(), name).await
    }

    /// Changes a flag, or makes it; the flag as it is then, and whether it is new. `based_on` is the
    /// version that it must have.
    ///
    /// # Errors
    /// [`FlagError`].
    pub async fn set(
        &self,
        name: &str,
        change: FlagChange,
        based_on: Option<u64>,
        by: &By,
    ) -> Result<(Versioned<Flag>, bool), FlagError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let found = self.get(name).await?;
            let version = found.as_ref().map_or(0, |flag| flag.version);
            if based_on.is_some_and(|wanted| wanted != version) {
                return Err(FlagError::Changed);
            }
            if version == 0 && self.known().len() >= MOST {
                return Err(FlagError::TooMany);
            }
            let now = self.clock.now();
            let before = found.map_or_else(|| Flag::unset(name), |flag| flag.value);
            let flag = before.changed(change.clone(), now);
            let entry = AuditEntry::new(by, "flag.set", &format!("flag/{name}"), now)
                .with("enabled", flag.enabled)
                .with("percentage", u64::from(flag.percentage))
                .with("users", flag.users.len() as u64);
            match self.store.commit(Batch::new().put(&flag, version).insert(&entry)).await {
                Ok(()) => {
                    // This replica knows at once; a failure only costs the others' span.
                    let _ = self.read().await;
                    return Ok((Versioned { value: flag, version: version + 1 }, version == 0));
                }
                Err(error @ CommitError::Conflict(_)) => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.map_or(FlagError::Changed, FlagError::Commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditFilter, AuditLog};
    use crate::testing::{ManualClock, MemoryStore};

    fn on() -> FlagChange {
        FlagChange { enabled: Some(true), ..FlagChange::default() }
    }

    #[tokio::test]
    async fn a_flag_is_known_here_at_once_elsewhere_soon_and_in_the_audit_log() {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let (here, there) = (Flags::new(store.clone(), clock.clone()), Flags::new(store.clone(), clock));
        let una = By::user("una", None, None);
        let (flag, new) = here.set("dark", on(), None, &una).await.unwrap();
        assert!(new && flag.version == 1 && here.is_on("dark", None) && !there.is_on("dark", None));
        there.read().await.unwrap();
        assert!(there.is_on("dark", Some("tom")));
        assert!(matches!(there.set("dark", on(), Some(7), &una).await, Err(FlagError::Changed)));

        // While the store is away, what was known last stands.
        store.set_down(true);
        assert!(there.read().await.is_err() && there.is_on("dark", None));
        assert!(there.set("dark", on(), None, &una).await.is_err());
        store.set_down(false);

        let log = AuditLog::new(store);
        let (entries, _) = log.find(AuditLog::query(&AuditFilter::Act("flag.set".into()))).await.unwrap();
        assert_eq!(entries.len(), 1);
    }

    #[tokio::test]
    async fn two_operators_at_once_lose_nothing() {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let flags = Flags::new(store, clock);
        let by = By::system();
        let share = FlagChange { percentage: Some(5), ..FlagChange::default() };
        let (one, other) =
            tokio::join!(flags.set("dark", on(), None, &by), flags.set("dark", share, None, &by));
        assert!(one.is_ok() && other.is_ok());
        let flag = flags.get("dark").await.unwrap().unwrap();
        assert_eq!((flag.value.enabled, flag.value.percentage, flag.version), (true, 5, 2));
    }
}
