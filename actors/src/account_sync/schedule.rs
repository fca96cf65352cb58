//! The schedule: a supervised loop that finds the connections that are due, by index and in
//! bounded pages, and starts the actors of those whose slot is this replica's. Everything that is to
//! be done shows as a due connection: a planned run, a wanted one, and one whose claim has lapsed.
//! Claims of a replica that died are looked for when its slots arrive, before they lapse.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::actor::Due;
use super::connection::{CONNECTIONS, Claim, Connection};
use super::connections::Connections;
use crate::store::{Query, StoreError, find};
use crate::supervision::AskError;
use crate::time::Timestamp;

/// Connections read at once.
const PAGE: usize = 100;
/// Pages read in one look. Other replicas' due connections are on them too.
const PAGES: usize = 200;
/// The longest pause while the store cannot be read.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long an actor may take to say that it looks.
const PATIENCE: Duration = Duration::from_secs(2);

impl Connections {
    /// Starts what is due, every [`super::SyncOptions::poll`] and whenever it is woken, until
    /// `stop` becomes true. For [`crate::supervision::supervise_task`].
    pub async fn schedule(self, mut stop: watch::Receiver<bool>) {
        let parts = &self.desk.parts;
        let mut pause = parts.options.poll;
        loop {
            tokio::select! {
                () = parts.clock.sleep(pause) => {}
                () = self.desk.wake.notified() => {}
                () = parts.territory.gained() => self.desk.inherits.store(true, Ordering::Release),
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let started = tokio::select! {
                started = self.start_due() => started,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            pause = match started {
                Ok(_) => parts.options.poll,
                Err(error) => {
                    tracing::warn!(%error, "due connections could not be read");
                    (pause * 2).min(LONGEST_PAUSE)
                }
            };
        }
    }

    /// Starts the actors of connections that are due, the longest due first, as many as there is
    /// room for and some that wait for it. Returns how many.
    pub(super) async fn start_due(&self) -> Result<usize, StoreError> {
        let parts = &self.desk.parts;
        // Said before anything is started: a run may come to its end before this does.
        self.desk.left_some.store(true, Ordering::Release);
        let room = self.desk.wanted();
        let inherits = self.desk.inherits.load(Ordering::Acquire);
        let (mut started, mut after) = (0, None);
        for _ in 0..PAGES {
            let now = parts.clock.now();
            let until = if inherits { now.plus(parts.options.lease) } else { now };
            let until = until.as_millis().saturating_add(1);
            let query =
                Query::by(&CONNECTIONS, "due").range(None, Some(until.into())).limit(PAGE).after(after);
            let (page, next) = find::<Connection>(self.store(), query).await?;
            for connection in page {
                if !self.is_to_start(&connection.value, now) {
                    continue;
                }
                if started >= room {
                    return Ok(started);
                }
                let id = connection.value.id.clone();
                self.desk.note(connection);
                let asked = self.actors.ask(&id, Due, PATIENCE).await;
                match asked {
                    Ok(()) => started += 1,
                    Err(error) => {
                        self.desk.take_noted(&id);
                        if matches!(error, AskError::Leaving) {
                            return Ok(started);
                        }
                        // It fell too often; those behind it must not wait for it.
                        tracing::debug!(connection_id = id, %error, "not started");
                    }
                }
            }
            after = next;
            if after.is_none() {
                self.desk.left_some.store(false, Ordering::Release);
                if inherits {
                    self.desk.inherits.store(false, Ordering::Release);
                }
                break;
            }
        }
        Ok(started)
    }

    /// Whether a connection that was found is this replica's, and due or left by a dead one.
    fn is_to_start(&self, connection: &Connection, now: Timestamp) -> bool {
        let territory = &self.desk.parts.territory;
        let left = |claim: &Claim| !territory.lives(&claim.owner);
        let wanted =
            connection.due_at.is_some_and(|due| due <= now) || connection.claim.as_ref().is_some_and(left);
        wanted && territory.epoch_of(&connection.id).is_some()
    }
}
