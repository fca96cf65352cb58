//! What a provider says unasked: that something about a connection is new. It is a hint, which makes a
//! run wanted and is believed in nothing else; the same one again does nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connection::Connection;
use super::errors::SyncError;
use super::run::{Run, RunStatus};
use super::settle::wanted;
use super::work::{ATTEMPTS, BACKOFF, Work, again};
use crate::store::{Batch, Collection, Entity, Field, Kind, load};
use crate::time::Timestamp;

/// What was told, for as long as a copy of it could still count as fresh, and a day longer.
pub static BANK_NOTICES: Collection = Collection {
    name: "bank_notices",
    fields: &[Field::required("id", Kind::Text), Field::required("forgetAt", Kind::Time)],
    indexes: &[],
    words: &[],
    expires: Some("forgetAt"),
};

/// How long a notice is remembered.
const REMEMBERED: Duration = Duration::from_secs(25 * 3600);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notice {
    id: String,
    forget_at: Timestamp,
}

impl Entity for Notice {
    fn collection() -> &'static Collection {
        &BANK_NOTICES
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// What came of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heeded {
    /// A run is wanted for it.
    Wanted,
    /// It was heard before.
    Repeated,
    /// No connection is called that.
    Unknown,
}

impl Work {
    /// Makes a run wanted for what was said. The flag says whether somebody has to begin it.
    pub(super) async fn heed(&self, notice: &str, run_id: &str) -> Result<(Heeded, bool), SyncError> {
        let _turn = self.turn().await;
        let mut last = SyncError::OutcomeUnknown;
        for attempt in 0..ATTEMPTS {
            BACKOFF.wait(attempt).await;
            if load::<Notice>(self.store(), notice).await?.is_some() {
                let made = attempt > 0 && load::<Run>(self.store(), run_id).await?.is_some();
                let heeded = if attempt > 0 { Heeded::Wanted } else { Heeded::Repeated };
                return Ok((heeded, made));
            }
            let Some(found) = load::<Connection>(self.store(), self.connection_id()).await? else {
                return Ok((Heeded::Unknown, false));
            };
            if !found.value.is_listed() {
                return Ok((Heeded::Unknown, false));
            }
            let now = self.now();
            let heard = Notice { id: notice.to_owned(), forget_at: now.plus(REMEMBERED) };
            let batch = Batch::new().insert(&heard);
            let (batch, begins) = match self.unfinished().await? {
                None => {
                    let (due, run) = wanted(found.value, run_id, now);
                    (batch.replace(&due, found.version).insert(&run), true)
                }
                Some(run) if run.value.status == RunStatus::Queued => (batch, false),
                Some(_) => {
                    let again = Connection { again: true, ..found.value };
                    (batch.replace(&again, found.version), false)
                }
            };
            match again(self.store().commit(batch).await)? {
                Ok(()) => return Ok((Heeded::Wanted, begins)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
