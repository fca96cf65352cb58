//! The service: validated reads and writes of users.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::change::{Attempts, ChangeError, Tried};
use super::user::{ADMINS, BY_EMAIL, BY_USERNAME};
use super::{
    DisplayName, Email, HashError, NewUser, Password, PasswordHasher, USERS, User, Username, creation, mail,
    roles,
};
use async_trait::async_trait;

use crate::backoff::Backoff;
use crate::cluster::Clock;
use crate::copies::Copies;
use crate::ids;
use crate::limits::{Limits, MemoryLimits};
use crate::outbox::{Recipient, Recipients};
use crate::session::{Invalidations, LocalInvalidations};
use crate::store::{Batch, CommitError, Conflict, Entity, Query, Store, StoreError, Versioned, find, load};

/// Why a user was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Another user has this address.
    #[error("this mail address is taken")]
    EmailTaken,
    /// Another user has this username.
    #[error("this username is taken")]
    UsernameTaken,
    /// The password is the address or the username.
    #[error("this password is the first that anyone would guess")]
    WeakPassword,
    /// Who makes the user does not hold this permission.
    #[error("this needs the permission {0}")]
    Lacks(String),
    /// There is no such role.
    #[error("there is no role {0}")]
    UnknownRole(String),
    /// Too many have registered from this address. Nothing was made.
    #[error("too many registrations from one address")]
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many passwords are being hashed. Nothing was made; try again later.
    #[error("too many passwords are being checked")]
    Busy,
    /// Nothing was made; try again later.
    #[error("users are unavailable: {0}")]
    Unavailable(String),
    /// The user may have been made; logging in tells.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
}

impl From<HashError> for RegisterError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::Busy,
            HashError::Failed(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<StoreError> for RegisterError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What [`Users::ensure_admin`] found or did.
#[derive(Clone, Debug, PartialEq)]
pub enum FirstAdmin {
    /// This call made the first admin, with the password it was given.
    Made(Box<User>),
    /// There is an admin already; the password it was given means nothing.
    Exists,
}

/// What a password turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Another than the user's, or there is no user.
    Wrong,
    /// The user's.
    Right,
    /// The user's, and to be hashed anew: the hash has other parameters than those of today, or is
    /// of the text as it was sent, from before passwords were prepared ([`Password`]).
    Outdated,
}

/// A user with an id that people know, for sample data.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The id.
    pub id: String,
    /// The rest.
    pub user: NewUser,
}

/// The id of the admin that a replica makes when there is none: one id, so that of two replicas
/// that start together one makes it.
const FIRST_ADMIN: &str = "first-admin";

/// Users of whom each replica keeps a copy in memory.
const COPIES: u64 = 10_000;

/// Sessions whose wrong passwords are counted in memory.
const COUNTED: usize = 10_000;

/// Attempts at a write that others were faster with, or whose outcome is unknown.
const ATTEMPTS: u32 = 8;

/// The users. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) passwords: Arc<dyn PasswordHasher>,
    pub(super) invalidations: Arc<dyn Invalidations>,
    pub(super) limits: Arc<dyn Limits>,
    copies: Arc<Copies<User>>,
}

enum Inserted {
    Made,
    IdTaken,
}

