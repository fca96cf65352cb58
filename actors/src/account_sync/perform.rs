//! A run from its claim to its end: claim the connection, ask its bank, commit what the answer makes of
//! it. The bank is asked between two commits, and the version of the connection's record, with the claim
//! in it, is the fence of all that is written.
//!
//! Who calls it: the actor. What never happens here: a call to a bank without a deadline, a result that
//! counts although somebody else has taken over.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{counter, histogram};
use tokio::sync::SemaphorePermit;

use super::connection::{Claim, Connection};
use super::credential::SealedCredential;
use super::errors::SyncError;
use super::options::SyncOptions;
use super::pace::Pace;
use super::parts::SyncParts;
use super::run::Run;
use super::settle::{Known, Look, Moment, look, period, settle};
use super::work::{ATTEMPTS, BACKOFF, Work, again};
use crate::accounts::{Account, Transaction, day_balances, tell_of_change};
use crate::figures;
use crate::ids;
use crate::providers::{Bank, BankError, Credential, Statement};
use crate::seal::SealError;
use crate::store::{Batch, Sharing, StoreError, Versioned, load, load_many};
use crate::supervision::Lifeline;

/// Commits that one run's result may take.
const MOST_COMMITS: u32 = 200;
/// Writes of a commit that may share a transaction with others; one with more would hold them up.
const MOST_SHARED: usize = 64;

/// A statement is large that tells of so much of what may be known of an account, a fifth: all of it is
/// known in memory while it is taken over. One at a time is.
const LARGE: usize = 5;

/// A run that this process has begun.
struct Begun {
    /// Both records as this process wrote them last.
    connection: Versioned<Connection>,
    run: Versioned<Run>,
    /// They have not been written here since in another way, so that they need not be read again. If
    /// somebody else has written them, their versions say so.
    fresh: bool,
    claim_id: String,
    /// What is known after the last commit of its result, if that was not the last one.
    known: Option<Known>,
    /// How much of its result is written at once.
    pace: Pace,
}

/// How far a result is written.
enum Settling {
    /// To its end; `None` if somebody else has taken over.
    Done(Option<Run>),
    /// A part of it.
    More,
}

impl Work {
    /// Runs the connection if a run is due and nobody else is at it. Once `lifeline` drains,
    /// nothing is begun; what was begun before is kept alive until the drain's deadline.
    pub(super) async fn perform(&self, lifeline: &Lifeline) {
        let noted = self.desk.take_noted(self.connection_id());
        let queued = self.desk.queue();
        let place = tokio::select! {
            place = self.desk.room.acquire() => place,
            () = lifeline.draining() => return,
        };
        drop(queued);
        // The semaphore is never closed.
        let Ok(place) = place else { return };
        if !lifeline.is_draining() {
            // Apart, so that whoever waits is small.
            Box::pin(self.perform_now(noted)).await;
        }
        drop(place);
        self.desk.look_if_short();
    }

