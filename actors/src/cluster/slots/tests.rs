//! The slots of several replicas over one store in memory.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::testing::{CommitFault, ManualClock, MemoryStore};

/// A replica of which the test says who it sees alive.
struct Seen {
    me: &'static str,
    stands: AtomicBool,
    live: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl Members for Seen {
    fn incarnation(&self) -> String {
        self.me.to_owned()
    }

    fn am_live(&self) -> bool {
        self.stands.load(Ordering::SeqCst)
    }

    async fn live_with(&self, _role: &str) -> Result<BTreeSet<String>, StoreError> {
        Ok(lock(&self.live).clone())
    }
}

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { store: Arc::new(MemoryStore::new(clock.clone())), clock }
    }

    fn replica(&self, me: &'static str, live: &[&str]) -> (Slots, Arc<Seen>) {
        let seen = Arc::new(Seen { me, stands: AtomicBool::new(true), live: Mutex::default() });
        seen.sees(live);
        (Slots::new("sync", self.store.clone(), self.clock.clone(), seen.clone()), seen)
    }
}

impl Seen {
    fn sees(&self, live: &[&str]) {
        *lock(&self.live) = live.iter().map(|id| (*id).to_owned()).collect();
    }
}

fn keys() -> impl Iterator<Item = String> {
    (0..2000).map(|n| format!("connection-{n}"))
}

#[tokio::test]
async fn each_key_belongs_to_one_replica_and_moves_with_a_higher_epoch() {
    let world = World::new();
    let (a, sees_a) = world.replica("a", &["a"]);
    a.round().await.unwrap();
    let before: Vec<u64> = keys().map(|key| a.epoch_of(&key).unwrap()).collect();

    let (b, _) = world.replica("b", &["a", "b"]);
    sees_a.sees(&["a", "b"]);
    b.round().await.unwrap();
    a.round().await.unwrap();
    let mut moved = 0;
    for (key, before) in keys().zip(before) {
        match (a.epoch_of(&key), b.epoch_of(&key)) {
            (Some(epoch), None) => assert_eq!(epoch, before),
            (None, Some(epoch)) => {
                assert!(epoch > before);
                moved += 1;
            }
            both => panic!("{key}: {both:?}"),
        }
    }
    assert!((600..1400).contains(&moved), "{moved} of 2000 moved");
}

#[tokio::test]
async fn a_replica_that_leaves_hands_its_slots_over_at_once() {
    let world = World::new();
    let ((a, _), (b, _)) = (world.replica("a", &["a", "b"]), world.replica("b", &["a", "b"]));
    a.round().await.unwrap();
    a.release().await.unwrap();
    assert!(keys().all(|key| a.epoch_of(&key).is_none()));
    assert_eq!(b.table().await.unwrap().share_of("b"), SLOTS);
}

#[tokio::test]
async fn a_replica_whose_heartbeat_does_not_stand_has_nothing() {
    let world = World::new();
    let (a, seen) = world.replica("a", &["a"]);
    a.round().await.unwrap();
    assert!(a.epoch_of("k").is_some());
    seen.stands.store(false, Ordering::SeqCst);
    assert_eq!(a.epoch_of("k"), None);
    a.round().await.unwrap();
    seen.stands.store(true, Ordering::SeqCst);
    assert_eq!(a.epoch_of("k"), None, "until it has looked again");
    a.round().await.unwrap();
    assert!(a.epoch_of("k").is_some());
}

#[tokio::test]
async fn replicas_that_spread_at_the_same_time_end_with_one_table() {
    let world = World::new();
    let ids = ["a", "b", "c", "d", "e"];
    let replicas = ids.map(|id| world.replica(id, &ids).0);
    for _ in 0..2 {
        let rounds = replicas.iter().map(Slots::round);
        futures_util::future::try_join_all(rounds).await.unwrap();
    }
    for key in keys() {
        let owners = replicas.iter().filter(|slots| slots.epoch_of(&key).is_some()).count();
        assert_eq!(owners, 1);
    }
}

#[tokio::test]
async fn a_spread_whose_answer_was_lost_is_not_made_twice() {
    let world = World::new();
    let (a, _) = world.replica("a", &["a"]);
    world.store.fail_commits([CommitFault::LostAfter]);
    a.round().await.unwrap();
    assert!(a.table().await.unwrap().slots.iter().all(|slot| slot.epoch == 1));
}

#[tokio::test]
async fn whoever_gets_slots_is_told_so() {
    let world = World::new();
    let (a, seen) = world.replica("a", &["a", "dead"]);
    a.round().await.unwrap();
    a.gained().await;
    assert!(a.lives("dead"));
    seen.sees(&["a"]);
    a.round().await.unwrap();
    a.gained().await;
    assert!(!a.lives("dead"));
}
