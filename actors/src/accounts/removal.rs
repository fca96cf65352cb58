//! What goes with an account that is deleted: its transactions and the history of its balance.
//!
//! Who calls it: whoever deletes an account sweeps at once, so that nothing of it is shown any more;
//! the outbox sweeps again some time later, for what a deletion that was cut off has left and for
//! what was written down while the account went. That it was deleted is remembered for as long as the
//! command that made it may come again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::days::BALANCES;
use super::transaction::TRANSACTIONS;
use crate::backoff::Backoff;
use crate::ids;
use crate::outbox::{Job, JobError, Performer};
use crate::store::{Batch, Collection, CommitError, Query, Store, StoreError, Write, load};
use crate::time::Timestamp;
use crate::tombstone::{self, tombstones};

/// Ids of accounts that were made by a command that can come again, and were deleted.
pub static DELETED_ACCOUNTS: Collection = tombstones("deleted_accounts");

impl tombstone::Made for Account {
    fn tombstones() -> &'static Collection {
        &DELETED_ACCOUNTS
    }

    fn can_come_again(&self) -> bool {
        self.command.is_some()
    }
}

/// The kind of the job.
pub const ACCOUNT_REMOVAL: &str = "account_removal";

/// Records in one batch.
const PAGE: usize = 500;
/// Batches in a row that may fail.
const MOST_FAILED: u32 = 10;
/// After how long the job looks: longer than a request that found the account may still take.
const LATER: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    account_id: String,
}

/// The job that is to be committed with an account's deletion.
pub fn account_removal(account_id: &str, now: Timestamp) -> Job {
    let payload = Payload { account_id: account_id.to_owned() };
    Job::new(ids::new_id(), ACCOUNT_REMOVAL, &payload, now).after(LATER)
}

/// Deletes what goes with an account. Safe to repeat, and to run while something is added.
///
/// # Errors
/// [`StoreError`], with all that could be deleted now deleted.
pub async fn sweep(store: &dyn Store, account_id: &str) -> Result<(), StoreError> {
    for collection in [&TRANSACTIONS, &BALANCES] {
        sweep_collection(store, collection, account_id).await?;
    }
    Ok(())
}

async fn sweep_collection(
    store: &dyn Store,
    collection: &'static Collection,
    account_id: &str,
) -> Result<(), StoreError> {
    let mut failed = 0;
    loop {
        let query = Query::by(collection, "account").equal(account_id).limit(PAGE);
        let found = store.find(query).await?.records;
        if found.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.writes.extend(found.into_iter().map(|record| Write::Delete {
            collection,
            id: record.id,
            version: record.version,
        }));
        match store.commit(batch).await {
            Ok(()) => failed = 0,
            // Another write came first, or it may have counted: the next page tells.
            Err(CommitError::Conflict(_) | CommitError::OutcomeUnknown(_)) if failed < MOST_FAILED => {
                failed += 1;
                Backoff::CONTENTION.wait(failed).await;
            }
            Err(error) => return Err(StoreError::Unavailable(error.to_string())),
        }
    }
}

/// Sweeps after deletions, once more.
pub struct AccountRemoval {
    store: Arc<dyn Store>,
}

impl AccountRemoval {
    /// Over this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl Performer for AccountRemoval {
    fn kind(&self) -> &'static str {
        ACCOUNT_REMOVAL
    }

    async fn perform(&self, job: &Job) -> Result<(), JobError> {
        let Payload { account_id } = job.payload()?;
        let store = self.store.as_ref();
        // Its key was forgotten, and a command has used it anew.
        if load::<Account>(store, &account_id).await?.is_some() {
            return Ok(());
        }
        Ok(sweep(store, &account_id).await?)
    }
}
