//! What live actors of connections cost: growth of this process while so many live, over the embedded
//! store, and a bank that does not answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use steward::app::schema::SCHEMA;
use steward::crypto::{AesSealer, new_secrets_key};
use steward::storage::sqlite::SqliteStore;
use steward_actors::account_sync::{Connection, Connections, SyncOptions, SyncParts};
use steward_actors::cluster::{Clock, StoreClock, Territory};
use steward_actors::providers::{Bank, BankError, ClaimError, Credential, Period, Statement};
use steward_actors::session::LocalInvalidations;
use steward_actors::store::{Batch, Store};
use steward_actors::supervision::{Arbiters, Tree, supervise_task};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::server::resident;

/// Actors that live at once.
const ACTORS: usize = 5000;

/// A bank that answers nobody until it is closed.
struct Silent(Semaphore);

#[async_trait]
impl Bank for Silent {
    async fn claim(&self, _: &str, _: &str) -> Result<Credential, ClaimError> {
        Err(ClaimError::Refused("it is silent".to_owned()))
    }

    async fn statement(&self, _: &Credential, _: Option<Period>) -> Result<Statement, BankError> {
        let _ = self.0.acquire().await;
        Err(BankError::Down("it is silent".to_owned()))
    }
}

/// All is this process's.
struct Everything;

#[async_trait]
impl Territory for Everything {
    fn epoch_of(&self, _: &str) -> Option<u64> {
        Some(1)
    }

    fn lives(&self, _: &str) -> bool {
        true
    }

    async fn gained(&self) {
        std::future::pending::<()>().await;
    }
}

/// KiB of an actor that lives and has nothing to do, and of one that waits for its bank.
pub async fn measure() -> Result<(f64, f64), Failure> {
    let data = tempfile::tempdir()?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&data.path().join("bench.db"), SCHEMA)?);
    let clock: Arc<dyn Clock> = Arc::new(StoreClock::start(store.as_ref()).await?);
    let (arbiters, tree) = (Arc::new(Arbiters::start(2)), Tree::new(clock.clone()));
    let silent = Arc::new(Silent(Semaphore::new(0)));
    let replica = |concurrency: usize| -> Result<Connections, Failure> {
        let parts = SyncParts {
            store: store.clone(),
            clock: clock.clone(),
            banks: BTreeMap::from([("sandbox".to_owned(), silent.clone() as Arc<dyn Bank>)]),
            sealer: Arc::new(AesSealer::new(&new_secrets_key()?)?),
            replica: "bench".to_owned(),
            channel: Arc::new(LocalInvalidations::default()),
            territory: Arc::new(Everything),
            options: SyncOptions { concurrency, ..SyncOptions::default() },
        };
        Ok(Connections::new(parts, arbiters.clone(), tree.clone()))
    };
    // As many look at once as do in a server: what looking takes is not an actor's for good.
    let connections = replica(SyncOptions::default().concurrency)?;
    let alive = |tree: &Tree| -> usize {
        tree.census().get("account-sync").map_or(0, |census| census.states.values().sum())
    };
    let until_alive = async |wanted: usize| -> Result<(), Failure> {
        let until = Instant::now() + Duration::from_secs(30);
        while alive(&tree) != wanted {
            if Instant::now() > until {
                return Err(format!("{} actors live instead of {wanted}", alive(&tree)).into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    // Once before it counts, so that the process has what it needs whoever comes.
    let mut idle = 0.0;
    for _ in 0..2 {
        let before = resident(std::process::id());
        (0..ACTORS).for_each(|n| connections.start(&format!("nobody-{n}")));
        until_alive(ACTORS).await?;
        sleep(Duration::from_millis(500)).await;
        idle = (resident(std::process::id()) - before).max(0.0) / ACTORS as f64;
        until_alive(0).await?;
        sleep(Duration::from_millis(500)).await;
    }
    let now = clock.now();
    for first in (0..ACTORS).step_by(500) {
        let mut batch = Batch::new();
        for n in first..first + 500 {
            let connection = json!({
                "id": format!("b-{n}"), "userId": "u", "listedFor": "u", "provider": "sandbox", "status": "active",
                "failures": 0, "credential": {"keyId": "plain", "sealed": "https://u:p@bank.example/simplefin"},
                "lastSuccessAt": now, "lastOutcome": "complete", "createdAt": now, "dueAt": now,
            });
            batch = batch.insert(&serde_json::from_value::<Connection>(connection)?);
        }
        store.commit(batch).await?;
    }
    let connections = replica(ACTORS)?;
    let before = resident(std::process::id());
    let scheduled = connections.clone();
    let schedule = supervise_task(&tree, "sync-schedule", move |stop| scheduled.clone().schedule(stop));
    until_alive(ACTORS).await?;
    sleep(Duration::from_secs(2)).await;
    let running = (resident(std::process::id()) - before).max(0.0) / ACTORS as f64;
    schedule.stop(Duration::from_secs(5)).await;
    silent.0.close();
    connections.drain(Duration::from_secs(10)).await;
    Ok((idle, running))
}
