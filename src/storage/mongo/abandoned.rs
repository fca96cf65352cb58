//! Transactions that nobody goes on with.
//!
//! Who calls it: [`Inner::transact`], when others stand in the way for longer than a moment.
//!
//! A replica that dies or freezes inside a transaction leaves its records locked until the server
//! ends it, after `transactionLifetimeLimitSeconds`: a minute by default. Whoever is held up ends it
//! instead, once nothing was heard of it for [`ABANDONED`]. That is safe at any moment: a replica
//! that was only slow learns at its next statement, or at its commit, that the transaction is gone,
//! and runs it again; what became of a commit is settled by its id as ever.

use std::sync::Mutex;
use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::Error;
use mongodb::options::ReadConcern;
use steward_actors::supervision::lock;
use tokio::time::Instant;

use super::Inner;

/// How long nothing is heard of a transaction before others end it. A statement is answered in
/// milliseconds, so this is a process or a connection that stands still.
const ABANDONED: Duration = Duration::from_secs(2);
/// The pause between looks.
const PAUSE: Duration = Duration::from_millis(250);

/// When was looked last.
#[derive(Default)]
pub(super) struct LastLook(Mutex<Option<Instant>>);

impl LastLook {
    fn is_due(&self) -> bool {
        let mut last = lock(&self.0);
        let due = last.is_none_or(|last| last.elapsed() >= PAUSE);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

/// What the clients of one database call themselves to the server: how one replica's transactions
/// are told from another program's.
pub(super) fn app_name(database: &str) -> String {
    format!("steward {database}")
}

impl Inner {
    /// Ends abandoned transactions of replicas on this database, unless that was just tried. It is
    /// for the next attempt's good and may come to nothing: then the server ends them later.
    pub(super) async fn end_abandoned(&self) {
        // A name that the URI gives may be another program's too.
        let Some(name) = &self.own_name else { return };
        if !self.last_look.is_due() {
            return;
        }
        match self.kill_abandoned(name).await {
            Ok(0) => {}
            Ok(ended) => tracing::warn!(ended, "ended transactions that a replica had left open"),
            Err(error) => tracing::debug!(%error, "abandoned transactions cannot be looked for"),
        }
    }

    async fn kill_abandoned(&self, name: &str) -> Result<usize, Error> {
        let admin = self.client.database("admin");
        // One's own user's operations are seen, and one's own sessions ended, without a privilege.
        let idle = doc! {
            "type": "idleSession",
            "appName": name,
            "transaction.timeInactiveMicros": { "$gte": i64::try_from(ABANDONED.as_micros()).unwrap_or(i64::MAX) },
        };
        let sessions = admin
            .aggregate([
                doc! { "$currentOp": { "allUsers": false, "idleSessions": true } },
                doc! { "$match": idle },
                doc! { "$project": { "lsid.id": 1 } },
            ])
            .read_concern(ReadConcern::local())
            .await?;
        let sessions: Vec<Document> = sessions.try_collect().await?;
        let ids: Vec<Bson> = sessions
            .iter()
            .filter_map(|session| session.get_document("lsid").ok()?.get("id").cloned())
            .map(|id| Bson::Document(doc! { "id": id }))
            .collect();
        if !ids.is_empty() {
            admin.run_command(doc! { "killSessions": ids.clone() }).await?;
        }
        Ok(ids.len())
    }
}
