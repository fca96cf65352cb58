//! Roles and what they permit, as data: the one place.
//!
//! Pure.

use std::collections::BTreeSet;

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

/// A named set of permissions.
#[derive(Clone, Copy, Debug)]
pub struct Role {
    /// Its name, as stored with a user.
    pub name: &'static str,
    /// What it permits.
    pub permissions: &'static [&'static str],
}

/// The role that permits everything.
pub const ADMIN: &str = "admin";
/// The role of everyone who registers: their own things only.
pub const CUSTOMER: &str = "customer";

/// The roles.
pub static ROLES: &[Role] = &[
    Role { name: CUSTOMER, permissions: &[] },
    Role {
        name: "support",
        permissions: &["users:read", "accounts:read", "inventory:read", "orders:read", "admin:read"],
    },
    Role { name: ADMIN, permissions: PERMISSIONS },
];

/// What the roles with these names permit together. A name that is no role permits nothing.
pub fn permissions_of(roles: &[String]) -> BTreeSet<String> {
    ROLES
        .iter()
        .filter(|role| roles.iter().any(|name| name == role.name))
        .flat_map(|role| role.permissions)
        .map(|permission| (*permission).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_permit_only_what_exists() {
        for role in ROLES {
            for permission in role.permissions {
                assert!(PERMISSIONS.contains(permission), "{} permits {permission}", role.name);
            }
        }
    }

    #[test]
    fn permissions_add_up_and_unknown_roles_permit_nothing() {
        let of = |roles: &[&str]| permissions_of(&roles.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
        assert!(of(&["customer", "root"]).is_empty());
        assert!(of(&["customer", "support"]).contains("orders:read"));
        assert!(!of(&["support"]).contains("orders:write"));
        assert_eq!(of(&["support", "admin"]).len(), PERMISSIONS.len());
    }
}
