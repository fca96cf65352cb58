//! The storage port on MongoDB: a replica set of version 6.0 or later.
//!
//! Who calls it: the composition root connects; everything else sees a
//! `Store`. What never happens here: an answer that claims more than
//! is known. A commit whose outcome is unknown is settled first (`transaction`, `single`), and
//! what cannot be settled in time is answered as unknown.
//!
//! All reads are majority reads from the primary, all writes majority writes; transactions read a
//! snapshot. Every call of the driver runs as a task on the runtime that the store was connected
//! on: callers may live on any runtime, and a caller that leaves never ends a call midway.

mod abandoned;
mod connection;
mod copy;
mod document;
mod failure;
mod filter;
mod gets;
mod initiate;
mod migrate;
mod schema;
mod shared;
mod single;
mod transaction;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::raw::RawDocumentBuf;
use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, Database};
use secrecy::SecretString;
use steward_actors::backoff::Backoff;
use steward_actors::store::{
    Batch, Collection, CommitError, Conflict, Page, Query, Record, Sharing, Store, StoreError, Tally, Write,
};
use steward_actors::time::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout};

pub use connection::ConnectError;
pub use initiate::initiate;
pub use migrate::{MigrateError, Report};
pub use schema::script;

use failure::Failure;
use transaction::CONTENDED_ATTEMPTS;

/// Calls of each kind, reads and commits, that may be under way; more are turned away at once.
const MOST_CALLS: usize = 2048;

/// How long the store waits.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For a read: after that it is answered as unavailable.
    pub read: Duration,
    /// For a commit: after that it is answered as unknown. It is not sent again in the last fifth.
    pub commit: Duration,
    /// For a primary to be found, before a call is sent.
    pub primary: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(5),
            commit: Duration::from_secs(10),
            primary: Duration::from_secs(5),
        }
    }
}

/// The store on MongoDB. Cheap to clone; all clones share one connection pool.
#[derive(Clone)]
pub struct MongoStore {
    inner: Arc<Inner>,
    shared: shared::Queue,
    gets: gets::Gets,
    handle: Handle,
    reads: Arc<Semaphore>,
    commits: Arc<Semaphore>,
}

/// What the calls need: the driver's handles, and the declared schema.
struct Inner {
    client: Client,
    database: Database,
    schema: Vec<&'static Collection>,
    deadlines: Deadlines,
    /// What the replicas on this database are called to the server, unless the URI says otherwise.
    own_name: Option<String>,
    last_look: abandoned::LastLook,
}

/// Why a commit did not succeed, told apart as the shared commits need it.
#[derive(Clone, Debug)]
enum NotCommitted {
    /// Nothing was written, because of the write at this position of the batch.
    Conflict(usize, Conflict),
    /// Nothing was written: no reaching the store.
    Unreachable(String),
    /// Nothing was written: MongoDB does not take this batch, or not now.
    Refused(String),
    /// It may have been written.
    Unknown(String),
}

impl From<NotCommitted> for CommitError {
    fn from(error: NotCommitted) -> Self {
        match error {
            NotCommitted::Conflict(_, conflict) => Self::Conflict(conflict),
            NotCommitted::Unreachable(reason) | NotCommitted::Refused(reason) => Self::Unavailable(reason),
            NotCommitted::Unknown(reason) => Self::OutcomeUnknown(reason),
        }
    }
}

impl MongoStore {
    /// Connects to the replica set at `uri` and checks that it is one. The runtime that this is
    /// called on runs every later call: it should have several threads, and must outlive the store.
    ///
    /// Does not touch the schema: see [`MongoStore::migrate`] and [`MongoStore::missing`].
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        uri: &SecretString,
        database: &str,
        schema: &[&'static Collection],
    ) -> Result<Self, ConnectError> {
        Self::connect_within(uri, database, schema, Deadlines::default()).await
    }

