//! Copies of single records in memory, as fresh as the channel between the replicas.
//!
//! Who calls it: services that answer reads of single records (users; anything else that is read
//! much more often than written). Whoever commits a change publishes [`Invalidation::Record`]
//! before it replies, so a copy is gone at once on the replica that wrote, and on the others as soon
//! as they hear of it. What never happens here: a copy that a read made which raced a change, a
//! copy used while the channel is silent, a copy older than [`MAX_AGE`]; or a copy as the base of a
//! write, which always reads the store.

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;

use crate::session::{Invalidation, Invalidations, Subscription};
use crate::store::{Entity, Store, StoreError, Versioned, load};
use crate::supervision::lock;
use crate::users::USERS;

/// How old a copy may grow: what others promise of freshness holds even if a replica that changed a
/// record died between its commit and telling them.
pub const MAX_AGE: Duration = Duration::from_secs(1);

/// Counters of what was invalidated; a record's is found by the hash of its id.
const GENERATIONS: usize = 256;

/// Copies of the records of one collection.
pub struct Copies<T: Entity> {
    copies: Cache<String, Versioned<T>>,
    heard: Mutex<Subscription>,
    generations: Vec<AtomicU64>,
    hasher: RandomState,
}

impl<T: Entity + Clone + Sync> Copies<T> {
    /// Room for so many copies, kept fresh by this channel.
    pub fn new(capacity: u64, channel: &dyn Invalidations) -> Self {
        Self {
            copies: Cache::builder().max_capacity(capacity).time_to_live(MAX_AGE).build(),
            heard: Mutex::new(channel.subscribe()),
            generations: (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The record with this id, from memory if that is as good as the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, store: &dyn Store, id: &str) -> Result<Option<Versioned<T>>, StoreError> {
        if self.catch_up()
            && let Some(copy) = self.copies.get(id)
        {
            return Ok(Some(copy));
        }
        let began = self.generation(id).load(Ordering::Acquire);
        let found = load::<T>(store, id).await?;
        // What was told since the read began is taken in first.
        if let Some(found) = &found
            && self.catch_up()
        {
            self.admit(id, found, began);
        }
        Ok(found)
    }

    /// Not if anything of its generation was invalidated since the read began, which may have read
    /// what was there before. Looked at again afterwards: another thread may have taken in an
    /// invalidation in between.
    fn admit(&self, id: &str, found: &Versioned<T>, began: u64) {
        let unchanged = || self.generation(id).load(Ordering::Acquire) == began;
        if unchanged() {
            self.copies.insert(id.to_owned(), found.clone());
            if !unchanged() {
                self.copies.invalidate(id);
            }
        }
    }

    fn generation(&self, id: &str) -> &AtomicU64 {
        let place = usize::try_from(self.hasher.hash_one(id) % GENERATIONS as u64).unwrap_or_default();
        &self.generations[place]
    }

    /// Takes in all that has been told; whether copies may be used.
    fn catch_up(&self) -> bool {
        let mut heard = lock(&self.heard);
        // Asked before the messages are taken: see `Subscription::is_trusted`.
        let trusted = heard.is_trusted();
        while let Some(what) = heard.pending() {
            self.take_in(&what);
        }
        trusted
    }
    fn take_in(&self, what: &Invalidation) {
        let own = T::collection().name;
        let id = match what {
            Invalidation::Record { collection, id } if collection == own => id,
            Invalidation::User(id) if own == USERS.name => id,
            Invalidation::Everything => {
                for generation in &self.generations {
                    generation.fetch_add(1, Ordering::AcqRel);
                }
                self.copies.invalidate_all();
                return;
            }
            Invalidation::Record { .. } | Invalidation::User(_) | Invalidation::Session(_) => return,
        };
        self.generation(id).fetch_add(1, Ordering::AcqRel);
        self.copies.invalidate(id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;
    use crate::session::{Feed, Unreached};
    use crate::store::Batch;
    use crate::testing::{MemoryStore, WatchedStore};
    use crate::time::Timestamp;
    use crate::users::roles::{ROLES, Role};

    struct Channel(Feed);

    #[async_trait]
    impl Invalidations for Channel {
        async fn publish(&self, what: Invalidation) -> Result<(), Unreached> {
            self.0.pass_on(what);
            Ok(())
        }
        fn subscribe(&self) -> Subscription {
            self.0.subscribe()
        }
    }

    struct World {
        memory: Arc<MemoryStore>,
        store: Arc<WatchedStore>,
        channel: Channel,
        copies: Arc<Copies<Role>>,
    }

    async fn world(feed: Feed) -> World {
        let memory = Arc::new(MemoryStore::default());
        let store = Arc::new(WatchedStore::new(memory.clone()));
        let channel = Channel(feed);
        let copies = Arc::new(Copies::new(100, &channel));
        memory
            .commit(Batch::new().insert(&role(0)).insert(&Role { name: "other".into(), ..role(0) }))
            .await
            .unwrap();
        World { memory, store, channel, copies }
    }

    fn role(at: i64) -> Role {
        Role { name: "one".into(), permissions: [].into(), updated_at: Timestamp::from_millis(at) }
    }

    impl World {
        async fn seen(&self) -> u64 {
            self.copies.get(self.store.as_ref(), "one").await.unwrap().unwrap().version
        }

        async fn change(&self, version: u64) {
            self.memory.commit(Batch::new().replace(&role(7), version)).await.unwrap();
        }

        fn tell(&self, id: &str) {
            let (collection, id) = (ROLES.name.to_owned(), id.to_owned());
            self.channel.0.pass_on(Invalidation::Record { collection, id });
        }
    }

    #[tokio::test]
    async fn a_copy_is_used_until_its_record_is_changed() {
        let world = world(Feed::always_trusted()).await;
        assert_eq!(world.seen().await, 1);
        let reads = world.store.reads();
        assert_eq!(world.seen().await, 1);
        assert_eq!(world.store.reads(), reads);
        world.change(1).await;
        world.tell("one");
        assert_eq!(world.seen().await, 2);
        // Another collection's record of the same name, and what is no record, are not meant.
        let reads = world.store.reads();
        world.channel.0.pass_on(Invalidation::Record { collection: "users".into(), id: "one".into() });
        world.channel.0.pass_on(Invalidation::Session("one".into()));
        assert_eq!((world.seen().await, world.store.reads()), (2, reads));
        world.channel.0.pass_on(Invalidation::Everything);
        world.seen().await;
        assert_eq!(world.store.reads(), reads + 1);
    }

    #[tokio::test]
    async fn a_read_that_raced_a_change_makes_no_copy() {
        let world = world(Feed::always_trusted()).await;
        world.store.hold_reads();
        let (copies, store) = (world.copies.clone(), world.store.clone());
        let early = tokio::spawn(async move { copies.get(store.as_ref(), "one").await });
        world.store.held(1).await;
        world.change(1).await;
        world.tell("one");
        world.store.release_reads();
        early.await.unwrap().unwrap();
        assert_eq!(world.seen().await, 2);
    }

    #[tokio::test]
    async fn a_silent_channel_is_not_trusted_and_trust_that_returns_begins_with_no_copies() {
        let world = world(Feed::silent()).await;
        world.seen().await;
        world.change(1).await;
        assert_eq!(world.seen().await, 2, "nobody was told, and nothing was kept");
        world.channel.0.heartbeat(Instant::now());
        world.seen().await;
        let reads = world.store.reads();
        world.seen().await;
        assert_eq!(world.store.reads(), reads);
        world.channel.0.lost();
        world.change(2).await;
        assert_eq!(world.seen().await, 3);
    }

    #[tokio::test]
    async fn what_is_not_there_is_asked_for_each_time() {
        let world = world(Feed::always_trusted()).await;
        for _ in 0..2 {
            let reads = world.store.reads();
            assert!(world.copies.get(world.store.as_ref(), "none").await.unwrap().is_none());
            assert_eq!(world.store.reads(), reads + 1);
        }
    }
}
