//! Keys over the store in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretSlice};

use super::*;
use crate::cluster::Clock;
use crate::seal::{SealError, Sealed, Sealer};
use crate::store::{Store, load};
use crate::supervision::lock;
use crate::testing::{CommitFault, ManualClock, MemoryStore, WatchedStore};
use crate::time::Timestamp;
use schedule::{Due, due};

/// Writes secrets backwards, with the key's name in front.
struct Backwards(&'static [&'static str]);

impl Sealer for Backwards {
    fn seal(&self, place: &str, secret: &SecretSlice<u8>) -> Result<Sealed, SealError> {
        let digits: String = secret.expose_secret().iter().rev().map(|byte| format!("{byte:02x}")).collect();
        Ok(Sealed::new(format!("{}.{place}.{digits}", self.0[0])))
    }

    fn open(&self, place: &str, sealed: &Sealed) -> Result<SecretSlice<u8>, SealError> {
        let parts: Vec<&str> = sealed.as_str().split('.').collect();
        if !self.0.contains(&parts[0]) {
            return Err(SealError::UnknownKey(parts[0].to_owned()));
        }
        assert_eq!(parts[1], place);
        let byte = |at: usize| u8::from_str_radix(&parts[2][at..at + 2], 16).unwrap();
        Ok((0..parts[2].len()).step_by(2).rev().map(byte).collect::<Vec<u8>>().into())
    }

    fn is_current(&self, sealed: &Sealed) -> bool {
        sealed.as_str().starts_with(self.0[0])
    }
}

/// Counts upwards.
#[derive(Default)]
struct Counting(AtomicU64);

impl KeyMaker for Counting {
    fn pair(&self) -> Result<(SecretSlice<u8>, PublicKey), String> {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        let public = PublicKey { kid: format!("kid-{n}"), x: "x".to_owned(), y: "y".to_owned() };
        Ok((format!("private-{n}").into_bytes().into(), public))
    }

    fn random(&self) -> Result<SecretSlice<u8>, String> {
        Ok(format!("random-{}", self.0.fetch_add(1, Ordering::SeqCst)).into_bytes().into())
    }
}

/// Remembers the keys that it was given.
#[derive(Default)]
struct Taking(Mutex<Vec<SigningKey>>);

impl AccessTokens for Taking {
    fn take(&self, keys: Vec<SigningKey>) -> Result<(), String> {
        *lock(&self.0) = keys;
        Ok(())
    }

    fn issue(&self, _: &Claims, _: Timestamp) -> Result<AccessToken, String> {
        Err("not asked for here".to_owned())
    }

    fn read(&self, _: &str, _: Timestamp) -> Option<Claims> {
        None
    }

    fn published(&self, _: Timestamp) -> Vec<PublicKey> {
        lock(&self.0).iter().map(|key| key.public.clone()).collect()
    }
}

struct World {
    memory: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    maker: Arc<Counting>,
}

struct Replica {
    keys: Keys,
    taken: Arc<Taking>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { memory: Arc::new(MemoryStore::new(clock.clone())), clock, maker: Arc::default() }
    }

    async fn start(&self, sealer: Backwards, given: bool) -> Result<Replica, KeysError> {
        let taken = Arc::new(Taking::default());
        let store: Arc<dyn Store> = Arc::new(WatchedStore::new(self.memory.clone()));
        let parts = KeysParts {
            store,
            clock: self.clock.clone(),
            sealer: Arc::new(sealer),
            maker: self.maker.clone(),
            tokens: taken.clone(),
            given,
        };
        Ok(Replica { keys: Keys::start(parts).await?, taken })
    }

    async fn replica(&self) -> Replica {
        self.start(Backwards(&["k1"]), false).await.unwrap()
    }
}

impl Replica {
    fn kids(&self) -> Vec<String> {
        lock(&self.taken.0).iter().map(|key| key.public.kid.clone()).collect()
    }

    /// The id of the key that signs at `now`, as adapters choose it.
    fn signer(&self, now: Timestamp) -> String {
        let keys = lock(&self.taken.0);
        keys.iter().rfind(|key| key.signs_from <= now).unwrap().public.kid.clone()
    }

    fn code(&self) -> [u8; 32] {
        self.keys.token_key().code("test", &[])
    }
}

#[tokio::test]
async fn replicas_that_start_together_have_the_same_keys() {
    let world = World::new();
    let replicas = join_all((0..10).map(|_| world.replica())).await;
    for replica in &replicas {
        assert_eq!(replica.kids().len(), 1);
        assert_eq!((replica.kids(), replica.code()), (replicas[0].kids(), replicas[0].code()));
        assert_eq!(replica.signer(world.clock.now()), replicas[0].kids()[0], "it signs at once");
    }
}

