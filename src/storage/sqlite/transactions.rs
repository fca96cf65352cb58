//! A group of batches as one transaction, with a savepoint for each.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use steward_actors::store::{Collection, CommitError, Conflict};

use super::apply::{Failure, apply, delete_expired};
use super::writer::{Job, Work};
use super::{connection, system_time};

/// Expired records that are deleted at a time, of each collection.
const SWEPT: u32 = 1000;
/// How long until the next sweep, and until it if one was not enough.
const SWEEP: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1));

/// The writer's connection, and what it needs for another one.
pub(super) struct Transactions {
    path: PathBuf,
    connection: Option<Connection>,
    expiring: Vec<&'static Collection>,
    next_sweep: Instant,
}

/// How a transaction ended that did not succeed.
enum Failed {
    /// It did not begin: no batch is at fault, and none would fare better alone.
    NotBegun(rusqlite::Error),
    /// Nothing was written.
    Undone(rusqlite::Error),
    /// It may come back when the database is opened after a crash.
    Unknown(rusqlite::Error),
}

impl Transactions {
    pub(super) fn new(path: &Path, connection: Connection, schema: &[&'static Collection]) -> Self {
        let expiring = schema.iter().filter(|collection| collection.expires.is_some()).copied().collect();
        let next_sweep = Instant::now() + SWEEP.0;
        Self { path: path.to_owned(), connection: Some(connection), expiring, next_sweep }
    }

    fn connection(&mut self) -> rusqlite::Result<&Connection> {
        match self.connection {
            Some(ref connection) => Ok(connection),
            None => Ok(self.connection.insert(connection::reopen(&self.path)?)),
        }
    }

    fn attempt(&mut self, jobs: &[Job]) -> Result<Vec<Result<(), Conflict>>, Failed> {
        let attempted = self.connection().map_err(Failed::NotBegun).and_then(|open| transaction(open, jobs));
        if attempted.is_err() {
            // Whatever state the fault left the connection in, the next one has none of it. An
            // open transaction is rolled back with it.
            self.connection = None;
        }
        attempted
    }

    fn sweep(&mut self) {
        let expiring = std::mem::take(&mut self.expiring);
        let now = system_time().as_millis();
        let swept = self.connection().and_then(|open| sweep(open, &expiring, now, SWEPT));
        self.expiring = expiring;
        let all = match swept {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, "SQLite could not delete what has expired");
                self.connection = None;
                true
            }
        };
        self.next_sweep = Instant::now() + if all { SWEEP.0 } else { SWEEP.1 };
    }
}

impl Work for Transactions {
    fn commit(&mut self, jobs: Vec<Job>) {
        match self.attempt(&jobs) {
            Ok(results) => {
                for (job, result) in jobs.into_iter().zip(results) {
                    job.answer(result.map_err(CommitError::Conflict));
                }
            }
            Err(Failed::Undone(_)) if jobs.len() > 1 => {
                jobs.into_iter().for_each(|job| self.commit(vec![job]));
            }
            Err(Failed::NotBegun(error) | Failed::Undone(error)) => {
                answer_all(jobs, &CommitError::Unavailable(error.to_string()));
            }
            Err(Failed::Unknown(error)) => answer_all(jobs, &CommitError::OutcomeUnknown(error.to_string())),
        }
    }

    fn look_up(&mut self) {
        if !self.expiring.is_empty() && Instant::now() >= self.next_sweep {
            self.sweep();
        }
    }

    fn recover(&mut self) {
        self.connection = None;
    }

    fn close(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // Shortens the next start; what is in the log is safe there, too.
        let moved = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = moved {
            tracing::warn!(%error, "SQLite's log stays beside the database");
        }
    }
}

fn answer_all(jobs: Vec<Job>, error: &CommitError) {
    jobs.into_iter().for_each(|job| job.answer(Err(error.clone())));
}

/// One result for each job. Conflicts, too, are answers only once all is committed: they may rest
/// on another batch of the group.
fn transaction(connection: &Connection, jobs: &[Job]) -> Result<Vec<Result<(), Conflict>>, Failed> {
    let run = |sql: &str| connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
    run("BEGIN IMMEDIATE").map_err(Failed::NotBegun)?;
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        run("SAVEPOINT batch").map_err(Failed::Undone)?;
        match apply(connection, &job.writes) {
            Ok(()) => results.push(Ok(())),
            Err(Failure::Conflict(conflict)) => {
                run("ROLLBACK TO batch").map_err(Failed::Undone)?;
                results.push(Err(conflict));
            }
            Err(Failure::Fault(error)) => return Err(Failed::Undone(error)),
        }
        run("RELEASE batch").map_err(Failed::Undone)?;
    }
    run("COMMIT").map_err(|error| match error.sqlite_error_code() {
        // These come before the commit record is in the log.
        Some(ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::DatabaseBusy) => Failed::Undone(error),
        _ => Failed::Unknown(error),
    })?;
    Ok(results)
}

/// Deletes what expired before `now`, at most `most` records of each collection; returns whether
/// that was all.
pub(super) fn sweep(
    connection: &Connection,
    expiring: &[&'static Collection],
    now: i64,
    most: u32,
) -> rusqlite::Result<bool> {
    let transaction = connection.unchecked_transaction()?;
    let mut all = true;
    for collection in expiring {
        let deleted = delete_expired(&transaction, collection, now, most)?;
        all &= u32::try_from(deleted).is_ok_and(|deleted| deleted < most);
    }
    transaction.commit()?;
    Ok(all)
}
