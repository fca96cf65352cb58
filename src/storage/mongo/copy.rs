//! The whole database into a backup, beside the replicas that work on it; and a database made of
//! one, where no replica is.

use std::io::{BufRead, Write};

use bson::raw::RawDocumentBuf;
use bson::{Document, doc};
use mongodb::options::ReadConcern;
use steward_actors::store::{Collection, Store};

use super::{MongoStore, document};
use crate::storage::backup::{BackupError, Reader, Writer};

/// Documents that are sent together, and about how many bytes.
const TOGETHER: (usize, usize) = (500, 8 << 20);

impl MongoStore {
    /// Writes every record, as of one moment: a
    /// [snapshot session](https://www.mongodb.com/docs/manual/reference/read-concern-snapshot/) reads
    /// all collections at the same cluster time, and holds up no writer. The server keeps a moment
    /// for `minSnapshotHistoryWindowInSeconds`, 300 by default: a copy that takes longer fails.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn dump<W: Write>(&self, to: W) -> Result<(u64, W), BackupError> {
        let at = self.time().await.map_err(|error| BackupError::Store(error.to_string()))?;
        let mut session = self.inner.client.start_session().snapshot(true).await?;
        let mut writer = Writer::begin(to, at)?;
        for &collection in &self.inner.schema {
            let documents = self.inner.database.collection::<RawDocumentBuf>(collection.name);
            // Said here, because the driver lets the client's own read concern stand otherwise, and the
            // session is no snapshot then.
            let reading = documents.find(doc! {}).read_concern(ReadConcern::snapshot()).batch_size(1000);
            let mut found = reading.session(&mut session).await?;
            if session.snapshot_time().is_none() {
                return Err(BackupError::Store("the server does not read as of one moment".to_owned()));
            }
            while found.advance(&mut session).await? {
                let record = document::to_record(collection, found.current())
                    .map_err(|error| BackupError::Store(error.to_string()))?;
                writer.add(collection, record)?;
            }
        }
        writer.end()
    }

    /// Fills an empty, migrated database with those records of a backup whose collections are to be
    /// kept; if it fails, it is empty again. How many there were.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn load<R: BufRead>(
        &self,
        from: &mut Reader<R>,
        keep: impl Fn(&Collection) -> bool,
    ) -> Result<u64, BackupError> {
        for collection in &self.inner.schema {
            let documents = self.inner.database.collection::<Document>(collection.name);
            if documents.find_one(doc! {}).await?.is_some() {
                return Err(BackupError::NotEmpty(collection.name));
            }
        }
        let loaded = self.fill(from, keep).await;
        if loaded.is_err() {
            for collection in &self.inner.schema {
                self.inner.database.collection::<Document>(collection.name).delete_many(doc! {}).await?;
            }
        }
        loaded
    }

    async fn fill<R: BufRead>(
        &self,
        from: &mut Reader<R>,
        keep: impl Fn(&Collection) -> bool,
    ) -> Result<u64, BackupError> {
        let mut records = 0;
        let mut gathered = Gathered::default();
        while let Some((collection, record)) = from.next()? {
            if !keep(collection) {
                continue;
            }
            if gathered.of.is_some_and(|of| of.name != collection.name) || gathered.is_full() {
                self.send(&mut gathered).await?;
            }
            let version = i64::try_from(record.version)
                .map_err(|_| BackupError::Store(format!("{} has no version", record.id)))?;
            gathered.of = Some(collection);
            gathered.bytes += document::weight(&record.body);
            gathered.documents.push(document::of_record(collection, &record.id, version, &record.body, None));
            records += 1;
        }
        self.send(&mut gathered).await?;
        Ok(records)
    }

    async fn send(&self, gathered: &mut Gathered) -> Result<(), BackupError> {
        let Gathered { of: Some(collection), documents, .. } = std::mem::take(gathered) else {
            return Ok(());
        };
        self.inner.database.collection::<Document>(collection.name).insert_many(documents).await?;
        Ok(())
    }
}

/// Documents of one collection that are about to be sent.
#[derive(Default)]
struct Gathered {
    of: Option<&'static Collection>,
    documents: Vec<Document>,
    bytes: usize,
}

impl Gathered {
    fn is_full(&self) -> bool {
        self.documents.len() >= TOGETHER.0 || self.bytes >= TOGETHER.1
    }
}
