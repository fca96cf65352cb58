//! What a replica could not say on the channel, said through the store.
//!
//! A replica may reach the store and not the channel, while the others hear each other well and
//! trust what they remember. Whatever it ends is then written down here in the store too, where every
//! replica looks several times a second. While the channel works nobody writes here, and a look finds
//! nothing.
//!
//! What never happens here: a record's change, whose copies live a second at most anyway; a notice
//! kept longer than anyone remembers a token.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;

use super::cache::MAX_AGE;
use super::{Invalidation, Invalidations, Subscription, Unreached};
use crate::cluster::Clock;
use crate::ids;
use crate::store::{Batch, Collection, Entity, Field, Index, Kind, Query, Store, StoreError, find};
use crate::supervision::lock;
use crate::time::Timestamp;

/// The span between looks.
pub const LOOKED_AT_EVERY: Duration = Duration::from_millis(250);
/// How long a notice counts: longer than any token is remembered, and a little for clocks.
const COUNTS_FOR: Duration = Duration::from_secs(MAX_AGE.as_secs() + 5);
/// Notices that are told apart; with more, everything is forgotten.
const MOST: usize = 200;

/// The notices.
pub static REVOCATIONS: Collection = Collection {
    name: "revocations",
    fields: &[
        Field::required("id", Kind::Text),
        Field::required("what", Kind::Text),
        Field::required("at", Kind::Time),
        Field::required("forgetAt", Kind::Time),
    ],
    indexes: &[Index::by(BY_TIME, &["at"])],
    words: &[],
    expires: Some("forgetAt"),
};

const BY_TIME: &str = "at";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notice {
    id: String,
    /// An [`Invalidation`] as JSON.
    what: String,
    at: Timestamp,
    forget_at: Timestamp,
}

impl Entity for Notice {
    fn collection() -> &'static Collection {
        &REVOCATIONS
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// A channel with the store behind it.
pub struct Posted {
    channel: Arc<dyn Invalidations>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashSet<String>>,
}

impl Posted {
    /// Says through `store` what `channel` can't. Somebody has to [run](Self::run) it.
    pub fn new(channel: Arc<dyn Invalidations>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { channel, store, clock, known: Mutex::default() }
    }

