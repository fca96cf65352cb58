//! Jobs against a store in memory, a clock that stands, and a performer that does as told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::*;
use crate::audit::{AuditFilter, AuditLog, By};
use crate::cluster::Clock;
use crate::store::{Batch, CommitError, Conflict, Store, Versioned};
use crate::supervision::lock;
use crate::testing::{AtCommit, CommitFault, ManualClock, MemoryStore};

const KIND: &str = "letter";

#[derive(Serialize)]
struct Letter {
    to: &'static str,
}

#[derive(Clone)]
enum Luck {
    Fails(JobError),
    Panics,
    Hangs,
}

/// Does well unless told otherwise, one lot a call.
#[derive(Default)]
pub(super) struct Letters {
    lots: Mutex<VecDeque<Luck>>,
    done: Mutex<Vec<String>>,
    gates: Mutex<VecDeque<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
}

impl Letters {
    fn meets(&self, lots: impl IntoIterator<Item = Luck>) {
        lock(&self.lots).extend(lots);
    }

    pub(super) fn done(&self) -> Vec<String> {
        lock(&self.done).clone()
    }

    /// Stops a call: tells that it arrived, and lets it go on.
    pub(super) fn stop_next(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((arrive, arrived), (go, going)) = (oneshot::channel(), oneshot::channel());
        lock(&self.gates).push_back((arrive, going));
        (arrived, go)
    }
}

#[async_trait]
impl Performer for Letters {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn shown(&self) -> &'static [&'static str] {
        &["to"]
    }

    async fn perform(&self, job: &Job) -> Result<(), JobError> {
        let gate = lock(&self.gates).pop_front();
        if let Some((arrive, going)) = gate {
            let _ = arrive.send(());
            let _ = going.await;
        }
        let lot = lock(&self.lots).pop_front();
        match lot {
            Some(Luck::Fails(error)) => return Err(error),
            Some(Luck::Panics) => panic!("the test's performer falls"),
            Some(Luck::Hangs) => std::future::pending().await,
            None => {}
        }
        lock(&self.done).push(job.id().to_owned());
        Ok(())
    }
}

pub(super) struct World {
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Arc<MemoryStore>,
    pub(super) letters: Arc<Letters>,
    dead: Jobs,
    pub(super) options: OutboxOptions,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let dead = Jobs::new(store.clone(), clock.clone(), Waker::default(), &[Arc::new(Letters::default())]);
        let options = OutboxOptions { attempts: 4, ..OutboxOptions::default() };
        Self { clock, store, letters: Arc::default(), dead, options }
    }

    pub(super) fn outbox(&self, incarnation: &str) -> Arc<Outbox> {
        self.outbox_woken_by(incarnation, Waker::default())
    }

    pub(super) fn outbox_woken_by(&self, incarnation: &str, waker: Waker) -> Arc<Outbox> {
        let performers: Vec<Arc<dyn Performer>> = vec![self.letters.clone()];
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Arc::new(Outbox::new(store, clock, incarnation.to_owned(), waker, performers, self.options))
    }

    pub(super) fn letter(&self, id: &str) -> Job {
        Job::new(id.to_owned(), KIND, &Letter { to: "una" }, self.clock.now())
    }

    async fn post(&self, id: &str) -> Result<(), CommitError> {
        let job = self.letter(id);
        self.store.commit(Batch::shared().insert(&job)).await
    }

    pub(super) async fn listed(&self, status: JobStatus) -> Vec<Job> {
        let (jobs, _) = self.dead.find(Jobs::query(Some(status))).await.unwrap();
        jobs.into_iter().map(|Versioned { value, .. }| value).collect()
    }
}

fn later() -> Luck {
    Luck::Fails(JobError::Retry { reason: "busy".to_owned(), after: None })
}

