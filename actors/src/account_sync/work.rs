//! The I/O of one connection: load, decide, commit, and the call to its bank between two commits.
//! Knows no actor; the version of the connection's record is the fence of everything it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::sync::{Mutex, MutexGuard, Notify, Semaphore};

use super::connection::{Claim, Connection};
use super::connections::{Disposal, SyncParts};
use super::credential::SealedCredential;
use super::errors::SyncError;
use super::revocation;
use super::run::{RUNS, Run};
use super::settle::{Known, Look, Moment, OVERLAP, look, period, revoked, settle, wanted};
use crate::accounts::{ACCOUNTS, Account, TRANSACTIONS, Transaction, day_balances, sweep, tell_of_change};
use crate::backoff::Backoff;
use crate::figures;
use crate::ids;
use crate::providers::{Bank, BankError, Credential, Statement};
use crate::seal::SealError;
use crate::store::{Batch, CommitError, Query, Store, StoreError, Versioned, find, load};
use crate::supervision::Lifeline;
use crate::time::Timestamp;

/// How often a commit that conflicts, or whose outcome is unknown, is decided again.
pub(super) const ATTEMPTS: u32 = 8;
/// Pages of 1,000 transactions that are known of an account and read for a run.
const MOST_PAGES: usize = 50;
/// Commits that one run's result may take.
const MOST_COMMITS: u32 = 200;
/// Ids that are looked up one by one; of more, all transactions are read.
const MOST_NAMED: usize = 300;

/// What all connections of this process share.
pub(super) struct Desk {
    pub(super) parts: SyncParts,
    /// Runs at once.
    pub(super) room: Semaphore,
    /// Wakes the schedule before its time.
    pub(super) wake: Notify,
    /// What a dead replica was at is to be looked for, before its claims lapse.
    pub(super) inherits: AtomicBool,
    /// The schedule may have had to leave due connections alone, for want of room.
    pub(super) left_some: AtomicBool,
}

/// The work on one connection.
pub(super) struct Work {
    desk: Arc<Desk>,
    connection_id: String,
    /// One decision at a time, in the order in which they came.
    turn: Mutex<()>,
}

/// A run that this process has begun.
struct Begun {
    connection: Connection,
    claim_id: String,
    run_id: String,
}

impl Work {
    pub(super) fn new(desk: Arc<Desk>, connection_id: String) -> Self {
        Self { desk, connection_id, turn: Mutex::new(()) }
    }

    /// Makes the run with this id wanted, or joins the one that is unfinished. The flag says
    /// whether somebody has to begin it.
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
            let run = Run::queued(run_id.to_owned(), &self.connection_id, now);
            let due = wanted(connection.value, now);
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

    /// Runs the connection if a run is due and nobody else is at it. Once `lifeline` drains,
    /// nothing is begun; what was begun before is kept alive until the drain's deadline.
    pub(super) async fn perform(&self, lifeline: &Lifeline) {
        let place = tokio::select! {
            place = self.desk.room.acquire() => place,
            () = lifeline.draining() => return,
        };
        // The semaphore is never closed.
        let Ok(place) = place else { return };
        if !lifeline.is_draining() {
            self.perform_now().await;
        }
        drop(place);
        if self.desk.left_some.swap(false, Ordering::AcqRel) {
            self.desk.wake.notify_one();
        }
    }

