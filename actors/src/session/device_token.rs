//! Device tokens: that someone has logged in as this user from this device before. They open
//! nothing; a device that has one is throttled apart from strangers, so that nobody who guesses
//! passwords locks the owner out. Nothing of them is stored.
//!
//! `<device>.<when it was issued>.<code>`. The user is part of what the code is of, and not of the
//! token: for another user it is none.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::hex;
use crate::ids;
use crate::keys::TokenKey;
use crate::time::Timestamp;

/// How long a device is trusted after its last log-in or refresh.
pub const TRUSTED_FOR: Duration = Duration::from_secs(180 * 24 * 3600);

const PURPOSE: &str = "device";

/// A device token. Known to its holder only; can't be printed.
#[derive(Clone)]
pub struct DeviceToken(SecretString);

impl DeviceToken {
    /// A token for this user's device.
    pub(super) fn new(key: &TokenKey, user_id: &str, device_id: &str, now: Timestamp) -> Self {
        let at = now.as_millis();
        let code = key.code(PURPOSE, &[user_id.as_bytes(), device_id.as_bytes(), &at.to_be_bytes()]);
        Self(format!("{device_id}.{at}.{}", hex::encode(&code)).into())
    }

    /// The device, if this is a token of this user's and not too old.
    pub(super) fn read(key: &TokenKey, user_id: &str, text: &str, now: Timestamp) -> Option<String> {
        let mut parts = text.split('.');
        let (device_id, at, code) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || !ids::is_well_formed(device_id) {
            return None;
        }
        let at: i64 = at.parse().ok()?;
        let code: [u8; 32] = hex::decode(code)?;
        let genuine =
            key.is_code(PURPOSE, &[user_id.as_bytes(), device_id.as_bytes(), &at.to_be_bytes()], &code);
        let fresh = now < Timestamp::from_millis(at).plus(TRUSTED_FOR);
        (genuine && fresh).then(|| device_id.to_owned())
    }

    /// The token, to be given to its holder.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceToken([hidden])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_its_users_only_and_for_a_while() {
        let (key, now) = (TokenKey::new(vec![1; 32].into()), Timestamp::from_millis(1_750_000_000_000));
        let token = DeviceToken::new(&key, "ada", "d1", now);
        let read = |user: &str, text: &str, now| DeviceToken::read(&key, user, text, now);
        assert_eq!(read("ada", token.expose(), now).as_deref(), Some("d1"));
        assert_eq!(read("bob", token.expose(), now), None);
        assert_eq!(read("ada", token.expose(), now.plus(TRUSTED_FOR)), None);
        assert_eq!(read("ada", &token.expose().replacen("d1", "d2", 1), now), None);
        for bad in ["", "d1", "d1..", "d1.x.y", &"x".repeat(100_000)] {
            assert_eq!(read("ada", bad, now), None);
        }
    }
}
