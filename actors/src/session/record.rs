//! A session as stored, and how long it lives. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Family, TokenHash};
use crate::store::{Collection, Entity, Field, Index, Kind};
use crate::time::Timestamp;
use crate::users::User;

/// A session that was not used for this long has ended.
pub const IDLE: Duration = Duration::from_secs(30 * 24 * 3600);
/// A session that is this old has ended, however much it was used.
pub const ABSOLUTE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How exactly `lastSeenAt` is kept: a session is written for being used once in this span at most.
pub const SEEN_EVERY: Duration = Duration::from_secs(10 * 60);

/// The sessions.
pub static SESSIONS: Collection = Collection {
    name: "sessions",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("userId", Kind::Text),
        Field::required("tokenHash", Kind::Text),
        Field::optional("credentialsVersion", Kind::Integer),
        Field::optional("family", Kind::Object),
        Field::optional("deviceId", Kind::Text),
        Field::optional("deviceName", Kind::Text),
        Field::optional("ip", Kind::Text),
        Field::required("createdAt", Kind::Time),
        Field::required("lastSeenAt", Kind::Time),
        Field::required("expiresAt", Kind::Time),
    ],
    indexes: &[Index::unique(BY_TOKEN, &["tokenHash"]), Index::by(BY_USER, &["userId", "createdAt"])],
    words: &[],
    expires: Some("expiresAt"),
};

pub(super) const BY_TOKEN: &str = "token";
pub(super) const BY_USER: &str = "user";

/// Where someone logs in from, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// What they call it; 100 characters are kept.
    pub name: Option<String>,
    /// The address they call from.
    pub ip: Option<String>,
    /// Which device it is, if one of its tokens says so.
    pub(super) id: Option<String>,
}

impl Device {
    /// A device of which this is known.
    pub fn new(name: Option<String>, ip: Option<String>) -> Self {
        Self { name, ip, id: None }
    }
}

/// A session's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The session's id, which its user may know.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// What its token is kept as.
    pub token_hash: TokenHash,
    /// What [`User::credentials_version`] was when it was opened.
    #[serde(default)]
    pub credentials_version: u64,
    /// Which of its refresh tokens count.
    #[serde(default)]
    pub family: Family,
    /// The device, if it was told: the same for all sessions that were opened with its tokens.
    #[serde(default)]
    pub device_id: String,
    /// What its user calls the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// The address that it was opened from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was last used, to within [`SEEN_EVERY`].
    pub last_seen_at: Timestamp,
    /// When it ends unless it is used before: [`IDLE`] after it was last seen, [`ABSOLUTE`] after
    /// it was opened at the latest.
    pub expires_at: Timestamp,
}

impl Entity for Session {
    fn collection() -> &'static Collection {
        &SESSIONS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Session {
    /// A session of `user` that begins now.
    pub fn begin(id: String, user: &User, token_hash: TokenHash, device: Device, now: Timestamp) -> Self {
        Self {
            device_id: device.id.unwrap_or_else(|| id.clone()),
            id,
            user_id: user.id.clone(),
            token_hash,
            credentials_version: user.credentials_version,
            family: Family { arrived: 0, since: now },
            device_name: device.name.map(|name| name.chars().take(100).collect()),
            ip: device.ip,
            created_at: now,
            last_seen_at: now,
            expires_at: now.plus(IDLE),
        }
    }

    /// Whether it counts at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// Whether it counts at `now` as a session of `user`, as the user's record stands.
    pub fn counts_for(&self, user: &User, now: Timestamp) -> bool {
        self.is_live(now)
            && self.user_id == user.id
            && self.credentials_version == user.credentials_version
            && !user.disabled
    }

    /// When its being used should be written down again.
    pub fn seen_until(&self) -> Timestamp {
        self.last_seen_at.plus(SEEN_EVERY)
    }

    /// The session used at `now`; `None` if that need not be written down, or if it has ended.
    pub fn seen(&self, now: Timestamp) -> Option<Self> {
        if !self.is_live(now) || now < self.seen_until() {
            return None;
        }
        let expires_at = now.plus(IDLE).min(self.created_at.plus(ABSOLUTE));
        Some(Self { last_seen_at: now, expires_at, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::SessionToken;
    use super::*;

    fn at(days: u64) -> Timestamp {
        Timestamp::default().plus(Duration::from_secs(days * 24 * 3600))
    }

    fn session() -> Session {
        let hash = SessionToken::generate().hash();
        Session::begin("s".into(), &user(), hash, Device::default(), at(0))
    }

    fn user() -> User {
        let json = serde_json::json!({
            "id": "u", "email": "u@example.org", "name": "U", "roles": [], "passwordHash": "", "disabled": false,
            "emailVerified": false, "createdAt": 0, "updatedAt": 0,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_session_counts_for_its_user_under_the_credentials_that_opened_it() {
        let (session, user) = (session(), user());
        assert!(session.counts_for(&user, at(1)));
        assert!(!session.counts_for(&user, at(30)));
        assert!(!session.counts_for(&User { credentials_version: 1, ..user.clone() }, at(1)));
        assert!(!session.counts_for(&User { disabled: true, ..user.clone() }, at(1)));
        assert!(!session.counts_for(&User { id: "v".into(), ..user }, at(1)));
    }

    #[test]
    fn the_collection_is_declared_well() {
        assert!(SESSIONS.mistakes().is_empty(), "{:?}", SESSIONS.mistakes());
    }

    #[test]
    fn an_unused_session_ends_after_thirty_days() {
        let session = session();
        assert!(session.is_live(at(29)));
        assert!(!session.is_live(at(30)));
        assert_eq!(session.seen(at(30)), None);
    }

    #[test]
    fn a_used_session_goes_on_until_the_ninetieth_day() {
        let mut session = session();
        for day in [20, 40, 60, 80] {
            session = session.seen(at(day)).unwrap();
        }
        assert_eq!(session.expires_at, at(90));
        assert!(session.is_live(at(89)) && !session.is_live(at(90)));
    }

    #[test]
    fn being_used_is_written_down_once_in_a_while() {
        let session = session();
        let just_before = session.created_at.plus(SEEN_EVERY - Duration::from_millis(1));
        assert_eq!(session.seen(just_before), None);
        let seen = session.seen(session.created_at.plus(SEEN_EVERY)).unwrap();
        assert_eq!(seen.last_seen_at, session.created_at.plus(SEEN_EVERY));
    }
}
