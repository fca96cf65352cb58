//! Changes of a user by themselves or by another, with the rules of who may change whom.
//!
//! Who calls it: [`Users`]. Each decision is made on the version it is committed against, and on
//! what the store says of the one who decides, not on what a session remembers.

use std::collections::BTreeSet;
use std::time::Duration;

use super::change::{Attempts, ChangeError, Tried};
use super::user::ADMINS;
use super::{Age, CurrentPassword, DisplayName, Email, USERS, User, Username, Users, mail, roles};
use crate::audit::{AuditEntry, By};
use crate::limits::Quota;
use crate::session::Invalidation;
use crate::store::{Batch, Query, Versioned, find, load};

/// Changes of one's own address.
const MOVES: Quota = Quota::new("address_change", 10, Duration::from_secs(3600));

/// What is to change of a user. `None` leaves a field; `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// The name shown.
    pub name: Option<DisplayName>,
    /// The name to log in with.
    pub username: Option<Option<Username>>,
    /// Years.
    pub age: Option<Option<Age>>,
    /// The address. One's own is only pending until it is verified.
    pub email: Option<Email>,
    /// Whether the user is shut out.
    pub disabled: Option<bool>,
    /// The roles, by name.
    pub roles: Option<Vec<String>>,
}

/// Who changes a user.
#[derive(Clone, Debug)]
pub enum Editor {
    /// The user, who gives the current password where it is needed.
    Oneself(Option<CurrentPassword>),
    /// Another, whose act goes to the audit log.
    Another(By),
    /// Whoever runs this installation, from its command line: holds everything, and what they do goes to
    /// the audit log too.
    Operator(By),
}

impl Users {
    /// Changes a user. With `based_on`, only that version of it.
    ///
    /// # Errors
    /// [`ChangeError`]. [`ChangeError::Lacks`]: whoever changes another holds all that the other
    /// may do, before and after; to give roles, or to disable, takes a permission also for oneself.
    pub async fn edit(
        &self,
        user_id: &str,
        by: &Editor,
        edit: &Edit,
        based_on: Option<u64>,
    ) -> Result<Versioned<User>, ChangeError> {
        let mut attempts = Attempts::default();
        loop {
            let found = self.get(user_id).await.map_err(|error| attempts.failed(error))?;
            let found = found.ok_or(ChangeError::NotFound)?;
            let stale = based_on.is_some_and(|version| version != found.version);
            if stale && !attempts.unknown() {
                return Err(ChangeError::Moved);
            }
            self.may_edit(&found.value, by, edit).await?;
            let changed = self.edited(&found, by, edit).await?;
            if changed == found.value {
                self.tell(user_id, true).await;
                return Ok(found);
            }
            if stale {
                // Moved on by our own attempt, or by another: that can't be told apart.
                return Err(ChangeError::OutcomeUnknown("it has moved on".to_owned()));
            }
            let mut batch = Batch::shared().replace(&changed, found.version);
            if found.value.is_acting_admin() && !changed.is_acting_admin() {
                batch = self.without_admin(user_id, batch).await?;
            }
            if let Editor::Another(by) | Editor::Operator(by) = by {
                batch = batch.insert(&audited(by, &found.value, &changed));
            }
            for job in mail::of_edit(&found, &changed, self.clock.now()) {
                batch = batch.insert(&job);
            }
            if attempts.commit(self.store.as_ref(), batch).await? == Tried::Done {
                let powers = changed.roles != found.value.roles || changed.disabled != found.value.disabled;
                self.tell(user_id, powers).await;
                return Ok(Versioned { value: changed, version: found.version + 1 });
            }
        }
    }

    /// Whether `by` may change this user in this way.
    async fn may_edit(&self, user: &User, by: &Editor, edit: &Edit) -> Result<(), ChangeError> {
        let store = self.store.as_ref();
        let actor = match by {
            Editor::Oneself(_) => user.id.as_str(),
            Editor::Another(by) => by.actor(),
            Editor::Operator(_) => {
                return match &edit.roles {
                    Some(names) => self.known_roles(names).await.map(|_| ()),
                    None => Ok(()),
                };
            }
        };
        let needs_permission =
            matches!(by, Editor::Another(_)) || edit.roles.is_some() || edit.disabled.is_some();
        if !needs_permission {
            return Ok(());
        }
        let held = roles::permissions_of_user(store, actor).await?;
        let must_hold = |permission: &str| match held.contains(permission) {
            true => Ok(()),
            false => Err(ChangeError::Lacks(permission.to_owned())),
        };
        let only_roles = edit.name.is_none()
            && edit.username.is_none()
            && edit.age.is_none()
            && edit.email.is_none()
            && edit.disabled.is_none();
        if edit.disabled.is_some() || (matches!(by, Editor::Another(_)) && !only_roles) {
            must_hold("users:write")?;
        }
        roles::covers(&held, &roles::permissions_of(store, &user.roles).await?)?;
        if let Some(names) = &edit.roles {
            must_hold("roles:write")?;
            let granted = self.known_roles(names).await?;
            roles::covers(&held, &granted)?;
        }
        Ok(())
    }

