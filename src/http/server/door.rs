//! The door of a server: what the server is at, and places for those whom it lets in.
//!
//! Who calls it: whoever holds the server moves it on, the threads that accept and answer wait for its
//! stages, and the frame asks whom to show out.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

/// What a server is at; only ever goes on to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving,
    /// Every answer tells its client to leave.
    Leaving,
    /// No connection may begin; those that the kernel has made are accepted.
    Closing,
    /// Nothing is accepted.
    Closed,
    /// Connections that ask nothing are closed.
    Finishing,
    /// The workers end, with what they have.
    Ended,
}

/// What the parts of a server share.
#[derive(Debug)]
pub(in crate::http) struct Door {
    stage: watch::Sender<Stage>,
    /// One for each connection.
    pub(super) places: Arc<Semaphore>,
    total: usize,
}

impl Door {
    /// A door with so many places, for a server that serves.
    pub(super) fn new(total: usize) -> Self {
        // As many as can be waited for at once.
        let total = total.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self { stage: watch::channel(Stage::Serving).0, places: Arc::new(Semaphore::new(total)), total }
    }

    /// Whether a connection is to close with the answer that it gets now: the server stops, or
    /// others wait for a place.
    pub(in crate::http) fn shows_out(&self) -> bool {
        *self.stage.borrow() >= Stage::Leaving || self.places.available_permits() * 8 < self.total
    }

    /// Goes on to this stage, unless it was reached before.
    pub(super) fn go_on_to(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let later = stage > *now;
            *now = stage.max(*now);
            later
        });
    }

    /// Waits for this stage, or a later one.
    pub(super) async fn reached(&self, stage: Stage) {
        // The sender is ours, so the channel is open.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Only once nothing is accepted: whoever waits here is first to every place.
    pub(super) async fn everyone_has_left(&self) {
        let all = u32::try_from(self.total).unwrap_or(u32::MAX);
        // Nobody closes the semaphore.
        let _ = self.places.acquire_many(all).await;
    }
}
