//! The decisions of account sync: what to do with a connection that somebody looks at, and what a
//! bank's answer makes of it. Pure: time, chance and ids are passed in.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::connection::{Claim, Connection, ConnectionStatus};
use super::merge::{Merged, has_all_accounts, merge, short, words};
use super::options::SyncOptions;
use super::postings::{Told, post};
use super::run::{Outcome, Run, RunStatus};
use super::telling::OVERLAP;
use crate::accounts::{Account, Transaction};
use crate::providers::{BankError, Period, Statement};
use crate::store::Versioned;
use crate::time::Timestamp;

/// A run that was begun this often, with nothing of it stored, is left alone for a while.
pub(super) const MOST_ATTEMPTS: u32 = 5;
/// The longest pause that a provider can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Why nobody asks a provider that has said when it wants to be asked again.
const RESTS: &str = "the provider does not want to be asked before that";
/// Why a connection has no credential although its token was claimed.
pub(super) const REPLY_LOST: &str = "the provider's answer was lost; link again";

/// When, and by which chance, something is decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    /// 0 to 1.
    pub(super) chance: f64,
}

/// What to do with a connection that somebody looks at.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing is due, or somebody else is at it.
    Nothing,
    /// Claim it and go on with this run; both are to be committed first. The version is the run's,
    /// 0 for a new one.
    Begin(Box<Connection>, Box<Run>, u64),
    /// No run; this is to be committed (and the run, if any, with its version).
    Record(Box<Connection>, Option<(Box<Run>, u64)>),
}

/// Looks at a connection and its unfinished run. `claim` is what would be written if it is free,
/// under this `epoch` of the connection's slot; `lives` says whether an incarnation does.
pub(super) fn look(
    connection: Connection,
    unfinished: Option<Versioned<Run>>,
    (claim, epoch): (Claim, u64),
    lives: impl Fn(&str) -> bool,
    moment: Moment,
    options: &SyncOptions,
    new_id: &mut dyn FnMut() -> String,
) -> Look {
    let now = moment.now;
    let is_due = connection.due_at.is_some_and(|due| due <= now);
    match connection.status {
        ConnectionStatus::Linking if is_due => return Look::Record(Box::new(lost(connection)), None),
        ConnectionStatus::Linking | ConnectionStatus::Revoked => return Look::Nothing,
        ConnectionStatus::Active | ConnectionStatus::NeedsReauth => {}
    }
    // The slot has moved on and nobody here has noticed yet.
    let overtaken = connection.epoch > epoch;
    if overtaken || connection.is_claimed_by_another(&claim.owner, now, lives) {
        return Look::Nothing;
    }
    if let Some(until) = connection.rest_until.filter(|until| now < *until) {
        if !is_due {
            return Look::Nothing;
        }
        let waiting = Connection { due_at: Some(until), claim: None, postponed: true, ..connection };
        return Look::Record(Box::new(waiting), None);
    }
    let (run, version) = match unfinished {
        Some(run) => (run.value, run.version),
        None if is_due => (Run::queued(new_id(), &connection.id, now), 0),
        None => return Look::Nothing,
    };
    if run.attempts >= MOST_ATTEMPTS {
        let (connection, run) = held_over(connection, run, moment, options);
        return Look::Record(Box::new(connection), Some((Box::new(run), version)));
    }
    let due_at = Some(claim.lease_until);
    let connection = Connection { due_at, claim: Some(claim), epoch, postponed: false, ..connection };
    Look::Begin(Box::new(connection), Box::new(run.begun(now)), version)
}

/// A connection whose token may have been claimed without anyone having the credential.
pub(super) fn lost(connection: Connection) -> Connection {
    Connection {
        status: ConnectionStatus::NeedsReauth,
        listed_for: Some(connection.user_id.clone()),
        reason: Some(REPLY_LOST.to_owned()),
        due_at: None,
        ..connection
    }
}

/// What is known of a connection's accounts.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// All of them.
    pub(super) accounts: Vec<Versioned<Account>>,
    /// Their transactions in the time told of and [`OVERLAP`] before it, those that are pending, and those
    /// that are named, by account.
    pub(super) transactions: BTreeMap<String, Vec<Versioned<Transaction>>>,
    /// The name of an account that has more transactions than can be known.
    pub(super) too_many_of: Option<String>,
    /// Those that somebody else keeps writing: they are written last.
    pub(super) contested: BTreeSet<String>,
}

/// What a first run asks for.
const FIRST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a run wants to know.
pub(super) fn period(connection: &Connection, now: Timestamp) -> Period {
    let from = connection.last_success_at.map_or(now.minus(FIRST), |last| last.minus(OVERLAP));
    // What was not taken over to its end is not gone on with: all is told again.
    let cursor = connection.cursor.clone().filter(|_| connection.provisional_since.is_none());
    Period { from, until: now, cursor }
}

