//! Opening stores: the embedded one or MongoDB, for Steward and for its sandbox.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use steward_actors::accounts;
use steward_actors::cluster::{Clock, StoreClock};
use steward_actors::store::{Collection, Store};
use steward_actors::users::{DisplayName, Email, NewUser, Password, Sample, Users};
use tokio::time::{Instant, sleep};

use super::schema::SCHEMA;
use crate::config::{Config, Profile};
use crate::passwords::Argon2Passwords;
use crate::sandbox;
use crate::storage::mongo::{self, ConnectError, MigrateError, MongoStore};
use crate::storage::sqlite::{OpenError, SqliteStore};

/// The embedded store's file in the data directory.
const EMBEDDED: &str = "steward.db";
/// How long start-up waits for MongoDB.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStoreError {
    /// The embedded store.
    #[error(transparent)]
    Embedded(#[from] OpenError),
    /// MongoDB does not answer, or is not what it has to be.
    #[error(transparent)]
    Mongo(#[from] ConnectError),
    /// Its collections and indexes cannot be made.
    #[error("the database cannot be migrated: {0}")]
    Migrate(#[from] MigrateError),
    /// Production does not migrate by itself.
    #[error("the database lacks: {}; run `steward migrate`", .0.join(", "))]
    NotMigrated(Vec<String>),
}

/// An open store, and what it takes to close it.
pub(super) struct OpenStore {
    pub(super) store: Arc<dyn Store>,
    kind: Kind,
}

enum Kind {
    Embedded { store: Arc<SqliteStore>, path: PathBuf },
    Mongo { database: String },
}

impl OpenStore {
    /// Steward's own store, with its collections and indexes.
    pub(super) async fn open(config: &Config) -> Result<Self, OpenStoreError> {
        Self::open_as(config, EMBEDDED, &config.mongodb.database, SCHEMA).await
    }

    /// The sandbox's store: its own file in the data directory, or its own database beside
    /// Steward's, shared by all replicas.
    pub(super) async fn open_for_sandbox(config: &Config) -> Result<Self, OpenStoreError> {
        let database = format!("{}_sandbox", config.mongodb.database);
        Self::open_as(config, "sandbox/sandbox.db", &database, sandbox::SCHEMA).await
    }

    async fn open_as(
        config: &Config,
        file: &str,
        database: &str,
        schema: &'static [&'static Collection],
    ) -> Result<Self, OpenStoreError> {
        let Some(uri) = &config.mongodb.uri else {
            let path = config.data.dir.join(file);
            make_private(&config.data.dir)
                .map_err(|source| OpenError::Io { path: config.data.dir.clone(), source })?;
            let store = Arc::new(SqliteStore::open(&path, schema)?);
            return Ok(Self { store: store.clone(), kind: Kind::Embedded { store, path } });
        };
        let store = connect(uri, database, schema).await?;
        if config.profile == Profile::Production {
            let missing = store.missing().await?;
            if !missing.is_empty() {
                return Err(OpenStoreError::NotMigrated(missing));
            }
        } else {
            for change in store.migrate().await?.changes {
                tracing::debug!(database, change, "migrated");
            }
        }
        Ok(Self { store: Arc::new(store), kind: Kind::Mongo { database: database.to_owned() } })
    }

    /// Whether no other process can have it open.
    pub(super) fn is_exclusive(&self) -> bool {
        matches!(self.kind, Kind::Embedded { .. })
    }

    /// What it is, for people.
    pub(super) fn in_words(&self) -> String {
        match &self.kind {
            Kind::Embedded { path, .. } => format!("embedded SQLite, {}", path.display()),
            Kind::Mongo { database } => format!("MongoDB, database {database}"),
        }
    }

    /// Finishes what is queued and closes it.
    pub(super) async fn close(self) {
        if let Kind::Embedded { store, .. } = self.kind {
            let closed = tokio::task::spawn_blocking(move || store.close()).await;
            if let Err(error) = closed {
                tracing::error!(%error, "the embedded store did not close");
            }
        }
    }
}

/// Where the embedded store is, or would be.
pub(super) fn embedded(config: &Config) -> PathBuf {
    config.data.dir.join(EMBEDDED)
}

/// Makes the data directory for the owner's eyes only: there are sessions, mails and credentials in
/// it. One that is there already stays as its owner wanted it.
pub(super) fn make_private(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Connects, waiting for a MongoDB that is still starting.
pub(super) async fn connect(
    uri: &SecretString,
    database: &str,
    schema: &'static [&'static Collection],
) -> Result<MongoStore, OpenStoreError> {
    Ok(patiently(async || MongoStore::connect(uri, database, schema).await).await?)
}

/// Tries again for as long as MongoDB may just be starting.
async fn patiently<T>(mut attempt: impl AsyncFnMut() -> Result<T, ConnectError>) -> Result<T, ConnectError> {
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(250);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error @ (ConnectError::Unreachable(_) | ConnectError::NoReplicaSet))
                if Instant::now() + pause < until =>
            {
                tracing::warn!(%error, "waiting for MongoDB");
                sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes the replica set that `mongodb.uri` names of the servers that it names, if they are none
/// yet; what was done. Nothing without MongoDB.
///
/// # Errors
/// [`OpenStoreError`].
pub(super) async fn initiate(config: &Config) -> Result<Option<String>, OpenStoreError> {
    let Some(uri) = &config.mongodb.uri else { return Ok(None) };
    Ok(patiently(async || mongo::initiate(uri).await).await?)
}

/// Makes the store fit this version; what was changed, line by line.
///
/// # Errors
/// [`OpenStoreError`].
pub(super) async fn migrate(config: &Config) -> Result<Vec<String>, OpenStoreError> {
    match &config.mongodb.uri {
        Some(uri) => {
            let store = connect(uri, &config.mongodb.database, SCHEMA).await?;
            Ok(store.migrate().await?.changes)
        }
        None => {
            let opened = OpenStore::open(config).await?;
            let done = format!("{} fits this version", opened.in_words());
            opened.close().await;
            Ok(vec![done])
        }
    }
}

/// What `migrate` runs on MongoDB, for people to read and run.
pub(super) fn migration_script(config: &Config) -> String {
    mongo::script(&config.mongodb.database, SCHEMA)
}

/// A sample user as `seed` leaves it.
#[derive(Debug)]
pub(super) struct Seeded {
    /// The user's id.
    pub(super) id: String,
    /// The address to log in with.
    pub(super) email: String,
    /// The password, if this call made the user.
    pub(super) password: Option<SecretString>,
}

/// Why the sample data was not loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum SeedError {
    /// Never in production.
    #[error("sample data is never loaded in production")]
    Production,
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenStoreError),
    /// Some of it was not taken. Running it again goes on.
    #[error("{0}")]
    NotTaken(String),
}

