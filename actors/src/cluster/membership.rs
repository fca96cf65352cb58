//! Replicas that say in the store that they live.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Clock, StoreClock};
use crate::ids;
use crate::store::{
    Batch, Collection, CommitError, Conflict, Entity, Field, Kind, PRIMARY, Query, Store, StoreError, find,
    load,
};
use crate::supervision::lock;
use crate::time::Timestamp;

/// Replicas, one record an incarnation.
pub static REPLICAS: Collection = Collection {
    name: "replicas",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("host", Kind::Text),
        Field::required("startedAt", Kind::Time),
        Field::required("heartbeatAt", Kind::Time),
        Field::required("forgetAt", Kind::Time),
    ],
    indexes: &[],
    words: &[],
    expires: Some("forgetAt"),
};

/// One incarnation of a replica: from one start of a process to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// The incarnation's id, new at each start.
    pub id: String,
    /// Where it runs, for people.
    pub host: String,
    /// The roles it has.
    pub roles: Vec<String>,
    /// How it tells others which sessions were ended; replicas that differ in this cannot.
    pub channel: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last said that it lives.
    pub heartbeat_at: Timestamp,
    /// When its record may vanish: long after anyone could still ask.
    pub forget_at: Timestamp,
}

impl Entity for Replica {
    fn collection() -> &'static Collection {
        &REPLICAS
    }
    fn id(&self) -> &str {
        &self.id
    }
}

/// How long a heartbeat stands, and how often it is given.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// A replica whose last heartbeat is older than this has lapsed.
    pub length: Duration,
    /// The span between heartbeats; less than half of `length`.
    pub heartbeat: Duration,
}

const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// This replica's membership in the cluster.
pub struct Membership {
    store: Arc<dyn Store>,
    clock: Arc<StoreClock>,
    lease: Lease,
    me: Mutex<(Replica, u64)>,
}

impl Membership {
    /// Enters the cluster under a new incarnation.
    ///
    /// # Errors
    /// [`CommitError`] if the store does not take the record.
    pub async fn join(
        store: Arc<dyn Store>,
        clock: Arc<StoreClock>,
        lease: Lease,
        host: String,
        roles: Vec<String>,
        channel: String,
    ) -> Result<Self, CommitError> {
        let now = clock.now();
        let me = Replica {
            id: ids::new_id(),
            host,
            roles,
            channel,
            started_at: now,
            heartbeat_at: now,
            forget_at: now.plus(REMEMBERED),
        };
        store.commit(Batch::new().insert(&me)).await?;
        Ok(Self { store, clock, lease, me: Mutex::new((me, 1)) })
    }

    /// This incarnation's id.
    pub fn incarnation(&self) -> String {
        lock(&self.me).0.id.clone()
    }

    /// Whether this replica's own heartbeat stands.
    pub fn am_live(&self) -> bool {
        self.stands(&lock(&self.me).0)
    }

    /// Whether the incarnation with this id lives: a record with a heartbeat that stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_live(&self, incarnation: &str) -> Result<bool, StoreError> {
        let found = load::<Replica>(self.store.as_ref(), incarnation).await?;
        Ok(found.is_some_and(|replica| self.stands(&replica.value)))
    }

    /// All replicas that live, this one included.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live(&self) -> Result<Vec<Replica>, StoreError> {
        let all = self.all().await?;
        Ok(all.into_iter().filter(|replica| self.stands(replica)).collect())
    }

    /// All incarnations that are remembered, at most 1,000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all(&self) -> Result<Vec<Replica>, StoreError> {
        let query = Query::by(&REPLICAS, PRIMARY).descending().limit(1000);
        let (replicas, _) = find::<Replica>(self.store.as_ref(), query).await?;
        Ok(replicas.into_iter().map(|replica| replica.value).collect())
    }

    /// On a store that one process holds exclusively (the embedded one) every other incarnation is
    /// dead, whatever its heartbeat says: forgets them, so that their work is adopted at once.
    ///
    /// # Errors
    /// [`StoreError`]; [`CommitError`] as its text.
    pub async fn forget_others(&self) -> Result<(), StoreError> {
        let me = self.incarnation();
        let query = Query::by(&REPLICAS, PRIMARY).limit(1000);
        let (others, _) = find::<Replica>(self.store.as_ref(), query).await?;
        let batch = others.iter().filter(|other| other.value.id != me).fold(Batch::new(), Batch::delete);
        if batch.writes.is_empty() {
            return Ok(());
        }
        self.store.commit(batch).await.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Gives heartbeats and measures the clock until `stop` becomes true.
    pub async fn beat(&self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = sleep(self.lease.heartbeat) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            if let Err(error) = self.clock.measure(self.store.as_ref()).await {
                tracing::warn!(%error, "the store's clock could not be read");
            }
            if let Err(error) = self.heartbeat().await {
                tracing::warn!(%error, "the heartbeat could not be given");
            }
        }
    }

    /// One heartbeat.
    ///
    /// # Errors
    /// [`CommitError`] if the store did not take it.
    pub async fn heartbeat(&self) -> Result<(), CommitError> {
        let (mut me, version) = lock(&self.me).clone();
        me.heartbeat_at = self.clock.now();
        me.forget_at = me.heartbeat_at.plus(REMEMBERED);
        let committed = match self.store.commit(Batch::new().put(&me, version)).await {
            Ok(()) => version + 1,
            // An earlier heartbeat counted although its answer was lost, or somebody removed the
            // record: find out what is there, so that the next heartbeat fits.
            Err(error @ CommitError::Conflict(Conflict::Version { .. } | Conflict::Exists { .. })) => {
                let found = load::<Replica>(self.store.as_ref(), &me.id).await;
                let found = found.map_err(|error| CommitError::Unavailable(error.to_string()))?;
                lock(&self.me).1 = found.map_or(0, |found| found.version);
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        *lock(&self.me) = (me, committed);
        Ok(())
    }

    /// Leaves: the record goes, so that others take over this replica's work at once.
    ///
    /// # Errors
    /// [`StoreError`]; [`CommitError`] as its text.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let me = self.incarnation();
        let Some(found) = load::<Replica>(self.store.as_ref(), &me).await? else { return Ok(()) };
        let left = self.store.commit(Batch::new().delete(&found)).await;
        left.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Whether this replica's heartbeat is younger than a lease.
    pub fn stands(&self, replica: &Replica) -> bool {
        self.clock.now() < replica.heartbeat_at.plus(self.lease.length)
    }
}
