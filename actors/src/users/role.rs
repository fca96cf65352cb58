//! A role as stored, those that are built in, and all that a role may permit. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::store::{Collection, Entity, Field, Kind};
use crate::time::Timestamp;

/// Every permission there is.
pub const PERMISSIONS: &[&str] = &[
    "users:read",
    "users:write",
    "roles:write",
    "accounts:read",
    "catalog:write",
    "inventory:read",
    "inventory:write",
    "orders:read",
    "orders:write",
    "events:read",
    "admin:read",
    "admin:write",
];

/// The role that permits everything, always.
pub const ADMIN: &str = "admin";
/// The role of everyone who registers: their own things only, unless its record says more.
pub const CUSTOMER: &str = "customer";

/// The roles that need no record, and what they permit.
pub(super) const BUILT_IN: &[(&str, &[&str])] = &[
    (ADMIN, PERMISSIONS),
    (CUSTOMER, &[]),
    ("support", &["users:read", "accounts:read", "inventory:read", "orders:read", "admin:read"]),
];

/// The roles that were changed or added.
pub static ROLES: Collection = Collection {
    name: "roles",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("permissions", Kind::List),
        Field::required("updatedAt", Kind::Time),
    ],
    indexes: &[],
    words: &[],
    expires: None,
};

/// A named set of permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    /// Its name, as stored with a user.
    #[serde(rename = "id")]
    pub name: String,
    /// What it permits; of [`PERMISSIONS`].
    pub permissions: BTreeSet<String>,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Entity for Role {
    fn collection() -> &'static Collection {
        &ROLES
    }

    fn id(&self) -> &str {
        &self.name
    }
}

impl Role {
    /// The built-in role of this name.
    pub(super) fn built_in(name: &str) -> Option<Self> {
        let (name, permissions) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name)?;
        let permissions = permissions.iter().map(|permission| (*permission).to_owned()).collect();
        Some(Self { name: (*name).to_owned(), permissions, updated_at: Timestamp::default() })
    }

    /// The role `admin`. Its record says nothing about permissions: it is written whenever an admin
    /// is lost, so that of two such changes at the same time the second sees the first.
    pub(super) fn admin(now: Timestamp) -> Self {
        let permissions = PERMISSIONS.iter().map(|permission| (*permission).to_owned()).collect();
        Self { name: ADMIN.to_owned(), permissions, updated_at: now }
    }
}

/// Whether a role may be called this: 2 to 32 lower-case letters, in groups joined by `-`.
pub fn is_role_name(name: &str) -> bool {
    (2..=32).contains(&name.len())
        && name.split('-').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_roles_permit_only_what_exists() {
        for (name, permissions) in BUILT_IN {
            assert!(is_role_name(name), "{name}");
            for permission in *permissions {
                assert!(PERMISSIONS.contains(permission), "{name} permits {permission}");
            }
        }
        assert!(ROLES.mistakes().is_empty(), "{:?}", ROLES.mistakes());
    }

    #[test]
    fn names_are_lower_case_letters() {
        assert!(is_role_name("warehouse") && is_role_name("order-desk"));
        for bad in ["", "a", "Admin", "a_b", "-a", "a-", "a--b", "r2", "ädmin", "$ne", &"a".repeat(33)] {
            assert!(!is_role_name(bad), "{bad}");
        }
    }
}