    /// [`MongoStore::connect`] with other deadlines.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_within(
        uri: &SecretString,
        database: &str,
        schema: &[&'static Collection],
        deadlines: Deadlines,
    ) -> Result<Self, ConnectError> {
        let connection::Connected { client, own_name } = connection::open(uri, database, &deadlines).await?;
        let inner = Arc::new(Inner {
            database: client.database(database),
            client,
            schema: schema.to_vec(),
            deadlines,
            own_name,
            last_look: abandoned::LastLook::default(),
        });
        Ok(Self {
            shared: shared::start(Arc::clone(&inner)),
            gets: gets::Gets::new(Arc::clone(&inner)),
            inner,
            handle: Handle::current(),
            reads: Arc::new(Semaphore::new(MOST_CALLS)),
            commits: Arc::new(Semaphore::new(MOST_CALLS)),
        })
    }

    /// How MongoDB would serve `query`: its own explanation with what was executed, for people who
    /// look for the reason of a slow page.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn explain(&self, query: &Query) -> Result<Document, StoreError> {
        let (name, find) = (query.collection.name, filter::find(query));
        self.read(move |inner| async move {
            let mut command = doc! {
                "find": name, "filter": find.filter, "sort": find.sort, "limit": find.limit,
            };
            if let Some(hint) = find.hint {
                command.insert("hint", hint);
            }
            let command = doc! { "explain": command, "verbosity": "executionStats" };
            inner.database.run_command(command).await.map_err(unreadable)
        })
        .await
    }

    /// How long the server lets a transaction stay open (`transactionLifetimeLimitSeconds`).
    ///
    /// # Errors
    /// [`StoreError`], also if this user may not ask.
    pub async fn transaction_lifetime(&self) -> Result<Duration, StoreError> {
        const LIMIT: &str = "transactionLifetimeLimitSeconds";
        self.read(|inner| async move {
            let asked = doc! { "getParameter": 1, LIMIT: 1 };
            let told = inner.client.database("admin").run_command(asked).await.map_err(unreadable)?;
            let seconds = told.get_i32(LIMIT).ok().and_then(|seconds| u64::try_from(seconds).ok());
            let odd = || StoreError::Unavailable(format!("{LIMIT} is no number"));
            seconds.map(Duration::from_secs).ok_or_else(odd)
        })
        .await
    }

    /// Whether a transaction that a replica has left open is ended by the others.
    pub fn ends_abandoned(&self) -> bool {
        self.inner.own_name.is_some()
    }

    async fn read<T, F>(&self, ask: impl FnOnce(Arc<Inner>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let busy = || StoreError::Unavailable("too many reads are under way".to_owned());
        let permit = Arc::clone(&self.reads).try_acquire_owned().map_err(|_| busy())?;
        let deadline = self.inner.deadlines.read;
        let asked = ask(Arc::clone(&self.inner));
        let answer = self
            .run(deadline, async move {
                let answer = asked.await;
                drop(permit);
                answer
            })
            .await;
        answer.unwrap_or_else(|reason| Err(StoreError::Unavailable(reason)))
    }

    /// Runs `work` to its end on the store's runtime, whether or not the caller stays, and waits
    /// for it until the deadline. The time-out runs there too, as the caller's runtime may have a
    /// clock of its own.
    async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        let working = self.handle.spawn(async move {
            let mut work = pin!(work);
            // Whoever asked may be gone.
            match timeout(deadline, work.as_mut()).await {
                Ok(done) => drop(answer.send(Ok(done))),
                Err(_) => {
                    drop(answer.send(Err(format!("no answer within {} ms", deadline.as_millis()))));
                    drop(work.await);
                }
            }
        });
        match answered.await {
            Ok(answer) => answer,
            // It panicked, or its runtime is shutting down.
            Err(_) => Err(working.await.err().map_or_else(String::new, |broken| broken.to_string())),
        }
    }
}

