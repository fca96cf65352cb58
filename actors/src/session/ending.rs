//! How sessions end: one, all others of a user, or all in the same commit as a change of the user.

use super::record::BY_USER;
use super::service::Sessions;
use super::{Invalidation, SESSIONS, Session};
use crate::audit::{AuditEntry, By};
use crate::backoff::Backoff;
use crate::store::{Batch, CommitError, Cursor, Query, StoreError, Versioned, find, load};
use crate::time::Timestamp;
use crate::users::{ChangeError, User};

/// A page of sessions, and where the next one begins.
pub type SessionPage = (Vec<Session>, Option<Cursor>);

/// Why a session was not ended, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogOutError {
    /// There is no such session, or it is another's.
    #[error("there is no such session")]
    NotFound,
    /// The session counts still; try again later.
    #[error("sessions are unavailable: {0}")]
    Unavailable(String),
    /// The session may have ended; try again.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
}

/// Attempts at a write that others were faster with, or whose outcome is unknown.
const ATTEMPTS: u32 = 8;
/// Live sessions that a user may have; with one more, the one that was unused for longest ends.
pub const MOST_SESSIONS: usize = 50;

impl Sessions {
    /// Ends a session. When this returns, its tokens are refused by this replica, and by the others
    /// as soon as they have heard of it: within half a second as long as this replica reaches the
    /// channel or the store, within ten seconds otherwise. Ending it again is no error.
    ///
    /// # Errors
    /// [`LogOutError`], never [`LogOutError::NotFound`].
    pub async fn log_out(&self, session_id: &str) -> Result<(), LogOutError> {
        let ended = self.end(session_id, |_| true, |_| Batch::shared()).await.map(|_| ());
        self.told(session_id, ended).await
    }

    /// Ends a session and commits with it what `also` says. Ending it again is no error, and
    /// commits nothing.
    pub(super) async fn end_with(
        &self,
        session_id: &str,
        also: impl Fn(&Session, Timestamp) -> Batch + Send + Sync,
    ) -> Result<(), LogOutError> {
        let now = self.parts.clock.now();
        let ended = self.end(session_id, |_| true, |session| also(session, now)).await.map(|_| ());
        self.told(session_id, ended).await
    }

    /// Ends a session of this user, as [`Sessions::log_out`] does.
    ///
    /// # Errors
    /// [`LogOutError`].
    pub async fn end_one(&self, user_id: &str, session_id: &str) -> Result<(), LogOutError> {
        match self.end(session_id, |session| session.user_id == user_id, |_| Batch::shared()).await {
            Ok(false) => Err(LogOutError::NotFound),
            ended => self.told(session_id, ended.map(|_| ())).await,
        }
    }