    async fn perform_now(&self, noted: Option<Versioned<Connection>>) {
        let connection_id = self.connection_id();
        // Each part apart, so that whoever waits for a bank is small.
        let mut begun = match Box::pin(self.begin(noted)).await {
            Ok(Some(begun)) => begun,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(connection_id, %error, "a run could not be begun; it stays due");
                return;
            }
        };
        let answer = self.ask(&mut begun).await;
        let (answer, large) = Box::pin(self.room_for(&mut begun, answer)).await;
        let settled = Box::pin(self.settle(&mut begun, &answer)).await;
        drop(large);
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
                    run_id = begun.run.value.id,
                    "a run came too late and does not count"
                );
            }
            Err(error) => tracing::warn!(
                connection_id,
                run_id = begun.run.value.id,
                %error,
                "a run's result could not be stored; it is resumed when its claim lapses"
            ),
        }
    }

    /// Claims the connection for a run, if one is due and its slot is this replica's. What the schedule
    /// has `noted` is good enough to decide on: the commit says whether it still stands.
    async fn begin(&self, mut noted: Option<Versioned<Connection>>) -> Result<Option<Begun>, SyncError> {
        let _turn = self.turn().await;
        let parts = &self.desk.parts;
        let claim_id = ids::new_id();
        let mut last = SyncError::OutcomeUnknown;
        for attempt in 0..ATTEMPTS {
            BACKOFF.wait(attempt).await;
            let (found, unfinished) = match noted.take() {
                Some(found) if !found.value.may_have_unfinished_run() => (found, None),
                _ => {
                    let Some(found) = load::<Connection>(self.store(), self.connection_id()).await? else {
                        return Ok(None);
                    };
                    (found, self.unfinished().await?)
                }
            };
            if found.value.is_claimed_as(&claim_id)
                && let Some(run) = unfinished
            {
                return Ok(Some(self.begun(&claim_id, found, run)));
            }
            let Some(epoch) = parts.territory.epoch_of(self.connection_id()) else { return Ok(None) };
            let moment = self.moment();
            let due_at = found.value.due_at.filter(|_| found.value.claim.is_none());
            let claim = Claim {
                id: claim_id.clone(),
                owner: parts.replica.clone(),
                lease_until: moment.now.plus(parts.options.lease),
            };
            let lives = |owner: &str| parts.territory.lives(owner);
            let (claim, options) = ((claim, epoch), &parts.options);
            let before = found.clone();
            let looked = look(found.value, unfinished, claim, lives, moment, options, &mut ids::new_id);
            let (batch, begun, held_over) = match looked {
                Look::Nothing => return Ok(None),
                Look::Record(connection, run) => {
                    let held_over = run.as_ref().map(|(run, _)| run.id.clone());
                    let batch = Batch::shared().change(&before, &*connection);
                    let batch =
                        run.into_iter().fold(batch, |batch, (run, version)| batch.put(&*run, version));
                    (batch, None, held_over)
                }
                Look::Begin(mut connection, run, version) => {
                    connection.credential =
                        connection.credential.map(|sealed| self.resealed(&connection.id, sealed));
                    let batch = Batch::shared().change(&before, &*connection).put(&*run, version);
                    let connection = Versioned { value: *connection, version: before.version + 1 };
                    let run = Versioned { value: *run, version: version + 1 };
                    (batch, Some(self.begun(&claim_id, connection, run)), None)
                }
            };
            match again(self.store().commit(batch).await)? {
                Ok(()) => {
                    if let Some(run_id) = held_over {
                        let connection_id = self.connection_id();
                        tracing::warn!(connection_id, run_id, "a run never comes to its end; it waits");
                    }
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

    fn begun(&self, claim_id: &str, connection: Versioned<Connection>, run: Versioned<Run>) -> Begun {
        let pace = Pace::new(self.desk.parts.options.most_postings);
        Begun { connection, run, fresh: true, claim_id: claim_id.to_owned(), known: None, pace }
    }

    /// The credential under the present key. One that does not open stays as it is: asking the bank
    /// says so.
    fn resealed(&self, connection_id: &str, sealed: SealedCredential) -> SealedCredential {
        sealed.resealed(self.desk.parts.sealer.as_ref(), connection_id).unwrap_or(sealed)
    }

    /// Asks the bank, within the deadline, and keeps the claim meanwhile.
    async fn ask(&self, begun: &mut Begun) -> Result<Statement, BankError> {
        let parts = &self.desk.parts;
        let (bank, credential) = access(parts, &begun.connection.value)?;
        let deadline = parts.options.statement_deadline;
        let now = parts.clock.now();
        let until = now.plus(deadline);
        let mut asked = bank.statement(&credential, Some(period(&begun.connection.value, now)));
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

    /// Waits until there is room for a statement that is large; if there is none in time, the run waits
    /// and asks again.
    async fn room_for(
        &self,
        begun: &mut Begun,
        answer: Result<Statement, BankError>,
    ) -> (Result<Statement, BankError>, Option<SemaphorePermit<'_>>) {
        let parts = &self.desk.parts;
        let told = |statement: &Statement| -> usize {
            statement.accounts.iter().map(|account| account.transactions.len()).sum()
        };
        if answer.as_ref().map_or(0, told) <= parts.options.most_known / LARGE {
            return (answer, None);
        }
        let until = parts.clock.now().plus(parts.options.statement_deadline);
        loop {
            tokio::select! {
                // The semaphore is never closed.
                place = self.desk.large.acquire() => return (answer, place.ok()),
                () = parts.clock.sleep_until(until) => break,
                () = parts.clock.sleep(parts.options.lease / 3) => {
                    if !self.renew(begun).await {
                        break;
                    }
                }
            }
        }
        (Err(BankError::Resting { after: parts.options.first_retry }), None)
    }

    /// Makes the claim stand for longer; `false` if it is gone, so that no result will count. If that
    /// cannot be told, or the commit fails, it is tried again.
    async fn renew(&self, begun: &mut Begun) -> bool {
        let _turn = self.turn().await;
        begun.fresh = false;
        let Ok(found) = load::<Connection>(self.store(), self.connection_id()).await else { return true };
        let Some(found) = found else { return false };
        let until = self.desk.parts.clock.now().plus(self.desk.parts.options.lease);
        let Some(claim) = found.value.claim.clone().filter(|claim| claim.id == begun.claim_id) else {
            return false;
        };
        let claim = Some(Claim { lease_until: until, ..claim });
        let renewed = Connection { claim, due_at: Some(until), ..found.value };
        if let Err(error) = self.store().commit(Batch::new().replace(&renewed, found.version)).await {
            tracing::debug!(connection_id = self.connection_id(), %error, "a claim was not renewed");
        }
        true
    }

    /// Commits what the answer makes of the connection; `None` if somebody else has taken over.
    async fn settle(
        &self,
        begun: &mut Begun,
        answer: &Result<Statement, BankError>,
    ) -> Result<Option<Run>, SyncError> {
        let _turn = self.turn().await;
        let (mut last, mut failures) = (SyncError::OutcomeUnknown, 0);
        for _ in 0..MOST_COMMITS {
            BACKOFF.wait(failures).await;
            match self.settle_once(begun, answer).await {
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
        begun: &mut Begun,
        answer: &Result<Statement, BankError>,
    ) -> Result<Settling, SyncError> {
        let (found, run) = if std::mem::take(&mut begun.fresh) {
            (begun.connection.clone(), begun.run.clone())
        } else {
            let found = load::<Connection>(self.store(), self.connection_id()).await?;
            let run = load::<Run>(self.store(), &begun.run.value.id).await?;
            let Some(read) = found.zip(run) else { return Ok(Settling::Done(None)) };
            read
        };
        if !found.value.is_claimed_as(&begun.claim_id) {
            // An earlier attempt may have counted although its answer was lost.
            let counted = run.value.settled_by.as_deref() == Some(&begun.claim_id);
            return Ok(Settling::Done(counted.then_some(run.value)));
        }
        let mut known = match begun.known.take() {
            Some(known) => known,
            None => self.known(&found.value, answer.as_ref().ok(), begun.pace.needs_all()).await?,
        };
        self.read_contested(&mut known, &begun.pace).await?;
        let options = &SyncOptions { most_postings: begun.pace.at_once(), ..self.desk.parts.options };
        let (connection, former) = (found.value.clone(), run.value.clone());
        let settled = settle(connection, former, &known, answer, self.moment(), options, &mut ids::new_id);
        let settled_by = Some(begun.claim_id.clone()).filter(|_| !settled.more);
        let ended = Run { settled_by, ..settled.run.clone() };
        let batch = Batch::new().change(&found, &settled.connection).change(&run, &ended);
        let batch = settled.accounts.iter().fold(batch, |batch, (account, version)| {
            let mut known = known.accounts.iter();
            let before = known.find(|known| known.value.id == account.id && known.version == *version);
            batch.change_or_insert(before, account)
        });
        let batch = settled.transactions.iter().fold(batch, |batch, (one, version)| batch.put(one, *version));
        let batch = settled.gone.iter().fold(batch, Batch::delete);
        let accounts = settled.accounts.iter().map(|(account, version)| (account, *version == 0));
        let days = day_balances(self.store(), accounts).await?;
        let mut batch =
            days.iter().fold(batch, |batch, (day, known)| batch.change_or_insert(known.as_ref(), day));
        if batch.writes.len() <= MOST_SHARED {
            batch.sharing = Sharing::Shared;
        }
        if let Err(error) = self.store().commit(batch).await {
            begun.pace.failed(&error, settled.transactions.len());
            return Err(error.into());
        }
        begun.pace.stored();
        if !settled.accounts.is_empty() {
            tell_of_change(self.desk.parts.channel.as_ref(), &settled.connection.user_id).await;
        }
        if !settled.more {
            return Ok(Settling::Done(Some(ended)));
        }
        begun.known = Some(known.after(&settled));
        begun.connection = Versioned { value: settled.connection, version: found.version + 1 };
        begun.run = Versioned { value: ended, version: run.version + 1 };
        begun.fresh = true;
        Ok(Settling::More)
    }

    /// Reads again what others keep writing: the reading of all that is known takes longer than they do.
    async fn read_contested(&self, known: &mut Known, pace: &Pace) -> Result<(), StoreError> {
        known.contested.clone_from(pace.contested());
        if known.contested.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = known.contested.iter().cloned().collect();
        for account in load_many::<Account>(self.store(), &ids).await? {
            if let Some(known) = known.accounts.iter_mut().find(|known| known.value.id == account.value.id) {
                *known = account;
            }
        }
        let latest = load_many::<Transaction>(self.store(), &ids).await?.into_iter();
        let mut latest: HashMap<String, Versioned<Transaction>> =
            latest.map(|one| (one.value.id.clone(), one)).collect();
        let contested = &known.contested;
        for transactions in known.transactions.values_mut() {
            transactions.retain_mut(|one| {
                if !contested.contains(&one.value.id) {
                    return true;
                }
                let found = latest.remove(&one.value.id);
                let is_there = found.is_some();
                if let Some(found) = found {
                    *one = found;
                }
                is_there
            });
        }
        Ok(())
    }

    fn moment(&self) -> Moment {
        Moment { now: self.desk.parts.clock.now(), chance: fastrand::f64() }
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
