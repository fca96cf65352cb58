//! What operators do from the command line, on the configured store: beside running replicas on
//! MongoDB, in place of one on the embedded store.

use std::fmt::{Display, Write};
use std::sync::Arc;

use steward_actors::account_sync;
use steward_actors::audit::By;
use steward_actors::cluster::StoreClock;
use steward_actors::outbox::{JobStatus, Jobs, Waker};
use steward_actors::store::Store;

use super::commands::say;
use super::failure::Failure;
use super::keys;
use super::stores::{OpenStore, OpenStoreError};
use crate::config::Config;
use crate::storage::sqlite::OpenError;

/// What is done with jobs.
pub enum JobsAct {
    /// Those with this status, the one due first first.
    List {
        /// Which.
        status: JobStatus,
        /// How many at most, 1 to 1,000.
        limit: usize,
    },
    /// These dead letters become due.
    Retry(Vec<String>),
    /// These dead letters are forgotten.
    Drop(Vec<String>),
}

/// Lists, retries or drops jobs.
///
/// # Errors
/// The store can't be opened, or a job was left as it was.
pub async fn jobs(config: Config, act: JobsAct) -> Result<(), Failure> {
    let opened = open(&config, "GET, POST and DELETE /v1/admin/jobs").await?;
    let done = jobs_in(&opened.store, act).await;
    opened.close().await;
    done
}

async fn jobs_in(store: &Arc<dyn Store>, act: JobsAct) -> Result<(), Failure> {
    let clock = Arc::new(StoreClock::start(store.as_ref()).await.map_err(Failure::new)?);
    // Outboxes find a job that is due by looking for it.
    let jobs = Jobs::new(store.clone(), clock, Waker::default(), &[]);
    match act {
        JobsAct::List { status, limit } => {
            let found = jobs.find(Jobs::query(Some(status)).limit(limit)).await.map_err(Failure::new)?.0;
            let mut lines = String::new();
            for job in &found {
                let job = &job.value;
                // Writing to a string can't fail.
                let _ = writeln!(
                    lines,
                    "{}  {}  {}  due {}  attempts {}  {}",
                    job.id(),
                    job.kind(),
                    job.status().name(),
                    job.due_at(),
                    job.attempts(),
                    one_line(job.last_error().unwrap_or_default()),
                );
            }
            say(if found.is_empty() { "There are none.\n" } else { &lines })
        }
        JobsAct::Retry(ids) => each(&ids, "due", async |id| jobs.retry(id, &by()).await.map(|_| ())).await,
        JobsAct::Drop(ids) => each(&ids, "dropped", async |id| jobs.discard(id, &by()).await).await,
    }
}

/// Seals the keys of tokens and every credential with the first key of `secrets.key`.
///
/// # Errors
/// The store can't be opened, or some credentials still need an older key.
pub async fn reseal_keys(config: Config) -> Result<(), Failure> {
    let opened = open(&config, "none; it seals credentials again by itself, once an hour").await?;
    let done = reseal_in(&config, &opened.store).await;
    opened.close().await;
    done
}

async fn reseal_in(config: &Config, store: &Arc<dyn Store>) -> Result<(), Failure> {
    let sealer = keys::sealer(config, store.as_ref()).await.map_err(Failure::new)?;
    let clock = Arc::new(StoreClock::start(store.as_ref()).await.map_err(Failure::new)?);
    // Looking after the keys of tokens begins with sealing them again.
    keys::open(config, store.clone(), clock, sealer.clone()).await.map_err(Failure::new)?;
    let told = account_sync::reseal(store.as_ref(), sealer.as_ref()).await.map_err(Failure::new)?;
    say(&format!("{} credentials sealed again, {} were current\n", told.resealed, told.current))?;
    match (told.left, told.unreadable) {
        (0, 0) => Ok(()),
        (left, 0) => Err(Failure::new(format!("{left} were being changed; run it again"))),
        (_, unreadable) => Err(Failure::new(format!(
            "{unreadable} were sealed with a key that is not in secrets.key; add it, or their users link again"
        ))),
    }
}

/// Acts on each of them; fails if one was left as it was.
pub(super) async fn each<E: Display>(
    ids: &[String],
    became: &str,
    act: impl AsyncFn(&str) -> Result<(), E>,
) -> Result<(), Failure> {
    let mut left = Vec::new();
    for id in ids {
        match act(id).await {
            Ok(()) => say(&format!("{id}: {became}\n"))?,
            Err(error) => left.push(format!("{id}: {error}")),
        }
    }
    if left.is_empty() { Ok(()) } else { Err(Failure::new(left.join("\n"))) }
}

/// Opens the store; the embedded one only if no server has it, whose `routes` do the same.
pub(super) async fn open(config: &Config, routes: &str) -> Result<OpenStore, Failure> {
    OpenStore::open(config).await.map_err(|error| match error {
        OpenStoreError::Embedded(error @ OpenError::InUse { .. }) => {
            Failure::new(format!("{error}; while that server runs, use its routes: {routes}"))
        }
        error => Failure::new(error),
    })
}

pub(super) fn by() -> By {
    By::command_line(&super::host())
}

/// Errors come from outside; a terminal should get no more than text of them.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
