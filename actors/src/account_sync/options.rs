//! The bounds and intervals of account sync. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::providers::Bank;

/// The providers that can be linked, by the name that the API gives them (`sandbox`, `simplefin`).
pub type Banks = BTreeMap<String, Arc<dyn Bank>>;

/// The bounds and intervals of account sync.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyncOptions {
    /// From one good run to the next.
    pub interval: Duration,
    /// By which share of itself an interval or a pause may be longer or shorter, 0 to 1.
    pub jitter: f64,
    /// The pause after the first failure; it doubles with each further one.
    pub first_retry: Duration,
    /// The longest pause after failures. A provider that asks for a longer one gets it, up to a day.
    pub longest_retry: Duration,
    /// How long a provider may take to answer a claim of a setup token.
    pub claim_deadline: Duration,
    /// How long a provider may take to answer a run, all of its pages together. A single call has a
    /// far shorter deadline of its own.
    pub statement_deadline: Duration,
    /// For how long a run's claim on its connection stands without being renewed.
    pub lease: Duration,
    /// Runs at once in this process.
    pub concurrency: usize,
    /// How often to look for what is due.
    pub poll: Duration,
    /// Connections that a user may have.
    pub most_connections: usize,
    /// Actors that may live at once in this process.
    pub most_actors: usize,
    /// Transactions of one account that a run compares with what is told (at least one). Of an account
    /// that has more in the time told of, nothing is taken over but its balance, and the run says so.
    pub most_known: usize,
    /// Transactions that one commit of a run's result writes (at least one); the next ones write the rest.
    pub most_postings: usize,
    /// How long a drain waits for the runs that are under way.
    pub drain: Duration,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(6 * 3600),
            jitter: 0.1,
            first_retry: Duration::from_secs(60),
            longest_retry: Duration::from_secs(6 * 3600),
            claim_deadline: Duration::from_secs(10),
            statement_deadline: Duration::from_secs(300),
            lease: Duration::from_secs(30),
            concurrency: 64,
            poll: Duration::from_millis(250),
            most_connections: 50,
            most_actors: 10_000,
            most_known: 250_000,
            most_postings: 5000,
            drain: Duration::from_secs(5),
        }
    }
}

impl SyncOptions {
    /// `span`, shifted by the jitter: `chance` is 0 to 1.
    pub(super) fn jittered(&self, span: Duration, chance: f64) -> Duration {
        let share = self.jitter.clamp(0.0, 1.0) * (chance.clamp(0.0, 1.0) * 2.0 - 1.0);
        span.mul_f64(1.0 + share)
    }

    /// The pause after so many failures in a row (at least one).
    pub(super) fn retry(&self, failures: u32, chance: f64) -> Duration {
        self.jittered(Backoff::new(self.first_retry, self.longest_retry).most(failures), chance)
    }
}
