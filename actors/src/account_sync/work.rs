//! The work on one connection: what is asked of it, decided on what the store says and committed at that
//! version. Its runs are in `perform`, what they read in `known`.
//!
//! Who calls it: the actor. What never happens here: a call to a bank, a decision on what was remembered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{self, MutexGuard, Notify, Semaphore};

use super::connection::{Connection, Disposal};
use super::errors::SyncError;
use super::parts::SyncParts;
use super::revocation;
use super::run::{RUNS, Run};
use super::settle::{revoked, wanted};
use crate::accounts::{ACCOUNTS, Account, sweep, tell_of_change};
use crate::backoff::Backoff;
use crate::store::{Batch, CommitError, Query, Store, StoreError, Versioned, find, load};
use crate::supervision::lock;
use crate::time::Timestamp;

/// How often a commit that conflicts, or whose outcome is unknown, is decided again.
pub(super) const ATTEMPTS: u32 = 8;
/// Between those decisions.
pub(super) const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(640));

/// What all connections of this process share.
pub(super) struct Desk {
    pub(super) parts: SyncParts,
    /// Runs at once.
    pub(super) room: Semaphore,
    /// Large statements that are taken over at once.
    pub(super) large: Semaphore,
    /// Wakes the schedule before its time.
    pub(super) wake: Notify,
    /// What a dead replica was at is to be looked for, before its claims lapse.
    pub(super) inherits: AtomicBool,
    /// The schedule may have had to leave due connections alone, for want of room.
    pub(super) left_some: AtomicBool,
    /// Runs that wait for room.
    queued: AtomicUsize,
    /// Due connections as the schedule found them, until their actors look.
    noted: Mutex<HashMap<String, Versioned<Connection>>>,
}

/// Runs that may wait for room in this process, so that there is always one to go on with.
const AHEAD: usize = 64;

impl Desk {
    pub(super) fn new(parts: SyncParts) -> Self {
        Self {
            room: Semaphore::new(parts.options.concurrency.max(1)),
            large: Semaphore::new(1),
            wake: Notify::new(),
            inherits: AtomicBool::new(true),
            left_some: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            noted: Mutex::default(),
            parts,
        }
    }

    /// How many runs more may be started, to begin now or to wait.
    pub(super) fn wanted(&self) -> usize {
        let ahead = AHEAD.saturating_sub(self.queued.load(Ordering::Acquire));
        self.room.available_permits() + ahead
    }

