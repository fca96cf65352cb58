//! What sends the mails.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::templates::Templates;
use super::{Occasion, Payload, To, USER_MAIL, throttle};
use crate::cluster::Clock;
use crate::outbox::{Job, JobError, Performer};
use crate::providers::{MailError, Mailer};
use crate::store::{Batch, CommitError, Store};
use crate::users::tokens::{self, Purpose, UserToken};
use crate::users::{Email, User, Users};

/// Sends the mails about accounts.
pub struct UserMails {
    users: Users,
    mailer: Arc<dyn Mailer>,
    templates: Templates,
}

impl UserMails {
    /// Sends through `mailer`; links begin with `public_url`, which has no slash at its end.
    pub fn new(users: Users, mailer: Arc<dyn Mailer>, public_url: &str) -> Self {
        Self { users, mailer, templates: Templates::new(public_url) }
    }

    fn store(&self) -> &dyn Store {
        self.users.store.as_ref()
    }

    fn clock(&self) -> &dyn Clock {
        self.users.clock.as_ref()
    }

    /// The user that it is about and the address that it goes to; nobody if there is nothing, or
    /// no longer anything, to say.
    async fn recipient(&self, payload: &Payload) -> Result<Option<(Option<User>, String)>, JobError> {
        let of_user = |user: Option<User>| user.map(|user| (user.email.clone(), user));
        let (email, user) = match &payload.to {
            To::User(id) => match of_user(self.users.get(id).await?.map(|found| found.value)) {
                Some(found) => found,
                None => return Ok(None),
            },
            To::Whoever(email) => {
                let email = Email::parse(email).map_err(|wrong| JobError::Permanent(wrong.to_string()))?;
                match of_user(self.users.by_email(&email).await?.map(|found| found.value)) {
                    Some(found) if !found.1.disabled => found,
                    _ => return Ok(None),
                }
            }
            To::Address { user, email } => match self.users.get(user).await? {
                Some(found) => (email.clone(), found.value),
                // To one whose account is gone there is only that to say.
                None if payload.occasion == Occasion::Deleted => return Ok(Some((None, email.clone()))),
                None => return Ok(None),
            },
        };
        Ok(Some((Some(user), email)))
    }

    /// A token for the mail, if it is one with a token. It is kept before the mail goes out.
    async fn token(
        &self,
        occasion: Occasion,
        user: Option<&User>,
        email: &str,
    ) -> Result<Option<SecretString>, JobError> {
        let (purpose, good_for) = match occasion {
            Occasion::Welcome | Occasion::Verification => (Purpose::Email, tokens::VERIFICATION),
            Occasion::FirstPassword => (Purpose::Password, tokens::FIRST_PASSWORD),
            Occasion::PasswordReset => (Purpose::Password, tokens::RESET),
            _ => return Ok(None),
        };
        let Some(user) = user else {
            return Err(JobError::Permanent("the user is gone".to_owned()));
        };
        let expires_at = self.clock().now().plus(good_for);
        let (token, kept) = UserToken::mint(user, email, purpose, expires_at);
        let mut batch = Batch::shared().insert(&kept);
        let before = UserToken::all_of(self.store(), &user.id, purpose).await?;
        if before.len() >= tokens::MOST {
            // The newest mail is the one that counts.
            batch = before.iter().fold(batch, Batch::delete);
        }
        self.store().commit(batch).await.map_err(|error| match error {
            // A token that was kept without our knowing it is one that nobody has.
            CommitError::Conflict(_) | CommitError::Unavailable(_) | CommitError::OutcomeUnknown(_) => {
                JobError::Retry { reason: error.to_string(), after: None }
            }
        })?;
        Ok(Some(token))
    }
}

#[async_trait]
impl Performer for UserMails {
    fn kind(&self) -> &'static str {
        USER_MAIL
    }

    async fn perform(&self, job: &Job) -> Result<(), JobError> {
        let payload: Payload = job.payload()?;
        let Some((user, email)) = self.recipient(&payload).await? else { return Ok(()) };
        let (limits, user_id) =
            (self.users.limits.as_ref(), user.as_ref().map_or("", |user| user.id.as_str()));
        // A mail is counted once, however often sending it is tried.
        let is_first = job.attempts() <= 1;
        if is_first && !throttle::allows(limits, payload.occasion, user_id, &email).await {
            tracing::info!(occasion = payload.occasion.name(), "a mail is not sent: there were many like it");
            return Ok(());
        }
        let token = self.token(payload.occasion, user.as_ref(), &email).await?;
        let token = token.as_ref().map(ExposeSecret::expose_secret);
        let mail = self.templates.mail(payload.occasion, job.id(), &email, token)?;
        self.mailer.send(&mail).await.map_err(|error| match error {
            MailError::Temporary(reason) => JobError::Retry { reason, after: None },
            MailError::Permanent(reason) => JobError::Permanent(reason),
        })
    }
}
