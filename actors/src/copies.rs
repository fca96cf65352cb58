//! Copies in memory of single records and of whole lists, as fresh as the channel between the
//! replicas.
//!
//! Who calls it: services that answer reads of what is read much more often than written (users; a
//! user's accounts). Whoever commits a change publishes an [`Invalidation`] before it replies
//! ([`Invalidation::Record`] for [`Copies`], [`Invalidation::Listing`] for [`Listings`]), so a copy
//! is gone at once on the replica that wrote, and on the others as soon as they hear of it. What
//! never happens here: a copy that a read made which raced a change, a copy used while the channel
//! is silent, a copy older than [`MAX_AGE`]; or a copy as the base of a write, which always reads the
//! store.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use moka::sync::Cache;

use crate::session::{Invalidation, Invalidations, Subscription};
use crate::store::{Entity, Query, Store, StoreError, Versioned, find, load};
use crate::supervision::lock;
use crate::users::USERS;

/// How old a copy may grow: what others promise of freshness holds even if a replica that changed a
/// record died between its commit and telling them.
pub const MAX_AGE: Duration = Duration::from_secs(1);

/// Counters of what was invalidated; a copy's is found by the hash of its key.
const GENERATIONS: usize = 256;

/// Copies of the records of one collection.
pub struct Copies<T: Entity>(Shelf<Versioned<T>>);

impl<T: Entity + Clone + Sync> Copies<T> {
    /// Room for so many copies, kept fresh by this channel.
    pub fn new(capacity: u64, channel: &dyn Invalidations) -> Self {
        let copies = Cache::builder().max_capacity(capacity).time_to_live(MAX_AGE).build();
        Self(Shelf::new(copies, channel, |what| match what {
            Invalidation::Record { collection, id } if collection == T::collection().name => Some(id),
            Invalidation::User(id) if T::collection().name == USERS.name => Some(id),
            _ => None,
        }))
    }

    /// The record with this id, from memory if that is as good as the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, store: &dyn Store, id: &str) -> Result<Option<Versioned<T>>, StoreError> {
        if let Some(copy) = self.0.get(id) {
            return Ok(Some(copy));
        }
        let began = self.0.began(id);
        let found = load::<T>(store, id).await?;
        if let Some(found) = &found {
            self.0.put(id, found, began);
        }
        Ok(found)
    }
}

/// All records of one owner, oldest id first; shared by those who read them.
pub type Listing<T> = Arc<Vec<Versioned<T>>>;

/// Copies of whole lists: all records that one owner has in a collection.
pub struct Listings<T: Entity> {
    shelf: Shelf<Option<Listing<T>>>,
    longest: usize,
}

impl<T: Entity + Sync> Listings<T> {
    /// Room for so many records in lists of at most `longest` (1 to 1,000), kept fresh by this
    /// channel.
    pub fn new(capacity: u64, longest: usize, channel: &dyn Invalidations) -> Self {
        let weight = |_: &String, list: &Option<Listing<T>>| {
            u32::try_from(1 + list.as_ref().map_or(0, |list| list.len())).unwrap_or(u32::MAX)
        };
        let copies = Cache::builder().max_capacity(capacity).weigher(weight).time_to_live(MAX_AGE).build();
        let shelf = Shelf::new(copies, channel, |what| match what {
            Invalidation::Listing { collection, owner } if collection == T::collection().name => Some(owner),
            _ => None,
        });
        Self { shelf, longest }
    }

    /// The list of this owner, which is what `all` finds: from memory if that is as good as the
    /// store. `None` if it is longer than a copy may be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(
        &self,
        store: &dyn Store,
        owner: &str,
        all: Query,
    ) -> Result<Option<Listing<T>>, StoreError> {
        if let Some(copy) = self.shelf.get(owner) {
            return Ok(copy);
        }
        let began = self.shelf.began(owner);
        let (found, more) = find::<T>(store, all.limit(self.longest)).await?;
        let list = more.is_none().then(|| Arc::new(found));
        self.shelf.put(owner, &list, began);
        Ok(list)
    }
}

/// Which key an invalidation is about, if it is about anything here.
type Concerns = fn(&Invalidation) -> Option<&String>;

/// Copies by key, and what keeps them fresh.
struct Shelf<V> {
    copies: Cache<String, V>,
    concerns: Concerns,
    heard: Mutex<Subscription>,
    generations: Vec<AtomicU64>,
    hasher: RandomState,
}

