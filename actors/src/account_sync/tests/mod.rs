//! Account sync against a store in memory, a clock that the tests move, and a scripted bank.

mod changes;
mod conflicts;
mod decisions;
mod linking;
mod postings;
mod replicas;
mod runs;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use secrecy::SecretString;

use super::*;
use crate::accounts::{Account, Accounts};
use crate::cluster::Clock;
use crate::ids;
use crate::money::{Currency, Money};
use crate::providers::{
    Bank, BankAccount, BankDetails, BankError, ClaimError, Credential, Period, Statement,
};
use crate::session::LocalInvalidations;
use crate::store::{Versioned, load};
use crate::supervision::{Arbiters, InfrastructureTask, Tree, supervise_task};
use crate::testing::{
    BankCall, BankFault, ManualClock, MemoryStore, ScriptedBank, ScriptedTerritory, WeakSealer,
};
use crate::time::Timestamp;

/// Runs a test inside an actix system.
fn system<F: Future<Output = ()>>(test: F) {
    actix_rt::System::new().block_on(test);
}

/// A bank that panics as often as it was told to, and then does as the scripted one.
#[derive(Default)]
struct PanickyBank {
    scripted: ScriptedBank,
    panics: AtomicUsize,
}

#[async_trait]
impl Bank for PanickyBank {
    async fn claim(&self, setup_token: &str, user_id: &str) -> Result<Credential, ClaimError> {
        self.scripted.claim(setup_token, user_id).await
    }

    async fn statement(
        &self,
        credential: &Credential,
        period: Option<Period>,
    ) -> Result<Statement, BankError> {
        let panics = |left: usize| left.checked_sub(1);
        if self.panics.fetch_update(Ordering::AcqRel, Ordering::Acquire, panics).is_ok() {
            panic!("a panic of the test");
        }
        self.scripted.statement(credential, period).await
    }

    fn can_revoke(&self) -> bool {
        true
    }

    async fn revoke(&self, credential: &Credential) -> Result<(), BankError> {
        self.scripted.revoke(credential).await
    }
}

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    bank: Arc<PanickyBank>,
    arbiters: Arc<Arbiters>,
    tree: Tree,
    options: SyncOptions,
    accounts: Accounts,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        Self {
            accounts: Accounts::new(store.clone(), clock.clone()),
            tree: Tree::new(clock.clone()),
            bank: Arc::default(),
            arbiters: Arc::new(Arbiters::start(2)),
            options: SyncOptions { jitter: 0.0, ..SyncOptions::default() },
            store,
            clock,
        }
    }

    fn replica(&self, name: &str) -> Connections {
        self.replica_with(name, Arc::default())
    }

    /// A replica whose process stands still as seen from outside: its clock does, so it renews nothing.
    fn frozen(&self, name: &str) -> Connections {
        self.replica_at(Arc::new(ManualClock::default()), name, Arc::default())
    }

    fn replica_with(&self, name: &str, territory: Arc<ScriptedTerritory>) -> Connections {
        self.replica_at(self.clock.clone(), name, territory)
    }

    fn replica_at(
        &self,
        clock: Arc<ManualClock>,
        name: &str,
        territory: Arc<ScriptedTerritory>,
    ) -> Connections {
        self.replica_of(SyncParts { clock, territory, ..self.parts(name) })
    }

    /// A replica that sees the store through another one.
    fn replica_over(&self, store: Arc<dyn crate::store::Store>, name: &str) -> Connections {
        self.replica_of(SyncParts { store, ..self.parts(name) })
    }

    fn replica_of(&self, parts: SyncParts) -> Connections {
        Connections::new(parts, self.arbiters.clone(), self.tree.clone())
    }

    fn parts(&self, name: &str) -> SyncParts {
        SyncParts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            banks: Banks::from([("sandbox".to_owned(), self.bank.clone() as Arc<dyn Bank>)]),
            sealer: Arc::new(WeakSealer::default()),
            replica: name.to_owned(),
            channel: Arc::new(LocalInvalidations::default()),
            territory: Arc::<ScriptedTerritory>::default(),
            options: self.options,
        }
    }

    /// Runs a replica's schedule as the composition root does.
    fn scheduled(&self, connections: &Connections) -> InfrastructureTask {
        let connections = connections.clone();
        supervise_task(&self.tree, "sync-schedule", move |stop| connections.clone().schedule(stop))
    }

    fn script(&self, faults: impl IntoIterator<Item = BankFault>) {
        self.bank.scripted.script(BankCall::Statement, faults);
    }

    /// Links user u1, and waits for the end of the first run.
    async fn linked(&self, connections: &Connections) -> Connection {
        let connection = connections.link(request("u1")).await.unwrap().connection;
        self.finished(&connection.id, 1).await;
        self.connection(&connection.id).await
    }

    async fn connection(&self, id: &str) -> Connection {
        load::<Connection>(self.store.as_ref(), id).await.unwrap().unwrap().value
    }

    /// All runs of a connection, oldest first.
    async fn runs(&self, connection_id: &str) -> Vec<Run> {
        let query = crate::store::Query::by(&RUNS, "connection").equal(connection_id);
        let (runs, _) = crate::store::find::<Run>(self.store.as_ref(), query).await.unwrap();
        runs.into_iter().map(|run| run.value).collect()
    }

    /// Waits until `count` runs of the connection are finished; returns the last one.
    async fn finished(&self, connection_id: &str, count: usize) -> Run {
        let finished = eventually(|| async move {
            let runs = self.runs(connection_id).await;
            let finished = runs.iter().filter(|run| run.status == RunStatus::Finished).count();
            (finished >= count).then(|| runs.last().cloned()).flatten()
        });
        finished.await
    }

    async fn accounts_of(&self, user_id: &str) -> Vec<Account> {
        let (page, _) = self.accounts.page(user_id, None, 100, None).await.unwrap();
        page.into_iter().map(|account: Versioned<Account>| account.value).collect()
    }
}

