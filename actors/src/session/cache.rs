//! The cache of one session actor: token (of a session, or an access token) → who is calling. Bounded; the least recently used entry
//! goes first. Pure: the caller brings the time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::{Invalidation, Principal, TokenHash};
use crate::time::Timestamp;

/// An entry older than this is loaded again. Invalidations make entries go at once; this bounds
/// what remains if the replica that revoked something could reach the store but not the channel.
pub(super) const MAX_AGE: Duration = Duration::from_secs(10);

/// What a load found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) principal: Principal,
    /// When the token ends: an access token by itself, a session unless it is seen before.
    pub(super) expires_at: Timestamp,
    /// When it should next be written down that the session was seen.
    pub(super) seen_until: Timestamp,
}

/// What the cache knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) principal: Principal,
    /// It should be written down that the session was seen. Said once.
    pub(super) unseen: bool,
}

struct Entry {
    loaded: Loaded,
    stale_at: Timestamp,
    turn: u64,
}

/// The cache.
pub(super) struct Cache {
    capacity: usize,
    entries: HashMap<TokenHash, Entry>,
    by_session: HashMap<String, HashSet<TokenHash>>,
    by_user: HashMap<String, HashSet<TokenHash>>,
    /// Least recently used first.
    turns: BTreeMap<u64, TokenHash>,
    next_turn: u64,
    generation: u64,
}

impl Cache {
    /// An empty cache for `capacity` entries.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: HashMap::new(),
            by_session: HashMap::new(),
            by_user: HashMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
            generation: 0,
        }
    }

    /// How often something was invalidated. A load remembers it from when it began.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Who calls with this token, if that is known and still good.
    pub(super) fn look_up(&mut self, token: &TokenHash, now: Timestamp) -> Option<Hit> {
        let entry = self.entries.get_mut(token)?;
        if now >= entry.stale_at || now >= entry.loaded.expires_at {
            self.drop_entry(token);
            return None;
        }
        let unseen = now >= entry.loaded.seen_until;
        if unseen {
            entry.loaded.seen_until = now.plus(super::SEEN_EVERY);
        }
        self.turns.remove(&entry.turn);
        entry.turn = self.next_turn;
        self.turns.insert(entry.turn, *token);
        self.next_turn += 1;
        Some(Hit { principal: entry.loaded.principal.clone(), unseen })
    }

    /// Takes in what a load found that began at `generation`; not if anything was invalidated
    /// since, for the load may have read what was there before.
    pub(super) fn admit(&mut self, token: TokenHash, loaded: Loaded, generation: u64, now: Timestamp) {
        if generation != self.generation {
            return;
        }
        self.drop_entry(&token);
        if self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.turns.first_key_value()
        {
            let oldest = *oldest;
            self.drop_entry(&oldest);
        }
        self.by_session.entry(loaded.principal.session_id.clone()).or_default().insert(token);
        self.by_user.entry(loaded.principal.user_id.clone()).or_default().insert(token);
        self.turns.insert(self.next_turn, token);
        let entry = Entry { loaded, stale_at: now.plus(MAX_AGE), turn: self.next_turn };
        self.entries.insert(token, entry);
        self.next_turn += 1;
    }

    /// Drops what is no longer as it was.
    pub(super) fn invalidate(&mut self, what: &Invalidation) {
        if let Invalidation::Record { .. } | Invalidation::Listing { .. } = what {
            // Says nothing of who is calling.
            return;
        }
        self.generation += 1;
        match what {
            Invalidation::Session(id) => {
                for token in self.by_session.get(id).cloned().unwrap_or_default() {
                    self.drop_entry(&token);
                }
            }
            Invalidation::User(id) => {
                for token in self.by_user.get(id).cloned().unwrap_or_default() {
                    self.drop_entry(&token);
                }
            }
            Invalidation::Record { .. } | Invalidation::Listing { .. } => {}
            Invalidation::Everything => {
                self.entries.clear();
                self.by_session.clear();
                self.by_user.clear();
                self.turns.clear();
            }
        }
    }

    fn drop_entry(&mut self, token: &TokenHash) {
        let Some(entry) = self.entries.remove(token) else { return };
        self.turns.remove(&entry.turn);
        let Principal { session_id, user_id, .. } = &entry.loaded.principal;
        forget(&mut self.by_session, session_id, token);
        forget(&mut self.by_user, user_id, token);
    }
}

