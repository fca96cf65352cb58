//! Who is calling, as every service sees it.

use std::collections::BTreeSet;

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub user_id: String,
    /// The session that the token belongs to.
    pub session_id: String,
    /// The user's permissions, by the names of the API (`catalog:write`, …).
    pub permissions: BTreeSet<String>,
}

impl Principal {
    /// Whether the caller has this permission.
    pub fn may(&self, permission: &str) -> bool {
        self.permissions.contains(permission)
    }
}
