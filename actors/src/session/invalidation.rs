//! The channel on which replicas tell each other what to drop from memory, and whether it can be
//! trusted.
//!
//! Who calls it: whoever commits a change that a cached principal shows publishes; session actors
//! subscribe. Adapters feed a [`Feed`] with what they hear.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// A channel on which nothing was heard for this long is not trusted.
pub const SILENCE: Duration = Duration::from_millis(500);

/// What is no longer as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invalidation {
    /// The session with this id has ended.
    Session(String),
    /// The user with this id has other roles, or was disabled or deleted.
    User(String),
    /// A record has changed, or is gone.
    Record {
        /// Its collection's name.
        collection: String,
        /// Its id.
        id: String,
    },
    /// The list of what one owner has in a collection is another, or something on it is.
    Listing {
        /// The collection's name.
        collection: String,
        /// Whose list.
        owner: String,
    },
    /// Something may have been missed.
    Everything,
}

/// This process was told; the others were not, or may not have been. They are told as soon as they
/// can be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other replicas could not be told: {0}")]
pub struct Unreached(pub String);

/// The channel.
#[async_trait]
pub trait Invalidations: Send + Sync + 'static {
    /// Tells everyone, this process before it returns or fails. Called after the commit.
    ///
    /// # Errors
    /// [`Unreached`].
    async fn publish(&self, what: Invalidation) -> Result<(), Unreached>;

    /// Tells this process alone, of what others said in another way.
    fn hear(&self, what: Invalidation);

    /// Everything told from now on.
    fn subscribe(&self) -> Subscription;
}

/// Messages that a subscriber may be behind before it is told to drop everything instead.
const BACKLOG: usize = 1024;

/// One process's end of the channel: what is heard goes in, subscriptions come out.
pub struct Feed {
    heard: broadcast::Sender<Invalidation>,
    trusted_until: watch::Sender<Trust>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Always,
    Until(Instant),
    Never,
}

impl Trust {
    fn holds(self, now: Instant) -> bool {
        match self {
            Self::Always => true,
            Self::Until(until) => now < until,
            Self::Never => false,
        }
    }
}

impl Feed {
    /// The end of a channel that never leaves this process, and so never fails.
    pub fn always_trusted() -> Self {
        Self::with(Trust::Always)
    }

    /// The end of a channel on which nothing was heard yet.
    pub fn silent() -> Self {
        Self::with(Trust::Never)
    }

    fn with(trust: Trust) -> Self {
        Self { heard: broadcast::Sender::new(BACKLOG), trusted_until: watch::Sender::new(trust) }
    }

    /// Passes an invalidation on to the subscribers.
    pub fn pass_on(&self, what: Invalidation) {
        // Without subscribers there is nothing that anyone could have cached.
        let _ = self.heard.send(what);
    }

    /// A heartbeat that this process sent at `sent` has come back: everything that others said
    /// before has come in, too. Trust that returns begins with nothing cached.
    pub fn heartbeat(&self, sent: Instant) {
        self.heartbeat_at(sent, Instant::now());
    }

    fn heartbeat_at(&self, sent: Instant, now: Instant) {
        let until = sent + SILENCE;
        if now < until && !self.trusted_until.borrow().holds(now) {
            self.pass_on(Invalidation::Everything);
        }
        self.trusted_until.send_if_modified(|trust| match *trust {
            Trust::Always => false,
            Trust::Until(before) if before >= until => false,
            Trust::Until(_) | Trust::Never => {
                *trust = Trust::Until(until);
                true
            }
        });
    }

    /// The connection was lost: what is said now is not heard.
    pub fn lost(&self) {
        self.trusted_until.send_replace(Trust::Never);
        self.pass_on(Invalidation::Everything);
    }

    /// Whether whatever was said up to [`SILENCE`] ago has been heard.
    pub fn is_trusted(&self) -> bool {
        self.trusted_until.borrow().holds(Instant::now())
    }

    /// Everything passed on from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription { heard: self.heard.subscribe(), trusted_until: self.trusted_until.subscribe() }
    }
}

/// What one subscriber hears.
pub struct Subscription {
    heard: broadcast::Receiver<Invalidation>,
    trusted_until: watch::Receiver<Trust>,
}