    /// Changes a user and ends their sessions in one commit: all of them, or all but `except`, which
    /// goes on. What a change of password, a reset, a disabling are made with. When this returns,
    /// the ended tokens are refused as after [`Sessions::log_out`]; a log-in that began before the
    /// commit leaves no live session, whenever it ends.
    ///
    /// `change` is given the user as stored and says what they become, and what is committed with
    /// it (a mail to send, a line of the audit log). It sees the version, so it can refuse
    /// what another write has overtaken. It runs again when another write came first, and **also
    /// when the outcome of its own write was unknown**: then it may meet a user that it has
    /// changed already, and says the same as before. `credentials_version` is not its concern.
    ///
    /// # Errors
    /// Those of `change`, with nothing written; [`ChangeError`].
    pub async fn end_all<E, F>(
        &self,
        user_id: &str,
        except: Option<&str>,
        change: F,
    ) -> Result<Versioned<User>, E>
    where
        E: From<ChangeError>,
        F: Fn(&Versioned<User>) -> Result<(User, Batch), E> + Send + Sync,
    {
        let store = self.parts.store.as_ref();
        let mut unknown = None;
        for attempt in 0..ATTEMPTS {
            let found =
                load::<User>(store, user_id).await.map_err(|e| not_changed(e.to_string(), &unknown))?;
            let found = found.ok_or(ChangeError::NotFound)?;
            let (mut user, mut batch) = change(&found)?;
            user.credentials_version = found.value.credentials_version;
            user.end_sessions();
            batch = batch.replace(&user, found.version);
            if let Some(kept) =
                self.kept(&found.value, except).await.map_err(|e| not_changed(e.to_string(), &unknown))?
            {
                let moved = Session { credentials_version: user.credentials_version, ..kept.value };
                batch = batch.replace(&moved, kept.version);
            }
            match store.commit(batch).await {
                Ok(()) => {
                    self.user_changed(user_id).await;
                    return Ok(Versioned { value: user, version: found.version + 1 });
                }
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Unavailable(reason)) => return Err(not_changed(reason, &unknown).into()),
                Err(CommitError::OutcomeUnknown(reason)) => unknown = Some(reason),
            }
            Backoff::CONTENTION.wait(attempt + 1).await;
        }
        self.user_changed(user_id).await;
        Err(not_changed("others keep changing this user".to_owned(), &unknown).into())
    }

    /// Ends all sessions of a user but `except`, or all. As [`Sessions::end_all`] without a change.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn end_others(&self, user_id: &str, except: Option<&str>) -> Result<(), ChangeError> {
        let unchanged =
            |found: &Versioned<User>| Ok::<_, ChangeError>((found.value.clone(), Batch::shared()));
        self.end_all(user_id, except, unchanged).await.map(|_| ())
    }

    /// Ends all sessions of a user on behalf of `by`, which the audit log says. As
    /// [`Sessions::end_all`] without a change.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn end_all_by(&self, user_id: &str, by: &By) -> Result<(), ChangeError> {
        let audited = |found: &Versioned<User>| {
            let now = self.parts.clock.now();
            let entry = AuditEntry::new(by, "user.end_sessions", &format!("user/{user_id}"), now);
            Ok::<_, ChangeError>((found.value.clone(), Batch::shared().insert(&entry)))
        };
        self.end_all(user_id, None, audited).await.map(|_| ())
    }

    /// The session that goes on, if it counts.
    async fn kept(
        &self,
        user: &User,
        except: Option<&str>,
    ) -> Result<Option<Versioned<Session>>, StoreError> {
        let Some(id) = except else { return Ok(None) };
        let found = load::<Session>(self.parts.store.as_ref(), id).await?;
        Ok(found.filter(|session| session.value.counts_for(user, self.parts.clock.now())))
    }

    fn listing(user_id: &str) -> Query {
        Query::by(&SESSIONS, BY_USER).equal(user_id).descending()
    }

    /// A page of a user's live sessions, the newest first; `None` without such a user. `limit` is 1 to
    /// 1,000; a page may have fewer and still not be the last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn page(
        &self,
        user_id: &str,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Option<SessionPage>, StoreError> {
        let store = self.parts.store.as_ref();
        let Some(user) = load::<User>(store, user_id).await? else { return Ok(None) };
        let (found, next) = find::<Session>(store, Self::listing(user_id).limit(limit).after(after)).await?;
        let now = self.parts.clock.now();
        let sessions = found.into_iter().map(|found| found.value);
        let live = sessions.filter(|session| session.counts_for(&user.value, now));
        Ok(Some((live.collect(), next)))
    }

    /// Tells every replica that a user has other roles, was disabled, or was deleted. Call it after
    /// the commit and before the reply.
    pub async fn user_changed(&self, user_id: &str) {
        self.publish(Invalidation::User(user_id.to_owned())).await;
    }

    /// After a log-in: ends what no longer counts, and what is more than [`MOST_SESSIONS`]. What
    /// can't be ended now is ended after the next log-in. Whoever had few sessions at the last look is
    /// not looked at again before this replica has let in half as many as there was room for, or
    /// ten minutes have passed: so a user may have more for as long, if many replicas let them in.
    pub(super) async fn trim(&self, user_id: &str) {
        if let Some(room) = self.room.get(user_id).and_then(|room| room.checked_sub(1)) {
            return self.room.insert(user_id.to_owned(), room);
        }
        let store = self.parts.store.as_ref();
        // The user first: a session found later under older credentials was not kept.
        let Ok(Some(user)) = load::<User>(store, user_id).await else { return };
        let query = Self::listing(user_id).limit(MOST_SESSIONS * 2);
        let Ok((found, _)) = find::<Session>(store, query).await else { return };
        let now = self.parts.clock.now();
        let sessions = found.into_iter().map(|found| found.value);
        let is_dead = |session: &Session| {
            !session.is_live(now) || session.credentials_version < user.value.credentials_version
        };
        let (dead, mut live): (Vec<_>, Vec<_>) = sessions.partition(is_dead);
        live.sort_by_key(|session| std::cmp::Reverse((session.last_seen_at, session.created_at)));
        self.room.insert(user_id.to_owned(), MOST_SESSIONS.saturating_sub(live.len()) / 2);
        for session in live.into_iter().skip(MOST_SESSIONS).chain(dead) {
            if let Err(error) = self.log_out(&session.id).await {
                tracing::debug!(%error, "a session is ended later");
            }
        }
    }

    /// Deletes the session's record if it is one of those; whether it was there.
    async fn end(
        &self,
        session_id: &str,
        is_it: impl Fn(&Session) -> bool + Send,
        also: impl Fn(&Session) -> Batch + Send,
    ) -> Result<bool, LogOutError> {
        let mut unknown = false;
        let mut reason = "it keeps being written".to_owned();
        for attempt in 0..ATTEMPTS {
            let found = match load::<Session>(self.parts.store.as_ref(), session_id).await {
                Ok(Some(found)) if is_it(&found.value) => found,
                Ok(_) => return Ok(unknown),
                Err(error) => return Err(not_ended(error.to_string(), unknown)),
            };
            match self.parts.store.commit(also(&found.value).delete(&found)).await {
                Ok(()) => {
                    self.loader.forget(found.value.token_hash).await;
                    return Ok(true);
                }
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Unavailable(reason)) => return Err(not_ended(reason, unknown)),
                Err(CommitError::OutcomeUnknown(why)) => {
                    unknown = true;
                    reason = why;
                }
            }
            Backoff::CONTENTION.wait(attempt + 1).await;
        }
        Err(not_ended(reason, unknown))
    }

    /// Also if it was gone already: whoever ended it may have fallen before telling.
    async fn told(&self, session_id: &str, ended: Result<(), LogOutError>) -> Result<(), LogOutError> {
        if matches!(ended, Ok(()) | Err(LogOutError::OutcomeUnknown(_))) {
            self.publish(Invalidation::Session(session_id.to_owned())).await;
        }
        ended
    }

    async fn publish(&self, what: Invalidation) {
        if let Err(error) = self.parts.invalidations.publish(what).await {
            tracing::warn!(%error, "other replicas hear of a change later");
        }
    }
}

fn not_ended(reason: String, unknown: bool) -> LogOutError {
    if unknown { LogOutError::OutcomeUnknown(reason) } else { LogOutError::Unavailable(reason) }
}

/// After an attempt whose outcome is unknown, a later failure doesn't make it known.
fn not_changed(reason: String, unknown: &Option<String>) -> ChangeError {
    match unknown {
        Some(_) => ChangeError::OutcomeUnknown(reason),
        None => ChangeError::Unavailable(reason),
    }
}
