//! The service: logging in and out, and the handle on this thread's session actor.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use secrecy::{ExposeSecret, SecretString};

use super::actor::{Authenticate, SessionActor};
use super::errors::{AuthError, LogInError};
use super::load::{Loader, RETRY_AFTER};
use super::throttle::{Attempt, Turns};
use super::{
    Device, DeviceToken, Invalidations, Principal, RefreshToken, Session, SessionLocator, SessionToken,
    TokenHash,
};
use crate::cluster::Clock;
use crate::ids;
use crate::keys::{ACCESS_LIFE, AccessToken, AccessTokens, Claims, TokenKey};
use crate::limits::Limits;
use crate::store::{Batch, Store, Versioned};
use crate::supervision::{ActorRef, AskError, Tree, spawn_here};
use crate::users::{NewUser, Password, RegisterError, User, Users, Verified};

/// Who wants to log in.
#[derive(Debug)]
pub struct LogIn {
    /// A mail address or a username.
    pub login: String,
    /// The password, as it was sent.
    pub password: SecretString,
    /// Where they log in from.
    pub device: Device,
    /// What an earlier log-in gave to this device.
    pub device_token: Option<SecretString>,
}

/// A session that was opened.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// Whose it is.
    pub user: Versioned<User>,
    /// Its id.
    pub session_id: String,
    /// Its token. This is the only time that it can be told.
    pub token: SessionToken,
    /// A token for ten minutes, which other services can verify too.
    pub access: AccessToken,
    /// What gets the next access token.
    pub refresh: RefreshToken,
    /// What shows that this device is its user's.
    pub device: DeviceToken,
    /// When the session, and so the refresh token, ends unless it is used before.
    pub expires_in: Duration,
}

/// What sessions need.
pub struct SessionParts {
    /// Where sessions and users are kept.
    pub store: Arc<dyn Store>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Whose sessions.
    pub users: Users,
    /// What makes access tokens.
    pub access: Arc<dyn AccessTokens>,
    /// What counts wrong passwords.
    pub limits: Arc<dyn Limits>,
    /// What the other tokens are authenticated with.
    pub token_key: TokenKey,
    /// What finds sessions faster; without one the store is asked.
    pub locator: Option<Arc<dyn SessionLocator>>,
    /// The channel between the replicas.
    pub invalidations: Arc<dyn Invalidations>,
    /// Where the session actors are listed.
    pub tree: Tree,
    /// Tokens that each session actor remembers.
    pub cache_capacity: usize,
}

/// How long a check may take before the caller is told to come back.
const CHECK_DEADLINE: Duration = Duration::from_secs(3);
/// Checks that one actor may have accepted and not answered.
const MAILBOX: usize = 1024;

/// The sessions. Cheap to clone; any thread may use it.
#[derive(Clone)]
pub struct Sessions {
    pub(super) parts: Arc<SessionParts>,
    pub(super) loader: Arc<Loader>,
    /// By user: log-ins until their sessions are counted again.
    pub(super) room: Cache<String, usize>,
    turns: Turns,
}

/// How long a count of a user's sessions is relied on.
const ROOM_KEPT: Duration = Duration::from_secs(600);
/// Users whose count is remembered.
const ROOMS: u64 = 10_000;

impl Sessions {
    /// The sessions made of these parts.
    pub fn new(parts: SessionParts) -> Self {
        let loader = Arc::new(Loader::new(
            parts.store.clone(),
            parts.clock.clone(),
            parts.access.clone(),
            parts.locator.clone(),
        ));
        let room = Cache::builder().max_capacity(ROOMS).time_to_live(ROOM_KEPT).build();
        Self { parts: Arc::new(parts), loader, room, turns: Turns::new() }
    }

    /// Starts a session actor on this thread, for as long as the thread lives, and gives a handle
    /// on it. Call it where the HTTP server makes the application of a worker thread (the closure
    /// given to `HttpServer::new`), and give the handle to that application only: then checking a
    /// token never leaves the thread. `thread` names the thread in listings.
    ///
    /// # Panics
    /// Outside of an actix `System` or a tokio `LocalSet`.
    pub fn on_this_thread(&self, thread: &str) -> SessionsHandle {
        let (parts, loader) = (self.parts.clone(), self.loader.clone());
        let actor = spawn_here(&self.parts.tree, "session", thread.to_owned(), MAILBOX, move |_| {
            let actor = SessionActor::new(
                parts.cache_capacity,
                loader.clone(),
                parts.clock.clone(),
                parts.invalidations.subscribe(),
            );
            async move { Ok(actor) }
        });
        SessionsHandle { actor }
    }