#[async_trait]
impl Store for MongoStore {
    async fn get_many(
        &self,
        collection: &'static Collection,
        ids: &[String],
    ) -> Result<Vec<Record>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (gets, ids) = (self.gets.clone(), ids.to_vec());
        self.read(move |_| async move { gets.get(collection, ids).await }).await
    }

    async fn find(&self, query: Query) -> Result<Page, StoreError> {
        let find = filter::find(&query);
        let collection = query.collection;
        let records = self.read(move |inner| async move { inner.find(collection, find).await }).await?;
        Ok(query.page(records))
    }

    async fn tally(&self, query: Query, prefix: &str) -> Result<Tally, StoreError> {
        let (name, pipeline, most) = (query.collection.name, filter::tally(&query, prefix), query.limit);
        let answer = self.read(move |inner| async move { inner.aggregate(name, pipeline).await }).await?;
        filter::tallied(&answer, most)
            .ok_or_else(|| StoreError::Unavailable("MongoDB's counts are not in their form".to_owned()))
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        if batch.writes.is_empty() {
            return Ok(());
        }
        let busy = || CommitError::Unavailable("too many commits are under way".to_owned());
        let permit = Arc::clone(&self.commits).try_acquire_owned().map_err(|_| busy())?;
        let deadline = self.inner.deadlines.commit;
        let until = Instant::now() + deadline / 5 * 4;
        let inner = Arc::clone(&self.inner);
        let shared = (batch.sharing == Sharing::Shared).then(|| self.shared.clone());
        let committed = self
            .run(deadline, async move {
                let committed = match shared {
                    Some(queue) => queue.commit(batch, until).await,
                    None => inner.commit(&batch.writes.iter().collect::<Vec<_>>(), until).await,
                };
                drop(permit);
                committed
            })
            .await;
        match committed {
            Ok(committed) => committed.map_err(CommitError::from),
            Err(reason) => Err(CommitError::OutcomeUnknown(reason)),
        }
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.read(|inner| async move {
            let hello = inner.client.database("admin").run_command(doc! { "hello": 1 }).await;
            match hello.map_err(unreadable)?.get("localTime") {
                Some(Bson::DateTime(now)) => Ok(Timestamp::from_millis(now.timestamp_millis())),
                _ => Err(StoreError::Unavailable("the primary does not tell its time".to_owned())),
            }
        })
        .await
    }
}

impl Inner {
    async fn by_ids(
        &self,
        collection: &'static Collection,
        ids: &[String],
    ) -> Result<Vec<Record>, StoreError> {
        let filter = match ids {
            [id] => doc! { document::ID: id },
            ids => doc! { document::ID: { "$in": ids } },
        };
        let limit = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        self.find(collection, filter::Find { filter, sort: doc! {}, hint: None, limit }).await
    }

    async fn find(
        &self,
        collection: &'static Collection,
        find: filter::Find,
    ) -> Result<Vec<Record>, StoreError> {
        let documents = self.database.collection::<RawDocumentBuf>(collection.name);
        let mut asked = documents
            .find(find.filter)
            .limit(find.limit)
            // All in one reply as far as a reply's size allows; one more than the limit, so that
            // the server closes its cursor by itself.
            .batch_size(u32::try_from(find.limit).unwrap_or(u32::MAX).saturating_add(1))
            .max_time(self.deadlines.read);
        if !find.sort.is_empty() {
            asked = asked.sort(find.sort);
        }
        if let Some(hint) = find.hint {
            asked = asked.hint(mongodb::options::Hint::Name(hint.to_owned()));
        }
        let mut found = asked.await.map_err(unreadable)?;
        let mut records = Vec::new();
        while found.advance().await.map_err(unreadable)? {
            records.push(document::to_record(collection, found.current())?);
        }
        Ok(records)
    }

    /// The first document that a pipeline makes; an empty one if it makes none.
    async fn aggregate(&self, collection: &str, pipeline: Vec<Document>) -> Result<Document, StoreError> {
        let documents = self.database.collection::<Document>(collection);
        let asked = documents.aggregate(pipeline).max_time(self.deadlines.read);
        let mut found = asked.await.map_err(unreadable)?;
        Ok(found.try_next().await.map_err(unreadable)?.unwrap_or_default())
    }

    /// Commits these writes together, alone.
    async fn commit(&self, writes: &[&Write], until: Instant) -> Result<(), NotCommitted> {
        match writes {
            [write @ (Write::Insert { .. } | Write::Replace { .. })] => self.write_one(write, until).await,
            // Also a single delete: what a lost answer to it was cannot be seen afterwards.
            writes => self.transact(writes, CONTENDED_ATTEMPTS, until, || ()).await,
        }
    }
}

fn unreadable(error: mongodb::error::Error) -> StoreError {
    StoreError::Unavailable(Failure::from(error).reason())
}

/// Before another attempt at what met others, or has no outcome yet.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(400));