    async fn perform_now(&self) {
        let connection_id = self.connection_id.as_str();
        let begun = match self.begin().await {
            Ok(Some(begun)) => begun,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(connection_id, %error, "a run could not be begun; it stays due");
                return;
            }
        };
        let answer = self.ask(&begun).await;
        let settled = self.settle(&begun, &answer).await;
        let outcome = match &settled {
            Ok(Some(run)) => run.outcome.map_or("unknown", super::Outcome::name),
            Ok(None) => "too_late",
            Err(_) => "not_stored",
        };
        counter!(figures::SYNC_RUNS, "outcome" => outcome).increment(1);
        match settled {
            Ok(Some(run)) => tracing::info!(
                connection_id,
                run_id = run.id,
                outcome = run.outcome.map(super::Outcome::name),
                attempts = run.attempts,
                "a run has ended"
            ),
            Ok(None) => {
                tracing::warn!(
                    connection_id,
                    run_id = begun.run_id,
                    "a run came too late and does not count"
                );
            }
            Err(error) => tracing::warn!(
                connection_id,
                run_id = begun.run_id,
                %error,
                "a run's result could not be stored; it is resumed when its claim lapses"
            ),
        }
    }

    /// Claims the connection for a run, if one is due and its slot is this replica's.
    async fn begin(&self) -> Result<Option<Begun>, SyncError> {
        let _turn = self.turn.lock().await;
        let parts = &self.desk.parts;
        let claim_id = ids::new_id();
        let mut last = SyncError::OutcomeUnknown;
        for attempt in 0..ATTEMPTS {
            BACKOFF.wait(attempt).await;
            let Some(found) = load::<Connection>(self.store(), &self.connection_id).await? else {
                return Ok(None);
            };
            let unfinished = self.unfinished().await?;
            if found.value.is_claimed_as(&claim_id)
                && let Some(run) = unfinished
            {
                return Ok(Some(Begun { connection: found.value, claim_id, run_id: run.value.id }));
            }
            let Some(epoch) = parts.territory.epoch_of(&self.connection_id) else { return Ok(None) };
            let moment = self.moment();
            let due_at = found.value.due_at.filter(|_| found.value.claim.is_none());
            let claim = Claim {
                id: claim_id.clone(),
                owner: parts.replica.clone(),
                lease_until: moment.now.plus(parts.options.lease),
            };
            let lives = |owner: &str| parts.territory.lives(owner);
            let (claim, options) = ((claim, epoch), &parts.options);
            let looked = look(found.value, unfinished, claim, lives, moment, options, &mut ids::new_id);
            let (batch, begun) = match looked {
                Look::Nothing => return Ok(None),
                Look::Record(connection, run) => {
                    let batch = Batch::new().replace(&*connection, found.version);
                    (run.into_iter().fold(batch, |batch, (run, version)| batch.put(&*run, version)), None)
                }
                Look::Begin(mut connection, run, version) => {
                    connection.credential =
                        connection.credential.map(|sealed| self.resealed(&connection.id, sealed));
                    let batch = Batch::new().replace(&*connection, found.version).put(&*run, version);
                    let (run_id, claim_id) = (run.id.clone(), claim_id.clone());
                    (batch, Some(Begun { connection: *connection, claim_id, run_id }))
                }
            };
            match again(self.store().commit(batch).await)? {
                Ok(()) => {
                    if let Some(due_at) = due_at.filter(|_| begun.is_some()) {
                        histogram!(figures::SYNC_DELAY_SECONDS)
                            .record(moment.now.since(due_at).as_secs_f64());
                    }
                    return Ok(begun);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The credential under the present key. One that does not open stays as it is: asking the bank
    /// says so.
    fn resealed(&self, connection_id: &str, sealed: SealedCredential) -> SealedCredential {
        sealed.resealed(self.desk.parts.sealer.as_ref(), connection_id).unwrap_or(sealed)
    }

    /// Asks the bank, within the deadline, and keeps the claim meanwhile.
    async fn ask(&self, begun: &Begun) -> Result<Statement, BankError> {
        let (parts, connection) = (&self.desk.parts, &begun.connection);
        let (bank, credential) = access(parts, connection)?;
        let deadline = parts.options.statement_deadline;
        let now = parts.clock.now();
        let until = now.plus(deadline);
        let mut asked = bank.statement(&credential, Some(period(connection, now)));
        loop {
            tokio::select! {
                answer = &mut asked => return answer,
                () = parts.clock.sleep_until(until) => {
                    return Err(BankError::Down(format!("no answer within {} s", deadline.as_secs())));
                }
                () = parts.clock.sleep(parts.options.lease / 3) => {
                    if !self.renew(begun).await {
                        return Err(BankError::Down("somebody else has taken over".to_owned()));
                    }
                }
            }
        }
    }

    /// Makes the claim stand for longer; `false` if it is gone, so that no result will count. If that
    /// cannot be told, or the commit fails, it is tried again.
    async fn renew(&self, begun: &Begun) -> bool {
        let _turn = self.turn.lock().await;
        let Ok(found) = load::<Connection>(self.store(), &self.connection_id).await else { return true };
        let Some(found) = found else { return false };
        let until = self.desk.parts.clock.now().plus(self.desk.parts.options.lease);
        let Some(claim) = found.value.claim.clone().filter(|claim| claim.id == begun.claim_id) else {
            return false;
        };
        let claim = Some(Claim { lease_until: until, ..claim });
        let renewed = Connection { claim, due_at: Some(until), ..found.value };
        if let Err(error) = self.store().commit(Batch::new().replace(&renewed, found.version)).await {
            tracing::debug!(connection_id = self.connection_id, %error, "a claim was not renewed");
        }
        true
    }

    /// Commits what the answer makes of the connection; `None` if somebody else has taken over.
    async fn settle(
        &self,
        begun: &Begun,
        answer: &Result<Statement, BankError>,
    ) -> Result<Option<Run>, SyncError> {
        let _turn = self.turn.lock().await;
        let (mut last, mut failures) = (SyncError::OutcomeUnknown, 0);
        for _ in 0..MOST_COMMITS {
            BACKOFF.wait(failures).await;
            match self.settle_once(begun, answer, failures > 0).await {
                Ok(Settling::Done(settled)) => return Ok(settled),
                Ok(Settling::More) => failures = 0,
                Err(error) => (last, failures) = (error, failures + 1),
            }
            if failures >= ATTEMPTS {
                break;
            }
        }
        Err(last)
    }

    async fn settle_once(
        &self,
        begun: &Begun,
        answer: &Result<Statement, BankError>,
        all: bool,
    ) -> Result<Settling, SyncError> {
        let Some(found) = load::<Connection>(self.store(), &self.connection_id).await? else {
            return Ok(Settling::Done(None));
        };
        let Some(run) = load::<Run>(self.store(), &begun.run_id).await? else {
            return Ok(Settling::Done(None));
        };
        if !found.value.is_claimed_as(&begun.claim_id) {
            // An earlier attempt may have counted although its answer was lost.
            let counted = run.value.settled_by.as_deref() == Some(&begun.claim_id);
            return Ok(Settling::Done(counted.then_some(run.value)));
        }
        let known = self.known(answer.as_ref().ok(), all).await?;
        let options = &self.desk.parts.options;
        let settled =
            settle(found.value, run.value, &known, answer, self.moment(), options, &mut ids::new_id);
        let settled_by = Some(begun.claim_id.clone()).filter(|_| !settled.more);
        let ended = Run { settled_by, ..settled.run };
        let batch = Batch::new().replace(&settled.connection, found.version).replace(&ended, run.version);
        let batch =
            settled.accounts.iter().fold(batch, |batch, (account, version)| batch.put(account, *version));
        let batch = settled.transactions.iter().fold(batch, |batch, (one, version)| batch.put(one, *version));
        let batch = settled.gone.iter().fold(batch, Batch::delete);
        let days = day_balances(self.store(), settled.accounts.iter().map(|(account, _)| account)).await?;
        let batch = days.iter().fold(batch, |batch, (day, version)| batch.put(day, *version));
        self.store().commit(batch).await?;
        if !settled.accounts.is_empty() {
            tell_of_change(self.desk.parts.channel.as_ref(), &settled.connection.user_id).await;
        }
        Ok(if settled.more { Settling::More } else { Settling::Done(Some(ended)) })
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

    /// What the decision on a statement needs to know. With `all` also the transactions of before
    /// its time: a provider may have given one of them a later day.
    async fn known(&self, statement: Option<&Statement>, all: bool) -> Result<Known, StoreError> {
        let accounts = self.accounts().await?;
        let mut transactions = BTreeMap::new();
        if let Some(wanted) = statement.and_then(Wanted::of) {
            for account in &accounts {
                let id = account.value.id.as_str();
                let from = if all { Some(String::new()) } else { wanted.from.clone() };
                let mut known = match from {
                    Some(from) => self.transactions(id, from).await?,
                    None => Vec::new(),
                };
                let there: BTreeSet<String> =
                    known.iter().filter_map(|found| found.value.external_id.clone()).collect();
                for named in wanted.named.iter().filter(|named| !there.contains(**named)) {
                    let query = Query::by(&TRANSACTIONS, "external").equal(id).equal(*named).limit(1);
                    known.extend(find::<Transaction>(self.store(), query).await?.0);
                }
                transactions.insert(id.to_owned(), known);
            }
        }
        Ok(Known { accounts, transactions })
    }

    async fn transactions(&self, id: &str, from: String) -> Result<Vec<Versioned<Transaction>>, StoreError> {
        let (mut all, mut after) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let query = Query::by(&TRANSACTIONS, "account").equal(id).range(Some(from.clone().into()), None);
            let (page, next) = find::<Transaction>(self.store(), query.limit(1000).after(after)).await?;
            all.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(all)
    }

    async fn accounts(&self) -> Result<Vec<Versioned<Account>>, StoreError> {
        let query = Query::by(&ACCOUNTS, "external").equal(self.connection_id.as_str()).limit(1000);
        Ok(find::<Account>(self.store(), query).await?.0)
    }

    /// One decision at a time.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
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

    fn moment(&self) -> Moment {
        Moment { now: self.desk.parts.clock.now(), chance: fastrand::f64() }
    }
}

/// How far a result is written.
enum Settling {
    /// To its end; `None` if somebody else has taken over.
    Done(Option<Run>),
    /// A part of it.
    More,
}

/// Which of the known transactions the decision on a statement needs.
struct Wanted<'a> {
    /// Those from this day on; none by day if absent.
    from: Option<String>,
    /// Those with these of the provider's ids.
    named: BTreeSet<&'a str>,
}

impl<'a> Wanted<'a> {
    fn of(statement: &'a Statement) -> Option<Self> {
        let told = || statement.accounts.iter().flat_map(|account| &account.transactions);
        match (&statement.changes, statement.told_since) {
            (Some(changes), _) => {
                let named = changes.removed.iter().chain(told().filter_map(|told| told.replaces.as_ref()));
                let named: BTreeSet<&str> = named.map(String::as_str).collect();
                let all = changes.since_begin || named.len() > MOST_NAMED;
                let first = told().map(|told| told.at).min();
                let from = if all { Some(String::new()) } else { first.map(|at| at.minus(OVERLAP).day()) };
                Some(Self { from, named: if all { BTreeSet::new() } else { named } })
            }
            (None, Some(since)) => {
                Some(Self { from: Some(since.minus(OVERLAP).day()), named: BTreeSet::new() })
            }
            (None, None) => None,
        }
    }
}

/// What it takes to ask the bank of a connection.
fn access(parts: &SyncParts, connection: &Connection) -> Result<(Arc<dyn Bank>, Credential), BankError> {
    let Some(credential) = connection.credential.as_ref() else {
        let reason = connection.reason.clone();
        return Err(BankError::NeedsReauth(reason.unwrap_or_else(|| "link again".to_owned())));
    };
    let credential = match credential.open(parts.sealer.as_ref(), &connection.id) {
        Ok(credential) => credential,
        Err(error) => {
            tracing::error!(connection_id = connection.id, %error, "a credential cannot be opened");
            return Err(match error {
                SealError::Broken => BankError::NeedsReauth("its credential was damaged".to_owned()),
                _ => BankError::Down("the credential's key is not configured here".to_owned()),
            });
        }
    };
    let Some(bank) = parts.banks.get(&connection.provider) else {
        return Err(BankError::Down(format!("{} is not configured here", connection.provider)));
    };
    Ok((bank.clone(), credential))
}

/// Whether a commit that failed is worth deciding again: `Ok(Err(_))` if it is.
pub(super) fn again(committed: Result<(), CommitError>) -> Result<Result<(), SyncError>, SyncError> {
    match committed {
        Ok(()) => Ok(Ok(())),
        Err(error @ (CommitError::Conflict(_) | CommitError::OutcomeUnknown(_))) => Ok(Err(error.into())),
        Err(error @ CommitError::Unavailable(_)) => Err(error.into()),
    }
}

/// Between attempts to commit.
pub(super) const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(640));