    /// Makes a user and opens their first session, both or neither.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn register(&self, new: NewUser, device: Device) -> Result<LoggedIn, RegisterError> {
        let attempt = Attempt::register(self.parts.limits.as_ref(), device.ip.as_deref()).await;
        attempt.map_err(|retry_after| RegisterError::Throttled { retry_after })?;
        let token = SessionToken::generate();
        let hash = token.hash();
        let mut opened = None;
        let user = self
            .parts
            .users
            .register_with(new, |user| {
                let session = self.begin(user, hash, device);
                let batch = Batch::new().insert(&session);
                opened = Some(session);
                batch
            })
            .await?;
        let Some(session) = opened else {
            return Err(RegisterError::Unavailable("no session was opened".to_owned()));
        };
        self.loader.remember(&session).await;
        self.issued(user, &session, token, 0).map_err(RegisterError::OutcomeUnknown)
    }

    /// Logs in with a mail address or username and a password.
    ///
    /// # Errors
    /// [`LogInError`].
    pub async fn log_in(&self, log_in: LogIn) -> Result<LoggedIn, LogInError> {
        // Nobody has a password that can't be one, so this tells nothing.
        let password = Password::parse(log_in.password).map_err(|_| LogInError::InvalidCredentials)?;
        let user = self.parts.users.by_login(&log_in.login).await?;
        let known = user.as_ref().map(|user| &user.value);
        let id = known.and_then(|user| known_device(&self.parts, user, log_in.device_token.as_ref()));
        let limits = self.parts.limits.as_ref();
        let account = known.map_or_else(|| log_in.login.to_lowercase(), |user| user.id.clone());
        let (device, ip) = (id.as_deref(), log_in.device.ip.as_deref());
        let attempt = Attempt::log_in(limits, &self.turns, &account, device, ip).await?;
        match (self.parts.users.verify(known, &password).await, user) {
            (Ok(right @ (Verified::Right | Verified::Outdated)), Some(user)) if !user.value.disabled => {
                attempt.take_back(limits).await;
                let user = match right {
                    Verified::Outdated => self.parts.users.rehashed(user, &password).await,
                    _ => user,
                };
                self.open(user, Device { id, ..log_in.device }).await
            }
            (Ok(_), _) => Err(LogInError::InvalidCredentials),
            (Err(not_looked_at), _) => {
                attempt.take_back(limits).await;
                Err(not_looked_at.into())
            }
        }
    }

    /// Opens a session for a user who has shown who they are.
    ///
    /// # Errors
    /// [`LogInError::Unavailable`]. A session that was opened without its being known has a token
    /// that nobody knows either.
    pub async fn open(&self, user: Versioned<User>, device: Device) -> Result<LoggedIn, LogInError> {
        let token = SessionToken::generate();
        let session = self.begin(&user.value, token.hash(), device);
        let committed = self.parts.store.commit(Batch::shared().insert(&session)).await;
        committed.map_err(|error| LogInError::Unavailable(error.to_string()))?;
        self.loader.remember(&session).await;
        self.trim(&user.value.id).await;
        self.issued(user, &session, token, 0).map_err(LogInError::Unavailable)
    }

    /// The tokens of a session, with the refresh token of this number.
    pub(super) fn issued(
        &self,
        user: Versioned<User>,
        session: &Session,
        token: SessionToken,
        number: u64,
    ) -> Result<LoggedIn, String> {
        let (now, key) = (self.parts.clock.now(), &self.parts.token_key);
        let claims = Claims {
            user_id: session.user_id.clone(),
            session_id: session.id.clone(),
            id: ids::new_id(),
            roles: user.value.roles.clone(),
            refresh_number: number,
            issued_at: now,
            expires_at: now.plus(ACCESS_LIFE),
        };
        Ok(LoggedIn {
            access: self.parts.access.issue(&claims, now)?,
            refresh: RefreshToken::new(key, &session.id, number, &token),
            device: DeviceToken::new(key, &session.user_id, &session.device_id, now),
            session_id: session.id.clone(),
            expires_in: session.expires_at.since(now),
            user,
            token,
        })
    }

    fn begin(&self, user: &User, token: TokenHash, device: Device) -> Session {
        Session::begin(ids::new_id(), user, token, device, self.parts.clock.now())
    }
}

/// Which of the user's devices this is, if its token says so.
fn known_device(parts: &SessionParts, user: &User, token: Option<&SecretString>) -> Option<String> {
    DeviceToken::read(&parts.token_key, &user.id, token?.expose_secret(), parts.clock.now())
}

/// A handle on the session actor of one thread. Cheap to clone.
#[derive(Clone)]
pub struct SessionsHandle {
    actor: ActorRef<SessionActor>,
}

impl SessionsHandle {
    /// Who calls with this session token or access token.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn authenticate(&self, token: &str) -> Result<Principal, AuthError> {
        let question = match TokenHash::of_presented(token) {
            Some(token) => Authenticate { token, access: None },
            None if is_like_access(token) => {
                Authenticate { token: TokenHash::of_access(token), access: Some(token.to_owned()) }
            }
            None => return Err(AuthError::Unauthenticated),
        };
        match self.actor.ask(question, CHECK_DEADLINE).await {
            Ok(answer) => answer,
            Err(AskError::Unavailable { retry_after }) => Err(AuthError::Unavailable { retry_after }),
            Err(AskError::Full | AskError::OutcomeUnknown | AskError::Leaving) => {
                Err(AuthError::Unavailable { retry_after: RETRY_AFTER })
            }
        }
    }
}

/// Bytes that an access token has at most.
const LONGEST_ACCESS: usize = 4096;

/// Whether it is worth reading: three parts, as a JWS has in its compact form.
fn is_like_access(token: &str) -> bool {
    token.len() <= LONGEST_ACCESS && token.bytes().filter(|byte| *byte == b'.').count() == 2
}
