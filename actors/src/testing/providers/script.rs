//! What a test queued for the calls of one method.

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// The test's end of a stopped call.
pub struct Held {
    arrived: oneshot::Receiver<()>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// Returns once a call stands here; at once when asked again.
    pub async fn arrived(&mut self) {
        if !self.arrived.is_terminated() {
            let _ = (&mut self.arrived).await;
        }
    }

    /// Lets the call go on. Dropping this does the same.
    pub fn release(self) {
        let _ = self.release.send(());
    }
}

/// The call's end of [`Held`].
pub(super) struct Gate {
    arrived: oneshot::Sender<()>,
    released: oneshot::Receiver<()>,
}

impl Gate {
    pub(super) fn new() -> (Self, Held) {
        let (arrived, has_arrived) = oneshot::channel();
        let (release, released) = oneshot::channel();
        (Self { arrived, released }, Held { arrived: has_arrived, release })
    }

    async fn pass(self) {
        let _ = self.arrived.send(());
        let _ = self.released.await;
    }
}

/// Waits at `gate`, if there is one.
pub(super) async fn pass(gate: Option<Gate>) {
    if let Some(gate) = gate {
        gate.pass().await;
    }
}

/// What awaits the next calls of one method: each call takes one of every queue.
pub(super) struct Script<F> {
    pub(super) faults: VecDeque<F>,
    pub(super) before: VecDeque<Gate>,
    pub(super) after: VecDeque<Gate>,
    pub(super) calls: usize,
}

impl<F> Default for Script<F> {
    fn default() -> Self {
        Self { faults: VecDeque::new(), before: VecDeque::new(), after: VecDeque::new(), calls: 0 }
    }
}