/// Waits until `look` sees something, without sleeping: whatever it waits for runs on other
/// threads.
async fn eventually<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < until, "not within 20 s");
        tokio::task::yield_now().await;
    }
}

fn claim_fails(world: &World, error: ClaimError) {
    world.bank.scripted.script(BankCall::Claim, [BankFault::ClaimFails(error)]);
}

fn request(user_id: &str) -> LinkRequest {
    LinkRequest {
        id: ids::new_id(),
        command: None,
        user_id: user_id.to_owned(),
        provider: "sandbox".to_owned(),
        setup_token: SecretString::from("sandbox"),
    }
}

fn dollars(cents: i64) -> Money {
    Money::new(cents, Currency::from_code("USD").unwrap())
}

fn checking(id: &str, cents: i64, as_of: Timestamp) -> BankAccount {
    BankAccount {
        id: id.to_owned(),
        institution: "Sandbox Bank".to_owned(),
        name: format!("Account {id}"),
        balance: dollars(cents),
        balance_as_of: as_of,
        details: BankDetails::Checking {
            overdraft_protection: Some(true),
            routing_number: Some("123456789".to_owned()),
        },
        transactions: Vec::new(),
        whole: true,
    }
}

fn credit(id: &str, apr: &str, due_date: Option<&str>, as_of: Timestamp) -> BankAccount {
    BankAccount {
        details: BankDetails::Credit {
            credit_limit: Some(dollars(500_000)),
            available_credit: Some(dollars(380_000)),
            apr: Some(apr.to_owned()),
            due_date: due_date.map(str::to_owned),
        },
        ..checking(id, 120_045, as_of)
    }
}

fn whole(accounts: Vec<BankAccount>) -> Statement {
    Statement { accounts, ..Statement::default() }
}

#[test]
fn the_declarations_hold() {
    assert!(CONNECTIONS.mistakes().is_empty());
    assert!(RUNS.mistakes().is_empty());
    assert!(LINKS_UNDER_WAY.mistakes().is_empty());
}
