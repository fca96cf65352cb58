//! Finding out who calls with a token: the locator says where to look, the store says what is so.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::cache::Loaded;
use super::errors::AuthError;
use super::record::BY_TOKEN;
use super::{LocatorError, Principal, SESSIONS, Session, SessionLocator, TokenHash};
use crate::cluster::Clock;
use crate::keys::{AccessTokens, Claims};
use crate::store::{Batch, CommitError, Query, Store, StoreError, Versioned, find, load};
use crate::supervision::lock;
use crate::users::{User, roles};

/// How long the locator may take; after that the store is asked.
const LOCATOR_DEADLINE: Duration = Duration::from_millis(250);
/// After it failed, how long it is left alone.
const LOCATOR_REST: Duration = Duration::from_secs(1);
/// How long a load may take.
const LOAD_DEADLINE: Duration = Duration::from_secs(2);
/// When to try again while the store is away.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Attempts at reading a session and its user while both are being changed.
const ATTEMPTS: u32 = 4;

/// What someone calls with.
pub(super) enum Presented {
    /// A session token, by its hash.
    Session(TokenHash),
    /// An access token that is genuine and has not expired.
    Access(Claims),
}

/// What loads need; shared by the actors of all threads.
pub(super) struct Loader {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    access: Arc<dyn AccessTokens>,
    locator: Option<Arc<dyn SessionLocator>>,
    locator_rests_until: Mutex<Option<Instant>>,
}

