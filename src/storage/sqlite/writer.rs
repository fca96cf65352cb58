//! The one thread that writes, and how callers hand it their batches.
//!
//! While it commits, further batches gather; it takes them together. A panic costs the batches in
//! hand, whose callers learn that the outcome is unknown, and nothing else.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use metrics::histogram;
use steward_actors::figures;
use steward_actors::store::{Batch, CommitError};
use steward_actors::supervision::lock;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::apply::{self, PreparedWrite};
use super::queue::{Queue, Taken};

/// What is committed together: batches, and their bytes.
const GROUP: (usize, usize) = (256, 1 << 20);
/// What may wait: batches, and their bytes.
const WAITING: (usize, usize) = (4096, 32 << 20);
/// How often the thread looks up when nobody writes.
const IDLE: Duration = Duration::from_secs(10);

/// A batch on its way.
pub(super) struct Job {
    pub(super) writes: Vec<PreparedWrite>,
    reply: oneshot::Sender<Result<(), CommitError>>,
    /// Set by whoever comes first: the writer that takes the batch, or the caller that gives up.
    settled: Arc<AtomicBool>,
}

/// What a caller keeps of a batch that it has handed over.
pub(super) struct Ticket {
    answer: oneshot::Receiver<Result<(), CommitError>>,
    settled: Arc<AtomicBool>,
}

impl Job {
    pub(super) fn new(writes: Vec<PreparedWrite>) -> (Self, Ticket) {
        let (reply, answer) = oneshot::channel();
        let settled = Arc::new(AtomicBool::new(false));
        (Self { writes, reply, settled: Arc::clone(&settled) }, Ticket { answer, settled })
    }

    /// Whether the writer may begin it: its caller has not given up.
    fn claim(&self) -> bool {
        !self.settled.swap(true, Ordering::AcqRel)
    }

    pub(super) fn answer(self, result: Result<(), CommitError>) {
        // A caller that has left needs no answer.
        let _ = self.reply.send(result);
    }
}

impl Ticket {
    pub(super) async fn wait(self, deadline: Duration) -> Result<(), CommitError> {
        match timeout(deadline, self.answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CommitError::OutcomeUnknown("SQLite's writer panicked".to_owned())),
            Err(_) if self.settled.swap(true, Ordering::AcqRel) => {
                Err(CommitError::OutcomeUnknown(format!("SQLite gave no answer within {deadline:?}")))
            }
            Err(_) => {
                Err(CommitError::Unavailable(format!("SQLite did not begin the batch within {deadline:?}")))
            }
        }
    }
}

/// What the thread does. SQLite's part is [`super::transactions`].
pub(super) trait Work: Send + 'static {
    /// Commits the batches and answers each.
    fn commit(&mut self, jobs: Vec<Job>);
    /// Is called every now and then.
    fn look_up(&mut self);
    /// Makes it fit for work after a panic in one of the above.
    fn recover(&mut self);
    /// Is called last.
    fn close(&mut self);
}

