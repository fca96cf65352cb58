//! How a user goes: the record in one commit, and what is left of the person by a job.

use serde::{Deserialize, Serialize};

use super::change::{Attempts, ChangeError, Tried};
use super::{Editor, User, Users, mail, roles};
use crate::audit::{AuditEntry, By};
use crate::outbox::Job;
use crate::store::{Batch, Versioned};
use crate::time::Timestamp;

/// The kind of the jobs that remove what a user who is gone has left.
pub const USER_REMOVAL: &str = "user_removal";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payload {
    pub(super) user_id: String,
}

fn job(user_id: &str, now: Timestamp) -> Job {
    let payload = Payload { user_id: user_id.to_owned() };
    Job::new(format!("{USER_REMOVAL}.{user_id}"), USER_REMOVAL, &payload, now)
}

impl Users {
    /// Deletes a user: from the commit on nobody can log in as them, and no session of theirs
    /// counts. What they leave is removed soon after.
    ///
    /// # Errors
    /// [`ChangeError`]; oneself needs the current password.
    pub async fn delete(&self, user_id: &str, by: &Editor, based_on: Option<u64>) -> Result<(), ChangeError> {
        let mut attempts = Attempts::default();
        loop {
            let found = self.get(user_id).await.map_err(|error| attempts.failed(error))?;
            let found = match found {
                Some(found) => found,
                None if attempts.unknown() => break,
                None => return Err(ChangeError::NotFound),
            };
            if based_on.is_some_and(|version| version != found.version) {
                return Err(ChangeError::Moved);
            }
            self.may_delete(&found.value, by).await?;
            let batch = self.removal(&found, by).await?;
            if attempts.commit(self.store.as_ref(), batch).await? == Tried::Done {
                break;
            }
        }
        tracing::info!(user_id, "user_deleted");
        self.tell(user_id, true).await;
        Ok(())
    }

    async fn may_delete(&self, user: &User, by: &Editor) -> Result<(), ChangeError> {
        match by {
            Editor::Oneself(password) => self.confirm(user, password.as_ref()).await,
            Editor::Operator(_) => Ok(()),
            Editor::Another(actor) => {
                let store = self.store.as_ref();
                let held = roles::permissions_of_user(store, actor.actor()).await?;
                if !held.contains("users:write") {
                    return Err(ChangeError::Lacks("users:write".to_owned()));
                }
                roles::covers(&held, &roles::permissions_of(store, &user.roles).await?)
            }
        }
    }

    async fn removal(&self, found: &Versioned<User>, by: &Editor) -> Result<Batch, ChangeError> {
        let (user, now) = (&found.value, self.clock.now());
        let by = match by {
            Editor::Oneself(_) => &By::user(&user.id, None, None),
            Editor::Another(by) | Editor::Operator(by) => by,
        };
        let entry = AuditEntry::new(by, "user.delete", &format!("user/{}", user.id), now);
        let batch = Batch::new().delete(found).insert(&job(&user.id, now)).insert(&mail::deleted(user, now));
        let batch = batch.insert(&entry);
        match user.is_acting_admin() {
            true => self.without_admin(&user.id, batch).await,
            false => Ok(batch),
        }
    }
}
