//! Roles: named sets of permissions, as records.
//!
//! Who calls it: HTTP, and whatever finds out what a user may do. Three roles are built in and
//! need no record; a record of the same name takes the place of `customer` and `support`, never of
//! `admin`, which permits everything. What never happens here: a permission out of nowhere; whoever
//! changes a role holds all that it permits, before and after.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::change::{Attempts, Tried};
use super::role::BUILT_IN;
pub use super::role::{ADMIN, CUSTOMER, PERMISSIONS, ROLES, Role, is_role_name};
use super::{ChangeError, User};
use crate::audit::{AuditEntry, By};
use crate::cluster::Clock;
use crate::session::{Invalidation, Invalidations};
use crate::store::{Batch, PRIMARY, Query, Store, StoreError, Versioned, find, load, load_many};

/// Roles there may be, the built-in ones included.
const MOST_ROLES: usize = 200;

/// The roles with these names, as they are now. A name that is no role is left out.
///
/// # Errors
/// [`StoreError`].
pub async fn named(store: &dyn Store, names: &[String]) -> Result<Vec<Role>, StoreError> {
    let stored_names: Vec<String> = names.iter().filter(|name| *name != ADMIN).cloned().collect();
    let stored = match stored_names.is_empty() {
        true => Vec::new(),
        false => load_many::<Role>(store, &stored_names).await?,
    };
    let stored: Vec<Role> = stored.into_iter().map(|found| found.value).collect();
    let role = |name: &String| {
        stored.iter().find(|role| role.name == *name).cloned().or_else(|| Role::built_in(name))
    };
    Ok(names.iter().filter_map(role).collect())
}

/// What the roles with these names permit together. A name that is no role permits nothing.
///
/// # Errors
/// [`StoreError`].
pub async fn permissions_of(store: &dyn Store, names: &[String]) -> Result<BTreeSet<String>, StoreError> {
    let roles = named(store, names).await?;
    let all = roles.into_iter().flat_map(|role| role.permissions);
    Ok(all.filter(|permission| PERMISSIONS.contains(&permission.as_str())).collect())
}

/// What a user may do now, by the store's word; nothing if they are gone or disabled.
pub(super) async fn permissions_of_user(
    store: &dyn Store,
    user_id: &str,
) -> Result<BTreeSet<String>, StoreError> {
    match load::<User>(store, user_id).await? {
        Some(user) if !user.value.disabled => permissions_of(store, &user.value.roles).await,
        _ => Ok(BTreeSet::new()),
    }
}

/// Checks that someone who holds `held` may give or take all of `touched`.
pub(super) fn covers(held: &BTreeSet<String>, touched: &BTreeSet<String>) -> Result<(), ChangeError> {
    match touched.difference(held).next() {
        None => Ok(()),
        Some(lacked) => Err(ChangeError::Lacks(lacked.clone())),
    }
}

/// The roles. Cheap to clone.
#[derive(Clone)]
pub struct Roles {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    invalidations: Arc<dyn Invalidations>,
}

impl Roles {
    /// The roles in this store; other replicas hear of changes by `invalidations`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, invalidations: Arc<dyn Invalidations>) -> Self {
        Self { store, clock, invalidations }
    }

    /// Every role, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self) -> Result<Vec<Role>, StoreError> {
        let query = Query::by(&ROLES, PRIMARY).limit(MOST_ROLES);
        let (stored, _) = find::<Role>(self.store.as_ref(), query).await?;
        let mut names: Vec<String> = stored.into_iter().map(|role| role.value.name).collect();
        names.extend(BUILT_IN.iter().map(|(name, _)| (*name).to_owned()));
        names.sort_unstable();
        names.dedup();
        named(self.store.as_ref(), &names).await
    }

    /// Says what a role permits; makes it if there is none of this name. Takes effect on every
    /// replica at once. `by` is who does it.
    ///
    /// # Errors
    /// [`ChangeError::Lacks`] if `by` does not hold all that the role permitted or is to permit,
    /// [`ChangeError::Fixed`] for `admin`, [`ChangeError::TooMany`] roles.
    pub async fn set(&self, by: &By, name: &str, permissions: BTreeSet<String>) -> Result<Role, ChangeError> {
        if name == ADMIN {
            return Err(ChangeError::Fixed);
        }
        let store = self.store.as_ref();
        let mut attempts = Attempts::default();
        loop {
            let found = load::<Role>(store, name).await.map_err(|error| attempts.failed(error))?;
            let before = found.as_ref().map(|found| found.value.clone()).or_else(|| Role::built_in(name));
            if let Some(before) = before.clone().filter(|before| before.permissions == permissions) {
                // Also if it was so already: whoever changed it may have fallen before telling.
                self.tell().await;
                return Ok(before);
            }
            let held =
                permissions_of_user(store, by.actor()).await.map_err(|error| attempts.failed(error))?;
            let touched = before.iter().flat_map(|role| &role.permissions).chain(&permissions);
            covers(&held, &touched.cloned().collect())?;
            if found.is_none()
                && self.list().await.map_err(|error| attempts.failed(error))?.len() >= MOST_ROLES
            {
                return Err(ChangeError::TooMany);
            }
            let role = Role {
                name: name.to_owned(),
                permissions: permissions.clone(),
                updated_at: self.clock.now(),
            };
            let words =
                |permissions: &BTreeSet<String>| permissions.iter().cloned().collect::<Vec<_>>().join(" ");
            let entry = AuditEntry::new(by, "role.set", &format!("role/{name}"), role.updated_at)
                .with("before", before.as_ref().map(|role| words(&role.permissions)).unwrap_or_default())
                .with("after", words(&permissions));
            let version = found.map_or(0, |Versioned { version, .. }| version);
            let batch = Batch::shared().put(&role, version).insert(&entry);
            if let Tried::Done = attempts.commit(store, batch).await? {
                self.tell().await;
                return Ok(role);
            }
        }
    }

    /// The replicas remember what users may do, not by which role.
    async fn tell(&self) {
        if let Err(error) = self.invalidations.publish(Invalidation::Everything).await {
            tracing::warn!(%error, "other replicas hear of a role later");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryStore;

    #[tokio::test]
    async fn permissions_add_up_unknown_roles_permit_nothing_and_admin_permits_all() {
        let store = MemoryStore::default();
        let mut forged = Role::built_in("support").unwrap();
        forged.name = ADMIN.to_owned();
        forged.permissions.clear();
        let mut odd = Role::built_in("support").unwrap();
        odd.name = "odd".to_owned();
        odd.permissions = ["everything".to_owned()].into();
        store.commit(Batch::new().insert(&forged).insert(&odd)).await.unwrap();
        let of = async |roles: &[&str]| {
            let names: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            permissions_of(&store, &names).await.unwrap()
        };
        assert!(of(&["customer", "root", "odd"]).await.is_empty());
        assert!(of(&["customer", "support"]).await.contains("orders:read"));
        assert!(!of(&["support"]).await.contains("orders:write"));
        assert_eq!(of(&["support", "admin"]).await.len(), PERMISSIONS.len());
    }
}
