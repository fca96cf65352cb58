//! A change of one's own password, which ends all other sessions.

use super::Sessions;
use crate::store::{Batch, Versioned};
use crate::users::{ChangeError, CurrentPassword, Password, User, mail};

impl Sessions {
    /// Changes the password of a user who knows the current one. The session it is done in goes
    /// on, all others end.
    ///
    /// # Errors
    /// [`ChangeError`], among them [`ChangeError::WrongPassword`], [`ChangeError::Throttled`] and
    /// [`ChangeError::WeakPassword`].
    pub async fn change_password(
        &self,
        user_id: &str,
        session_id: &str,
        current: Password,
        new: &Password,
    ) -> Result<(), ChangeError> {
        let users = &self.parts.users;
        let found = users.get(user_id).await?.ok_or(ChangeError::NotFound)?;
        let verified = found.value.password_hash.clone();
        users.confirm(&found.value, Some(&CurrentPassword::new(current, session_id))).await?;
        let hash = users.new_hash(&found.value, new).await?;
        let change = |found: &Versioned<User>| {
            let mut user = found.value.clone();
            // After an attempt whose outcome is unknown, it may be the new one already.
            if user.password_hash != verified && user.password_hash != hash {
                return Err(ChangeError::WrongPassword);
            }
            user.password_hash = hash.clone();
            user.updated_at = self.parts.clock.now();
            let told = mail::password_changed(user_id, found.version + 1, user.updated_at);
            Ok((user, Batch::shared().insert(&told)))
        };
        self.end_all(user_id, Some(session_id), change).await.map(|_| ())
    }
}
