//! Passwords that were forgotten, and addresses that are to be verified: by tokens sent by mail.
//!
//! Who calls it: HTTP. Asking for a reset never looks whether anyone has the address; whoever sends
//! the mail does, so that the answer and its time tell nothing. A token works once: it goes in the
//! commit that it allows.

use super::change::{Attempts, ChangeError, Tried};
use super::tokens::{Purpose, UserToken};
use super::{Email, NewUser, Password, PasswordHash, User, Users, mail};
use crate::store::{Batch, CommitError, Conflict, Entity, Versioned};

impl Users {
    /// Sends a mail by which the password can be reset, if anyone has this address and there were
    /// not many such mails already.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn ask_reset(&self, email: &Email) -> Result<(), ChangeError> {
        self.post(mail::password_reset(email, self.clock.now())).await
    }

    /// Sends a mail by which the user's address, or the one that is pending, can be verified; none
    /// if there is nothing to verify, or if there were many such mails already.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn ask_verification(&self, user_id: &str) -> Result<(), ChangeError> {
        let found = self.get(user_id).await?.ok_or(ChangeError::NotFound)?;
        let User { email, pending_email, email_verified, .. } = &found.value;
        let address = match pending_email {
            Some(pending) => pending,
            None if *email_verified => return Ok(()),
            None => email,
        };
        self.post(mail::verification(&found, address, self.clock.now())).await
    }

    async fn post(&self, job: crate::outbox::Job) -> Result<(), ChangeError> {
        match self.store.commit(Batch::shared().insert(&job)).await {
            // It was asked for already, within this minute, and waits to be sent.
            Ok(()) | Err(CommitError::Conflict(Conflict::Exists { .. })) => Ok(()),
            Err(CommitError::Conflict(other)) => Err(ChangeError::Unavailable(other.to_string())),
            Err(CommitError::Unavailable(reason)) => Err(ChangeError::Unavailable(reason)),
            Err(CommitError::OutcomeUnknown(reason)) => Err(ChangeError::OutcomeUnknown(reason)),
        }
    }

    /// Sets the password of whoever was sent this token. All sessions end; nobody is logged in.
    ///
    /// # Errors
    /// [`ChangeError`], among them [`ChangeError::BadToken`] and [`ChangeError::WeakPassword`],
    /// which leaves the token as it was.
    pub async fn reset_password(&self, token: &str, new: &Password) -> Result<(), ChangeError> {
        let (store, now) = (self.store.as_ref(), self.clock.now());
        // Before the slow hashing, which is not for everyone who makes up a token.
        let presented = UserToken::presented(store, token, Purpose::Password, now).await?;
        let user_id = presented.value.user_id;
        let found = self.get(&user_id).await?.ok_or(ChangeError::BadToken)?;
        let hash = self.new_hash(&found.value, new).await?;
        let mut attempts = Attempts::default();
        loop {
            let found = self.get(&user_id).await.map_err(|error| attempts.failed(error))?;
            let found = found.ok_or(ChangeError::BadToken)?;
            if attempts.unknown() && found.value.password_hash == hash {
                self.tell(&user_id, true).await;
                return Ok(());
            }
            let batch = self.using_up(token, Purpose::Password, &found.value.email, &found.value).await?;
            let mut user = found.value.clone();
            user.password_hash = hash.clone();
            // Whoever has the token reads the mail of this address.
            user.email_verified = true;
            user.updated_at = self.clock.now();
            user.end_sessions();
            let told = mail::password_changed(&user_id, found.version + 1, self.clock.now());
            let batch = batch.replace(&user, found.version).insert(&told);
            if attempts.commit(store, batch).await? == Tried::Done {
                self.tell(&user_id, true).await;
                return Ok(());
            }
        }
    }

    /// Counts an address as verified: the account's, or the pending one, which takes its place.
    ///
    /// # Errors
    /// [`ChangeError`], among them [`ChangeError::BadToken`], and [`ChangeError::EmailTaken`] if
    /// another was faster.
    pub async fn verify_email(&self, token: &str) -> Result<(), ChangeError> {
        let (store, now) = (self.store.as_ref(), self.clock.now());
        let presented = UserToken::presented(store, token, Purpose::Email, now).await?.value;
        let mut attempts = Attempts::default();
        loop {
            let found = self.get(&presented.user_id).await.map_err(|error| attempts.failed(error))?;
            let found = found.ok_or(ChangeError::BadToken)?;
            let done = found.value.email_verified && presented.is_for(&found.value.email);
            if attempts.unknown() && done {
                self.tell(&presented.user_id, false).await;
                return Ok(());
            }
            let batch = self.using_up(token, Purpose::Email, &presented.email, &found.value).await?;
            let Some((user, batch)) = self.verified(&found, &presented, batch) else {
                return Err(ChangeError::BadToken);
            };
            if attempts.commit(store, batch.replace(&user, found.version)).await? == Tried::Done {
                self.tell(&presented.user_id, false).await;
                return Ok(());
            }
        }
    }

    /// The user after the address that the token was sent to was verified, and the mail about it;
    /// nothing if that address is no longer one of theirs.
    fn verified(&self, found: &Versioned<User>, token: &UserToken, batch: Batch) -> Option<(User, Batch)> {
        let mut user = found.value.clone();
        let pending = user.pending_email.take_if(|pending| token.is_for(pending));
        let batch = match pending {
            Some(pending) => {
                let now = self.clock.now();
                let told = mail::email_changed(&user.id, &user.email, found.version + 1, now);
                user.email = pending;
                batch.insert(&told)
            }
            None if token.is_for(&user.email) => batch,
            None => return None,
        };
        user.email_verified = true;
        user.updated_at = self.clock.now();
        Some((user, batch))
    }

    /// A batch in which the token goes, and with it all of the user's for the same purpose.
    async fn using_up(
        &self,
        token: &str,
        purpose: Purpose,
        email: &str,
        user: &User,
    ) -> Result<Batch, ChangeError> {
        let store = self.store.as_ref();
        let presented = UserToken::presented(store, token, purpose, self.clock.now()).await?;
        if !presented.value.is_for(email) || !presented.value.counts_for(user) {
            return Err(ChangeError::BadToken);
        }
        let others = UserToken::all_of(store, &user.id, purpose).await?;
        let others = others.iter().filter(|other| other.value.id() != presented.value.id());
        Ok(others.fold(Batch::new().delete(&presented), Batch::delete))
    }

    /// The hash of a new password for this user, unless anyone who knows them would guess it.
    ///
    /// # Errors
    /// [`ChangeError::WeakPassword`], [`ChangeError::Busy`].
    pub(crate) async fn new_hash(&self, user: &User, new: &Password) -> Result<PasswordHash, ChangeError> {
        if NewUser::is_known(new, &user.email, user.username.as_deref()) {
            return Err(ChangeError::WeakPassword);
        }
        let about: Vec<&str> =
            [&user.email, &user.name].into_iter().chain(&user.username).map(String::as_str).collect();
        if self.passwords.is_guessable(new, &about).await? {
            return Err(ChangeError::WeakPassword);
        }
        Ok(self.passwords.hash(new).await?)
    }
}
