//! Jobs that are inserted as claimed by the outbox of the same replica, and handed to it after their
//! commit: it need neither look for them nor claim them.
//!
//! Who calls it: whoever commits jobs in great number, through [`Waker::claim`] and [`Waker::hand`];
//! the outbox, which takes them. What never happens here: a job lost. One that is not taken, because
//! the outbox ends, has no room or the process dies, is found by any outbox once its lease has lapsed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::job::{Job, JobStatus};
use crate::store::Versioned;
use crate::supervision::lock;
use crate::time::Timestamp;

/// Jobs that wait to be taken, at most.
const MOST: usize = 256;
/// How long jobs gather after the first one of which the outbox is told.
const GATHERING: Duration = Duration::from_millis(20);

/// What an outbox that takes jobs claims them with.
struct Terms {
    incarnation: String,
    lease: Duration,
}

#[derive(Default)]
struct Waiting {
    /// None while nobody takes jobs.
    terms: Option<Terms>,
    jobs: VecDeque<Versioned<Job>>,
}

/// Where the jobs wait. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Handed {
    waiting: Arc<Mutex<Waiting>>,
    more: Arc<Notify>,
}

impl Handed {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// Takes jobs from here on, until the value is dropped.
    pub(super) fn taken_by(&self, incarnation: &str, lease: Duration) -> Taking {
        self.waiting().terms = Some(Terms { incarnation: incarnation.to_owned(), lease });
        Taking(self.clone())
    }
}

/// The right to take jobs that are handed over.
pub(super) struct Taking(Handed);

impl Taking {
    /// The job that waits for longest; waits for one.
    pub(super) async fn next(&self) -> Versioned<Job> {
        loop {
            let next = self.0.waiting().jobs.pop_front();
            match next {
                Some(job) => return job,
                None => self.0.more.notified().await,
            }
        }
    }

    /// Takes no more from here on; those that wait already.
    pub(super) fn end(&self) -> VecDeque<Versioned<Job>> {
        let mut waiting = self.0.waiting();
        waiting.terms = None;
        std::mem::take(&mut waiting.jobs)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.end();
    }
}

/// Wakes the outbox of this replica after a commit that has a job. A hint: the outbox finds jobs
/// by looking for them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Waker {
    notify: Arc<Notify>,
    pub(super) handed: Handed,
}

impl Waker {
    /// There may be a job.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Where one job is, more follow: a little later one look finds them all.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
        sleep(GATHERING).await;
    }

    /// The job as it is to be inserted: claimed, if the outbox of this replica has room for it.
    pub(crate) fn claim(&self, job: Job, now: Timestamp) -> Job {
        let waiting = self.handed.waiting();
        match &waiting.terms {
            Some(terms) if waiting.jobs.len() < MOST => {
                job.claimed(&terms.incarnation, now.plus(terms.lease))
            }
            _ => job,
        }
    }

    /// Tells the outbox of a job that was inserted as [`Waker::claim`] gave it.
    pub(crate) fn hand(&self, job: Job) {
        if job.status() != JobStatus::Running {
            return self.wake();
        }
        let mut waiting = self.handed.waiting();
        if waiting.terms.is_some() && waiting.jobs.len() < MOST {
            waiting.jobs.push_back(Versioned { value: job, version: 1 });
            self.handed.more.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::sync::watch;
    use tokio::task::{JoinHandle, yield_now};

    use super::*;
    use crate::cluster::Clock;
    use crate::outbox::tests::World;
    use crate::store::{Batch, Store};

    struct Running {
        world: World,
        waker: Waker,
        stop: watch::Sender<bool>,
        running: JoinHandle<()>,
    }

    impl Running {
        async fn start() -> Self {
            let (world, waker) = (World::new(), Waker::default());
            let outbox = world.outbox_woken_by("r1", waker.clone());
            let (stop, stopping) = watch::channel(false);
            let running = tokio::spawn(async move { outbox.run(stopping).await });
            let running = Self { world, waker, stop, running };
            running.until(async || running.waker.handed.waiting().terms.is_some()).await;
            running
        }

        async fn until<F: Future<Output = bool>>(&self, is_so: impl Fn() -> F) {
            for _ in 0..10_000 {
                if is_so().await {
                    return;
                }
                yield_now().await;
            }
            panic!("never so");
        }

        /// Inserts a job as it is to be inserted, without handing it over.
        async fn insert(&self, id: &str) -> Job {
            let job = self.waker.claim(self.world.letter(id), self.world.clock.now());
            self.world.store.commit(Batch::shared().insert(&job)).await.unwrap();
            job
        }

        async fn end(self) -> World {
            self.stop.send_replace(true);
            self.running.await.unwrap();
            self.world
        }
    }

    #[tokio::test]
    async fn a_job_that_is_handed_over_is_done_in_two_commits() {
        let outbox = Running::start().await;
        let job = outbox.insert("j1").await;
        assert_eq!((job.status(), job.owner(), job.attempts()), (JobStatus::Running, Some("r1"), 1));
        outbox.waker.hand(job);
        outbox.until(async || outbox.world.store.commits() == 2).await;
        let world = outbox.end().await;
        assert_eq!(world.letters.done(), ["j1"]);
        assert!(world.listed(JobStatus::Running).await.is_empty());
    }

    #[tokio::test]
    async fn a_job_is_due_where_nobody_takes_it() {
        let (world, waker) = (World::new(), Waker::default());
        assert_eq!(waker.claim(world.letter("j1"), world.clock.now()).status(), JobStatus::Due);
        let outbox = Running::start().await;
        for n in 0..MOST {
            let value = outbox.waker.claim(world.letter(&n.to_string()), world.clock.now());
            outbox.waker.handed.waiting().jobs.push_back(Versioned { value, version: 1 });
        }
        assert_eq!(outbox.waker.claim(world.letter("j1"), world.clock.now()).status(), JobStatus::Due);
    }

    #[tokio::test]
    async fn a_claimed_job_that_is_never_handed_over_is_done_when_its_lease_lapses() {
        let outbox = Running::start().await;
        outbox.insert("lost").await;
        // This one waited for too long: whoever finds it next may be at it before it is done.
        let late = outbox.insert("late").await;
        let lease = outbox.world.options.lease;
        outbox.world.clock.advance(lease - outbox.world.options.deadline);
        outbox.waker.hand(late);
        outbox.until(async || outbox.waker.handed.waiting().jobs.is_empty()).await;
        let world = outbox.end().await;
        assert!(world.letters.done().is_empty());

        let other = world.outbox("r2");
        assert_eq!(other.round().await.unwrap(), 0);
        world.clock.advance(world.options.deadline);
        assert_eq!(other.round().await.unwrap(), 2);
        assert_eq!(world.letters.done().len(), 2);
    }

    #[tokio::test]
    async fn what_was_handed_over_is_done_before_the_outbox_ends() {
        let outbox = Running::start().await;
        let jobs = [outbox.insert("j1").await, outbox.insert("j2").await];
        outbox.stop.send_replace(true);
        jobs.into_iter().for_each(|job| outbox.waker.hand(job));
        let waker = outbox.waker.clone();
        let world = outbox.end().await;
        assert_eq!(world.letters.done().len(), 2);
        assert_eq!(waker.claim(world.letter("j3"), world.clock.now()).status(), JobStatus::Due);
    }
}
