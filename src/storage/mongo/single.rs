//! Inserting or replacing one record: one operation, no transaction.
//!
//! Who calls it: [`Inner::commit`] for batches of one such write. The record carries the id of the
//! commit that wrote it, so that a commit whose answer was lost can be recognised in it.
//!
//! What a lost answer leaves open is never concluded from what is *not* there. The driver sends a
//! write once more by itself, and the server knows it again; if that answer is lost too, a replace
//! may be sent again, because it fits one version only. An insert may not: the record might have
//! been inserted, seen by others, and deleted.

use bson::{Document, doc};
use steward_actors::ids;
use steward_actors::store::{Conflict, Write};
use tokio::time::Instant;

use super::document::{self, COMMIT, ID, VERSION};
use super::failure::{self, Failure};
use super::{BACKOFF, Inner, NotCommitted};

/// Attempts against other writes of the same record that are under way.
const CONTENDED_ATTEMPTS: u32 = 8;

impl Inner {
    /// Commits one insert or replace.
    pub(super) async fn write_one(&self, write: &Write, until: Instant) -> Result<(), NotCommitted> {
        let commit = ids::new_id();
        for attempts in 0..=CONTENDED_ATTEMPTS {
            match self.send_one(write, &commit).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(NotCommitted::Conflict(0, moved_on(write))),
                Err(Failure::Duplicate(index)) => return Err(duplicate(write, &index)),
                Err(Failure::NotSent(reason)) => return Err(NotCommitted::Unreachable(reason)),
                Err(Failure::Refused(reason)) => return Err(refused(write, reason)),
                Err(Failure::Lost(reason)) => return self.settle_one(write, &commit, reason, until).await,
                Err(Failure::Contended(_)) => BACKOFF.wait(attempts + 1).await,
            }
        }
        Err(NotCommitted::Refused("other writes of the record are under way".to_owned()))
    }

    /// Finds out what became of a write whose answer was lost, or makes it happen.
    async fn settle_one(
        &self,
        write: &Write,
        commit: &str,
        reason: String,
        until: Instant,
    ) -> Result<(), NotCommitted> {
        let mut fits_no_more = matches!(write, Write::Insert { .. });
        for attempts in 0.. {
            match self.carries(write, commit).await {
                Some(true) => return Ok(()),
                // Nothing tells whether it never was or is no more.
                Some(false) if fits_no_more => break,
                Some(false) => match self.send_one(write, commit).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => {
                        fits_no_more = true;
                        continue;
                    }
                    Err(_) => {}
                },
                None => {}
            }
            if Instant::now() >= until {
                break;
            }
            BACKOFF.wait(attempts + 1).await;
        }
        Err(NotCommitted::Unknown(reason))
    }

    /// Sends the write; `Ok(false)` if no record had the version that a replace is based on.
    async fn send_one(&self, write: &Write, commit: &str) -> Result<bool, Failure> {
        let documents = self.database.collection::<Document>(write.collection().name);
        match write {
            Write::Insert { collection, id, body } => {
                documents.insert_one(document::of_record(collection, id, 1, body, Some(commit))).await?;
                Ok(true)
            }
            Write::Replace { collection, id, version, body, before } => {
                let Some((based_on, next)) = versions(*version) else { return Ok(false) };
                let known = (body, before.as_ref());
                let update = document::update(collection, id, next, known, Some(commit));
                let filter = doc! { ID: id, VERSION: based_on };
                // An update of fields is marked as such by its first name, and a record has none like it.
                let changed = match update.contains_key("$set") {
                    true => documents.update_one(filter, update).await?,
                    false => documents.replace_one(filter, update).await?,
                };
                Ok(changed.matched_count == 1)
            }
            Write::Delete { .. } => unreachable!("a delete is a transaction"),
        }
    }

    /// Whether the record carries this commit's mark, by a majority read; `None` if it can't be
    /// read now.
    async fn carries(&self, write: &Write, commit: &str) -> Option<bool> {
        let documents = self.database.collection::<Document>(write.collection().name);
        let found = documents.find_one(doc! { ID: write.id() }).max_time(self.deadlines.read).await.ok()?;
        Some(found.is_some_and(|found| found.get_str(COMMIT).ok() == Some(commit)))
    }
}

/// A version as MongoDB knows it, and the next one; `None` for one that no record has.
pub(super) fn versions(version: u64) -> Option<(i64, i64)> {
    let version = i64::try_from(version).ok().filter(|version| *version > 0)?;
    Some((version, version.checked_add(1)?))
}

pub(super) fn moved_on(write: &Write) -> Conflict {
    Conflict::Version { collection: write.collection().name, id: write.id().to_owned() }
}

fn duplicate(write: &Write, index: &str) -> NotCommitted {
    match failure::conflict(write.collection(), write.id(), index) {
        Some(conflict) => NotCommitted::Conflict(0, conflict),
        None => refused(write, format!("the undeclared unique index {index} has the key already")),
    }
}

/// Logged here, because the caller is only told that the store is unavailable: a refused write is a
/// mistake of the program or of the database's schema.
pub(super) fn refused(write: &Write, reason: String) -> NotCommitted {
    tracing::error!(collection = write.collection().name, id = write.id(), reason, "MongoDB refused a write");
    NotCommitted::Refused(reason)
}
