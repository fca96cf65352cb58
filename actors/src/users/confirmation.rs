//! The current password, given again by someone with a session, for what a session alone is not
//! enough for.
//!
//! Guesses are counted as at log-in: before they are hashed, and taken back when they were right.
//! They are counted on the session they are made in. Whoever stole one gets no other without the
//! password, and keeps the owner, who has sessions of their own, from nothing.

use std::time::Duration;

use super::{ChangeError, Password, User, Users, Verified};
use crate::limits::Quota;

/// Wrong current passwords in one session.
const GUESSES: Quota = Quota::new("current_password", 10, Duration::from_secs(15 * 60));

/// The current password as someone gave it, and the session they gave it in.
#[derive(Clone, Debug)]
pub struct CurrentPassword {
    password: Password,
    session_id: String,
}

impl CurrentPassword {
    /// What was given in the session with this id.
    pub fn new(password: Password, session_id: &str) -> Self {
        Self { password, session_id: session_id.to_owned() }
    }
}

impl Users {
    /// Checks that someone who says so knows the password of `user`.
    ///
    /// # Errors
    /// [`ChangeError::PasswordNeeded`], [`ChangeError::WrongPassword`], [`ChangeError::Throttled`],
    /// or that it was not looked at.
    pub(crate) async fn confirm(
        &self,
        user: &User,
        given: Option<&CurrentPassword>,
    ) -> Result<(), ChangeError> {
        let CurrentPassword { password, session_id } = given.ok_or(ChangeError::PasswordNeeded)?;
        let decision = self.limits.take(&GUESSES, session_id).await;
        if !decision.allowed {
            return Err(ChangeError::Throttled { retry_after: decision.retry_after });
        }
        let verified = self.verify(Some(user), password).await;
        if verified != Ok(Verified::Wrong) {
            self.limits.give_back(&GUESSES, session_id).await;
        }
        match verified? {
            Verified::Right | Verified::Outdated => Ok(()),
            Verified::Wrong => Err(ChangeError::WrongPassword),
        }
    }
}
