//! The threads that actors live on.

use std::sync::atomic::{AtomicUsize, Ordering};

use actix_rt::{Arbiter, ArbiterHandle};

/// A fixed set of threads, each with an event loop of its own. An actor stays on the thread it
/// was started on.
pub struct Arbiters {
    threads: Vec<ArbiterHandle>,
    /// Those among them that were started for this.
    own: Vec<Arbiter>,
    next: AtomicUsize,
}

impl Arbiters {
    /// Starts `count` threads, 1 at least. Must be called inside an actix `System`.
    pub fn start(count: usize) -> Self {
        let own: Vec<Arbiter> = (0..count.max(1)).map(|_| Arbiter::new()).collect();
        Self { threads: own.iter().map(Arbiter::handle).collect(), own, next: AtomicUsize::new(0) }
    }

    /// The calling thread alone, for tests that stop its time. Must be called inside an actix
    /// `System`.
    pub fn here() -> Self {
        Self { threads: vec![Arbiter::current()], own: Vec::new(), next: AtomicUsize::new(0) }
    }

    /// Runs `start` on the next thread in turn; `false` if that thread has ended.
    pub fn spawn(&self, start: impl FnOnce() + Send + 'static) -> bool {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        self.threads[turn].spawn_fn(start)
    }

    /// How many threads there are.
    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// Runs `probe(n)` on thread n, for each: how a watchdog learns whether they still turn.
    pub fn probe(&self, probe: impl Fn(usize) + Clone + Send + 'static) {
        for (n, thread) in self.threads.iter().enumerate() {
            let probe = probe.clone();
            thread.spawn_fn(move || probe(n));
        }
    }

    /// Ends the threads that were started once they are done with what they are at.
    pub fn stop(&self) {
        for arbiter in &self.own {
            arbiter.stop();
        }
    }
}
