//! What a user who is gone has left, and the job that removes it.
//!
//! Who calls it: the outbox, for the job that was committed with the user's deletion. Every part
//! may be run again from its beginning, so a replica that dies half-way only leaves the rest to the
//! next. What never happens here: a part that is given up while another is in the way.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::removal::{Payload, USER_REMOVAL};
use crate::outbox::{Job, JobError, Performer};
use crate::store::{Batch, Collection, CommitError, Query, Store, Write};

/// Something that is kept of users.
#[async_trait]
pub trait Belongings: Send + Sync + 'static {
    /// Removes what is kept of this user, or what of it says who they are. Safe to repeat.
    ///
    /// # Errors
    /// [`JobError::Retry`] with all that could be removed now removed.
    async fn remove(&self, user_id: &str) -> Result<(), JobError>;
}

/// Records that nobody needs without their user: all that this index holds under the user's id.
pub struct Records {
    store: Arc<dyn Store>,
    collection: &'static Collection,
    index: &'static str,
}

impl Records {
    /// The records of `collection` whose user is the first field of `index`.
    pub fn new(store: Arc<dyn Store>, collection: &'static Collection, index: &'static str) -> Self {
        Self { store, collection, index }
    }
}

/// Records in one batch.
const PAGE: usize = 100;

#[async_trait]
impl Belongings for Records {
    async fn remove(&self, user_id: &str) -> Result<(), JobError> {
        loop {
            let query = Query::by(self.collection, self.index).equal(user_id).limit(PAGE);
            let found = self.store.find(query).await?.records;
            if found.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::shared();
            batch.writes.extend(found.into_iter().map(|record| Write::Delete {
                collection: self.collection,
                id: record.id,
                version: record.version,
            }));
            match self.store.commit(batch).await {
                // Another write came first, or it may have counted: the next page tells.
                Ok(()) | Err(CommitError::Conflict(_)) => {}
                Err(error) => return Err(JobError::Retry { reason: error.to_string(), after: None }),
            }
        }
    }
}

/// Removes what users who are gone have left.
pub struct UserRemoval {
    parts: Vec<Arc<dyn Belongings>>,
}

impl UserRemoval {
    /// Removes all of these.
    pub fn new(parts: Vec<Arc<dyn Belongings>>) -> Self {
        Self { parts }
    }
}

#[async_trait]
impl Performer for UserRemoval {
    fn kind(&self) -> &'static str {
        USER_REMOVAL
    }

    async fn perform(&self, job: &Job) -> Result<(), JobError> {
        let Payload { user_id } = job.payload()?;
        let mut left = None;
        for part in &self.parts {
            if let Err(error) = part.remove(&user_id).await {
                left = Some(error);
            }
        }
        match left {
            None => Ok(()),
            // What stands in the way passes: an order that is being paid, a provider that is down.
            Some(error) => {
                Err(JobError::Retry { reason: error.to_string(), after: Some(Duration::from_secs(5)) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{Outbox, OutboxOptions, Waker};
    use crate::session::{Device, SESSIONS, Session, SessionToken};
    use crate::testing::{FastHasher, ManualClock, MemoryStore};
    use crate::users::{CurrentPassword, Editor, Email, NewUser, Password, Users};

    #[tokio::test]
    async fn what_was_begun_by_a_replica_that_died_is_finished_by_the_next() {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let users = Users::new(store.clone(), clock.clone(), Arc::new(FastHasher::default()));
        let password = || Password::parse("correct horse".into()).unwrap();
        let new = |email: &str| NewUser::new(Email::parse(email).unwrap(), password());
        let gone = users.register(new("gone@example.org")).await.unwrap().value;
        let stays = users.register(new("stays@example.org")).await.unwrap().value;
        for n in 0..250 {
            let user = if n % 5 == 0 { &stays } else { &gone };
            let hash = SessionToken::generate().hash();
            let session = Session::begin(format!("s{n}"), user, hash, Device::default(), gone.created_at);
            store.commit(Batch::new().insert(&session)).await.unwrap();
        }
        users
            .delete(&gone.id, &Editor::Oneself(Some(CurrentPassword::new(password(), "s0"))), None)
            .await
            .unwrap();
        let outbox = |incarnation: &str| {
            let records = Records::new(store.clone(), &SESSIONS, "user");
            let removal = UserRemoval::new(vec![Arc::new(records)]);
            let (store, clock) = (store.clone(), clock.clone());
            let performers: Vec<Arc<dyn Performer>> = vec![Arc::new(removal)];
            let options = OutboxOptions { attempts: 3, ..OutboxOptions::default() };
            Outbox::new(store, clock, incarnation.to_owned(), Waker::default(), performers, options)
        };
        // The first dies with its claim: nothing that it says is kept.
        let left = async |user_id: &str| {
            let query = Query::by(&SESSIONS, "user").equal(user_id).limit(1000);
            store.find(query).await.unwrap().records.len()
        };
        store.fail_commits([crate::testing::CommitFault::LostAfter; 2]);
        outbox("r1").round().await.unwrap();
        clock.advance(Duration::from_secs(3600));
        outbox("r2").round().await.unwrap();
        clock.advance(Duration::from_secs(3600));
        outbox("r2").round().await.unwrap();
        assert_eq!((left(&gone.id).await, left(&stays.id).await), (0, 50));
    }
}