/// The writer as callers see it.
pub(super) struct Writer {
    queue: Arc<Queue<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(work: impl Work) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(WAITING.0, WAITING.1));
        let jobs = Arc::clone(&queue);
        let thread =
            thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || run(&jobs, work))?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)) })
    }

    /// Hands the batch over and waits for its answer.
    pub(super) async fn commit(&self, batch: Batch, deadline: Duration) -> Result<(), CommitError> {
        let (writes, weight) = apply::prepare(batch);
        let (job, ticket) = Job::new(writes);
        if let Err(refused) = self.queue.push(job, weight) {
            return Err(CommitError::Unavailable(format!("SQLite takes no batch: {refused}")));
        }
        ticket.wait(deadline).await
    }

    /// Lets the thread finish what is queued, and waits for its end.
    pub(super) fn close(&self) {
        self.queue.close();
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("SQLite's writer panicked at its end");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(queue: &Queue<Job>, mut work: impl Work) {
    loop {
        let taken = queue.take(GROUP.0, GROUP.1, IDLE);
        // Batches wait outside and make the next round necessary, so a writer that panics at each
        // is as slow as its callers: no back-off.
        let outcome = catch_unwind(AssertUnwindSafe(|| match taken {
            Taken::Jobs(mut jobs) => {
                jobs.retain(Job::claim);
                if !jobs.is_empty() {
                    histogram!(figures::STORE_SHARED).record(jobs.len() as f64);
                    work.commit(jobs);
                }
                work.look_up();
                true
            }
            Taken::Nothing => {
                work.look_up();
                true
            }
            Taken::Closed => false,
        }));
        match outcome {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => {
                tracing::error!("SQLite's writer panicked; it goes on with a new connection");
                work.recover();
            }
        }
    }
    work.close();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::future::join_all;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    /// Answers with what it finds in `next`, one entry a group.
    struct Scripted {
        next: mpsc::Receiver<Next>,
        begun: tokio::sync::mpsc::UnboundedSender<usize>,
    }

    enum Next {
        Succeed,
        Panic,
    }

    impl Work for Scripted {
        fn commit(&mut self, jobs: Vec<Job>) {
            self.begun.send(jobs.len()).unwrap();
            match self.next.recv().unwrap() {
                Next::Succeed => jobs.into_iter().for_each(|job| job.answer(Ok(()))),
                Next::Panic => panic!("as the test wants"),
            }
        }
        fn look_up(&mut self) {}
        fn recover(&mut self) {}
        fn close(&mut self) {}
    }

    fn scripted() -> (Arc<Writer>, mpsc::Sender<Next>, tokio::sync::mpsc::UnboundedReceiver<usize>) {
        let (script, next) = mpsc::channel();
        let (begun, begins) = tokio::sync::mpsc::unbounded_channel();
        (Arc::new(Writer::start(Scripted { next, begun }).unwrap()), script, begins)
    }

    #[tokio::test]
    async fn a_panic_leaves_the_outcome_unknown_and_the_writer_working() {
        let (writer, script, _begins) = scripted();
        script.send(Next::Panic).unwrap();
        let lost = writer.commit(Batch::new(), DEADLINE).await;
        assert!(matches!(lost, Err(CommitError::OutcomeUnknown(_))), "{lost:?}");

        script.send(Next::Succeed).unwrap();
        assert_eq!(writer.commit(Batch::new(), DEADLINE).await, Ok(()));
    }

    #[tokio::test]
    async fn after_the_deadline_a_begun_batch_is_unknown_and_a_waiting_one_was_never_written() {
        let (writer, script, mut begins) = scripted();
        let (job, begun) = Job::new(Vec::new());
        writer.queue.push(job, 0).unwrap();
        assert_eq!(begins.recv().await, Some(1));

        let begun = begun.wait(Duration::ZERO).await;
        let waiting = writer.commit(Batch::new(), Duration::ZERO).await;

        assert!(matches!(begun, Err(CommitError::OutcomeUnknown(_))), "{begun:?}");
        assert!(matches!(waiting, Err(CommitError::Unavailable(_))), "{waiting:?}");
        script.send(Next::Succeed).unwrap();
        script.send(Next::Succeed).unwrap();
        assert_eq!(writer.commit(Batch::new(), DEADLINE).await, Ok(()));
        assert_eq!(begins.recv().await, Some(1), "only the last one");
        assert!(begins.try_recv().is_err(), "what was given up is never begun");
    }

    #[tokio::test]
    async fn what_gathers_meanwhile_is_committed_together_and_too_much_is_refused_at_once() {
        let (writer, script, mut begins) = scripted();
        let first = {
            let writer = Arc::clone(&writer);
            tokio::spawn(async move { writer.commit(Batch::new(), DEADLINE).await })
        };
        assert_eq!(begins.recv().await, Some(1));
        let mut waiting: Vec<_> =
            (0..WAITING.0).map(|_| Box::pin(writer.commit(Batch::new(), DEADLINE))).collect();
        for commit in &mut waiting {
            assert!(futures_util::poll!(commit).is_pending());
        }

        let refused = writer.commit(Batch::new(), DEADLINE).await;
        assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");

        for _ in 0..=WAITING.0 / GROUP.0 {
            script.send(Next::Succeed).unwrap();
        }
        assert!(join_all(waiting).await.into_iter().all(|result| result.is_ok()));
        assert_eq!(first.await.unwrap(), Ok(()));
        assert_eq!(begins.recv().await, Some(GROUP.0));
    }

    #[tokio::test]
    async fn closing_finishes_what_is_queued_and_refuses_the_rest() {
        let (writer, script, mut begins) = scripted();
        let queued = {
            let writer = Arc::clone(&writer);
            tokio::spawn(async move { writer.commit(Batch::new(), DEADLINE).await })
        };
        assert_eq!(begins.recv().await, Some(1));
        script.send(Next::Succeed).unwrap();

        let closing = Arc::clone(&writer);
        tokio::task::spawn_blocking(move || closing.close()).await.unwrap();

        assert_eq!(queued.await.unwrap(), Ok(()));
        let refused = writer.commit(Batch::new(), DEADLINE).await;
        assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    }
}
