//! Pauses: actors and providers that an operator holds back, on every replica, until they are resumed.
//!
//! Who calls it: operators, by their routes; the composition root keeps [`Pauses::refresh`] going,
//! which tells the [`Tree`]. A paused actor finishes what it is at and leaves; whoever asks it is
//! told that it is unavailable; its state in the store stays as it is. To a paused provider no call
//! goes out: its [`Breaker`] lets none through, and what is to be done there waits or says so. A
//! replica hears of a pause within [`STALE`], so for that long two replicas may see it differently.
//!
//! What never happens here: a paused actor cut off in the middle of a commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::audit::{AuditEntry, By};
use crate::cluster::Clock;
use crate::providers::Breaker;
use crate::store::{
    Batch, Collection, CommitError, Conflict, Entity, Field, Kind, PRIMARY, Query, Store, StoreError,
    Versioned, find, load,
};
use crate::supervision::Tree;
use crate::time::Timestamp;

/// How long until every replica knows, while the store answers.
pub const STALE: Duration = Duration::from_secs(1);
/// Pauses that there may be.
const MOST: usize = 1000;
/// The kind of a pause that is a provider's; no actor is of it.
pub const PROVIDER: &str = "provider";
/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 200;

/// The pauses.
pub static PAUSES: Collection = Collection {
    name: "pauses",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("kind", Kind::Text),
        Field::required("key", Kind::Text),
        Field::optional("reason", Kind::Text),
        Field::required("by", Kind::Text),
        Field::required("since", Kind::Time),
    ],
    indexes: &[],
    words: &[],
    expires: None,
};

/// An actor, or a provider, that is held back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    id: String,
    /// `inventory`, `order-saga`, `account-sync`, [`PROVIDER`].
    pub kind: String,
    /// The SKU, the order's id, the connection's id, the provider's name.
    pub key: String,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// By whom.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
}

impl Entity for Pause {
    fn collection() -> &'static Collection {
        &PAUSES
    }
    fn id(&self) -> &str {
        &self.id
    }
}

/// Why an actor or a provider was not paused or resumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// It is not paused.
    #[error("it is not paused")]
    NotPaused,
    /// There are as many pauses as there may be.
    #[error("there are {MOST} pauses already")]
    TooMany,
    /// The store did not take it.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The pauses of all replicas. Cheap to clone.
#[derive(Clone)]
pub struct Pauses {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tree: Tree,
    providers: Vec<Breaker>,
}

impl Pauses {
    /// The pauses in `store`; `tree` is told of them.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, tree: Tree) -> Self {
        Self { store, clock, tree, providers: Vec::new() }
    }

    /// The same, with the providers that can be held back here.
    #[must_use]
    pub fn over(self, providers: Vec<Breaker>) -> Self {
        Self { providers, ..self }
    }

    /// The providers that can be held back here.
    pub fn providers(&self) -> &[Breaker] {
        &self.providers
    }

    /// All of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all(&self) -> Result<Vec<Pause>, StoreError> {
        let (pauses, _) = find(self.store.as_ref(), Query::by(&PAUSES, PRIMARY).limit(MOST)).await?;
        Ok(pauses.into_iter().map(|pause: Versioned<Pause>| pause.value).collect())
    }

    /// Tells the tree what is paused, again and again, until `stop` becomes true.
    pub async fn refresh(&self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.read().await {
                tracing::warn!(%error, "pauses could not be read; those known last stand");
            }
            tokio::select! {
                () = self.clock.sleep(STALE / 2) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Tells the tree what is paused now.
    ///
    /// # Errors
    /// [`StoreError`]; those known last stand.
    pub async fn read(&self) -> Result<(), StoreError> {
        let paused: BTreeSet<_> = self.all().await?.into_iter().map(|p| (p.kind, p.key)).collect();
        for provider in &self.providers {
            provider.hold(paused.contains(&(PROVIDER.to_owned(), provider.name().to_owned())));
        }
        self.tree.set_paused(paused);
        Ok(())
    }

    /// Pauses an actor or a provider; one that is paused stays so, as it is.
    ///
    /// # Errors
    /// [`PauseError`].
    pub async fn pause(
        &self,
        kind: &str,
        key: &str,
        reason: Option<&str>,
        by: &By,
    ) -> Result<Pause, PauseError> {
        let id = id_of(kind, key);
        let earlier = load::<Pause>(self.store.as_ref(), &id).await?;
        if let Some(earlier) = earlier {
            return Ok(earlier.value);
        }
        if self.all().await?.len() >= MOST {
            return Err(PauseError::TooMany);
        }
        let now = self.clock.now();
        let pause = Pause {
            id,
            kind: kind.to_owned(),
            key: key.to_owned(),
            reason: reason.map(|reason| reason.chars().take(LONGEST_REASON).collect()),
            by: by.actor().to_owned(),
            since: now,
        };
        let act = if kind == PROVIDER { "provider.pause" } else { "actor.pause" };
        let entry = AuditEntry::new(by, act, &format!("{kind}/{key}"), now)
            .with("reason", reason.unwrap_or_default());
        match self.store.commit(Batch::new().insert(&pause).insert(&entry)).await {
            // Another operator was first: it is paused.
            Ok(()) | Err(CommitError::Conflict(Conflict::Exists { .. })) => {}
            Err(error) => return Err(error.into()),
        }
        let _ = self.read().await;
        Ok(pause)
    }

    /// Lets what is paused work again.
    ///
    /// # Errors
    /// [`PauseError`].
    pub async fn resume(&self, kind: &str, key: &str, by: &By) -> Result<(), PauseError> {
        let found = load::<Pause>(self.store.as_ref(), &id_of(kind, key)).await?;
        let found = found.ok_or(PauseError::NotPaused)?;
        let act = if kind == PROVIDER { "provider.resume" } else { "actor.resume" };
        let entry = AuditEntry::new(by, act, &format!("{kind}/{key}"), self.clock.now());
        match self.store.commit(Batch::new().delete(&found).insert(&entry)).await {
            Ok(()) => {}
            Err(CommitError::Conflict(_)) => return Err(PauseError::NotPaused),
            Err(error) => return Err(error.into()),
        }
        let _ = self.read().await;
        Ok(())
    }
}

/// No kind has a colon.
fn id_of(kind: &str, key: &str) -> String {
    format!("{kind}:{key}")
}
