//! Schedules: recurring work that one replica does at a time.
//!
//! Who runs it: the composition root, under [`crate::supervision::supervise_task`]. Every replica
//! has the same [`Schedule`]s; a record per name in the store says when the next turn is due. Who
//! replaces that record first, at the version it was read as, has the turn, until its lease lapses
//! by the store's clock. The next turn is reckoned from the end of the last one, so what an outage
//! missed is done once, not as often as it was missed.
//!
//! **A turn may be done twice**, when a replica dies or stands still in the middle of it: the work
//! must count once all the same. What never happens here: a turn that ends the loop by failing, or
//! one without a deadline.

use std::collections::HashMap;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metrics::counter;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::cluster::Clock;
use crate::figures;
use crate::store::{
    Batch, Collection, CommitError, Entity, Field, Kind, Store, StoreError, Versioned, load_many,
};
use crate::time::Timestamp;

/// One record a schedule.
pub static SCHEDULES: Collection = Collection {
    name: "schedules",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("dueAt", Kind::Time),
        Field::optional("owner", Kind::Text),
        Field::required("turns", Kind::Integer),
        Field::required("failures", Kind::Integer),
        Field::optional("lastBegunAt", Kind::Time),
        Field::optional("lastDoneAt", Kind::Time),
        Field::optional("lastError", Kind::Text),
    ],
    indexes: &[],
    words: &[],
    expires: None,
};

/// Where a schedule stands, for all replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleState {
    /// The schedule's name.
    pub id: String,
    /// When the next turn is due; of a turn under way, when its lease lapses.
    pub due_at: Timestamp,
    /// The incarnation that has the turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Turns that were begun.
    pub turns: u64,
    /// Turns that failed since one was done.
    pub failures: u32,
    /// When a turn was begun last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_begun_at: Option<Timestamp>,
    /// When a turn was done last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_done_at: Option<Timestamp>,
    /// Why the last turn failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl Entity for ScheduleState {
    fn collection() -> &'static Collection {
        &SCHEDULES
    }
    fn id(&self) -> &str {
        &self.id
    }
}

/// Why a turn was not done: any error, for people.
pub type TurnError = Box<dyn Error + Send + Sync>;

type Work = Arc<dyn Fn() -> BoxFuture<'static, Result<(), TurnError>> + Send + Sync>;

/// Work that recurs.
#[derive(Clone)]
pub struct Schedule {
    name: &'static str,
    every: Duration,
    deadline: Duration,
    at_once: bool,
    work: Work,
}

impl Schedule {
    /// `work` under this name, which all replicas share, `every` so often, give or take a tenth.
    /// A turn may take a minute; see [`Self::within`].
    pub fn new<F, Fut>(name: &'static str, every: Duration, work: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), TurnError>> + Send + 'static,
    {
        let (deadline, work): (_, Work) = (Duration::from_secs(60), Arc::new(move || work().boxed()));
        Self { name, every, deadline, at_once: false, work }
    }

    /// The very first turn is due at once, not somewhere in its first span.
    #[must_use]
    pub fn at_once(self) -> Self {
        Self { at_once: true, ..self }
    }

    /// A turn may take this long; then its work is dropped and counts as failed.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The span until the next turn; `jitter` is 0..1.
    fn span(&self, jitter: f64) -> Duration {
        self.every.mul_f64(0.9 + jitter.clamp(0.0, 1.0) / 5.0)
    }

    /// The span until a turn that failed `failures` times in a row is tried again: doubled from
    /// a second, the schedule's own span at most.
    fn pause(&self, failures: u32, jitter: f64) -> Duration {
        Backoff::new(Duration::from_secs(1), self.every).pause(failures, jitter)
    }

    /// When this schedule is due, by its record: at once if the record is from a time when the
    /// span was much longer.
    fn due(&self, state: &ScheduleState, now: Timestamp) -> Timestamp {
        match state.owner {
            None if state.due_at > now.plus(self.every * 2) => now,
            _ => state.due_at,
        }
    }
}

/// How long the lease of a turn outlasts its deadline.
const GRACE: Duration = Duration::from_secs(10);
/// The longest span between looks at the records.
const LOOK: Duration = Duration::from_secs(30);
/// Characters of an error that are kept.
const KEPT: usize = 500;

/// The schedules of one replica.
pub struct Schedules {
    inner: Arc<Inner>,
    schedules: Vec<Schedule>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    incarnation: String,
}

impl Schedules {
    /// Has turns for `incarnation`. Names must differ.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        incarnation: String,
        schedules: Vec<Schedule>,
    ) -> Self {
        Self { inner: Arc::new(Inner { store, clock, incarnation }), schedules }
    }