#[tokio::test]
async fn unknown_outcomes_make_no_second_key() {
    for fault in [CommitFault::LostBefore, CommitFault::LostAfter, CommitFault::Unavailable] {
        let world = World::new();
        world.memory.fail_commits([fault, fault]);
        let (a, b) = (world.replica().await, world.replica().await);
        assert_eq!((a.kids(), a.code()), (b.kids(), b.code()), "{fault:?}");
    }
}

#[tokio::test]
async fn private_keys_are_stored_sealed_only() {
    let world = World::new();
    world.replica().await;
    for id in ["signing-1", "tokens-1"] {
        let key = load::<record::Key>(world.memory.as_ref(), id).await.unwrap().unwrap().value;
        let stored = serde_json::to_string(&key).unwrap();
        assert!(stored.contains("k1.keys/"), "{stored}");
        assert!(!stored.contains("private-") && !stored.contains("random-"), "{stored}");
        assert!(!format!("{key:?}").contains("k1.keys/"));
    }
}

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_verifies_after() {
    let world = World::new();
    let replica = world.replica().await;
    let first = replica.kids();
    world.clock.advance(ROTATED_EVERY - PUBLISHED_AHEAD - Duration::from_millis(1));
    replica.keys.tend().await.unwrap();
    assert_eq!(replica.kids(), first, "not yet");

    world.clock.advance(Duration::from_millis(1));
    replica.keys.tend().await.unwrap();
    let both = replica.kids();
    assert_eq!((both.len(), &both[0]), (2, &first[0]));
    assert_eq!(replica.signer(world.clock.now()), first[0], "published, and not signing");
    // A replica that hears of it only just in time switches at the same moment.
    let late = world.replica().await;
    world.clock.advance(PUBLISHED_AHEAD - Duration::from_millis(1));
    assert_eq!(
        (replica.signer(world.clock.now()), late.signer(world.clock.now())),
        (first[0].clone(), first[0].clone())
    );
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(
        (replica.signer(world.clock.now()), late.signer(world.clock.now())),
        (both[1].clone(), both[1].clone())
    );

    world.clock.advance(ACCESS_LIFE);
    replica.keys.tend().await.unwrap();
    assert_eq!(replica.kids(), both, "the last token of the old key has just expired");
    world.clock.advance(Duration::from_secs(300));
    replica.keys.tend().await.unwrap();
    assert_eq!(replica.kids(), both[1..]);
    // And so on, with one key more each time.
    world.clock.advance(ROTATED_EVERY);
    replica.keys.tend().await.unwrap();
    assert_eq!(replica.kids().len(), 2);
}

#[tokio::test]
async fn rotating_by_hand_publishes_first_too_and_once() {
    let world = World::new();
    let (replica, other) = (world.replica().await, world.replica().await);
    let first = replica.kids();
    let signs_from = replica.keys.rotate().await.unwrap();
    assert_eq!(signs_from, world.clock.now().plus(PUBLISHED_AHEAD));
    assert_eq!(other.keys.rotate().await.unwrap(), signs_from, "one waits already");
    assert_eq!((replica.kids().len(), replica.signer(world.clock.now())), (2, first[0].clone()));
    assert_eq!(replica.kids(), other.kids());
}

#[tokio::test]
async fn a_new_secrets_key_seals_everything_again() {
    let world = World::new();
    let before = world.replica().await;
    let both = world.start(Backwards(&["k2", "k1"]), false).await.unwrap();
    assert_eq!((both.kids(), both.code()), (before.kids(), before.code()));
    let after = world.start(Backwards(&["k2"]), false).await.unwrap();
    assert_eq!((after.kids(), after.code()), (before.kids(), before.code()));
    let wrong = world.start(Backwards(&["k1"]), false).await.map(|_| ()).unwrap_err();
    assert!(wrong.to_string().contains("secrets.key"), "{wrong}");
}

#[tokio::test]
async fn where_signing_keys_are_given_none_is_made() {
    let world = World::new();
    let replica = world.start(Backwards(&["k1"]), true).await.unwrap();
    assert!(replica.kids().is_empty());
    assert!(replica.keys.rotate().await.is_err());
    assert!(load::<record::Key>(world.memory.as_ref(), "signing-1").await.unwrap().is_none());
}

#[test]
fn an_empty_store_gets_a_key_that_signs_at_once() {
    assert_eq!(
        due(&[], Timestamp::from_millis(5)),
        [Due::Make { number: 1, signs_from: Timestamp::default() }]
    );
}

#[test]
fn the_collections_are_declared_well() {
    assert!(KEYS.mistakes().is_empty() && LOCAL_SECRETS.mistakes().is_empty());
}

#[tokio::test]
async fn a_made_up_secret_is_made_once() {
    let world = World::new();
    let made =
        join_all((0..5).map(|n| local_secret(world.memory.as_ref(), format!("secret-{n}").into()))).await;
    let first = made[0].as_ref().unwrap().expose_secret().to_owned();
    assert!(made.iter().all(|secret| secret.as_ref().unwrap().expose_secret() == first));
}