impl<V: Clone + Send + Sync + 'static> Shelf<V> {
    fn new(copies: Cache<String, V>, channel: &dyn Invalidations, concerns: Concerns) -> Self {
        Self {
            copies,
            concerns,
            heard: Mutex::new(channel.subscribe()),
            generations: (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The copy, if it may be used.
    fn get(&self, key: &str) -> Option<V> {
        if self.catch_up() { self.copies.get(key) } else { None }
    }

    /// To be asked before the read that makes a copy begins.
    fn began(&self, key: &str) -> u64 {
        self.generation(key).load(Ordering::Acquire)
    }

    /// Keeps what a read found. Not if anything of its generation was invalidated since the read
    /// began, which may have read what was there before. Looked at again afterwards: another thread
    /// may have taken in an invalidation in between.
    fn put(&self, key: &str, value: &V, began: u64) {
        // What was told since the read began is taken in first.
        let unchanged = || self.generation(key).load(Ordering::Acquire) == began;
        if self.catch_up() && unchanged() {
            self.copies.insert(key.to_owned(), value.clone());
            if !unchanged() {
                self.copies.invalidate(key);
            }
        }
    }

    fn generation(&self, key: &str) -> &AtomicU64 {
        let place = usize::try_from(self.hasher.hash_one(key) % GENERATIONS as u64).unwrap_or_default();
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
        if *what == Invalidation::Everything {
            for generation in &self.generations {
                generation.fetch_add(1, Ordering::AcqRel);
            }
            self.copies.invalidate_all();
        } else if let Some(key) = (self.concerns)(what) {
            self.generation(key).fetch_add(1, Ordering::AcqRel);
            self.copies.invalidate(key);
        }
    }
}

#[cfg(test)]
mod tests {
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
        fn hear(&self, what: Invalidation) {
            self.0.pass_on(what);
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

    fn roles() -> Query {
        Query::by(&ROLES, crate::store::PRIMARY)
    }

    async fn listed(world: &World, lists: &Listings<Role>) -> Option<Vec<u64>> {
        let list = lists.get(world.store.as_ref(), "all", roles()).await.unwrap();
        list.map(|list| list.iter().map(|role| role.version).collect())
    }

    #[tokio::test]
    async fn a_list_is_kept_until_something_on_it_changes() {
        let world = world(Feed::always_trusted()).await;
        let lists = Listings::new(100, 2, &world.channel);
        assert_eq!(listed(&world, &lists).await, Some(vec![1, 1]));
        let reads = world.store.reads();
        assert_eq!(listed(&world, &lists).await, Some(vec![1, 1]));
        assert_eq!(world.store.reads(), reads);
        world.change(1).await;
        let told = |collection: &str, owner: &str| {
            let (collection, owner) = (collection.to_owned(), owner.to_owned());
            world.channel.0.pass_on(Invalidation::Listing { collection, owner });
        };
        told("users", "all");
        told(ROLES.name, "another");
        world.tell("all");
        assert_eq!(listed(&world, &lists).await, Some(vec![1, 1]), "nothing of that was meant");
        told(ROLES.name, "all");
        assert_eq!(listed(&world, &lists).await, Some(vec![2, 1]));
    }

    #[tokio::test]
    async fn a_list_that_raced_a_change_is_not_kept_and_one_too_long_is_not_held() {
        let world = world(Feed::always_trusted()).await;
        let lists = Arc::new(Listings::<Role>::new(100, 2, &world.channel));
        world.store.hold_reads();
        let (early, store) = (lists.clone(), world.store.clone());
        let early = tokio::spawn(async move { early.get(store.as_ref(), "all", roles()).await });
        world.store.held(1).await;
        world.change(1).await;
        let (collection, owner) = (ROLES.name.to_owned(), "all".to_owned());
        world.channel.0.pass_on(Invalidation::Listing { collection, owner });
        world.store.release_reads();
        early.await.unwrap().unwrap();
        assert_eq!(listed(&world, &lists).await, Some(vec![2, 1]));
        let short = Listings::<Role>::new(100, 1, &world.channel);
        assert_eq!(listed(&world, &short).await, None);
        let reads = world.store.reads();
        assert_eq!(listed(&world, &short).await, None);
        assert_eq!(world.store.reads(), reads, "that it is too long is known");
    }
}
