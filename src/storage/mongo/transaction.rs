//! Several writes, or a delete, as a transaction.
//!
//! Who calls it: [`Inner::commit`] and the shared commits.
//!
//! A transaction also inserts the id of its commit into `_commits`. If the answer to
//! `commitTransaction` is lost, the commit is sent again; if that does not tell either, the same id
//! is inserted **alone**: if it is there already, the transaction was committed; if it could be
//! inserted, the transaction never was and never will be, and everything can be run again.

use std::collections::BTreeMap;

use bson::raw::{CStr, RawArrayBuf, RawDocumentBuf, cstr};
use bson::{DateTime, Document, doc};
use mongodb::ClientSession;
use mongodb::error::UNKNOWN_TRANSACTION_COMMIT_RESULT;
use mongodb::options::{Acknowledgment, ReadConcern, WriteConcern};
use steward_actors::ids;
use steward_actors::store::{Collection, Conflict, Write};
use tokio::time::Instant;

use super::document::{self, ID, VERSION};
use super::failure::{self, Failure};
use super::single::{moved_on, refused, versions};
use super::{BACKOFF, Inner, NotCommitted};

/// Ids of commits, for as long as their outcome may be asked for.
pub(super) const COMMITS: &str = "_commits";
/// When the commit was sent, for the expiry of [`COMMITS`].
pub(super) const SENT_AT: &str = "at";
/// Marks an id that was inserted alone: its transaction will never be committed.
const VOID: &str = "void";

/// Attempts against other transactions on the same records.
pub(super) const CONTENDED_ATTEMPTS: u32 = 8;
/// Attempts after which it is looked whether the other transaction was abandoned.
const LOOKING_AFTER: u32 = 4;
/// Attempts to reach the store when no answer came before the commit was sent.
const UNREACHABLE_ATTEMPTS: u32 = 3;
/// Times that `commitTransaction` is sent before the outcome is settled otherwise. The driver
/// doubles each.
const COMMIT_ATTEMPTS: u32 = 3;
/// What a write command holds at most: bytes, and writes.
const COMMAND_BYTES: usize = 4 << 20;
const COMMAND_WRITES: usize = 1000;
/// What a write command may take, so that a stuck one doesn't hold its locks.
const STATEMENT_MILLIS: i64 = 5000;

/// How an attempt failed. Unless it says so, nothing was written.
enum Attempt {
    /// The write at this position met this failure.
    Write(usize, Failure),
    /// The records of some replaces or deletes have other versions.
    MovedOn,
    /// Another transaction was in the way.
    Contended(String),
    /// No answer before the commit was sent.
    Unreachable(Failure),
    /// The commit was sent and its outcome is open.
    Open(Box<ClientSession>, String),
}

/// What became of a commit whose outcome was open.
enum Settled {
    Committed,
    Never,
    Open,
}

impl Inner {
    /// Commits all writes or none. Other transactions on the same records may be in the way
    /// `contended` times before it is given up as [`NotCommitted::Refused`]. `written` is called when
    /// all is written and only the commit is left to wait for, again after an attempt that failed.
    pub(super) async fn transact(
        &self,
        writes: &[&Write],
        contended: u32,
        until: Instant,
        mut written: impl FnMut(),
    ) -> Result<(), NotCommitted> {
        let statements =
            statements(writes).map_err(|(position, reason)| refused(writes[position], reason))?;
        for attempts in 0.. {
            let commit = ids::new_id();
            let reason = match self.attempt(&statements, &commit, &mut written).await {
                Ok(()) => return Ok(()),
                Err(Attempt::Write(position, failure)) => return Err(failed(writes, position, failure)),
                Err(Attempt::MovedOn) => {
                    self.name_culprit(writes).await?;
                    "records moved on and back".to_owned()
                }
                Err(Attempt::Contended(reason)) => {
                    if attempts >= contended {
                        self.name_culprit(writes).await?;
                        return Err(NotCommitted::Refused(reason));
                    }
                    if attempts >= LOOKING_AFTER {
                        self.end_abandoned().await;
                    }
                    reason
                }
                Err(Attempt::Unreachable(Failure::Lost(reason))) if attempts < UNREACHABLE_ATTEMPTS => reason,
                Err(Attempt::Unreachable(failure)) => {
                    return Err(NotCommitted::Unreachable(failure.reason()));
                }
                Err(Attempt::Open(session, reason)) => match self.settle(*session, &commit, until).await {
                    Settled::Committed => return Ok(()),
                    Settled::Never => reason,
                    Settled::Open => return Err(NotCommitted::Unknown(reason)),
                },
            };
            if Instant::now() >= until {
                return Err(NotCommitted::Refused(reason));
            }
            BACKOFF.wait(attempts + 1).await;
        }
        unreachable!("the loop ends at a deadline")
    }

