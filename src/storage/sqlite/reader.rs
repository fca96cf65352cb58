//! A few threads that read, each with a connection of its own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use steward_actors::store::StoreError;
use steward_actors::supervision::lock;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::connection;
use super::queue::{Queue, Taken};

/// How many threads read.
const THREADS: usize = 4;
/// How many reads may wait.
const WAITING: usize = 1024;
/// The threads have nothing to do between reads; this only bounds a wait.
const IDLE: Duration = Duration::from_secs(60);

/// One read; it answers its caller itself.
type Job = Box<dyn FnOnce(rusqlite::Result<&Connection>) + Send>;

/// The readers as callers see them.
pub(super) struct Readers {
    queue: Arc<Queue<Job>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        let readers =
            Self { queue: Arc::new(Queue::new(WAITING, usize::MAX)), threads: Mutex::new(Vec::new()) };
        for number in 1..=THREADS {
            let (queue, path) = (Arc::clone(&readers.queue), path.to_owned());
            let builder = thread::Builder::new().name(format!("sqlite-reader-{number}"));
            let thread = builder.spawn(move || run(&queue, &path))?;
            lock(&readers.threads).push(thread);
        }
        Ok(readers)
    }

    /// Has `read` done by one of the threads and waits for what it found.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        deadline: Duration,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // A caller that has left needs no answer.
            if !reply.is_closed() {
                let found = match connection {
                    Ok(connection) => read(connection),
                    Err(error) => Err(StoreError::Unavailable(error.to_string())),
                };
                let _ = reply.send(found);
            }
        });
        if let Err(refused) = self.queue.push(job, 0) {
            return Err(StoreError::Unavailable(format!("SQLite takes no question: {refused}")));
        }
        match timeout(deadline, answer).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(StoreError::Unavailable("SQLite's reader panicked".to_owned())),
            Err(_) => Err(StoreError::Unavailable(format!("SQLite gave no answer within {deadline:?}"))),
        }
    }

    /// Lets the threads finish what is queued, and waits for their end.
    pub(super) fn close(&self) {
        self.queue.close();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a reader of SQLite panicked at its end");
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(queue: &Queue<Job>, path: &Path) {
    let mut kept: Option<Connection> = None;
    loop {
        let jobs = match queue.take(1, usize::MAX, IDLE) {
            Taken::Jobs(jobs) => jobs,
            Taken::Nothing => continue,
            Taken::Closed => return,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for job in jobs {
                match kept.take().map_or_else(|| connection::open_reader(path), Ok) {
                    Ok(connection) => {
                        job(Ok(&connection));
                        kept = Some(connection);
                    }
                    Err(error) => job(Err(error)),
                }
            }
        }));
        if outcome.is_err() {
            tracing::error!("a reader of SQLite panicked; it goes on with a new connection");
        }
    }
}