/// What a bank's answer makes of a connection. All of it is to be committed at once.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) connection: Connection,
    pub(super) run: Run,
    /// Each with the version it is based on; 0 for new ones.
    pub(super) accounts: Vec<(Account, u64)>,
    /// Likewise.
    pub(super) transactions: Vec<(Transaction, u64)>,
    /// Transactions to delete.
    pub(super) gone: Vec<Versioned<Transaction>>,
    /// The run is not at its end: this is to be committed, and decided on again.
    pub(super) more: bool,
}

/// Decides what a bank's answer makes of a connection, of its run and of the accounts that are
/// known of it.
pub(super) fn settle(
    connection: Connection,
    run: Run,
    known: &Known,
    answer: &Result<Statement, BankError>,
    moment: Moment,
    options: &SyncOptions,
    new_id: &mut dyn FnMut() -> String,
) -> Settled {
    match answer {
        Ok(statement) => told(connection, run, known, statement, moment, options, new_id),
        Err(BankError::Resting { after }) => postponed(connection, run, *after, moment),
        Err(error) => failed(connection, run, error, moment, options),
    }
}

fn told(
    connection: Connection,
    run: Run,
    known: &Known,
    statement: &Statement,
    moment: Moment,
    options: &SyncOptions,
    new_id: &mut dyn FnMut() -> String,
) -> Settled {
    let now = moment.now;
    let mut merged = merge(&connection, &known.accounts, &known.transactions, statement, now, new_id);
    if let Some(account) = &known.too_many_of {
        let most = options.most_known;
        merged.leave_out(&format!("{account}: more than {most} transactions are there already"));
    }
    let removed = statement.changes.iter().flat_map(|changes| &changes.removed).map(String::as_str).collect();
    let mut posted = Posted::default();
    if known.too_many_of.is_none()
        && let Some(told) = said(statement, &connection, &removed, now)
    {
        posted = post_all(&merged, known, statement, told, options.most_postings, new_id);
    }
    let run = Run {
        added: run.added.saturating_add(merged.added).saturating_add(posted.added),
        modified: run.modified.saturating_add(merged.modified).saturating_add(posted.modified),
        removed: run.removed.saturating_add(merged.removed).saturating_add(posted.gone()),
        ..run
    };
    let begun_provisionally = connection.provisional_since.or(Some(now));
    if posted.left_some {
        // Not the end of the run: its claim is renewed and it goes on. It has made its way, so what
        // it was begun for before this does not count against it.
        let run = Run { attempts: run.attempts.min(1), ..run };
        let claim =
            connection.claim.clone().map(|claim| Claim { lease_until: now.plus(options.lease), ..claim });
        let connection = Connection {
            institution: merged.institution.or(connection.institution),
            provisional_since: begun_provisionally.filter(|_| statement.changes.is_some()),
            due_at: Some(now.plus(options.lease)),
            claim,
            ..connection
        };
        return Settled {
            connection,
            run,
            accounts: merged.accounts,
            transactions: posted.writes,
            gone: posted.gone,
            more: true,
        };
    }
    let outcome = match &statement.cut_short {
        Some(BankError::RateLimited { .. }) => Outcome::RateLimited,
        None if merged.partial.is_none() => Outcome::Complete,
        _ => Outcome::Partial,
    };
    let (whole, limited) = (outcome == Outcome::Complete, outcome == Outcome::RateLimited);
    // What is never shown is no gap, but the user is told.
    let remarks = merged.partial.into_iter().chain(statement.unsupported.as_deref().map(words));
    let reason = Some(remarks.collect::<Vec<_>>().join("; ")).filter(|reason| !reason.is_empty());
    let (cursor, provisional_since) = match &statement.changes {
        Some(changes) if whole => (Some(changes.cursor.clone()), None),
        // None of them was taken over.
        Some(_) if known.too_many_of.is_some() => (connection.cursor, connection.provisional_since),
        // Some of the changes were left out, so the next statement has to tell them again.
        Some(_) => (connection.cursor, begun_provisionally),
        None => (connection.cursor, connection.provisional_since),
    };
    let failures = if limited { connection.failures.saturating_add(1) } else { 0 };
    let rest = statement.cut_short.as_ref().and_then(rest_of);
    let soon = statement.again_after.map_or(options.interval, |after| after.min(options.interval));
    let pause =
        if limited { options.retry(failures, moment.chance) } else { options.jittered(soon, moment.chance) };
    // What is new waits, too, if the provider wants to be asked less often.
    let pause = if connection.again && !limited { Duration::ZERO } else { pause };
    let pause = pause.max(rest.unwrap_or_default());
    let connection = Connection {
        status: ConnectionStatus::Active,
        institution: merged.institution.or(connection.institution),
        cursor,
        provisional_since,
        last_outcome: Some(outcome),
        reason: reason.clone(),
        last_success_at: if whole { Some(now) } else { connection.last_success_at },
        due_at: Some(now.plus(pause)),
        rest_until: rest.map(|rest| now.plus(rest)),
        again: false,
        relinked: connection.relinked && !has_all_accounts(statement),
        failures,
        claim: None,
        ..connection
    };
    Settled {
        connection,
        run: run.finished(outcome, reason, now),
        accounts: merged.accounts,
        transactions: posted.writes,
        gone: posted.gone,
        more: false,
    }
}

