//! The loop that claims jobs and has them performed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tracing::{Instrument, Span};

use super::handed::{Taking, Waker};
use super::job::{JOBS, Job, JobStatus, Retry};
use super::{JobError, Performer};
use crate::backoff::Backoff;
use crate::cluster::Clock;
use crate::figures;
use crate::span_in_trace;
use crate::store::{Batch, CommitError, Query, Store, StoreError, Versioned, find};

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct OutboxOptions {
    /// Jobs that this replica performs at once.
    pub concurrency: usize,
    /// The span between looks for due jobs.
    pub poll: Duration,
    /// How long a performer may take.
    pub deadline: Duration,
    /// How long a claim stands; more than `deadline`.
    pub lease: Duration,
    /// The pause after the first failure; doubled from attempt to attempt.
    pub shortest_pause: Duration,
    /// The longest pause, unless the other side asks for a longer one.
    pub longest_pause: Duration,
    /// Attempts before a job becomes a dead letter.
    pub attempts: u32,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self {
            concurrency: 16,
            poll: Duration::from_millis(500),
            deadline: Duration::from_secs(20),
            lease: Duration::from_secs(30),
            shortest_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(900),
            // With these pauses about two days.
            attempts: 200,
        }
    }
}

/// What may be claimed once its time has come: a running job whose lease has lapsed is due as well.
const CLAIMABLE: [JobStatus; 2] = [JobStatus::Due, JobStatus::Running];
/// Jobs that were handed over and are in hand, at most; [`OutboxOptions::concurrency`] of them are performed.
const MOST_HANDED: usize = 128;

/// The outbox of one replica.
pub struct Outbox {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    incarnation: String,
    performers: HashMap<&'static str, Arc<dyn Performer>>,
    waker: Waker,
    options: OutboxOptions,
    /// One for each job that is performed.
    performing: Semaphore,
}

impl Outbox {
    /// An outbox that claims for `incarnation`, is woken by `waker`, and does the kinds of
    /// `performers`.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        incarnation: String,
        waker: Waker,
        performers: Vec<Arc<dyn Performer>>,
        options: OutboxOptions,
    ) -> Self {
        let performers = performers.into_iter().map(|performer| (performer.kind(), performer)).collect();
        let performing = Semaphore::new(options.concurrency);
        Self { inner: Arc::new(Inner { store, clock, incarnation, performers, waker, options, performing }) }
    }

    /// Claims and performs jobs until `stop` becomes true; then finishes those it has begun and those
    /// that were handed to it.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let inner = &self.inner;
        let taking = inner.waker.handed.taken_by(&inner.incarnation, inner.options.lease);
        tokio::join!(self.look(stop.clone()), self.take_handed(&taking, stop));
    }

    /// Performs what is handed over.
    async fn take_handed(&self, taking: &Taking, mut stop: watch::Receiver<bool>) {
        let inner = &self.inner;
        let mut running = Running::default();
        loop {
            running.forget_ended();
            let full = running.len() >= MOST_HANDED;
            tokio::select! {
                job = taking.next(), if !full => running.begin_handed(inner.clone(), job),
                () = running.one_ended(), if full => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        for job in taking.end() {
            running.begin_handed(inner.clone(), job);
        }
        running.all_ended().await;
    }

    /// Looks for due jobs, claims and performs them.
    async fn look(&self, mut stop: watch::Receiver<bool>) {
        let inner = &self.inner;
        let mut running = Running::default();
        let mut looks_for: &[JobStatus] = &CLAIMABLE;
        loop {
            let full = match self.claim(&mut running, looks_for).await {
                Ok(full) => full,
                Err(error) => {
                    tracing::warn!(%error, "due jobs could not be looked for");
                    false
                }
            };
            tokio::select! {
                () = inner.clock.sleep(inner.options.poll), if !full => looks_for = &CLAIMABLE,
                () = inner.waker.woken(), if !full => looks_for = &[JobStatus::Due],
                () = running.one_ended(), if full => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        running.all_ended().await;
    }

    /// Claims what is due now, performs all of it and waits for that. How many were claimed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn round(&self) -> Result<usize, StoreError> {
        let mut running = Running::default();
        self.claim(&mut running, &CLAIMABLE).await?;
        let claimed = running.len();
        running.all_ended().await;
        Ok(claimed)
    }

    /// Starts due jobs as long as there is room; whether there is none left.
    async fn claim(&self, running: &mut Running, looks_for: &[JobStatus]) -> Result<bool, StoreError> {
        let inner = &self.inner;
        running.forget_ended();
        for status in looks_for {
            let room = inner.options.concurrency.saturating_sub(running.len());
            if room == 0 {
                return Ok(true);
            }
            let until = inner.clock.now().plus(Duration::from_millis(1));
            let query = Query::by(&JOBS, "status")
                .equal(status.name())
                .range(None, Some(until.as_millis().into()))
                // Those in hand may still be due in the store: their claims are under way.
                .limit(room + running.len());
            let (due, _) = find::<Job>(inner.store.as_ref(), query).await?;
            let fresh: Vec<_> = due.into_iter().filter(|job| !running.has(job.value.id())).collect();
            for job in fresh.into_iter().take(room) {
                running.begin(inner.clone(), job);
            }
        }
        Ok(running.len() >= inner.options.concurrency)
    }
}

/// The jobs that this outbox has in hand, from before their claim until after their end.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    ids: HashMap<Id, String>,
    jobs: HashSet<String>,
}

impl Running {
    fn len(&self) -> usize {
        self.jobs.len()
    }

    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn has(&self, job: &str) -> bool {
        self.jobs.contains(job)
    }

    fn begin(&mut self, inner: Arc<Inner>, job: Versioned<Job>) {
        let (id, span) = named(&job.value);
        self.spawn(id, async move { inner.take(job).await }.instrument(span));
    }

    fn begin_handed(&mut self, inner: Arc<Inner>, job: Versioned<Job>) {
        let (id, span) = named(&job.value);
        self.spawn(id, async move { inner.do_handed(job).await }.instrument(span));
    }

    fn spawn(&mut self, id: String, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(work);
        self.ids.insert(task.id(), id.clone());
        self.jobs.insert(id);
    }

    async fn one_ended(&mut self) {
        if let Some(ended) = self.tasks.join_next_with_id().await {
            self.forget(ended);
        }
    }

    /// One that ended takes no room, and may be found again.
    fn forget_ended(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
    }

    async fn all_ended(&mut self) {
        while !self.is_empty() {
            self.one_ended().await;
        }
    }

    /// A performer that fell leaves its job claimed; the lease lapses and the job is begun again.
    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let task = match ended {
            Ok((task, ())) => task,
            Err(error) => {
                tracing::error!(%error, "a job fell");
                error.id()
            }
        };
        if let Some(job) = self.ids.remove(&task) {
            self.jobs.remove(&job);
        }
    }
}