    /// One run of the transaction.
    async fn attempt(
        &self,
        statements: &[Statement],
        commit: &str,
        written: &mut impl FnMut(),
    ) -> Result<(), Attempt> {
        let unreachable = |error: mongodb::error::Error| Attempt::Unreachable(error.into());
        let majority = WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(self.deadlines.commit);
        let mut session = self.client.start_session().await.map_err(unreachable)?;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(majority.build())
            .await
            .map_err(unreachable)?;
        if let Err(failed) = self.execute(&mut session, statements, commit).await {
            // Others wait for what the transaction has locked. Where nobody answers, the session
            // ends it in the background. What goes wrong with it the driver ignores, and so may
            // we: the server ends it by itself.
            if !matches!(failed, Attempt::Unreachable(_)) {
                let _ = session.abort_transaction().await;
            }
            return Err(failed);
        }
        written();
        let mut attempts = 0;
        loop {
            let Err(error) = session.commit_transaction().await else { return Ok(()) };
            attempts += 1;
            if attempts == COMMIT_ATTEMPTS || !error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) {
                // Whatever the error says, also that it was not committed: it may be the word of a
                // server that doesn't know of the commit yet.
                return Err(Attempt::Open(Box::new(session), failure::in_words(&error)));
            }
            BACKOFF.wait(attempts + 1).await;
        }
    }

    async fn execute(
        &self,
        session: &mut ClientSession,
        statements: &[Statement],
        commit: &str,
    ) -> Result<(), Attempt> {
        let mark = doc! { "insert": COMMITS, "documents": [{ ID: commit, SENT_AT: DateTime::now() }] };
        let marked = self.database.run_command(mark).session(&mut *session).await.map_err(in_statement)?;
        if let Some((_, failure)) = failure::in_reply(&marked) {
            return Err(Attempt::Contended(failure.reason()));
        }
        for statement in statements {
            let expected = statement.positions.len();
            let reply = self.database.run_raw_command(statement.command.clone()).session(&mut *session).await;
            let reply = reply.map_err(in_statement)?;
            if let Some((index, failure)) = failure::in_reply(&reply) {
                let position = statement.positions.get(index).or(statement.positions.first()).copied();
                return Err(match failure {
                    Failure::Contended(reason) => Attempt::Contended(reason),
                    failure => Attempt::Write(position.unwrap_or_default(), failure),
                });
            }
            if reply.get_i32("n").ok().and_then(|n| usize::try_from(n).ok()) != Some(expected) {
                return Err(Attempt::MovedOn);
            }
        }
        Ok(())
    }

    /// Finds out what became of the commit with this id. Uses the transaction's session, because
    /// a later operation of a session ends what is left of an earlier transaction of it.
    async fn settle(&self, mut session: ClientSession, commit: &str, until: Instant) -> Settled {
        let commits = self.database.collection::<Document>(COMMITS);
        for attempts in 0.. {
            let void = doc! { ID: commit, SENT_AT: DateTime::now(), VOID: true };
            let inserted = commits.insert_one(void).session(&mut session).await;
            match inserted.map_err(Failure::from) {
                Ok(_) => return Settled::Never,
                Err(Failure::Duplicate(_)) => {
                    // By a majority read: what it sees stays. It may also be an earlier attempt of
                    // this loop, whose answer was lost.
                    match commits.find_one(doc! { ID: commit }).max_time(self.deadlines.read).await {
                        Ok(Some(found)) if found.contains_key(VOID) => return Settled::Never,
                        Ok(Some(_)) => return Settled::Committed,
                        Ok(None) | Err(_) => {}
                    }
                }
                Err(_) => {}
            }
            if Instant::now() >= until {
                break;
            }
            BACKOFF.wait(attempts + 1).await;
        }
        Settled::Open
    }

    /// Ends in a conflict if there is a write that doesn't fit the records any more.
    async fn name_culprit(&self, writes: &[&Write]) -> Result<(), NotCommitted> {
        match self.culprit(writes).await {
            Ok(None) => Ok(()),
            Ok(Some((position, conflict))) => Err(NotCommitted::Conflict(position, conflict)),
            Err(failure) => Err(NotCommitted::Unreachable(failure.reason())),
        }
    }

    /// The first write that does not fit the records as they are now, by majority reads.
    async fn culprit(&self, writes: &[&Write]) -> Result<Option<(usize, Conflict)>, Failure> {
        let mut found: BTreeMap<(&str, String), i64> = BTreeMap::new();
        for (collection, group) in by_collection(writes) {
            let ids: Vec<&str> = group.iter().map(|(_, write)| write.id()).collect();
            let documents = self.database.collection::<Document>(collection.name);
            let mut records = documents
                .find(doc! { ID: { "$in": ids } })
                .projection(doc! { VERSION: 1 })
                .max_time(self.deadlines.read)
                .await?;
            while records.advance().await? {
                let record = records.deserialize_current()?;
                let id = record.get_str(ID).unwrap_or_default().to_owned();
                found.insert((collection.name, id), record.get_i64(VERSION).unwrap_or_default());
            }
        }
        let misfit = |write: &Write| {
            let now = found.get(&(write.collection().name, write.id().to_owned())).copied();
            match write {
                Write::Insert { collection, id, .. } => {
                    now.and_then(|_| failure::conflict(collection, id, "_id_"))
                }
                Write::Replace { version, .. } | Write::Delete { version, .. } => {
                    (now.is_none() || now != i64::try_from(*version).ok()).then(|| moved_on(write))
                }
            }
        };
        Ok(writes.iter().enumerate().find_map(|(position, write)| Some((position, misfit(write)?))))
    }
}

