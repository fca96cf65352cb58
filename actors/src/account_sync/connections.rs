//! The handle on connections that the rest of Steward holds.

use std::sync::Arc;
use std::time::Duration;

use super::actor::{AccountSync, Heed, Made, RequestRun, Revoke};
use super::connection::{CONNECTIONS, Connection, Disposal};
use super::errors::{LinkError, SyncError};
use super::link::{LinkRequest, Linked, link};
use super::notice::Heeded;
use super::parts::SyncParts;
use super::relink::{self, RelinkRequest};
use super::run::{RUNS, Run};
use super::work::{Desk, Work};
use crate::accounts::forget_copies;
use crate::ids;
use crate::providers::LinkToken;
use crate::store::{Cursor, Query, Store, StoreError, Versioned, find, load};
use crate::supervision::{Arbiters, Registry, RegistryOptions, Tree};
use crate::time::Timestamp;

/// A page of connections, oldest first, and where the next one begins.
pub type ConnectionPage = (Vec<Versioned<Connection>>, Option<Cursor>);

/// A page of runs, newest first, and where the next one begins.
pub type RunPage = (Vec<Versioned<Run>>, Option<Cursor>);

/// Links, lists, syncs and deletes connections. Cheap to clone.
#[derive(Clone)]
pub struct Connections {
    pub(super) desk: Arc<Desk>,
    pub(super) actors: Registry<AccountSync>,
}

/// How long after a run has ended a copy from before it may still be there: as long as its commit may
/// take, a read that began before that, and the age of a copy.
const COPIES_OUTLIVE: Duration = Duration::from_secs(30);
/// How long a command may take: a few commits, retried.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that one name of a provider's may be of.
const MOST_NAMESAKES: usize = 10;

impl Connections {
    /// Account sync over these parts. Nothing runs on a schedule until [`Self::schedule`] does.
    pub fn new(parts: SyncParts, arbiters: Arc<Arbiters>, tree: Tree) -> Self {
        let options = RegistryOptions {
            kind: "account-sync",
            mailbox: 64,
            capacity: parts.options.most_actors,
            // They keep nothing in memory that is worth much.
            idle: Duration::from_secs(2),
            drain: parts.options.drain,
        };
        let desk = Arc::new(Desk::new(parts));
        let shared = desk.clone();
        let actors = Registry::new(options, arbiters, tree, move |connection_id, lifeline| {
            let work = Work::new(shared.clone(), connection_id);
            async move { Ok(AccountSync::new(work, lifeline)) }
        });
        Self { desk, actors }
    }