impl Users {
    /// The users in this store, as the only replica there is.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, passwords: Arc<dyn PasswordHasher>) -> Self {
        let invalidations = Arc::new(LocalInvalidations::default());
        let copies = Arc::new(Copies::new(COPIES, invalidations.as_ref()));
        let limits = Arc::new(MemoryLimits::new(clock.clone(), COUNTED));
        Self { store, clock, passwords, invalidations, limits, copies }
    }

    /// The same, counting wrong passwords where other replicas do, too.
    #[must_use]
    pub fn counting(self, limits: Arc<dyn Limits>) -> Self {
        Self { limits, ..self }
    }

    /// The same, telling other replicas of changes.
    #[must_use]
    pub fn telling(self, invalidations: Arc<dyn Invalidations>) -> Self {
        let copies = Arc::new(Copies::new(COPIES, invalidations.as_ref()));
        Self { invalidations, copies, ..self }
    }

    /// Makes a user who is a customer.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn register(&self, new: NewUser) -> Result<Versioned<User>, RegisterError> {
        self.register_with(new, |_| Batch::shared()).await
    }

    /// Makes a user who is a customer, and commits with it whatever `also` says of the new user
    /// (a session, a mail to send): all of it or nothing.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn register_with(
        &self,
        new: NewUser,
        also: impl FnOnce(&User) -> Batch + Send,
    ) -> Result<Versioned<User>, RegisterError> {
        creation::recorded(async {
            let user = self.prepare(ids::new_id(), &new, &[roles::CUSTOMER.to_owned()]).await?;
            let batch = also(&user).insert(&user).insert(&mail::welcome(&user));
            self.made(user, batch).await
        })
        .await
    }

    /// Commits `batch`, which inserts `user` under a new id.
    pub(super) async fn made(&self, user: User, batch: Batch) -> Result<Versioned<User>, RegisterError> {
        match self.insert(&user, batch).await? {
            Inserted::Made => Ok(Versioned { value: user, version: 1 }),
            Inserted::IdTaken => Err(RegisterError::Unavailable("an id was made twice".to_owned())),
        }
    }

    /// The user with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, user_id: &str) -> Result<Option<Versioned<User>>, StoreError> {
        load(self.store.as_ref(), user_id).await
    }

    /// The user with this id, perhaps from memory: at once what this replica committed, within a
    /// second what others did. For showing, never as the base of a change.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn shown(&self, user_id: &str) -> Result<Option<Versioned<User>>, StoreError> {
        self.copies.get(self.store.as_ref(), user_id).await
    }

    /// The user with this address, whatever its case.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn by_email(&self, email: &Email) -> Result<Option<Versioned<User>>, StoreError> {
        self.only(BY_EMAIL, email.key()).await
    }

    /// The user with this address or username, whatever its case. Text that can be neither is
    /// nobody's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn by_login(&self, login: &str) -> Result<Option<Versioned<User>>, StoreError> {
        if let Ok(email) = Email::parse(login) {
            return self.only(BY_EMAIL, email.key()).await;
        }
        match Username::parse(login) {
            Ok(username) => self.only(BY_USERNAME, username.key()).await,
            Err(_) => Ok(None),
        }
    }

    /// What a user's roles permit together.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn permissions_of(&self, user: &User) -> Result<BTreeSet<String>, StoreError> {
        roles::permissions_of(self.store.as_ref(), &user.roles).await
    }

    /// Whether `password` is that of `user`; never right without a user, but it takes as long.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn verify(&self, user: Option<&User>, password: &Password) -> Result<Verified, HashError> {
        let hash = user.map_or(self.passwords.nobody(), |user| &user.password_hash);
        let right = self.passwords.verify(password, hash).await?;
        // Also if it was right: the time depends on the text alone, and so tells nothing of the hash.
        let right_as_sent = match password.as_sent() {
            Some(sent) => self.passwords.verify(&sent, hash).await?,
            None => false,
        };
        Ok(match user {
            Some(_) if right && !self.passwords.is_outdated(hash) => Verified::Right,
            Some(_) if right || right_as_sent => Verified::Outdated,
            _ => Verified::Wrong,
        })
    }

    /// The user with a hash of today, when `password` has just been shown to be theirs
    /// ([`Verified::Outdated`]). If it can't be made or stored now, the next log-in tries again.
    pub(crate) async fn rehashed(&self, user: Versioned<User>, password: &Password) -> Versioned<User> {
        let Ok(password_hash) = self.passwords.hash(password).await else { return user };
        let renewed = User { password_hash, ..user.value.clone() };
        match self.store.commit(Batch::shared().replace(&renewed, user.version)).await {
            Ok(()) => {
                self.tell(&renewed.id, false).await;
                Versioned { value: renewed, version: user.version + 1 }
            }
            Err(error) => {
                tracing::debug!(%error, "a password is hashed anew another time");
                user
            }
        }
    }

    /// Gives the user another name.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn set_name(&self, user_id: &str, name: &DisplayName) -> Result<Versioned<User>, ChangeError> {
        self.change(user_id, |user| name.as_str().clone_into(&mut user.name)).await
    }

    /// Makes an admin if there is none. Safe to call on every start of every replica.
    ///
    /// # Errors
    /// [`RegisterError`]; among them [`RegisterError::EmailTaken`] if a user who is no admin has
    /// the address: that user is not made one.
    pub async fn ensure_admin(&self, email: Email, password: Password) -> Result<FirstAdmin, RegisterError> {
        let query = Query::by(&USERS, ADMINS).equal(true).limit(1);
        let (admins, _) = find::<User>(self.store.as_ref(), query).await?;
        if !admins.is_empty() {
            return Ok(FirstAdmin::Exists);
        }
        let new = NewUser::new(email, password);
        let prepared = self.prepare(FIRST_ADMIN.to_owned(), &new, &[roles::ADMIN.to_owned()]).await;
        let admin = match prepared {
            // Another replica, configured the same, may have been faster.
            Err(RegisterError::EmailTaken) if self.get(FIRST_ADMIN).await?.is_some() => {
                return Ok(FirstAdmin::Exists);
            }
            prepared => prepared?,
        };
        match self.insert(&admin, Batch::new().insert(&admin)).await {
            Ok(Inserted::Made) => Ok(FirstAdmin::Made(Box::new(admin))),
            Ok(Inserted::IdTaken) => Ok(FirstAdmin::Exists),
            // Which of two violated keys is named is up to the store.
            Err(RegisterError::EmailTaken) if self.get(FIRST_ADMIN).await?.is_some() => {
                Ok(FirstAdmin::Exists)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a customer with a known id; `false` if the id is taken already, which changes
    /// nothing.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn insert_sample(&self, sample: Sample) -> Result<bool, RegisterError> {
        if self.get(&sample.id).await?.is_some() {
            return Ok(false);
        }
        let user = self.prepare(sample.id, &sample.user, &[roles::CUSTOMER.to_owned()]).await?;
        let inserted = self.insert(&user, Batch::new().insert(&user)).await?;
        Ok(matches!(inserted, Inserted::Made))
    }

    /// Checks what can be checked before the slow hashing, and hashes.
    pub(super) async fn prepare(
        &self,
        id: String,
        new: &NewUser,
        roles: &[String],
    ) -> Result<User, RegisterError> {
        let username = new.username.as_ref().map_or("", Username::as_str);
        let about = [new.email.as_str(), new.name.as_ref().map_or("", DisplayName::as_str), username];
        if new.password_is_known() || self.passwords.is_guessable(&new.password, &about).await? {
            return Err(RegisterError::WeakPassword);
        }
        if self.only(BY_EMAIL, new.email.key()).await?.is_some() {
            return Err(RegisterError::EmailTaken);
        }
        if let Some(username) = &new.username
            && self.only(BY_USERNAME, username.key()).await?.is_some()
        {
            return Err(RegisterError::UsernameTaken);
        }
        let hash = self.passwords.hash(&new.password).await?;
        Ok(User::new(id, new, roles, hash, self.clock.now()))
    }

    /// Commits `batch`, which inserts `user`, and settles an unknown outcome by committing it
    /// again.
    async fn insert(&self, user: &User, batch: Batch) -> Result<Inserted, RegisterError> {
        let mut unknown = None;
        for attempt in 0..ATTEMPTS {
            match self.store.commit(batch.clone()).await {
                Ok(()) => return Ok(Inserted::Made),
                Err(CommitError::OutcomeUnknown(reason)) => {
                    unknown = Some(reason);
                    Backoff::CONTENTION.wait(attempt + 1).await;
                }
                Err(CommitError::Unavailable(reason)) => {
                    return Err(match unknown {
                        Some(_) => RegisterError::OutcomeUnknown(reason),
                        None => RegisterError::Unavailable(reason),
                    });
                }
                Err(CommitError::Conflict(conflict)) => {
                    // The hash has a salt of its own, so it tells this user's commit from others'.
                    if unknown.is_some() {
                        let found = self.get(&user.id).await;
                        let found = found.map_err(|e| RegisterError::OutcomeUnknown(e.to_string()))?;
                        if found.is_some_and(|found| found.value.password_hash == user.password_hash) {
                            return Ok(Inserted::Made);
                        }
                    }
                    return match conflict {
                        Conflict::Unique { index: BY_EMAIL, .. } => Err(RegisterError::EmailTaken),
                        Conflict::Unique { index: BY_USERNAME, .. } => Err(RegisterError::UsernameTaken),
                        Conflict::Exists { id, .. } if id == user.id => Ok(Inserted::IdTaken),
                        other => Err(RegisterError::Unavailable(other.to_string())),
                    };
                }
            }
        }
        Err(RegisterError::OutcomeUnknown(unknown.unwrap_or_default()))
    }

    /// Changes a user, again from the start when another write came first. `change` gives the same
    /// result when it runs twice.
    async fn change(
        &self,
        user_id: &str,
        change: impl Fn(&mut User) + Send + Sync,
    ) -> Result<Versioned<User>, ChangeError> {
        let mut attempts = Attempts::default();
        loop {
            let found = self.get(user_id).await.map_err(|error| attempts.failed(error))?;
            let found = found.ok_or(ChangeError::NotFound)?;
            let mut user = found.value.clone();
            change(&mut user);
            if user == found.value {
                self.tell(user_id, false).await;
                return Ok(found);
            }
            user.updated_at = self.clock.now();
            let batch = Batch::shared().replace(&user, found.version);
            if let Tried::Done = attempts.commit(self.store.as_ref(), batch).await? {
                self.tell(user_id, false).await;
                return Ok(Versioned { value: user, version: found.version + 1 });
            }
        }
    }

    async fn only(&self, index: &'static str, key: String) -> Result<Option<Versioned<User>>, StoreError> {
        let query = Query::by(User::collection(), index).equal(key).limit(1);
        let (found, _) = find(self.store.as_ref(), query).await?;
        Ok(found.into_iter().next())
    }
}

#[async_trait]
impl Recipients for Users {
    async fn address(&self, user_id: &str) -> Result<Option<Recipient>, StoreError> {
        let user = self.get(user_id).await?;
        Ok(user.map(|user| Recipient { email: user.value.email, name: user.value.name }))
    }
}
