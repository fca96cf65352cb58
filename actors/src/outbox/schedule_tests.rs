//! Schedules of several replicas against a store in memory and a clock that stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::{SCHEDULES, Schedule, ScheduleState, Schedules, TurnError};
use crate::cluster::Clock;
use crate::store::load;
use crate::testing::{CommitFault, ManualClock, MemoryStore};

const MINUTE: Duration = Duration::from_secs(60);

/// What the work counts and how it goes.
#[derive(Default)]
struct Told {
    turns: AtomicU32,
    fails: AtomicU32,
    panics: AtomicU32,
}

struct World {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    told: Arc<Told>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { store: Arc::new(MemoryStore::new(clock.clone())), clock, told: Arc::default() }
    }

    fn work(&self) -> Schedule {
        let told = self.told.clone();
        Schedule::new("report", MINUTE, move || {
            let told = told.clone();
            async move {
                told.turns.fetch_add(1, Ordering::SeqCst);
                let still = |left: &AtomicU32| {
                    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
                };
                assert!(!still(&told.panics), "the test's work falls");
                if still(&told.fails) { Err(TurnError::from("no paper")) } else { Ok(()) }
            }
        })
    }

    fn replica(&self, incarnation: &str, schedule: Schedule) -> Schedules {
        Schedules::new(self.store.clone(), self.clock.clone(), incarnation.to_owned(), vec![schedule])
    }

    fn turns(&self) -> u32 {
        self.told.turns.load(Ordering::SeqCst)
    }

    async fn state(&self) -> ScheduleState {
        load::<ScheduleState>(self.store.as_ref(), "report").await.unwrap().unwrap().value
    }
}

#[tokio::test]
async fn a_schedule_has_one_turn_a_span_however_many_replicas_look() {
    let world = World::new();
    assert_eq!(SCHEDULES.mistakes(), Vec::<String>::new());
    let replicas = ["a", "b", "c"].map(|name| world.replica(name, world.work()));
    for expected in 0..5 {
        for _ in 0..2 {
            let rounds = replicas.iter().map(Schedules::round);
            futures_util::future::try_join_all(rounds).await.unwrap();
            assert_eq!(world.turns(), expected);
        }
        world.clock.advance(MINUTE.mul_f64(1.1));
    }
}

#[tokio::test]
async fn the_first_turn_is_at_once_where_that_is_asked_for() {
    let world = World::new();
    let replicas = ["a", "b"].map(|name| world.replica(name, world.work().at_once()));
    for replica in [&replicas[0], &replicas[1], &replicas[0], &replicas[1]] {
        replica.round().await.unwrap();
    }
    assert_eq!(world.turns(), 1);
}

#[tokio::test]
async fn what_an_outage_missed_is_done_once() {
    let world = World::new();
    let replica = world.replica("a", world.work());
    replica.round().await.unwrap();
    world.clock.advance(MINUTE * 60);
    for _ in 0..10 {
        replica.round().await.unwrap();
    }
    assert_eq!(world.turns(), 1);
}

#[tokio::test]
async fn the_turn_of_a_replica_that_died_comes_again_when_its_lease_lapses() {
    let world = World::new();
    world.replica("a", world.work()).round().await.unwrap();
    world.clock.advance(MINUTE * 2);

    // Given a replica that dies in its turn,
    let gate = Arc::new(Semaphore::new(0));
    let stuck = {
        let gate = gate.clone();
        Schedule::new("report", MINUTE, move || {
            gate.add_permits(1);
            std::future::pending()
        })
    };
    let dying = world.replica("a", stuck);
    let died = tokio::spawn(async move { dying.round().await });
    let _ = gate.acquire().await.unwrap();
    died.abort();
    let _ = died.await;
    assert_eq!(world.state().await.owner.as_deref(), Some("a"));

    // when another looks before the lease has lapsed, it has no turn; then it has one.
    let other = world.replica("b", world.work());
    world.clock.advance(Duration::from_secs(69));
    assert_eq!(other.round().await, Ok(0));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(other.round().await, Ok(1));
    let state = world.state().await;
    assert_eq!((world.turns(), state.turns, state.owner), (1, 2, None));
}

#[tokio::test]
async fn a_turn_that_fails_or_panics_is_tried_again_sooner_and_says_why() {
    let world = World::new();
    let replica = world.replica("a", world.work());
    replica.round().await.unwrap();
    world.clock.advance(MINUTE * 2);
    world.told.fails.store(1, Ordering::SeqCst);
    replica.round().await.unwrap();
    let state = world.state().await;
    assert_eq!((state.failures, state.last_error.as_deref()), (1, Some("no paper")));

    world.told.panics.store(1, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(1));
    replica.round().await.unwrap();
    let state = world.state().await;
    assert_eq!((state.failures, state.last_error.as_deref()), (2, Some("it panicked")));
    assert_eq!(replica.round().await, Ok(0));

    world.clock.advance(Duration::from_secs(2));
    replica.round().await.unwrap();
    let state = world.state().await;
    assert_eq!((state.failures, state.last_error), (0, None));
    assert_eq!(state.last_done_at, Some(world.clock.now()));
}

#[tokio::test(start_paused = true)]
async fn a_turn_without_end_is_cut_off_at_its_deadline() {
    let world = World::new();
    let endless = Schedule::new("report", MINUTE, std::future::pending).within(Duration::from_secs(5));
    let replica = world.replica("a", endless);
    replica.round().await.unwrap();
    world.clock.advance(MINUTE);
    replica.round().await.unwrap();
    assert_eq!(world.state().await.last_error.as_deref(), Some("not done within 5 s"));
}

#[tokio::test]
async fn a_claim_whose_reply_was_lost_does_nothing_until_its_lease_lapses() {
    let world = World::new();
    let replica = world.replica("a", world.work());
    replica.round().await.unwrap();
    world.clock.advance(MINUTE);
    world.store.fail_commits([CommitFault::LostAfter]);
    assert_eq!(replica.round().await, Ok(0));
    world.clock.advance(Duration::from_secs(69));
    assert_eq!((replica.round().await, world.turns()), (Ok(0), 0));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!((replica.round().await, world.turns()), (Ok(1), 1));
}

#[tokio::test]
async fn a_span_that_was_shortened_counts_at_once() {
    let world = World::new();
    let yearly = Schedule::new("report", MINUTE * 60 * 24 * 365, || async { Ok(()) });
    world.replica("a", yearly).round().await.unwrap();
    assert_eq!(world.replica("a", world.work()).round().await, Ok(1));
}

#[tokio::test]
async fn the_loop_has_turns_as_they_fall_due_and_finishes_them_when_it_is_stopped() {
    let world = World::new();
    let replica = world.replica("a", world.work());
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(async move { replica.run(stopping).await });
    while world.turns() < 3 {
        world.clock.advance(Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    stop.send_replace(true);
    running.await.unwrap();
    assert_eq!(world.state().await.owner, None);
}
