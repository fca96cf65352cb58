//! A flag, and for whom it is on. Pure.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::{Collection, Entity, Field, Kind};
use crate::time::Timestamp;

/// Users that a flag may name.
pub const MOST_USERS: usize = 1000;

/// The flags.
pub static FLAGS: Collection = Collection {
    name: "flags",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("enabled", Kind::Boolean),
        Field::required("percentage", Kind::Integer),
        Field::required("users", Kind::List),
        Field::required("updatedAt", Kind::Time),
    ],
    indexes: &[],
    words: &[],
    expires: None,
};

/// A flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flag {
    /// Its name.
    pub id: String,
    /// Off, it is off for everyone.
    pub enabled: bool,
    /// The share of users that it is on for, 0 to 100.
    pub percentage: u8,
    /// Users that it is on for besides, at most [`MOST_USERS`].
    pub users: Vec<String>,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What an operator wants changed; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagChange {
    /// See [`Flag::enabled`].
    pub enabled: Option<bool>,
    /// See [`Flag::percentage`].
    pub percentage: Option<u8>,
    /// See [`Flag::users`].
    pub users: Option<Vec<String>>,
}

impl Flag {
    /// A flag that nobody has set yet: off, and for everyone once it is enabled.
    pub fn unset(name: &str) -> Self {
        let (id, updated_at) = (name.to_owned(), Timestamp::default());
        Self { id, enabled: false, percentage: 100, users: Vec::new(), updated_at }
    }

    /// The flag after a change. A percentage over 100 is 100; users beyond the bound are dropped.
    #[must_use]
    pub fn changed(&self, change: FlagChange, now: Timestamp) -> Self {
        let mut users = change.users.unwrap_or_else(|| self.users.clone());
        users.sort_unstable();
        users.dedup();
        users.truncate(MOST_USERS);
        Self {
            id: self.id.clone(),
            enabled: change.enabled.unwrap_or(self.enabled),
            percentage: change.percentage.unwrap_or(self.percentage).min(100),
            users,
            updated_at: now,
        }
    }

    /// Whether it is on for this user, or, without one, for everyone.
    pub fn is_on(&self, user_id: Option<&str>) -> bool {
        if !self.enabled {
            return false;
        }
        let Some(user_id) = user_id else { return self.percentage >= 100 };
        let named = self.users.iter().any(|user| user == user_id);
        named || place(&self.id, user_id) < u64::from(self.percentage)
    }
}

/// The user's place among 100, which differs from flag to flag.
fn place(flag: &str, user_id: &str) -> u64 {
    let hash = Sha256::new().chain_update(flag).chain_update([0]).chain_update(user_id).finalize();
    hash.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte)) % 100
}

impl Entity for Flag {
    fn collection() -> &'static Collection {
        &FLAGS
    }
    fn id(&self) -> &str {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(percentage: u8) -> Flag {
        Flag { enabled: true, percentage, ..Flag::unset("new-checkout") }
    }

    #[test]
    fn a_share_of_users_is_in_and_stays_in_when_it_grows() {
        let users: Vec<String> = (0..10_000).map(|n| format!("user-{n}")).collect();
        let mut last = 0;
        for percentage in [0, 1, 10, 50, 99, 100] {
            let on = |user: &&String| flag(percentage).is_on(Some(user));
            let count = users.iter().filter(on).count();
            let expected = usize::from(percentage) * 100;
            assert!(count.abs_diff(expected) < 200, "{percentage} % → {count}");
            assert!(users.iter().filter(on).all(|user| flag(100).is_on(Some(user))));
            assert!(users.iter().filter(|user| flag(last).is_on(Some(user))).all(|user| on(&user)));
            last = percentage;
        }
        let other = Flag { id: "dark-mode".to_owned(), ..flag(50) };
        assert!(users.iter().any(|user| other.is_on(Some(user)) != flag(50).is_on(Some(user))));
    }

    #[test]
    fn named_users_are_in_and_nobody_is_while_it_is_off() {
        let named = Flag { users: vec!["una".to_owned()], ..flag(0) };
        assert!(named.is_on(Some("una")) && !named.is_on(Some("tom")) && !named.is_on(None));
        assert!(flag(100).is_on(None) && !flag(99).is_on(None));
        assert!(!Flag { enabled: false, users: vec!["una".to_owned()], ..flag(100) }.is_on(Some("una")));
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name_and_its_bounds() {
        let users = (0..2000).map(|n| n.to_string()).collect();
        let now = Timestamp::from_millis(7);
        let change = FlagChange { percentage: Some(200), users: Some(users), enabled: None };
        let changed = flag(3).changed(change, now);
        assert_eq!((changed.percentage, changed.users.len(), changed.enabled), (100, MOST_USERS, true));
        assert_eq!(changed.updated_at, now);
    }
}
