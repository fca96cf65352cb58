//! The threads that actors live on.

use std::sync::atomic::{AtomicUsize, Ordering};

use actix_rt::Arbiter;

/// A fixed set of threads, each with an event loop of its own. An actor stays on the thread it
/// was started on.
pub struct Arbiters {
    arbiters: Vec<Arbiter>,
    next: AtomicUsize,
}

impl Arbiters {
    /// Starts `count` threads. Must be called inside an actix `System`.
    pub fn start(count: usize) -> Self {
        Self { arbiters: (0..count.max(1)).map(|_| Arbiter::new()).collect(), next: AtomicUsize::new(0) }
    }

    /// Runs `start` on the next thread in turn; `false` if that thread has ended.
    pub fn spawn(&self, start: impl FnOnce() + Send + 'static) -> bool {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.arbiters.len();
        self.arbiters[turn].spawn_fn(start)
    }

    /// How many threads there are.
    pub fn len(&self) -> usize {
        self.arbiters.len()
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.arbiters.is_empty()
    }

    /// Runs `probe(n)` on thread n, for each: how a watchdog learns whether they still turn.
    pub fn probe(&self, probe: impl Fn(usize) + Clone + Send + 'static) {
        for (n, arbiter) in self.arbiters.iter().enumerate() {
            let probe = probe.clone();
            arbiter.spawn_fn(move || probe(n));
        }
    }

    /// Ends all threads once they are done with what they are at.
    pub fn stop(&self) {
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
    }
}
