//! When a signing key is made, signs, verifies and goes. Pure.

use std::time::Duration;

use secrecy::SecretSlice;

use super::record::Key;
use super::{ACCESS_LIFE, PublicKey};
use crate::time::Timestamp;

/// How long a key signs.
pub const ROTATED_EVERY: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a key is published before it signs: long enough for every replica to have loaded it and
/// for everyone who keeps a copy of the JWKS to have fetched it again.
pub const PUBLISHED_AHEAD: Duration = Duration::from_secs(3600);
/// How long a key verifies after it last signed: as long as a token lives, and a little, for
/// replicas that switch a moment later.
const OUTLIVES: Duration = Duration::from_secs(ACCESS_LIFE.as_secs() + 300);

/// A key that is in use, or will be.
#[derive(Debug)]
pub struct SigningKey {
    /// What others verify with.
    pub public: PublicKey,
    /// PKCS #8; none for a key that only verifies.
    pub private: Option<SecretSlice<u8>>,
    /// From when it signs, until a later one does.
    pub signs_from: Timestamp,
    /// What was signed with it counts until then; `None` while no other key follows it.
    pub verifies_until: Option<Timestamp>,
}

/// What has to be done about the keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Make the key with this number, to sign from then on.
    Make { number: u64, signs_from: Timestamp },
    /// This key is of no use any more.
    Remove { id: String },
}

/// What has to be done about `keys`, which are sorted by their numbers.
pub(super) fn due(keys: &[Key], now: Timestamp) -> Vec<Due> {
    let Some(last) = keys.last() else {
        // Nothing was signed before, so nobody need know it first.
        return vec![Due::Make { number: 1, signs_from: Timestamp::default() }];
    };
    let mut due = Vec::new();
    // The first key's `signs_from` says nothing about its age.
    let began = last.signs_from.max(last.created_at);
    if now.plus(PUBLISHED_AHEAD) >= began.plus(ROTATED_EVERY) {
        due.push(next(last, now));
    }
    let gone =
        keys.iter().enumerate().filter(|(n, _)| verifies_until(keys, *n).is_some_and(|until| now >= until));
    due.extend(gone.map(|(_, key)| Due::Remove { id: key.id.clone() }));
    due
}

/// The key after `last`, made now, whatever the schedule says.
pub(super) fn next(last: &Key, now: Timestamp) -> Due {
    Due::Make { number: last.number + 1, signs_from: now.plus(PUBLISHED_AHEAD) }
}

/// Until when the `n`th of these keys verifies; `None` if no other follows it.
pub(super) fn verifies_until(keys: &[Key], n: usize) -> Option<Timestamp> {
    keys.get(n + 1).map(|next| next.signs_from.plus(OUTLIVES))
}