    /// What these roles permit together; all of them must exist.
    pub(super) async fn known_roles(&self, names: &[String]) -> Result<BTreeSet<String>, ChangeError> {
        let known = roles::named(self.store.as_ref(), names).await?;
        match names.iter().find(|name| known.iter().all(|role| role.name != **name)) {
            Some(unknown) => Err(ChangeError::UnknownRole(unknown.clone())),
            None => Ok(known.into_iter().flat_map(|role| role.permissions).collect()),
        }
    }

    async fn edited(&self, found: &Versioned<User>, by: &Editor, edit: &Edit) -> Result<User, ChangeError> {
        let mut user = found.value.clone();
        if let Some(name) = &edit.name {
            name.as_str().clone_into(&mut user.name);
        }
        if let Some(username) = &edit.username {
            user.username = username.as_ref().map(|username| username.as_str().to_owned());
        }
        if let Some(age) = edit.age {
            user.age = age.map(Age::years);
        }
        if let Some(disabled) = edit.disabled {
            if disabled && !user.disabled {
                user.end_sessions();
            }
            user.disabled = disabled;
        }
        if let Some(roles) = &edit.roles {
            user.roles.clone_from(roles);
        }
        if let Some(email) = &edit.email {
            self.change_email(&mut user, by, email).await?;
        }
        if user != found.value {
            user.updated_at = self.clock.now();
        }
        Ok(user)
    }

    async fn change_email(&self, user: &mut User, by: &Editor, email: &Email) -> Result<(), ChangeError> {
        if let Editor::Oneself(password) = by {
            if email.as_str() == user.email {
                // Also the way to take a pending change back.
                user.pending_email = None;
                return Ok(());
            }
            self.confirm(user, password.as_ref()).await?;
            // It tells whether an address is taken, and sends a mail to whoever has it.
            let decision = self.limits.take(&MOVES, &user.id).await;
            if !decision.allowed {
                return Err(ChangeError::Throttled { retry_after: decision.retry_after });
            }
        } else if email.as_str() == user.email {
            return Ok(());
        }
        let holder = self.by_email(email).await?;
        if holder.is_some_and(|holder| holder.value.id != user.id) {
            return Err(ChangeError::EmailTaken);
        }
        match by {
            Editor::Oneself(_) => user.pending_email = Some(email.as_str().to_owned()),
            Editor::Another(_) | Editor::Operator(_) => {
                email.as_str().clone_into(&mut user.email);
                user.pending_email = None;
                user.email_verified = false;
            }
        }
        Ok(())
    }

    /// Adds to `batch`, which takes an admin away, that it was based on there being another one.
    /// The record of the role is written with it, so that of two that do this at the same time one
    /// meets a conflict and decides again.
    pub(super) async fn without_admin(&self, user_id: &str, batch: Batch) -> Result<Batch, ChangeError> {
        let store = self.store.as_ref();
        let fence = load::<roles::Role>(store, roles::ADMIN).await?.map_or(0, |fence| fence.version);
        let query = Query::by(&USERS, ADMINS).equal(true).limit(2);
        let (admins, _) = find::<User>(store, query).await?;
        if admins.iter().all(|admin| admin.value.id == user_id) {
            return Err(ChangeError::LastAdmin);
        }
        Ok(batch.put(&roles::Role::admin(self.clock.now()), fence))
    }

    /// Tells the replicas that a user changed; with `powers`, also what they may do.
    pub(super) async fn tell(&self, user_id: &str, powers: bool) {
        let id = user_id.to_owned();
        let what = match powers {
            true => Invalidation::User(id),
            false => Invalidation::Record { collection: USERS.name.to_owned(), id },
        };
        if let Err(error) = self.invalidations.publish(what).await {
            tracing::warn!(%error, "other replicas hear of a change later");
        }
    }
}

/// What the audit log says of an edit: which fields changed, and of rights from what to what.
fn audited(by: &By, before: &User, after: &User) -> AuditEntry {
    let target = format!("user/{}", after.id);
    if before.roles != after.roles {
        return AuditEntry::new(by, "user.set_roles", &target, after.updated_at)
            .with("before", before.roles.join(" "))
            .with("after", after.roles.join(" "));
    }
    AuditEntry::new(by, "user.edit", &target, after.updated_at)
        .with("name", before.name != after.name)
        .with("username", before.username != after.username)
        .with("age", before.age != after.age)
        .with("email", before.email != after.email)
        .with("disabled", after.disabled)
}
