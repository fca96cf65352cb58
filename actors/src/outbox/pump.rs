//! The loop that claims jobs and has them performed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tracing::field::Empty;
use tracing::{Instrument, info_span};

use super::job::{JOBS, Job, JobStatus, Retry};
use super::{JobError, Performer};
use crate::backoff::Backoff;
use crate::cluster::Clock;
use crate::figures;
use crate::store::{Batch, CommitError, Query, Store, StoreError, Versioned, find};
use crate::trace;

/// Wakes the outbox of this replica after a commit that has a job. A hint: the outbox finds jobs
/// by looking for them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Waker {
    notify: Arc<Notify>,
}

impl Waker {
    /// There may be a job.
    pub fn wake(&self) {
        self.notify.notify_one();
    }
}

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
        Self { inner: Arc::new(Inner { store, clock, incarnation, performers, waker, options }) }
    }

    /// Claims and performs jobs until `stop` becomes true; then finishes those it has begun.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let inner = &self.inner;
        let mut running = JoinSet::new();
        loop {
            let full = match self.claim(&mut running).await {
                Ok(full) => full,
                Err(error) => {
                    tracing::warn!(%error, "due jobs could not be looked for");
                    false
                }
            };
            tokio::select! {
                () = inner.clock.sleep(inner.options.poll), if !full => {}
                () = inner.waker.notify.notified(), if !full => {}
                Some(ended) = running.join_next() => report(ended),
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        finish(running).await;
    }

    /// Claims what is due now, performs all of it and waits for that. How many were claimed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn round(&self) -> Result<usize, StoreError> {
        let mut running = JoinSet::new();
        self.claim(&mut running).await?;
        let claimed = running.len();
        finish(running).await;
        Ok(claimed)
    }

    /// Starts due jobs as long as there is room; whether there is none left.
    async fn claim(&self, running: &mut JoinSet<()>) -> Result<bool, StoreError> {
        let inner = &self.inner;
        // A finished task that was not joined yet takes no room.
        while let Some(ended) = running.try_join_next() {
            report(ended);
        }
        // A running job whose lease has lapsed is due as well.
        for status in [JobStatus::Due, JobStatus::Running] {
            let room = inner.options.concurrency.saturating_sub(running.len());
            if room == 0 {
                return Ok(true);
            }
            let until = inner.clock.now().plus(Duration::from_millis(1));
            let query = Query::by(&JOBS, "status")
                .equal(status.name())
                .range(None, Some(until.as_millis().into()))
                .limit(room);
            let (due, _) = find::<Job>(inner.store.as_ref(), query).await?;
            for job in due {
                let inner = inner.clone();
                let span = info_span!("job", job = job.value.id(), kind = job.value.kind(), trace = Empty);
                trace::adopt(&span, job.value.trace());
                running.spawn(async move { inner.take(job).await }.instrument(span));
            }
        }
        Ok(running.len() >= inner.options.concurrency)
    }
}

async fn finish(mut running: JoinSet<()>) {
    while let Some(ended) = running.join_next().await {
        report(ended);
    }
}

/// A performer that fell leaves its job claimed; the lease lapses and the job is begun again.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a job fell");
    }
}

impl Inner {
    fn count(&self, kind: &str, outcome: &'static str) {
        // A kind that nobody performs, which a later version wrote, is no label.
        let kind = self.performers.get_key_value(kind).map_or("unknown", |(kind, _)| kind);
        counter!(figures::JOBS_DONE, "kind" => kind, "outcome" => outcome).increment(1);
    }

    async fn take(&self, found: Versioned<Job>) {
        let lapses = self.clock.now().plus(self.options.lease);
        let job = found.value.claimed(&self.incarnation, lapses);
        let claim = Batch::shared().replace(&job, found.version);
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
        let outcome = match self.performers.get(job.kind()) {
            None => Err(JobError::Retry { reason: format!("nobody performs {}", job.kind()), after: None }),
            // A job that fell with its performer every time is not begun once more.
            Some(_) if job.attempts() > self.options.attempts => {
                Err(JobError::Permanent(job.last_error().unwrap_or("it was never finished").to_owned()))
            }
            Some(performer) => match timeout(self.options.deadline, performer.perform(&job)).await {
                Ok(outcome) => outcome,
                Err(_deadline) => Err(JobError::Retry { reason: "not done in time".to_owned(), after: None }),
            },
        };
        let claimed = Versioned { value: job, version: found.version + 1 };
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
                Batch::shared().replace(&failed, claimed.version)
            }
        };
        // If this does not count, the lease lapses and the job is performed once more.
        if let Err(error) = self.store.commit(batch).await {
            tracing::warn!(job = job.id(), %error, "what became of a job was not recorded");
        }
    }
}
