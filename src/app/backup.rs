//! `steward backup` and `steward restore`.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use steward_actors::audit::{AuditEntry, By};
use steward_actors::cluster::REPLICAS;
use steward_actors::session::SESSIONS;
use steward_actors::store::{Batch, Collection};

use super::commands::say;
use super::failure::Failure;
use super::schema::SCHEMA;
use super::stores::{self, OpenStore};
use crate::config::Config;
use crate::storage::backup::{BackupError, Reader};
use crate::storage::sqlite;

/// Copies the store to `file`, which must not be there, or to standard output (`-`). Servers go on
/// meanwhile.
///
/// # Errors
/// The store can't be read, or the file can't be written; then it is not there.
pub async fn backup(config: Config, file: PathBuf) -> Result<(), Failure> {
    if file == Path::new("-") {
        let (records, _) = dump(&config, BufWriter::new(std::io::stdout())).await?;
        let _ = writeln!(std::io::stderr(), "{records} records were copied");
        return Ok(());
    }
    let at = |error: std::io::Error| Failure::new(format!("{}: {error}", file.display()));
    if file.exists() {
        return Err(Failure::new(format!("{} is there already", file.display())));
    }
    let mut partial = file.clone().into_os_string();
    partial.push(".partial");
    // There are secrets in it.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(at)?;
    let done = async {
        let (records, written) = dump(&config, BufWriter::new(made)).await?;
        written.into_inner().map_err(|error| at(error.into_error()))?.sync_all().map_err(at)?;
        fs::rename(&partial, &file).map_err(at)?;
        Ok(records)
    };
    match done.await {
        Ok(records) => say(&format!("{records} records were copied to {}\n", file.display())),
        Err(failure) => {
            let _ = fs::remove_file(&partial);
            Err(failure)
        }
    }
}

async fn dump<W: Write + Send + 'static>(config: &Config, to: W) -> Result<(u64, W), Failure> {
    let Some(uri) = &config.mongodb.uri else {
        let path = stores::embedded(config);
        let dumped = tokio::task::spawn_blocking(move || sqlite::dump(&path, SCHEMA, to)).await;
        return dumped.map_err(Failure::new)?.map_err(Failure::new);
    };
    let store = stores::connect(uri, &config.mongodb.database, SCHEMA).await.map_err(Failure::new)?;
    store.dump(to).await.map_err(Failure::new)
}

/// Makes the store, which must be empty, of what [`backup`] has copied. Sessions are left out
/// unless they are to be kept: some of them may have been ended since.
///
/// # Errors
/// The file is no whole backup, or the store is not empty or takes nothing; then it is as empty as
/// before.
pub async fn restore(config: Config, file: PathBuf, keep_sessions: bool) -> Result<(), Failure> {
    // All of it, before anything is touched.
    let mut whole = open(&file)?;
    while whole.next().map_err(|error| of(&file, error))?.is_some() {}

    // Replicas of then are no more.
    let keep = move |collection: &Collection| {
        collection.name != REPLICAS.name && (keep_sessions || collection.name != SESSIONS.name)
    };
    let mut from = open(&file)?;
    let at = from.head().at;
    let records = match &config.mongodb.uri {
        None => {
            stores::make_private(&config.data.dir).map_err(Failure::new)?;
            let path = stores::embedded(&config);
            let load = move || sqlite::load(&path, SCHEMA, &mut from, keep);
            tokio::task::spawn_blocking(load).await.map_err(Failure::new)?.map_err(Failure::new)?
        }
        Some(uri) => {
            let store = stores::connect(uri, &config.mongodb.database, SCHEMA).await.map_err(Failure::new)?;
            store.migrate().await.map_err(Failure::new)?;
            store.load(&mut from, keep).await.map_err(Failure::new)?
        }
    };
    tell_audit_log(&config, &format!("as of {at}")).await?;
    let sessions = if keep_sessions { "" } else { "; all sessions are ended" };
    say(&format!("{records} records as of {at} were restored{sessions}\n"))
}

async fn tell_audit_log(config: &Config, what: &str) -> Result<(), Failure> {
    let opened = OpenStore::open(config).await.map_err(Failure::new)?;
    let told = async {
        let now = opened.store.time().await.map_err(Failure::new)?;
        let by = By::command_line(&super::host());
        let entry = AuditEntry::new(&by, "store.restore", "store", now).with("backup", what);
        opened.store.commit(Batch::new().insert(&entry)).await.map_err(Failure::new)
    };
    let told = told.await;
    opened.close().await;
    told
}

fn open(file: &Path) -> Result<Reader<BufReader<File>>, Failure> {
    let opened = File::open(file).map_err(|error| of(file, error.into()))?;
    Reader::begin(BufReader::new(opened), SCHEMA).map_err(|error| of(file, error))
}

fn of(file: &Path, error: BackupError) -> Failure {
    Failure::new(format!("{}: {error}", file.display()))
}