#[test]
fn the_collection_is_declared_well() {
    assert_eq!(JOBS.mistakes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_job_is_done_once_and_forgotten() {
    let world = World::new();
    let outbox = world.outbox("r1");
    world.post("j1").await.unwrap();
    let again = world.post("j1").await;
    assert!(matches!(again, Err(CommitError::Conflict(Conflict::Exists { .. }))));
    assert_eq!(outbox.round().await.unwrap(), 1);
    assert_eq!(outbox.round().await.unwrap(), 0);
    assert_eq!(world.letters.done(), ["j1"]);
    for status in [JobStatus::Due, JobStatus::Running, JobStatus::Dead] {
        assert!(world.listed(status).await.is_empty());
    }
}

#[tokio::test]
async fn a_job_that_fails_is_tried_again_after_a_growing_pause() {
    let world = World::new();
    let outbox = world.outbox("r1");
    world.letters.meets([later(), later()]);
    world.post("j1").await.unwrap();
    let mut last = Duration::ZERO;
    for attempt in 1..=2 {
        assert_eq!(outbox.round().await.unwrap(), 1);
        let job = world.listed(JobStatus::Due).await.remove(0);
        assert_eq!((job.attempts(), job.last_error(), job.owner()), (attempt, Some("busy"), None));
        let pause = job.due_at().since(world.clock.now());
        assert!(pause >= last && pause >= world.options.shortest_pause / 2, "{pause:?}");
        last = pause;
        assert_eq!(outbox.round().await.unwrap(), 0, "it is not due yet");
        world.clock.advance(pause);
    }
    assert_eq!(outbox.round().await.unwrap(), 1);
    assert_eq!(world.letters.done(), ["j1"]);
}

#[tokio::test]
async fn a_pause_that_the_other_side_asks_for_is_kept() {
    let world = World::new();
    let outbox = world.outbox("r1");
    let after = Some(Duration::from_secs(3600));
    world.letters.meets([Luck::Fails(JobError::Retry { reason: "later".to_owned(), after })]);
    world.post("j1").await.unwrap();
    outbox.round().await.unwrap();
    world.clock.advance(Duration::from_secs(3599));
    assert_eq!(outbox.round().await.unwrap(), 0);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(outbox.round().await.unwrap(), 1);
}

#[tokio::test]
async fn spent_attempts_a_permanent_failure_and_falls_make_dead_letters() {
    let permanent = Luck::Fails(JobError::Permanent("no such address".to_owned()));
    for (lots, error) in [
        (vec![later(); 4], "busy"),
        (vec![permanent], "no such address"),
        (vec![Luck::Panics; 4], "it was never finished"),
    ] {
        let world = World::new();
        let outbox = world.outbox("r1");
        world.letters.meets(lots);
        world.post("j1").await.unwrap();
        for _ in 0..6 {
            outbox.round().await.unwrap();
            world.clock.advance(Duration::from_secs(3600));
        }
        assert!(world.letters.done().is_empty());
        let dead = world.listed(JobStatus::Dead).await;
        assert_eq!((dead.len(), dead[0].last_error()), (1, Some(error)));
    }
}

#[tokio::test]
async fn a_dead_letter_can_be_tried_again_or_dropped_and_others_cannot() {
    let world = World::new();
    let outbox = world.outbox("r1");
    let permanent = Luck::Fails(JobError::Permanent("no".to_owned()));
    world.letters.meets([permanent.clone(), permanent]);
    world.post("j1").await.unwrap();
    world.post("j2").await.unwrap();
    assert_eq!(world.dead.retry("j1", &By::system()).await, Err(DeadLetterError::NotDead(JobStatus::Due)));
    outbox.round().await.unwrap();
    assert_eq!(world.listed(JobStatus::Dead).await.len(), 2);

    world.dead.retry("j1", &By::system()).await.unwrap();
    world.dead.discard("j2", &By::system()).await.unwrap();

    outbox.round().await.unwrap();
    assert_eq!(world.letters.done(), ["j1"]);
    for id in ["j1", "j2", "j3"] {
        assert_eq!(world.dead.retry(id, &By::system()).await, Err(DeadLetterError::NotFound));
        assert_eq!(world.dead.discard(id, &By::system()).await, Err(DeadLetterError::NotFound));
    }
}

#[tokio::test]
async fn a_job_is_another_replicas_once_the_lease_has_lapsed_and_not_before() {
    let world = World::new();
    let (dies, next) = (world.outbox("r1"), world.outbox("r2"));
    world.post("j1").await.unwrap();
    let (arrived, go) = world.letters.stop_next();
    let slow = tokio::spawn(async move { dies.round().await });
    arrived.await.unwrap();
    assert_eq!(world.listed(JobStatus::Running).await[0].owner(), Some("r1"));
    assert_eq!(next.round().await.unwrap(), 0, "the lease stands");

    world.clock.advance(world.options.lease);
    // The next owner fails, so that the job is still there when the slow one comes back.
    let (arrived, fail) = world.letters.stop_next();
    let taken = tokio::spawn(async move { next.round().await });
    arrived.await.unwrap();
    go.send(()).unwrap();
    slow.await.unwrap().unwrap();

    let running = world.listed(JobStatus::Running).await;
    assert_eq!(running[0].owner(), Some("r2"), "the slow owner's word no longer counts");
    assert_eq!(running[0].attempts(), 2);
    fail.send(()).unwrap();
    taken.await.unwrap().unwrap();
    assert_eq!(world.letters.done(), ["j1", "j1"]);
    assert!(world.listed(JobStatus::Running).await.is_empty());
}

#[tokio::test]
async fn of_two_replicas_one_gets_the_job() {
    let world = World::new();
    let (a, b) = (world.outbox("r1"), world.outbox("r2"));
    world.post("j1").await.unwrap();
    let (by_a, by_b) = tokio::join!(a.round(), b.round());
    by_a.unwrap();
    by_b.unwrap();
    assert_eq!(world.letters.done(), ["j1"]);
}

#[tokio::test]
async fn a_performer_that_hangs_is_given_up_at_its_deadline() {
    let mut world = World::new();
    world.options.deadline = Duration::from_millis(1);
    let outbox = world.outbox("r1");
    world.letters.meets([Luck::Hangs]);
    world.post("j1").await.unwrap();
    outbox.round().await.unwrap();
    assert_eq!(world.listed(JobStatus::Due).await[0].last_error(), Some("not done in time"));
}

#[tokio::test]
async fn commits_that_fail_around_a_job_cost_time_and_never_the_job() {
    for faults in
        [vec![CommitFault::Unavailable], vec![CommitFault::LostBefore], vec![CommitFault::LostAfter]]
    {
        let world = World::new();
        let outbox = world.outbox("r1");
        world.post("j1").await.unwrap();
        world.store.fail_commits(faults.clone());
        for _ in 0..4 {
            outbox.round().await.unwrap();
            world.clock.advance(Duration::from_secs(61));
        }
        assert_eq!(world.letters.done(), ["j1"], "{faults:?}");
        assert!(world.listed(JobStatus::Running).await.is_empty());
    }
}

#[tokio::test]
async fn a_kind_that_nobody_performs_waits_and_is_seen() {
    let world = World::new();
    let outbox = world.outbox("r1");
    let job = Job::new("j1".to_owned(), "telegram", &Letter { to: "una" }, world.clock.now());
    world.store.commit(Batch::new().insert(&job)).await.unwrap();
    outbox.round().await.unwrap();
    assert_eq!(world.listed(JobStatus::Due).await[0].last_error(), Some("nobody performs telegram"));
}

#[tokio::test]
async fn the_loop_is_woken_keeps_its_bound_and_finishes_what_it_began() {
    let mut world = World::new();
    world.options.concurrency = 2;
    let waker = Waker::default();
    let outbox = world.outbox_woken_by("r1", waker.clone());
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(async move { outbox.run(stopping).await });
    let mut calls: Vec<_> = (0..3).map(|_| world.letters.stop_next()).collect();
    for id in ["j1", "j2", "j3"] {
        world.post(id).await.unwrap();
    }

    waker.wake();

    let (third, go_third) = calls.pop().unwrap();
    let (second, go_second) = calls.pop().unwrap();
    let (first, go_first) = calls.pop().unwrap();
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(world.listed(JobStatus::Running).await.len(), 2, "no more than it may");
    go_first.send(()).unwrap();
    third.await.unwrap();

    stop.send_replace(true);
    go_second.send(()).unwrap();
    go_third.send(()).unwrap();
    running.await.unwrap();
    assert_eq!(world.letters.done().len(), 3);
}

/// A store whose commits wait until they are let go on, and are counted.
struct SlowCommits {
    inner: Arc<MemoryStore>,
    begun: watch::Sender<usize>,
    go_on: watch::Sender<bool>,
}

#[async_trait]
impl AtCommit for SlowCommits {
    fn store(&self) -> &dyn Store {
        self.inner.as_ref()
    }

    async fn at_commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.begun.send_modify(|begun| *begun += 1);
        let _ = self.go_on.subscribe().wait_for(|go_on| *go_on).await;
        self.inner.commit(batch).await
    }
}

#[tokio::test]
async fn a_job_whose_claim_is_under_way_is_not_begun_again() {
    let world = World::new();
    let slow = Arc::new(SlowCommits {
        inner: world.store.clone(),
        begun: watch::Sender::new(0),
        go_on: watch::Sender::new(false),
    });
    let (waker, performers) = (Waker::default(), vec![world.letters.clone() as Arc<dyn Performer>]);
    let outbox =
        Outbox::new(slow.clone(), world.clock.clone(), "r1".into(), waker.clone(), performers, world.options);
    let (stop, stopping) = watch::channel(false);
    let mut begun = slow.begun.subscribe();
    world.post("j1").await.unwrap();
    let running = tokio::spawn(async move { outbox.run(stopping).await });
    begun.wait_for(|begun| *begun == 1).await.unwrap();

    // The first is still due in the store when the second is looked for.
    world.clock.advance(Duration::from_millis(1));
    world.post("j2").await.unwrap();
    waker.wake();
    begun.wait_for(|begun| *begun >= 2).await.unwrap();
    slow.go_on.send_replace(true);
    stop.send_replace(true);
    running.await.unwrap();

    let mut done = world.letters.done();
    done.sort();
    assert_eq!(done, ["j1", "j2"]);
    assert_eq!(*slow.begun.borrow(), 4, "two claims and two ends");
}

#[tokio::test]
async fn an_act_and_its_audit_entry_are_there_together_or_not_at_all() {
    let world = World::new();
    let outbox = world.outbox("r1");
    world.letters.meets([Luck::Fails(JobError::Permanent("no".to_owned()))]);
    world.post("j1").await.unwrap();
    outbox.round().await.unwrap();
    let una = By::user("una", Some("192.0.2.1".to_owned()), Some("r1".to_owned()));
    let log = AuditLog::new(world.store.clone());
    let logged = async || log.find(AuditLog::query(&AuditFilter::All)).await.unwrap().0;

    world.store.fail_commits([CommitFault::Unavailable]);
    assert!(matches!(world.dead.retry("j1", &una).await, Err(DeadLetterError::Unavailable(_))));
    assert!(logged().await.is_empty());
    assert_eq!(world.listed(JobStatus::Dead).await.len(), 1);

    let (one, other) = tokio::join!(world.dead.discard("j1", &una), world.dead.retry("j1", &una));
    assert!(one.is_ok() != other.is_ok(), "one of two operators is told that he came too late");
    let entries = logged().await;
    assert_eq!(entries.len(), 1);
    let entry = &entries[0].value;
    assert_eq!((entry.actor(), entry.target()), ("una", "job/j1"));
    assert_eq!((entry.from(), entry.request_id()), (Some("192.0.2.1"), Some("r1")));
}

#[tokio::test]
async fn what_a_performer_does_not_name_is_hidden() {
    #[derive(Serialize)]
    struct Reset {
        to: &'static str,
        token: &'static str,
    }
    let world = World::new();
    for (kind, to) in [(KIND, "una"), ("telegram", "(hidden)")] {
        let job = Job::new("j1".to_owned(), kind, &Reset { to: "una", token: "canary" }, world.clock.now());
        let shown = world.dead.shown(&job);
        assert_eq!((shown["to"].as_str(), shown["token"].as_str()), (Some(to), Some("(hidden)")));
    }
}