/// What a statement says of the transactions of an account that is told whole by not telling of them;
/// `None` if it says nothing of transactions at all.
fn said<'a>(
    statement: &Statement,
    connection: &Connection,
    removed: &'a BTreeSet<&'a str>,
    now: Timestamp,
) -> Option<Told<'a>> {
    let told = Told {
        since: Timestamp::default(),
        whole: true,
        whole_at: connection.last_success_at,
        removed: None,
        provisional_since: None,
        now,
    };
    Some(match (&statement.changes, statement.told_since) {
        (Some(changes), _) if changes.since_begin => {
            Told { provisional_since: connection.provisional_since, ..told }
        }
        (Some(_), _) => Told { removed: Some(removed), ..told },
        (None, Some(since)) => Told { since, ..told },
        (None, None) => return None,
    })
}

/// What a statement changes of all accounts' transactions.
#[derive(Default)]
struct Posted {
    writes: Vec<(Transaction, u64)>,
    gone: Vec<Versioned<Transaction>>,
    added: u32,
    modified: u32,
    left_some: bool,
}

impl Posted {
    fn gone(&self) -> u32 {
        u32::try_from(self.gone.len()).unwrap_or(u32::MAX)
    }
}

fn post_all(
    merged: &Merged,
    known: &Known,
    statement: &Statement,
    told: Told<'_>,
    most: usize,
    new_id: &mut dyn FnMut() -> String,
) -> Posted {
    // Those that the merge wrote are the latest.
    let accounts = known.accounts.iter().map(|account| &account.value);
    let accounts = accounts.chain(merged.accounts.iter().map(|(account, _)| account));
    let by_external: HashMap<&str, &Account> =
        accounts.filter_map(|account| Some((account.external_id.as_deref()?, account))).collect();
    let mut posted = Posted::default();
    let (mut once, mut again) = (HashSet::new(), HashSet::new());
    for account in &statement.accounts {
        if !once.insert(account.id.as_str()) {
            again.insert(account.id.as_str());
        }
    }
    for account in &statement.accounts {
        // Of an account that is told of twice the first telling counts, and nobody knows if it is whole.
        if !once.remove(account.id.as_str()) {
            continue;
        }
        let whole = account.whole && !again.contains(account.id.as_str());
        let told = Told { whole, provisional_since: told.provisional_since.filter(|_| whole), ..told };
        let Some(ours) = by_external.get(account.id.as_str()) else { continue };
        let before = known.transactions.get(&ours.id).map_or(&[][..], Vec::as_slice);
        let postings = post(ours, before, &account.transactions, told, new_id);
        posted.added = posted.added.saturating_add(postings.added);
        posted.modified = posted.modified.saturating_add(postings.modified);
        posted.writes.extend(postings.writes);
        posted.gone.extend(postings.gone);
    }
    let most = most.max(1);
    if posted.writes.len() > most {
        posted.left_some = true;
        let late = |one: &Transaction| known.contested.contains(&one.id);
        posted.writes.sort_by(|(one, _), (other, _)| {
            late(one).cmp(&late(other)).then_with(|| other.date.cmp(&one.date))
        });
        posted.writes.truncate(most);
        // Only those whose ids are taken over: no two can have the same.
        let ids = posted.writes.iter().map(|(one, _)| (&one.account_id, &one.external_id));
        let ids: BTreeSet<_> = ids.collect();
        posted.gone.retain(|gone| ids.contains(&(&gone.value.account_id, &gone.value.external_id)));
        let added = posted.writes.iter().filter(|(_, version)| *version == 0).count();
        posted.added = u32::try_from(added).unwrap_or(u32::MAX);
        posted.modified = u32::try_from(posted.writes.len() - added).unwrap_or(u32::MAX);
    }
    posted
}