fn forget(tokens_of: &mut HashMap<String, HashSet<TokenHash>>, whose: &str, token: &TokenHash) {
    if let Some(tokens) = tokens_of.get_mut(whose) {
        tokens.remove(token);
        if tokens.is_empty() {
            tokens_of.remove(whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::SessionToken;
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    fn loaded(user: &str, session: &str) -> Loaded {
        Loaded {
            principal: Principal {
                user_id: user.to_owned(),
                session_id: session.to_owned(),
                permissions: BTreeSet::new(),
            },
            expires_at: NOW.plus(Duration::from_secs(5)),
            seen_until: NOW.plus(Duration::from_secs(2)),
        }
    }

    fn admitted(cache: &mut Cache, user: &str, session: &str) -> TokenHash {
        let token = SessionToken::generate().hash();
        cache.admit(token, loaded(user, session), cache.generation(), NOW);
        token
    }

    fn knows(cache: &mut Cache, token: &TokenHash) -> bool {
        cache.look_up(token, NOW).is_some()
    }

    fn is_empty(cache: &Cache) -> bool {
        cache.entries.is_empty()
            && cache.by_session.is_empty()
            && cache.by_user.is_empty()
            && cache.turns.is_empty()
    }

    #[test]
    fn a_load_that_raced_an_invalidation_does_not_enter() {
        for what in
            [Invalidation::Session("s".into()), Invalidation::User("u".into()), Invalidation::Everything]
        {
            let mut cache = Cache::new(10);
            let began = cache.generation();
            cache.invalidate(&what);
            let token = SessionToken::generate().hash();
            cache.admit(token, loaded("u", "s"), began, NOW);
            assert!(!knows(&mut cache, &token), "{what:?}");
        }
    }

    #[test]
    fn an_ended_session_goes_and_the_others_stay() {
        let mut cache = Cache::new(10);
        let (a, b) = (admitted(&mut cache, "u", "s1"), admitted(&mut cache, "u", "s2"));
        cache.invalidate(&Invalidation::Session("s1".into()));
        assert!(!knows(&mut cache, &a) && knows(&mut cache, &b));
    }

    #[test]
    fn an_ended_session_goes_with_all_its_tokens() {
        let mut cache = Cache::new(10);
        let (a, b) = (admitted(&mut cache, "u", "s1"), admitted(&mut cache, "u", "s1"));
        cache.invalidate(&Invalidation::Session("s1".into()));
        assert!(!knows(&mut cache, &a) && !knows(&mut cache, &b) && is_empty(&cache));
    }

    #[test]
    fn a_changed_user_loses_all_entries_and_nobody_else_does() {
        let mut cache = Cache::new(10);
        let (a, b) = (admitted(&mut cache, "u", "s1"), admitted(&mut cache, "u", "s2"));
        let other = admitted(&mut cache, "v", "s3");
        cache.invalidate(&Invalidation::User("u".into()));
        assert!(!knows(&mut cache, &a) && !knows(&mut cache, &b) && knows(&mut cache, &other));
        cache.invalidate(&Invalidation::User("v".into()));
        assert!(is_empty(&cache));
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = Cache::new(2);
        let (a, b) = (admitted(&mut cache, "u", "s1"), admitted(&mut cache, "u", "s2"));
        assert!(knows(&mut cache, &a));
        let c = admitted(&mut cache, "u", "s3");
        assert!(knows(&mut cache, &a) && !knows(&mut cache, &b) && knows(&mut cache, &c));
        assert_eq!((cache.entries.len(), cache.turns.len(), cache.by_session.len()), (2, 2, 2));
    }

    #[test]
    fn an_entry_ends_with_its_session_and_is_loaded_again_when_old() {
        let mut cache = Cache::new(10);
        let token = admitted(&mut cache, "u", "s");
        assert!(cache.look_up(&token, NOW.plus(Duration::from_millis(4_999))).is_some());
        assert!(cache.look_up(&token, NOW.plus(Duration::from_secs(5))).is_none());

        let mut long = loaded("u", "s");
        long.expires_at = NOW.plus(MAX_AGE * 10);
        cache.admit(token, long, cache.generation(), NOW);
        assert!(cache.look_up(&token, NOW.plus(MAX_AGE)).is_none());
        assert!(is_empty(&cache));
    }

    #[test]
    fn being_seen_is_asked_for_once() {
        let mut cache = Cache::new(10);
        let token = admitted(&mut cache, "u", "s");
        let mut unseen =
            |seconds| cache.look_up(&token, NOW.plus(Duration::from_secs(seconds))).unwrap().unseen;
        assert!(!unseen(1));
        assert!(unseen(2));
        assert!(!unseen(3));
    }
}