impl Subscription {
    /// Whether what is cached may be used. Ask this first and then take what is
    /// [pending](Self::pending): trust that returned in between has put
    /// [`Invalidation::Everything`] there.
    pub fn is_trusted(&self) -> bool {
        self.trusted_until.borrow().holds(Instant::now())
    }

    /// Returns once the channel is trusted.
    pub async fn trusted(&mut self) {
        // A feed that is gone is never trusted again.
        if self.trusted_until.wait_for(|trust| trust.holds(Instant::now())).await.is_err() {
            std::future::pending().await
        }
    }

    /// The next invalidation that has come in already, without waiting.
    pub fn pending(&mut self) -> Option<Invalidation> {
        match self.heard.try_recv() {
            Ok(what) => Some(what),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(Invalidation::Everything),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }

    /// The next invalidation; never returns once the channel has ended.
    pub async fn next(&mut self) -> Invalidation {
        match self.heard.recv().await {
            Ok(what) => what,
            Err(broadcast::error::RecvError::Lagged(_)) => Invalidation::Everything,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// The channel of a replica that is alone.
pub struct LocalInvalidations {
    feed: Arc<Feed>,
}

impl Default for LocalInvalidations {
    fn default() -> Self {
        Self { feed: Arc::new(Feed::always_trusted()) }
    }
}

#[async_trait]
impl Invalidations for LocalInvalidations {
    async fn publish(&self, what: Invalidation) -> Result<(), Unreached> {
        self.feed.pass_on(what);
        Ok(())
    }

    fn hear(&self, what: Invalidation) {
        self.feed.pass_on(what);
    }

    fn subscribe(&self) -> Subscription {
        self.feed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str) -> Invalidation {
        Invalidation::Session(id.to_owned())
    }

    fn trusted_at(feed: &Feed, now: Instant) -> bool {
        feed.trusted_until.borrow().holds(now)
    }

    #[test]
    fn a_silent_channel_is_not_trusted() {
        let (feed, start) = (Feed::silent(), Instant::now());
        assert!(!trusted_at(&feed, start));
        feed.heartbeat_at(start, start);
        assert!(trusted_at(&feed, start + SILENCE - Duration::from_millis(1)));
        assert!(!trusted_at(&feed, start + SILENCE));
    }

    #[test]
    fn a_heartbeat_counts_from_when_it_was_sent() {
        let (feed, start) = (Feed::silent(), Instant::now());
        let mut subscription = feed.subscribe();
        feed.heartbeat_at(start, start + SILENCE);
        assert!(!trusted_at(&feed, start + SILENCE));
        assert_eq!(subscription.pending(), None);
    }

    #[test]
    fn trust_that_returns_begins_with_nothing_cached() {
        let (feed, start) = (Feed::silent(), Instant::now());
        let mut subscription = feed.subscribe();
        feed.heartbeat_at(start, start);
        assert_eq!(subscription.pending(), Some(Invalidation::Everything));
        feed.heartbeat_at(start + SILENCE / 2, start + SILENCE / 2);
        assert_eq!(subscription.pending(), None);
        feed.heartbeat_at(start + SILENCE * 2, start + SILENCE * 2);
        assert_eq!(subscription.pending(), Some(Invalidation::Everything));
    }

    #[test]
    fn a_lost_connection_ends_trust_at_once() {
        let feed = Feed::silent();
        feed.heartbeat(Instant::now());
        let mut subscription = feed.subscribe();
        feed.lost();
        assert!(!subscription.is_trusted());
        assert_eq!(subscription.pending(), Some(Invalidation::Everything));
    }

    #[tokio::test]
    async fn who_is_too_far_behind_drops_everything() {
        let feed = Feed::always_trusted();
        let mut subscription = feed.subscribe();
        for n in 0..=BACKLOG {
            feed.pass_on(session(&n.to_string()));
        }
        assert_eq!(subscription.pending(), Some(Invalidation::Everything));
        assert!(matches!(subscription.pending(), Some(Invalidation::Session(_))));
    }

    #[tokio::test]
    async fn a_replica_that_is_alone_hears_itself_at_once() {
        let channel = LocalInvalidations::default();
        let mut subscription = channel.subscribe();
        channel.publish(session("s")).await.unwrap();
        assert_eq!(subscription.pending(), Some(session("s")));
        assert_eq!(subscription.pending(), None);
        assert!(subscription.is_trusted());
    }
}