    /// Looks for what others could not say, until `stop` becomes true.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut fails = false;
        loop {
            let looked = self.look().await;
            if let Err(error) = &looked
                && !fails
            {
                tracing::warn!(%error, "what other replicas cannot say is heard later");
            }
            fails = looked.is_err();
            tokio::select! {
                () = sleep(LOOKED_AT_EVERY.mul_f64(0.8 + 0.2 * fastrand::f64())) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Passes on what is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn look(&self) -> Result<(), StoreError> {
        let since = self.clock.now().minus(COUNTS_FOR).as_millis();
        let query = Query::by(&REVOCATIONS, BY_TIME).range(Some(since.into()), None).limit(MOST);
        let (found, more) = find::<Notice>(self.store.as_ref(), query).await?;
        if more.is_some() {
            self.channel.hear(Invalidation::Everything);
            return Ok(());
        }
        let mut known = lock(&self.known);
        for notice in &found {
            if known.contains(&notice.value.id) {
                continue;
            }
            // A later version may say what this one doesn't know.
            let what = serde_json::from_str(&notice.value.what).unwrap_or(Invalidation::Everything);
            self.channel.hear(what);
        }
        *known = found.into_iter().map(|notice| notice.value.id).collect();
        Ok(())
    }

    async fn post(&self, what: &Invalidation) -> Result<(), String> {
        let at = self.clock.now();
        let what = serde_json::to_string(what).map_err(|error| error.to_string())?;
        let notice = Notice { id: ids::new_id(), what, at, forget_at: at.plus(COUNTS_FOR) };
        self.store.commit(Batch::shared().insert(&notice)).await.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Invalidations for Posted {
    async fn publish(&self, what: Invalidation) -> Result<(), Unreached> {
        let Err(unreached) = self.channel.publish(what.clone()).await else { return Ok(()) };
        if let Invalidation::Record { .. } = what {
            return Err(unreached);
        }
        self.post(&what)
            .await
            .map_err(|error| Unreached(format!("{unreached}, nor through the store: {error}")))
    }

    fn hear(&self, what: Invalidation) {
        self.channel.hear(what);
    }

    fn subscribe(&self) -> Subscription {
        self.channel.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Feed, LocalInvalidations};
    use crate::testing::{ManualClock, MemoryStore};

    /// A channel that reaches nobody else.
    struct Lonely(Feed);

    #[async_trait]
    impl Invalidations for Lonely {
        async fn publish(&self, what: Invalidation) -> Result<(), Unreached> {
            self.0.pass_on(what);
            Err(Unreached("switched off".to_owned()))
        }

        fn hear(&self, what: Invalidation) {
            self.0.pass_on(what);
        }

        fn subscribe(&self) -> Subscription {
            self.0.subscribe()
        }
    }

    struct World {
        memory: Arc<MemoryStore>,
        clock: Arc<ManualClock>,
    }

    impl World {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::default());
            Self { memory: Arc::new(MemoryStore::new(clock.clone())), clock }
        }

        fn replica(&self, channel: impl Invalidations) -> Posted {
            Posted::new(Arc::new(channel), self.memory.clone(), self.clock.clone())
        }
    }

    fn session(id: &str) -> Invalidation {
        Invalidation::Session(id.to_owned())
    }

    #[tokio::test]
    async fn what_the_channel_did_not_take_is_heard_once_by_every_other_replica() {
        let world = World::new();
        let lonely = world.replica(Lonely(Feed::always_trusted()));
        let others = [0, 1].map(|_| world.replica(LocalInvalidations::default()));
        let mut heard: Vec<Subscription> = others.iter().map(Invalidations::subscribe).collect();
        lonely.publish(session("s1")).await.unwrap();
        lonely.publish(Invalidation::User("u1".to_owned())).await.unwrap();
        for (other, heard) in others.iter().zip(&mut heard) {
            other.look().await.unwrap();
            assert_eq!(heard.pending(), Some(session("s1")));
            assert_eq!(heard.pending(), Some(Invalidation::User("u1".to_owned())));
            other.look().await.unwrap();
            assert_eq!(heard.pending(), None);
        }
    }

    #[tokio::test]
    async fn while_the_channel_works_nothing_is_written() {
        let world = World::new();
        let replica = world.replica(LocalInvalidations::default());
        replica.publish(session("s1")).await.unwrap();
        assert_eq!(world.memory.commits(), 0);
    }

    #[tokio::test]
    async fn what_can_be_said_nowhere_is_an_error_and_a_record_waits_for_its_copies_to_age() {
        let world = World::new();
        let lonely = world.replica(Lonely(Feed::always_trusted()));
        let record = Invalidation::Record { collection: "users".to_owned(), id: "u1".to_owned() };
        assert!(lonely.publish(record).await.is_err());
        assert_eq!(world.memory.commits(), 0);
        world.memory.set_down(true);
        assert!(lonely.publish(session("s1")).await.is_err());
    }

    #[tokio::test]
    async fn too_many_at_once_are_everything_and_old_ones_are_nothing() {
        let world = World::new();
        let lonely = world.replica(Lonely(Feed::always_trusted()));
        for n in 0..=MOST {
            lonely.publish(session(&n.to_string())).await.unwrap();
        }
        let other = world.replica(LocalInvalidations::default());
        let mut heard = other.subscribe();
        other.look().await.unwrap();
        assert_eq!(heard.pending(), Some(Invalidation::Everything));
        world.clock.advance(COUNTS_FOR + Duration::from_secs(1));
        other.look().await.unwrap();
        assert_eq!(heard.pending(), None);
    }

    #[test]
    fn the_collection_is_declared_well() {
        assert!(REVOCATIONS.mistakes().is_empty(), "{:?}", REVOCATIONS.mistakes());
    }
}