    /// Links an institution: claims the setup token, 10 s at most (the default of
    /// [`super::SyncOptions::claim_deadline`]), and queues the first run in the commit that makes the
    /// connection. If the provider's answer is lost, the connection is made and needs the user
    /// again. Goes on when the caller has gone. A command that comes again gets what it made.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn link(&self, request: LinkRequest) -> Result<Linked, LinkError> {
        let this = self.clone();
        let linking = tokio::spawn(async move {
            let linked = link(&this.desk.parts, request).await?;
            if linked.connection.due_at.is_some() && !linked.replayed {
                this.start(&linked.connection.id);
            }
            Ok(linked)
        });
        linking.await.unwrap_or(Err(LinkError::OutcomeUnknown))
    }

    /// Gives a connection another credential, by a token as for a link, 10 s at most, and queues a run.
    /// If the provider's answer is lost, the connection needs the user again. Goes on when the caller
    /// has gone.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn relink(&self, request: RelinkRequest) -> Result<Connection, LinkError> {
        let this = self.clone();
        let linking = tokio::spawn(async move {
            let connection = relink::relink(&this.desk.parts, request).await?;
            // Its actor may be there already, so being started is not enough to make it look.
            if this.actors.ask(&connection.id, Made, PATIENCE).await.is_err() {
                this.wake();
            }
            Ok(connection)
        });
        linking.await.unwrap_or(Err(LinkError::OutcomeUnknown))
    }

    /// What the page of a provider that has one needs to let a user choose a bank, or, with a
    /// connection, to let them in again; 10 s at most.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn link_token(
        &self,
        user_id: &str,
        connection_id: Option<&str>,
    ) -> Result<LinkToken, LinkError> {
        relink::link_token(&self.desk.parts, user_id, connection_id).await
    }

    /// A page of this user's connections; `limit` is 1 to 1,000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &self,
        user_id: &str,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<ConnectionPage, StoreError> {
        let query = Query::by(&CONNECTIONS, "listed").equal(user_id).limit(limit).after(after);
        let page: ConnectionPage = find(self.store(), query).await?;
        self.shows_end_of_run(user_id, page.0.iter().filter_map(|found| found.value.last_success_at).max());
        Ok(page)
    }

    /// A connection of this user; `None` also for another's and for a deleted one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, user_id: &str, id: &str) -> Result<Option<Versioned<Connection>>, StoreError> {
        let found = self.owned(user_id, id).await?;
        self.shows_end_of_run(user_id, found.as_ref().and_then(|found| found.value.last_success_at));
        Ok(found)
    }

    async fn owned(&self, user_id: &str, id: &str) -> Result<Option<Versioned<Connection>>, StoreError> {
        let found = load::<Connection>(self.store(), id).await?;
        Ok(found.filter(|connection| connection.value.listed_for.as_deref() == Some(user_id)))
    }

    /// Wants a run of this connection: joins the one that is queued or running, or queues one.
    /// However many ask at once, on whatever replica, one run is made.
    ///
    /// # Errors
    /// [`SyncError`].
    pub async fn request_sync(&self, user_id: &str, id: &str) -> Result<Run, SyncError> {
        self.owned(user_id, id).await?.ok_or(SyncError::NotFound)?;
        let command = RequestRun { user_id: user_id.to_owned(), run_id: ids::new_id() };
        self.actors.ask(id, command, PATIENCE).await?
    }

    /// Heeds what `provider` says: that something about what it calls `reference` is new. `notice` names
    /// the saying; a copy has the same name. Joins a run that is queued; one that is running has
    /// perhaps not seen it, so another one follows it.
    ///
    /// # Errors
    /// [`SyncError`]; it should be said again.
    pub async fn noticed(&self, provider: &str, reference: &str, notice: &str) -> Result<Heeded, SyncError> {
        let query = Query::by(&CONNECTIONS, "reference").equal(provider).equal(reference);
        let (found, _) = find::<Connection>(self.store(), query.limit(MOST_NAMESAKES)).await?;
        let mut heeded = Heeded::Unknown;
        for connection in found.iter().filter(|connection| connection.value.is_listed()) {
            let id = &connection.value.id;
            let told = self.heed(id, format!("{id}.{notice}")).await?;
            heeded = if heeded == Heeded::Wanted { heeded } else { told };
        }
        Ok(heeded)
    }

    async fn heed(&self, id: &str, notice: String) -> Result<Heeded, SyncError> {
        let command = Heed { notice, run_id: ids::new_id() };
        self.actors.ask(id, command, PATIENCE).await?
    }

    /// A page of a connection's runs; `None` if the user has no such connection; `limit` is 1 to
    /// 1,000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn runs(
        &self,
        user_id: &str,
        id: &str,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Option<RunPage>, StoreError> {
        if self.owned(user_id, id).await?.is_none() {
            return Ok(None);
        }
        let query = Query::by(&RUNS, "connection").equal(id).descending().limit(limit).after(after);
        let page: RunPage = find(self.store(), query).await?;
        self.shows_end_of_run(user_id, page.0.iter().filter_map(|run| run.value.finished_at).max());
        Ok(Some(page))
    }

    /// One run of a connection.
    ///
    /// # Errors
    /// [`SyncError`].
    pub async fn run(&self, user_id: &str, id: &str, run_id: &str) -> Result<Versioned<Run>, SyncError> {
        self.owned(user_id, id).await?.ok_or(SyncError::NotFound)?;
        let found = load::<Run>(self.store(), run_id).await?;
        let run = found.filter(|run| run.value.connection_id == id).ok_or(SyncError::NotFound)?;
        self.shows_end_of_run(user_id, run.value.finished_at);
        Ok(run)
    }

    /// Whoever is shown here that a run has ended finds what it brought here, whichever replica has
    /// committed it and whether or not that has come to say so.
    fn shows_end_of_run(&self, user_id: &str, ended_at: Option<Timestamp>) {
        let now = self.desk.parts.clock.now();
        if ended_at.is_some_and(|at| now < at.plus(COPIES_OUTLIVE)) {
            forget_copies(self.desk.parts.channel.as_ref(), user_id);
        }
    }

    /// Deletes a connection: its credential is wiped and its runs end at once; a job tells the
    /// provider that the access has ended.
    ///
    /// # Errors
    /// [`SyncError`]; deleting what was deleted is [`SyncError::NotFound`].
    pub async fn delete(&self, user_id: &str, id: &str, disposal: Disposal) -> Result<(), SyncError> {
        self.owned(user_id, id).await?.ok_or(SyncError::NotFound)?;
        let command = Revoke { user_id: user_id.to_owned(), command_id: ids::new_id(), disposal };
        self.actors.ask(id, command, PATIENCE).await?
    }

    /// Begins no more runs, and waits for those under way until `deadline` has passed. A run that
    /// is cut off is resumed by whoever comes next.
    pub async fn drain(&self, deadline: Duration) {
        self.actors.drain(deadline).await;
    }

    /// Looks for what is due before the schedule's next turn.
    pub fn wake(&self) {
        self.desk.wake.notify_one();
    }

    /// Starts the connection's actor, which looks whether a run is due. If it cannot be started
    /// the schedule finds the connection.
    pub fn start(&self, id: &str) {
        if self.actors.get(id).is_err() {
            self.wake();
        }
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.desk.parts.store.as_ref()
    }
}