/// Loads two sample users and their accounts. Running it again changes nothing.
///
/// # Errors
/// [`SeedError`].
pub(super) async fn seed(config: &Config) -> Result<Vec<Seeded>, SeedError> {
    if config.profile == Profile::Production {
        return Err(SeedError::Production);
    }
    let opened = OpenStore::open(config).await?;
    let seeded = seed_store(&opened.store).await;
    opened.close().await;
    seeded.map_err(SeedError::NotTaken)
}

async fn seed_store(store: &Arc<dyn Store>) -> Result<Vec<Seeded>, String> {
    let clock = Arc::new(StoreClock::start(store.as_ref()).await.map_err(|error| error.to_string())?);
    let passwords = Argon2Passwords::start().map_err(|error| error.to_string())?;
    let users = Users::new(store.clone(), clock.clone(), Arc::new(passwords));
    let mut seeded = Vec::new();
    for (id, name) in [("user123", "Sample One"), ("user456", "Sample Two")] {
        let address = format!("{id}@example.com");
        let made_up = SecretString::from(uuid::Uuid::new_v4().simple().to_string());
        let email = Email::parse(&address).map_err(|error| error.to_string())?;
        let password = Password::parse(made_up.clone()).map_err(|error| error.to_string())?;
        let mut user = NewUser::new(email, password);
        user.name = Some(DisplayName::parse(name).map_err(|error| error.to_string())?);
        let made = users.insert_sample(Sample { id: id.to_owned(), user }).await;
        let made = made.map_err(|error| error.to_string())?;
        seeded.push(Seeded { id: id.to_owned(), email: address, password: made.then_some(made_up) });
    }
    accounts::seed(store.as_ref(), clock.now()).await.map_err(|error| error.to_string())?;
    Ok(seeded)
}