/// Nobody was asked, so nothing has ended: the run waits.
fn postponed(connection: Connection, run: Run, after: Duration, moment: Moment) -> Settled {
    let spread = after.mul_f64(1.0 + moment.chance / 2.0).max(Duration::from_millis(100));
    let run = Run { status: RunStatus::Queued, attempts: run.attempts.saturating_sub(1), ..run };
    let due_at = Some(moment.now.plus(spread.min(LONGEST_RETRY_AFTER)));
    Settled {
        connection: Connection { claim: None, due_at, postponed: true, ..connection },
        run,
        accounts: Vec::new(),
        transactions: Vec::new(),
        gone: Vec::new(),
        more: false,
    }
}

/// A run that is cut off again and again, or whose result cannot be stored: nobody says that the provider
/// is at fault, and nothing has succeeded. It waits, longer each time, and says why.
fn held_over(connection: Connection, run: Run, moment: Moment, options: &SyncOptions) -> (Connection, Run) {
    let attempts = run.attempts;
    let reason = format!("Steward began it {attempts} times and could not end it; it is tried again later");
    let failures = connection.failures.saturating_add(1);
    let due_at = Some(moment.now.plus(options.retry(failures, moment.chance)));
    let run = Run { status: RunStatus::Queued, attempts: 0, reason: Some(reason.clone()), ..run };
    let reason = Some(reason);
    (Connection { claim: None, due_at, postponed: true, failures, reason, ..connection }, run)
}

/// For how long the provider wants to be left alone, by its own word.
fn rest_of(error: &BankError) -> Option<Duration> {
    match error {
        BankError::Resting { .. } => None,
        error => error.retry_after().map(|span| span.min(LONGEST_RETRY_AFTER)),
    }
}

fn failed(
    connection: Connection,
    run: Run,
    error: &BankError,
    moment: Moment,
    options: &SyncOptions,
) -> Settled {
    let now = moment.now;
    let failures = connection.failures.saturating_add(1);
    let rest = rest_of(error);
    let retry = options.retry(failures, moment.chance).max(rest.unwrap_or_default());
    let (outcome, reason, pause) = match error {
        BankError::NeedsReauth(reason) => (Outcome::NeedsReauth, short(reason), None),
        BankError::RateLimited { .. } => {
            (Outcome::RateLimited, "the provider wants to be asked less often".to_owned(), Some(retry))
        }
        BankError::Resting { .. } => unreachable!("it is postponed"),
        BankError::DownFor { reason, .. }
        | BankError::Institution(reason)
        | BankError::Down(reason)
        | BankError::Unusable(reason) => (Outcome::ProviderDown, short(reason), Some(retry)),
    };
    let needs_reauth = outcome == Outcome::NeedsReauth || connection.status == ConnectionStatus::NeedsReauth;
    let pause = match (connection.again, outcome) {
        (true, Outcome::RateLimited) => pause,
        (true, _) => Some(rest.unwrap_or_default()),
        // Asking on a schedule is no use until the user has been there again.
        (false, _) => pause.filter(|_| !needs_reauth),
    };
    let connection = Connection {
        status: if needs_reauth { ConnectionStatus::NeedsReauth } else { ConnectionStatus::Active },
        last_outcome: Some(outcome),
        reason: Some(reason.clone()),
        due_at: pause.map(|pause| now.plus(pause)),
        rest_until: rest.map(|rest| now.plus(rest)),
        again: false,
        failures,
        claim: None,
        ..connection
    };
    Settled {
        connection,
        run: run.finished(outcome, Some(reason), now),
        accounts: Vec::new(),
        transactions: Vec::new(),
        gone: Vec::new(),
        more: false,
    }
}

/// A connection of which a run is wanted, and that run: due at once, or when the provider wants to be asked
/// again.
pub(super) fn wanted(connection: Connection, run_id: &str, now: Timestamp) -> (Connection, Run) {
    let run = Run::queued(run_id.to_owned(), &connection.id, now);
    match connection.rest_until.filter(|until| now < *until) {
        None => (Connection { due_at: Some(now), ..connection }, run),
        Some(until) => {
            let waiting = Connection { due_at: Some(until), postponed: true, ..connection };
            (waiting, Run { reason: Some(RESTS.to_owned()), ..run })
        }
    }
}

/// A connection that is deleted: no credential, nothing due, shown to nobody.
pub(super) fn revoked(connection: Connection, command_id: String, now: Timestamp) -> Connection {
    const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);
    Connection {
        status: ConnectionStatus::Revoked,
        listed_for: None,
        credential: None,
        reference: None,
        cursor: None,
        due_at: None,
        claim: None,
        revoked_by: Some(command_id),
        forget_at: Some(now.plus(REMEMBERED)),
        ..connection
    }
}