/// A failure before the commit was sent: whatever it is, nothing was written.
fn in_statement(error: mongodb::error::Error) -> Attempt {
    match Failure::from(error) {
        Failure::Contended(reason) => Attempt::Contended(reason),
        failure @ (Failure::NotSent(_) | Failure::Lost(_)) => Attempt::Unreachable(failure),
        failure => Attempt::Write(0, failure),
    }
}

fn failed(writes: &[&Write], position: usize, failure: Failure) -> NotCommitted {
    let write = writes[position];
    if let Failure::Duplicate(index) = &failure
        && let Some(conflict) = failure::conflict(write.collection(), write.id(), index)
    {
        return NotCommitted::Conflict(position, conflict);
    }
    refused(write, failure.reason())
}

/// A write command, and for each of its writes the position in the batch.
struct Statement {
    command: RawDocumentBuf,
    positions: Vec<usize>,
}

fn by_collection<'a>(writes: &[&'a Write]) -> Vec<(&'static Collection, Vec<(usize, &'a Write)>)> {
    let mut groups: Vec<(&'static Collection, Vec<(usize, &Write)>)> = Vec::new();
    for (position, write) in writes.iter().copied().enumerate() {
        let collection = write.collection();
        match groups.iter_mut().find(|(known, _)| known.name == collection.name) {
            Some((_, group)) => group.push((position, write)),
            None => groups.push((collection, vec![(position, write)])),
        }
    }
    groups
}

/// The commands that make these writes. Deletes come first and inserts last, so that a unique key
/// that one record of the batch gives up can be taken by another.
fn statements(writes: &[&Write]) -> Result<Vec<Statement>, (usize, String)> {
    let (mut deletes, mut updates, mut inserts) = (Vec::new(), Vec::new(), Vec::new());
    for (collection, group) in by_collection(writes) {
        let (mut delete, mut update, mut insert) = (Vec::new(), Vec::new(), Vec::new());
        for (position, write) in group {
            let (list, element) = match write {
                Write::Insert { id, body, .. } => {
                    (&mut insert, document::of_record(collection, id, 1, body, None))
                }
                Write::Replace { id, version, body, before, .. } => {
                    let (based_on, next) = versions(*version).unwrap_or((0, 1));
                    let record = document::update(collection, id, next, (body, before.as_ref()), None);
                    (&mut update, doc! { "q": { ID: id, VERSION: based_on }, "u": record })
                }
                Write::Delete { id, version, .. } => {
                    let (based_on, _) = versions(*version).unwrap_or((0, 1));
                    (&mut delete, doc! { "q": { ID: id, VERSION: based_on }, "limit": 1 })
                }
            };
            let element =
                RawDocumentBuf::try_from(&element).map_err(|error| (position, error.to_string()))?;
            list.push((position, element));
        }
        deletes.extend(commands(cstr!("delete"), cstr!("deletes"), collection.name, delete));
        updates.extend(commands(cstr!("update"), cstr!("updates"), collection.name, update));
        inserts.extend(commands(cstr!("insert"), cstr!("documents"), collection.name, insert));
    }
    deletes.extend(updates);
    deletes.extend(inserts);
    Ok(deletes)
}

fn commands(
    verb: &CStr,
    list: &CStr,
    collection: &str,
    elements: Vec<(usize, RawDocumentBuf)>,
) -> Vec<Statement> {
    let mut chunks: Vec<(Vec<usize>, RawArrayBuf, usize)> = Vec::new();
    for (position, element) in elements {
        let size = element.as_bytes().len();
        match chunks.last_mut() {
            Some((positions, array, bytes))
                if *bytes + size <= COMMAND_BYTES && positions.len() < COMMAND_WRITES =>
            {
                positions.push(position);
                array.push(element);
                *bytes += size;
            }
            _ => {
                let mut array = RawArrayBuf::new();
                array.push(element);
                chunks.push((vec![position], array, size));
            }
        }
    }
    chunks
        .into_iter()
        .map(|(positions, array, _)| {
            let mut command = RawDocumentBuf::new();
            command.append(verb, collection);
            command.append(list, array);
            command.append(cstr!("maxTimeMS"), STATEMENT_MILLIS);
            Statement { command, positions }
        })
        .collect()
}
