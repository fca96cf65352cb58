//! The channel between the replicas: `{prefix}invalidations`, by Redis publish and subscribe, on one
//! server, on the primary that sentinels name, or in the shard of a cluster that the name lies in.
//!
//! Two supervised loops. One listens on a connection of its own and connects again when it is
//! lost. The other sends a heartbeat every [`HEARTBEAT`]; when a replica hears its own heartbeat
//! again, everything that others said before it has come in as well, for Redis keeps the order.
//! That is what the channel's trust rests on: a subscription that is half-open, or far behind,
//! brings no fresh heartbeat.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use steward_actors::backoff::Backoff;
use steward_actors::ids;
use steward_actors::session::{Feed, Invalidation, Invalidations, Subscription, Unreached};
use steward_actors::supervision::{InfrastructureTask, Tree, lock, supervise_task};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{RedisError, RedisPool};

/// The span between heartbeats: three fit into the silence after which the channel isn't trusted.
pub const HEARTBEAT: Duration = Duration::from_millis(150);
/// How long it may take to subscribe: a sentinel or a node may have to be asked where, first.
const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(2);
/// A subscription on which nothing was heard for this long is dropped and made anew.
const DEAF_AFTER: Duration = Duration::from_secs(2);
/// Before something that failed is tried again.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
/// Invalidations kept for when Redis is back. If there are more, everything is invalidated.
const UNSENT: usize = 256;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    Invalidation(Invalidation),
    /// From this incarnation, sent so many milliseconds after it was born.
    Heartbeat {
        from: String,
        at: u64,
    },
}

/// The channel in Redis.
pub struct RedisInvalidations {
    pool: RedisPool,
    channel: String,
    incarnation: String,
    born: Instant,
    feed: Feed,
    unsent: Mutex<VecDeque<Invalidation>>,
}

impl RedisInvalidations {
    /// Starts to listen and to send heartbeats, on the runtime that the pool was made on. The tasks
    /// are to be stopped after the HTTP server.
    pub fn start(pool: RedisPool, tree: &Tree) -> (Arc<Self>, [InfrastructureTask; 2]) {
        let channel = Arc::new(Self {
            channel: pool.key("invalidations"),
            incarnation: ids::new_id(),
            born: Instant::now(),
            feed: Feed::silent(),
            unsent: Mutex::default(),
            pool,
        });
        let _home = channel.pool.home.enter();
        let (listener, heart) = (channel.clone(), channel.clone());
        let listening = supervise_task(tree, "session-invalidations", move |stop| {
            let channel = listener.clone();
            async move { channel.listen(stop).await }
        });
        let beating = supervise_task(tree, "session-heartbeat", move |stop| {
            let channel = heart.clone();
            async move { channel.beat(stop).await }
        });
        (channel.clone(), [listening, beating])
    }

    async fn listen(&self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            let lost = tokio::select! {
                lost = self.hear(&mut failures) => lost,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            self.feed.lost();
            if failures == 0 {
                tracing::warn!(error = %lost, "the session channel is lost; the store is asked meanwhile");
            }
            failures += 1;
            tokio::select! {
                () = BACKOFF.wait(failures) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Subscribes, and hears until the subscription is lost; says why.
    async fn hear(&self, failures: &mut u32) -> RedisError {
        let mut subscription = match timeout(SUBSCRIBE_DEADLINE, self.pool.subscribe(&self.channel)).await {
            Ok(Ok(subscription)) => subscription,
            Ok(Err(error)) => return error,
            Err(_deadline) => return RedisError::Unavailable("no subscription in time".to_owned()),
        };
        // Whatever was said before was not heard.
        self.feed.pass_on(Invalidation::Everything);
        loop {
            match timeout(DEAF_AFTER, subscription.next()).await {
                Ok(Some(message)) => {
                    if *failures > 0 {
                        tracing::info!("the session channel is back");
                        *failures = 0;
                    }
                    self.heard(&message);
                }
                Ok(None) => return RedisError::Unavailable("the subscription was closed".to_owned()),
                Err(_silence) => return RedisError::Unavailable("nothing was heard".to_owned()),
            }
        }
    }

    fn heard(&self, payload: &[u8]) {
        match serde_json::from_slice(payload) {
            Ok(Message::Invalidation(what)) => self.feed.pass_on(what),
            Ok(Message::Heartbeat { from, at }) if from == self.incarnation => {
                self.feed.heartbeat(self.born + Duration::from_millis(at));
            }
            Ok(Message::Heartbeat { .. }) => {}
            // A later version may say what this one doesn't know.
            Err(_) => self.feed.pass_on(Invalidation::Everything),
        }
    }

    async fn beat(&self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            let sent = tokio::select! {
                sent = self.heartbeat() => sent,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            failures = if sent.is_ok() { 0 } else { failures + 1 };
            let pause = if failures == 0 { HEARTBEAT } else { BACKOFF.pause(failures, fastrand::f64()) };
            tokio::select! {
                () = sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Says first what could not be said before, so that a replica that sends heartbeats has
    /// nothing left to say.
    async fn heartbeat(&self) -> Result<(), RedisError> {
        loop {
            let next = lock(&self.unsent).front().cloned();
            let Some(next) = next else { break };
            self.send(&Message::Invalidation(next.clone())).await?;
            let mut unsent = lock(&self.unsent);
            if unsent.front() == Some(&next) {
                unsent.pop_front();
            }
        }
        let at = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.send(&Message::Heartbeat { from: self.incarnation.clone(), at }).await
    }

    async fn send(&self, message: &Message) -> Result<(), RedisError> {
        let payload = serde_json::to_string(message).map_err(|e| RedisError::Unavailable(e.to_string()))?;
        self.pool.publish(&self.channel, &payload).await
    }
}

#[async_trait]
impl Invalidations for RedisInvalidations {
    async fn publish(&self, what: Invalidation) -> Result<(), Unreached> {
        self.feed.pass_on(what.clone());
        let sent = self.send(&Message::Invalidation(what.clone())).await;
        sent.map_err(|error| {
            let mut unsent = lock(&self.unsent);
            if unsent.len() < UNSENT {
                unsent.push_back(what);
            } else {
                unsent.clear();
                unsent.push_back(Invalidation::Everything);
            }
            Unreached(error.to_string())
        })
    }

    fn hear(&self, what: Invalidation) {
        self.feed.pass_on(what);
    }

    fn subscribe(&self) -> Subscription {
        self.feed.subscribe()
    }
}
