//! A clock that stands until a test moves it.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::cluster::Clock;
use crate::time::Timestamp;

/// A clock that a test moves. Whoever sleeps wakes when it is moved past their time.
pub struct ManualClock {
    now: watch::Sender<Timestamp>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::at(Timestamp::from_millis(1_750_000_000_000))
    }
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { now: watch::Sender::new(now) }
    }

    /// Moves it on.
    pub fn advance(&self, span: Duration) {
        self.now.send_modify(|now| *now = now.plus(span));
    }

    /// How many sleep on it.
    pub fn sleepers(&self) -> usize {
        self.now.receiver_count()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let _ = self.now.subscribe().wait_for(|now| *now >= at).await;
    }
}