impl Loader {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        access: Arc<dyn AccessTokens>,
        locator: Option<Arc<dyn SessionLocator>>,
    ) -> Self {
        Self { store, clock, access, locator, locator_rests_until: Mutex::default() }
    }

    /// What an access token says, if it is genuine and has not expired. Pure computation.
    pub(super) fn read(&self, access: &str) -> Option<Claims> {
        self.access.read(access, self.clock.now())
    }

    /// Who calls with this token.
    pub(super) async fn load(&self, presented: Presented) -> Result<Loaded, AuthError> {
        match timeout(LOAD_DEADLINE, self.look(presented)).await {
            Ok(Ok(found)) => found.ok_or(AuthError::Unauthenticated),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a session could not be loaded");
                Err(AuthError::Unavailable { retry_after: RETRY_AFTER })
            }
            Err(_deadline) => {
                tracing::warn!("a session was not loaded in time");
                Err(AuthError::Unavailable { retry_after: RETRY_AFTER })
            }
        }
    }

    async fn look(&self, presented: Presented) -> Result<Option<Loaded>, StoreError> {
        let (session, ends_at) = match &presented {
            Presented::Session(token) => (self.session(*token).await?, None),
            Presented::Access(claims) => {
                let found = load::<Session>(self.store.as_ref(), &claims.session_id).await?;
                (found.filter(|found| found.value.user_id == claims.user_id), Some(claims.expires_at))
            }
        };
        let Some(session) = session else { return Ok(None) };
        let Some((session, user)) = self.counting(session).await? else { return Ok(None) };
        if let Presented::Access(claims) = &presented {
            self.reached(&session, claims.refresh_number).await;
        }
        let permissions = roles::permissions_of(self.store.as_ref(), &user.value.roles).await?;
        let session = session.value;
        Ok(Some(Loaded {
            expires_at: ends_at.map_or(session.expires_at, |ends_at| ends_at.min(session.expires_at)),
            seen_until: session.seen_until(),
            principal: Principal { user_id: session.user_id, session_id: session.id, permissions },
        }))
    }

    /// The session and its user, if it counts. The two are read one after the other, so what
    /// doesn't fit is read again until it has not changed in between.
    pub(super) async fn counting(
        &self,
        mut session: Versioned<Session>,
    ) -> Result<Option<(Versioned<Session>, Versioned<User>)>, StoreError> {
        let store = self.store.as_ref();
        for _ in 0..ATTEMPTS {
            let Some(user) = load::<User>(store, &session.value.user_id).await? else { return Ok(None) };
            if session.value.counts_for(&user.value, self.clock.now()) {
                return Ok(Some((session, user)));
            }
            match load::<Session>(store, &session.value.id).await? {
                Some(again) if again.version != session.version => session = again,
                _ => return Ok(None),
            }
        }
        Err(StoreError::Unavailable("a session keeps being changed".to_owned()))
    }

    /// An access token that was issued with the refresh token of this number is used: then that
    /// one has arrived, which is written down before the answer. If it can't be, the predecessor
    /// goes on being answered until the next use.
    async fn reached(&self, session: &Versioned<Session>, number: u64) {
        let mut session = session.clone();
        for _ in 0..ATTEMPTS {
            let Some(family) = session.value.family.reached(number, self.clock.now()) else { return };
            let becomes = Session { family, ..session.value.clone() };
            match self.store.commit(Batch::shared().replace(&becomes, session.version)).await {
                Ok(()) => return,
                Err(CommitError::Conflict(_)) => {}
                Err(error) => {
                    tracing::debug!(%error, "that a refresh token arrived is not written down");
                    return;
                }
            }
            match load::<Session>(self.store.as_ref(), &session.value.id).await {
                Ok(Some(again)) => session = again,
                _ => return,
            }
        }
    }

    async fn session(&self, token: TokenHash) -> Result<Option<Versioned<Session>>, StoreError> {
        let located = self.ask_locator(|locator| async move { locator.get(&token).await }).await.flatten();
        if let Some(id) = &located
            && let Some(found) = load::<Session>(self.store.as_ref(), id).await?
            && found.value.token_hash == token
        {
            return Ok(Some(found));
        }
        // The locator knows nothing, or something that is no longer so.
        let query = Query::by(&SESSIONS, BY_TOKEN).equal(token.to_string()).limit(1);
        let (found, _) = find::<Session>(self.store.as_ref(), query).await?;
        let session = found.into_iter().next();
        match &session {
            Some(session) => self.remember(&session.value).await,
            None if located.is_some() => self.forget(token).await,
            None => {}
        }
        Ok(session)
    }

    /// Tells the locator of a session, if it can be told.
    pub(super) async fn remember(&self, session: &Session) {
        let ttl = session.expires_at.since(self.clock.now());
        if ttl.is_zero() {
            return;
        }
        let (token, id) = (session.token_hash, session.id.clone());
        self.ask_locator(|locator| async move { locator.put(&token, &id, ttl).await }).await;
    }

    /// Makes the locator forget, if it can be told.
    pub(super) async fn forget(&self, token: TokenHash) {
        self.ask_locator(|locator| async move { locator.forget(&token).await }).await;
    }

    /// `None` if there is no locator, or if it is away; then it is left alone for a while, so that
    /// not every load waits for it.
    async fn ask_locator<T, F>(&self, ask: impl FnOnce(Arc<dyn SessionLocator>) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, LocatorError>>,
    {
        let locator = self.locator.clone()?;
        if lock(&self.locator_rests_until).is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let answer = timeout(LOCATOR_DEADLINE, ask(locator)).await;
        match answer.unwrap_or_else(|_| Err(LocatorError("it took too long".to_owned()))) {
            Ok(answer) => {
                *lock(&self.locator_rests_until) = None;
                Some(answer)
            }
            Err(error) => {
                let first = lock(&self.locator_rests_until).replace(Instant::now() + LOCATOR_REST).is_none();
                if first {
                    tracing::warn!(%error, "sessions are looked up in the store");
                }
                None
            }
        }
    }

    /// Writes down that the session is in use. Never makes one that has ended count again: the
    /// write is based on the version that was read.
    pub(super) async fn seen(&self, session_id: &str) {
        let written = timeout(LOAD_DEADLINE, async {
            let found = load::<Session>(self.store.as_ref(), session_id).await.map_err(|e| e.to_string())?;
            let Some(found) = found else { return Ok(()) };
            let Some(seen) = found.value.seen(self.clock.now()) else { return Ok(()) };
            let batch = Batch::shared().replace(&seen, found.version);
            self.store.commit(batch).await.map_err(|e| e.to_string())
        });
        if let Ok(Err(error)) = written.await {
            // Another thread or replica wrote it, or the next use does.
            tracing::debug!(error, "that a session was seen is not written down");
        }
    }
}