    /// Has turns as they fall due until `stop` becomes true; then finishes those it has begun.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut running = JoinSet::new();
        loop {
            let clock = &self.inner.clock;
            let next = match self.begin(&mut running).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, "schedules could not be looked at");
                    clock.now().plus(Duration::from_secs(1))
                }
            };
            let pause = next.since(clock.now()).clamp(Duration::from_millis(50), LOOK);
            tokio::select! {
                () = clock.sleep(pause) => {}
                Some(_) = running.join_next() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        running.join_all().await;
    }

    /// Has the turns that are due now and waits for them. How many it had.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn round(&self) -> Result<usize, StoreError> {
        let mut running = JoinSet::new();
        self.begin(&mut running).await?;
        Ok(running.join_all().await.into_iter().filter(|had| *had).count())
    }

    /// Begins what is due; when to look again.
    async fn begin(&self, running: &mut JoinSet<bool>) -> Result<Timestamp, StoreError> {
        let inner = &self.inner;
        let names: Vec<String> = self.schedules.iter().map(|schedule| schedule.name.to_owned()).collect();
        let found = load_many::<ScheduleState>(inner.store.as_ref(), &names).await?;
        let mut states: HashMap<String, Versioned<ScheduleState>> =
            found.into_iter().map(|state| (state.value.id.clone(), state)).collect();
        let now = inner.clock.now();
        let mut next = now.plus(LOOK);
        for schedule in &self.schedules {
            match states.remove(schedule.name) {
                None => next = next.min(inner.enter(schedule, now).await),
                Some(state) if schedule.due(&state.value, now) <= now => {
                    let (inner, schedule) = (inner.clone(), schedule.clone());
                    running.spawn(async move { inner.have_turn(&schedule, state).await });
                }
                Some(state) => next = next.min(schedule.due(&state.value, now)),
            }
        }
        Ok(next)
    }
}

impl Inner {
    /// Writes down a schedule that has no record yet; when its first turn is due.
    async fn enter(&self, schedule: &Schedule, now: Timestamp) -> Timestamp {
        let first = if schedule.at_once { Duration::ZERO } else { schedule.every.mul_f64(fastrand::f64()) };
        let state = ScheduleState {
            id: schedule.name.to_owned(),
            due_at: now.plus(first),
            owner: None,
            turns: 0,
            failures: 0,
            last_begun_at: None,
            last_done_at: None,
            last_error: None,
        };
        match self.store.commit(Batch::shared().insert(&state)).await {
            Ok(()) | Err(CommitError::Conflict(_)) => {}
            Err(error) => tracing::warn!(schedule = schedule.name, %error, "a schedule was not entered"),
        }
        state.due_at
    }

    /// Takes the turn, does the work and says how it ended; whether it had the turn.
    async fn have_turn(&self, schedule: &Schedule, found: Versioned<ScheduleState>) -> bool {
        let now = self.clock.now();
        let claimed = ScheduleState {
            due_at: now.plus(schedule.deadline + GRACE),
            owner: Some(self.incarnation.clone()),
            turns: found.value.turns + 1,
            last_begun_at: Some(now),
            ..found.value
        };
        match self.store.commit(Batch::shared().replace(&claimed, found.version)).await {
            Ok(()) => {}
            // Another replica has it.
            Err(CommitError::Conflict(_)) => return false,
            // If it counted, the lease lapses.
            Err(error) => {
                tracing::warn!(schedule = schedule.name, %error, "a turn was not taken");
                return false;
            }
        }
        let outcome = self.work(schedule).await;
        let ended = self.ended(schedule, claimed, outcome);
        if let Err(error) = self.store.commit(Batch::shared().replace(&ended, found.version + 1)).await {
            // The lease lapses and the turn comes again.
            tracing::warn!(schedule = schedule.name, %error, "the end of a turn was not recorded");
        }
        true
    }

    async fn work(&self, schedule: &Schedule) -> Result<(), String> {
        let work = AssertUnwindSafe(async { (schedule.work)().await }).catch_unwind();
        match timeout(schedule.deadline, work).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            // The panic hook has logged what and where.
            Ok(Err(_panic)) => Err("it panicked".to_owned()),
            Err(_deadline) => Err(format!("not done within {} s", schedule.deadline.as_secs_f64())),
        }
    }

    fn ended(&self, schedule: &Schedule, had: ScheduleState, outcome: Result<(), String>) -> ScheduleState {
        let (now, jitter) = (self.clock.now(), fastrand::f64());
        let ended = if outcome.is_ok() { "done" } else { "failed" };
        counter!(figures::SCHEDULE_TURNS, "schedule" => schedule.name, "outcome" => ended).increment(1);
        match outcome {
            Ok(()) => ScheduleState {
                due_at: now.plus(schedule.span(jitter)),
                owner: None,
                failures: 0,
                last_done_at: Some(now),
                last_error: None,
                ..had
            },
            Err(error) => {
                let failures = had.failures.saturating_add(1);
                tracing::warn!(schedule = schedule.name, failures, error, "a turn failed");
                ScheduleState {
                    due_at: now.plus(schedule.pause(failures, jitter)),
                    owner: None,
                    failures,
                    last_error: Some(error.chars().take(KEPT).collect()),
                    ..had
                }
            }
        }
    }
}