fn named(job: &Job) -> (String, Span) {
    let span = span_in_trace!(job.trace(), "job", job = job.id(), kind = job.kind());
    (job.id().to_owned(), span)
}

impl Inner {
    fn count(&self, kind: &str, outcome: &'static str) {
        // A kind that nobody performs, which a later version wrote, is no label.
        let kind = self.performers.get_key_value(kind).map_or("unknown", |(kind, _)| kind);
        counter!(figures::JOBS_DONE, "kind" => kind, "outcome" => outcome).increment(1);
    }

    async fn take(&self, found: Versioned<Job>) {
        // It is never closed.
        let Ok(place) = self.performing.acquire().await else { return };
        let lapses = self.clock.now().plus(self.options.lease);
        let job = found.value.claimed(&self.incarnation, lapses);
        let claim = Batch::shared().change(&found, &job);
        match self.store.commit(claim).await {
            Ok(()) => {}
            // Another replica was first.
            Err(CommitError::Conflict(_)) => return,
            // If the claim counted, its lease lapses.
            Err(error) => {
                tracing::warn!(job = job.id(), %error, "a job was not claimed");
                return;
            }
        }
        self.perform(Versioned { value: job, version: found.version + 1 }, place).await;
    }

    /// A job that came claimed. Too close to the end of its lease it is left to whoever finds it then.
    async fn do_handed(&self, claimed: Versioned<Job>) {
        let Ok(place) = self.performing.acquire().await else { return };
        if claimed.value.due_at() > self.clock.now().plus(self.options.deadline) {
            self.perform(claimed, place).await;
        }
    }

    async fn perform(&self, claimed: Versioned<Job>, place: SemaphorePermit<'_>) {
        let job = &claimed.value;
        let outcome = match self.performers.get(job.kind()) {
            None => Err(JobError::Retry { reason: format!("nobody performs {}", job.kind()), after: None }),
            // A job that fell with its performer every time is not begun once more.
            Some(_) if job.attempts() > self.options.attempts => {
                Err(JobError::Permanent(job.last_error().unwrap_or("it was never finished").to_owned()))
            }
            Some(performer) => match timeout(self.options.deadline, performer.perform(job)).await {
                Ok(outcome) => outcome,
                Err(_deadline) => Err(JobError::Retry { reason: "not done in time".to_owned(), after: None }),
            },
        };
        drop(place);
        self.conclude(claimed, outcome).await;
    }

    async fn conclude(&self, claimed: Versioned<Job>, outcome: Result<(), JobError>) {
        let job = &claimed.value;
        let batch = match outcome {
            Ok(()) => {
                self.count(job.kind(), "done");
                Batch::shared().delete(&claimed)
            }
            Err(error) => {
                let retry = Retry {
                    backoff: Backoff::new(self.options.shortest_pause, self.options.longest_pause),
                    attempts: self.options.attempts,
                };
                let failed = job.failed(&error, self.clock.now(), &retry, fastrand::f64());
                let (kind, attempts, status) = (job.kind(), job.attempts(), failed.status().name());
                tracing::warn!(job = job.id(), kind, attempts, status, %error, "a job was not done");
                self.count(kind, if failed.status() == JobStatus::Dead { "dead" } else { "retry" });
                Batch::shared().change(&claimed, &failed)
            }
        };
        // If this does not count, the lease lapses and the job is performed once more.
        if let Err(error) = self.store.commit(batch).await {
            tracing::warn!(job = job.id(), %error, "what became of a job was not recorded");
        }
    }
}
