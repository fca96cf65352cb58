//! How users are made by others, and what is counted of all that are made.

use std::time::Instant;

use secrecy::SecretString;
use uuid::Uuid;

use super::ChangeError;
use super::{Age, DisplayName, Email, NewUser, Password, RegisterError, User, Users, mail, roles};
use crate::audit::{AuditEntry, By};
use crate::store::{Batch, Versioned};
use crate::{figures, ids};

/// A user whom another makes.
#[derive(Clone, Debug)]
pub struct NewPerson {
    /// The name shown.
    pub name: DisplayName,
    /// The address.
    pub email: Email,
    /// Years.
    pub age: Option<Age>,
    /// The password; without one, a mail goes out by which the user chooses it.
    pub password: Option<Password>,
    /// The roles; without any, [`roles::CUSTOMER`].
    pub roles: Option<Vec<String>>,
}

impl Users {
    /// Makes a user on behalf of `by`.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn create(&self, by: &By, person: NewPerson) -> Result<Versioned<User>, RegisterError> {
        recorded(async {
            let roles = match person.roles {
                None => vec![roles::CUSTOMER.to_owned()],
                Some(roles) => {
                    self.may_grant(by.actor(), &roles).await?;
                    roles
                }
            };
            let unknown = person.password.is_none();
            let password = match person.password {
                Some(password) => password,
                // One that nobody knows, so that nobody can log in with it.
                None => Password::parse(SecretString::from(Uuid::new_v4().to_string()))
                    .map_err(|wrong| RegisterError::Unavailable(wrong.to_string()))?,
            };
            let new = NewUser {
                email: person.email,
                password,
                username: None,
                name: Some(person.name),
                age: person.age,
            };
            let user = self.prepare(ids::new_id(), &new, &roles).await?;
            let job = if unknown { mail::first_password(&user) } else { mail::welcome(&user) };
            let entry = AuditEntry::new(by, "user.create", &format!("user/{}", user.id), user.created_at)
                .with("roles", user.roles.join(" "));
            let batch = Batch::shared().insert(&user).insert(&job).insert(&entry);
            self.made(user, batch).await
        })
        .await
    }

    /// Makes an admin on behalf of whoever runs this installation, whom nobody gave the right to.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn create_admin(&self, by: &By, new: NewUser) -> Result<Versioned<User>, RegisterError> {
        recorded(async {
            let user = self.prepare(ids::new_id(), &new, &[roles::ADMIN.to_owned()]).await?;
            let entry = AuditEntry::new(by, "user.create", &format!("user/{}", user.id), user.created_at)
                .with("roles", user.roles.join(" "));
            let batch = Batch::shared().insert(&user).insert(&mail::welcome(&user)).insert(&entry);
            self.made(user, batch).await
        })
        .await
    }

    async fn may_grant(&self, by: &str, names: &[String]) -> Result<(), RegisterError> {
        let check = async {
            let held = roles::permissions_of_user(self.store.as_ref(), by).await?;
            if !held.contains("roles:write") {
                return Err(ChangeError::Lacks("roles:write".to_owned()));
            }
            roles::covers(&held, &self.known_roles(names).await?)
        };
        check.await.map_err(|error| match error {
            ChangeError::Lacks(permission) => RegisterError::Lacks(permission),
            ChangeError::UnknownRole(name) => RegisterError::UnknownRole(name),
            other => RegisterError::Unavailable(other.to_string()),
        })
    }
}

/// Counts, times and logs the making of a user; nothing of the person.
pub(super) async fn recorded(
    making: impl Future<Output = Result<Versioned<User>, RegisterError>>,
) -> Result<Versioned<User>, RegisterError> {
    let began = Instant::now();
    let made = making.await;
    let outcome = match &made {
        Ok(user) => {
            tracing::info!(user_id = user.value.id, "user_created");
            "created"
        }
        Err(error) => {
            let reason = reason(error);
            tracing::info!(reason, "user_creation_failed");
            reason
        }
    };
    metrics::counter!(figures::USERS_CREATED, "outcome" => outcome).increment(1);
    metrics::histogram!(figures::USER_CREATION_SECONDS).record(began.elapsed().as_secs_f64());
    made
}

const fn reason(error: &RegisterError) -> &'static str {
    match error {
        RegisterError::EmailTaken => "email_taken",
        RegisterError::UsernameTaken => "username_taken",
        RegisterError::WeakPassword => "weak_password",
        RegisterError::Lacks(_) => "permission_required",
        RegisterError::UnknownRole(_) => "unknown_role",
        RegisterError::Busy => "busy",
        RegisterError::Unavailable(_) => "unavailable",
        RegisterError::Throttled { .. } => "throttled",
        RegisterError::OutcomeUnknown(_) => "outcome_unknown",
    }
}
