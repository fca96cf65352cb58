//! Refreshing: a refresh token for the next tokens, and what becomes of one that was used up.

use super::family::Verdict;
use super::refresh_token::Genuine;
use super::service::{LoggedIn, Sessions};
use super::{LogOutError, RefreshToken, Session};
use crate::audit::{AuditEntry, By};
use crate::backoff::Backoff;
use crate::store::{Batch, CommitError, StoreError, Versioned, load};
use crate::users::mail;

/// Why no tokens were given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// It is no refresh token, or its session has ended, perhaps just now because the token was
    /// used up. Which of these is not told.
    #[error("this refresh token does not count")]
    Refused,
    /// Nothing is known to have changed; the same token can be sent again.
    #[error("refreshing is unavailable: {0}")]
    Unavailable(String),
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Attempts at writing a session that others write, too.
const ATTEMPTS: u32 = 8;

impl Sessions {
    /// The next access token and refresh token of a session. The same refresh token gets the same
    /// next one, however often and from wherever it is sent, until the next one has been used
    /// ([`super::Family`]); one that was used up before ends the session, which its user is told by
    /// mail.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn refresh(&self, refresh_token: &str, from: Option<String>) -> Result<LoggedIn, RefreshError> {
        let genuine =
            RefreshToken::read(&self.parts.token_key, refresh_token).ok_or(RefreshError::Refused)?;
        let store = self.parts.store.as_ref();
        let mut reason = "others keep using this session".to_owned();
        for attempt in 0..ATTEMPTS {
            let found = load::<Session>(store, &genuine.session_id).await?;
            let is_its = |found: &Versioned<Session>| found.value.token_hash == genuine.session_token.hash();
            let found = found.filter(is_its).ok_or(RefreshError::Refused)?;
            let (found, user) = self.loader.counting(found).await?.ok_or(RefreshError::Refused)?;
            let now = self.parts.clock.now();
            let (number, becomes) = match found.value.family.presented(genuine.number, now) {
                Verdict::Successor { number, becomes } => (number, becomes),
                Verdict::Unknown => return Err(RefreshError::Refused),
                Verdict::Replay => {
                    self.replayed(&genuine, from).await?;
                    return Err(RefreshError::Refused);
                }
            };
            let mut session = found.value.seen(now).unwrap_or_else(|| found.value.clone());
            session.family = becomes.unwrap_or(session.family);
            let issued = |session| {
                let issued = self.issued(user.clone(), session, genuine.session_token.clone(), number);
                issued.map_err(RefreshError::Unavailable)
            };
            if session == found.value {
                return issued(&session);
            }
            match store.commit(Batch::shared().replace(&session, found.version)).await {
                Ok(()) => return issued(&session),
                // That it was seen may be written down another time.
                Err(CommitError::Unavailable(_)) if becomes.is_none() => return issued(&found.value),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Unavailable(why) | CommitError::OutcomeUnknown(why)) => reason = why,
            }
            Backoff::CONTENTION.wait(attempt + 1).await;
        }
        Err(RefreshError::Unavailable(reason))
    }

    /// Ends the session that a refresh token belongs to; whoever has one may do that. One that was
    /// never given out ends nothing.
    ///
    /// # Errors
    /// [`LogOutError`].
    pub async fn log_out_by(&self, refresh_token: &str) -> Result<(), LogOutError> {
        let genuine =
            RefreshToken::read(&self.parts.token_key, refresh_token).ok_or(LogOutError::NotFound)?;
        self.log_out(&genuine.session_id).await
    }

    /// Ends a session whose refresh token was used up and came back: someone else has had it.
    async fn replayed(&self, genuine: &Genuine, from: Option<String>) -> Result<(), RefreshError> {
        let ended = self.end_with(&genuine.session_id, |session, now| {
            let by = By::user(&session.user_id, from.clone(), None);
            let target = format!("session/{}", session.id);
            let entry = AuditEntry::new(&by, "session.refresh_replayed", &target, now);
            let told = mail::refresh_replayed(&session.user_id, &session.id, now);
            Batch::shared().insert(&entry).insert(&told)
        });
        match ended.await {
            Ok(()) | Err(LogOutError::NotFound) => Ok(()),
            Err(LogOutError::Unavailable(why) | LogOutError::OutcomeUnknown(why)) => {
                Err(RefreshError::Unavailable(why))
            }
        }
    }
}