    /// Counts a run that waits, until what is returned is dropped.
    pub(super) fn queue(&self) -> Queued<'_> {
        self.queued.fetch_add(1, Ordering::AcqRel);
        Queued(&self.queued)
    }

    /// Wakes the schedule if it had to leave some alone and few are left that wait.
    pub(super) fn look_if_short(&self) {
        let few = self.queued.load(Ordering::Acquire) <= AHEAD / 2;
        if few && self.left_some.swap(false, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Notes a connection that was just read, for its actor.
    pub(super) fn note(&self, connection: Versioned<Connection>) {
        lock(&self.noted).insert(connection.value.id.clone(), connection);
    }

    /// What was noted of a connection; it is not told twice.
    pub(super) fn take_noted(&self, connection_id: &str) -> Option<Versioned<Connection>> {
        lock(&self.noted).remove(connection_id)
    }
}

/// A run that waits for room.
pub(super) struct Queued<'a>(&'a AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The work on one connection.
pub(super) struct Work {
    pub(super) desk: Arc<Desk>,
    connection_id: String,
    /// One decision at a time, in the order in which they came.
    turn: sync::Mutex<()>,
}

impl Work {
    pub(super) fn new(desk: Arc<Desk>, connection_id: String) -> Self {
        Self { desk, connection_id, turn: sync::Mutex::new(()) }
    }

    /// Makes the run with this id wanted, or joins the one that is unfinished. The flag says
    /// whether somebody has to begin it. While the provider wants to be left alone, the run waits.
    pub(super) async fn request(&self, user_id: &str, run_id: &str) -> Result<(Run, bool), SyncError> {
        let _turn = self.turn.lock().await;
        let mut last = SyncError::OutcomeUnknown;
        for attempt in 0..ATTEMPTS {
            BACKOFF.wait(attempt).await;
            let connection = self.owned(user_id).await?;
            if let Some(run) = self.unfinished().await? {
                return Ok((run.value, connection.value.claim.is_none()));
            }
            if let Some(run) = load::<Run>(self.store(), run_id).await? {
                return Ok((run.value, false));
            }
            let now = self.desk.parts.clock.now();
            let (due, run) = wanted(connection.value, run_id, now);
            let batch = Batch::new().replace(&due, connection.version).insert(&run);
            match again(self.store().commit(batch).await)? {
                Ok(()) => return Ok((run, true)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Deletes the connection: its credential and its schedule at once, its accounts as asked.
    pub(super) async fn revoke(
        &self,
        user_id: &str,
        command_id: &str,
        disposal: Disposal,
    ) -> Result<(), SyncError> {
        let _turn = self.turn.lock().await;
        let accounts = match disposal {
            Disposal::KeepAccounts => Vec::new(),
            Disposal::DeleteAccounts => self.accounts().await?,
        };
        // Before, so that what is cut off here can be asked for again; and after, for what a run
        // that was under way has added meanwhile.
        self.sweep(&accounts).await?;
        self.revoke_now(user_id, command_id, disposal).await?;
        tell_of_change(self.desk.parts.channel.as_ref(), user_id).await;
        self.sweep(&accounts).await
    }

    /// Deletes what goes with these accounts.
    async fn sweep(&self, accounts: &[Versioned<Account>]) -> Result<(), SyncError> {
        for account in accounts {
            sweep(self.store(), &account.value.id).await?;
        }
        Ok(())
    }

    async fn revoke_now(&self, user_id: &str, command_id: &str, disposal: Disposal) -> Result<(), SyncError> {
        let mut last = SyncError::OutcomeUnknown;
        for attempt in 0..ATTEMPTS {
            BACKOFF.wait(attempt).await;
            let Some(found) = load::<Connection>(self.store(), &self.connection_id).await? else {
                return Err(SyncError::NotFound);
            };
            if found.value.revoked_by.as_deref() == Some(command_id) {
                return Ok(());
            }
            let connection = self.owned(user_id).await?;
            let now = self.desk.parts.clock.now();
            let revocation = revocation::job(&self.desk.parts.banks, &connection.value, command_id, now);
            let gone = revoked(connection.value, command_id.to_owned(), now);
            let mut batch = Batch::new().replace(&gone, connection.version);
            if let Some(job) = revocation {
                batch = batch.insert(&job);
            }
            if let Some(run) = self.unfinished().await? {
                batch = batch.delete(&run);
            }
            for account in self.accounts().await? {
                batch = match disposal {
                    Disposal::KeepAccounts => batch.replace(&account.value.into_manual(now), account.version),
                    Disposal::DeleteAccounts => batch.delete(&account),
                };
            }
            match again(self.store().commit(batch).await)? {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The connection, if this user has it.
    async fn owned(&self, user_id: &str) -> Result<Versioned<Connection>, SyncError> {
        let found = load::<Connection>(self.store(), &self.connection_id).await?;
        found
            .filter(|connection| connection.value.listed_for.as_deref() == Some(user_id))
            .ok_or(SyncError::NotFound)
    }

    pub(super) async fn unfinished(&self) -> Result<Option<Versioned<Run>>, StoreError> {
        let query = Query::by(&RUNS, "unfinished").equal(self.connection_id.as_str()).limit(1);
        let (runs, _) = find::<Run>(self.store(), query).await?;
        Ok(runs.into_iter().next())
    }

    /// The accounts that it has brought.
    pub(super) async fn accounts(&self) -> Result<Vec<Versioned<Account>>, StoreError> {
        let query = Query::by(&ACCOUNTS, "external").equal(self.connection_id.as_str()).limit(1000);
        Ok(find::<Account>(self.store(), query).await?.0)
    }

    /// One decision at a time.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Drops what the schedule noted for a run that is under way already.
    pub(super) fn forget_note(&self) {
        self.desk.take_noted(&self.connection_id);
    }

    pub(super) fn connection_id(&self) -> &str {
        &self.connection_id
    }

    pub(super) fn now(&self) -> Timestamp {
        self.desk.parts.clock.now()
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.desk.parts.store.as_ref()
    }
}

/// Whether a commit that failed is worth deciding again: `Ok(Err(_))` if it is.
pub(super) fn again(committed: Result<(), CommitError>) -> Result<Result<(), SyncError>, SyncError> {
    match committed {
        Ok(()) => Ok(Ok(())),
        Err(error @ (CommitError::Conflict(_) | CommitError::OutcomeUnknown(_))) => Ok(Err(error.into())),
        Err(error @ CommitError::Unavailable(_)) => Err(error.into()),
    }
}
