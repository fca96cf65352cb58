//! The circuit of a provider or of a part of it: after some failures in a row it opens for a while, then
//! one call at a time finds out whether the other side is back. Pure; the present is passed in.
//!
//! Who calls it: the circuits of a provider.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::time::Timestamp;

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct BreakerOptions {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open first; doubled each time that a probe fails.
    pub shortest: Duration,
    /// How long it stays open at most.
    pub longest: Duration,
    /// A probe that has said nothing for so long is taken as lost.
    pub probe: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures: 10,
            shortest: Duration::from_secs(1),
            longest: Duration::from_secs(15),
            probe: Duration::from_secs(60),
        }
    }
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// One call at a time goes through, to see.
    HalfOpen,
    /// None does, but for a few of parts of the provider, to see whether all of them fail.
    Open,
    /// None does, until an operator lets them.
    Held,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Closed, Self::HalfOpen, Self::Open, Self::Held];

    /// Its name in figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
            Self::Held => "held",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    Closed { failures: u32 },
    Open { until: Timestamp, opened: u32 },
    Probing { since: Timestamp, opened: u32 },
}

/// The state machine. Pure.
#[derive(Clone, Copy, Debug)]
pub struct Circuit {
    options: BreakerOptions,
    stand: Stand,
}

impl Circuit {
    /// A closed one.
    pub fn new(options: BreakerOptions) -> Self {
        Self { options, stand: Stand::Closed { failures: 0 } }
    }

    /// How it stands.
    pub fn state(&self, now: Timestamp) -> BreakerState {
        match self.stand {
            Stand::Closed { .. } => BreakerState::Closed,
            Stand::Open { until, .. } if now < until => BreakerState::Open,
            Stand::Open { .. } | Stand::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether a call may go out now; if not, when to ask again. Whoever may must tell the outcome.
    ///
    /// # Errors
    /// The span after which to ask again.
    pub fn admit(&mut self, now: Timestamp) -> Result<(), Duration> {
        let opened = match self.stand {
            Stand::Closed { .. } => return Ok(()),
            Stand::Open { until, .. } if now < until => return Err(until.since(now)),
            Stand::Probing { since, .. } if now.since(since) < self.options.probe => {
                return Err(self.options.shortest);
            }
            Stand::Open { opened, .. } | Stand::Probing { opened, .. } => opened,
        };
        self.stand = Stand::Probing { since: now, opened };
        Ok(())
    }

    /// The other side has answered.
    pub fn succeeded(&mut self) {
        self.stand = Stand::Closed { failures: 0 };
    }

    /// The other side has not. `jitter` is 0..1: spreads the probes of several replicas.
    pub fn failed(&mut self, now: Timestamp, jitter: f64) {
        let opened = match self.stand {
            Stand::Closed { failures } if failures + 1 < self.options.failures => {
                self.stand = Stand::Closed { failures: failures + 1 };
                return;
            }
            Stand::Closed { .. } => 0,
            // The answer to a call that went out before it opened says nothing new.
            Stand::Open { .. } => return,
            Stand::Probing { opened, .. } => opened + 1,
        };
        let span = Backoff::new(self.options.shortest, self.options.longest).pause(opened + 1, jitter);
        self.stand = Stand::Open { until: now.plus(span), opened };
    }

    /// A call that was admitted was not made. If it was the probe, the next one is.
    pub fn unmade(&mut self) {
        if let Stand::Probing { since, opened } = self.stand {
            self.stand = Stand::Open { until: since, opened };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    fn open() -> Circuit {
        let mut circuit = Circuit::new(BreakerOptions::default());
        for _ in 0..BreakerOptions::default().failures {
            assert_eq!(circuit.admit(NOW), Ok(()));
            circuit.failed(NOW, 1.0);
        }
        circuit
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_begins_a_new_row() {
        let options = BreakerOptions::default();
        let mut circuit = Circuit::new(options);
        for _ in 0..3 {
            for _ in 1..options.failures {
                circuit.failed(NOW, 1.0);
            }
            assert_eq!(circuit.state(NOW), BreakerState::Closed);
            circuit.succeeded();
        }
        assert_eq!(open().state(NOW), BreakerState::Open);
        assert_eq!(open().admit(NOW), Err(options.shortest));
    }

    #[test]
    fn one_call_at_a_time_probes_and_an_answer_closes_it() {
        let options = BreakerOptions::default();
        let mut circuit = open();
        let later = NOW.plus(options.shortest);
        assert_eq!(circuit.state(later), BreakerState::HalfOpen);
        assert_eq!(circuit.admit(later), Ok(()));
        assert!(circuit.admit(later).is_err(), "the first one is still out");
        circuit.succeeded();
        assert_eq!(circuit.state(later), BreakerState::Closed);
        assert_eq!((circuit.admit(later), circuit.admit(later)), (Ok(()), Ok(())));
    }

    #[test]
    fn probes_that_fail_are_further_and_further_apart_up_to_a_bound_and_jittered() {
        let options = BreakerOptions::default();
        let (mut circuit, mut now) = (open(), NOW);
        let mut spans = Vec::new();
        for _ in 0..8 {
            let span = circuit.admit(now).unwrap_err();
            spans.push(span.as_secs());
            now = now.plus(span);
            assert_eq!(circuit.admit(now), Ok(()));
            circuit.failed(now, 1.0);
        }
        assert_eq!(spans, [1, 2, 4, 8, 15, 15, 15, 15]);
        let mut early = Circuit::new(options);
        for _ in 0..options.failures {
            early.failed(NOW, 0.0);
        }
        assert_eq!(early.admit(NOW), Err(options.shortest / 2));
    }

    #[test]
    fn a_probe_that_never_ends_is_followed_by_another() {
        let options = BreakerOptions::default();
        let mut circuit = open();
        let later = NOW.plus(options.shortest);
        assert_eq!(circuit.admit(later), Ok(()));
        assert!(circuit.admit(later.plus(options.probe - Duration::from_millis(1))).is_err());
        assert_eq!(circuit.admit(later.plus(options.probe)), Ok(()));
    }

    #[test]
    fn a_probe_that_was_not_made_closes_nothing_and_the_next_call_is_one() {
        let options = BreakerOptions::default();
        let mut circuit = open();
        let later = NOW.plus(options.shortest);
        for _ in 0..3 {
            assert_eq!(circuit.admit(later), Ok(()));
            circuit.unmade();
            assert_eq!(circuit.state(later), BreakerState::HalfOpen);
        }
        // It has made no pause longer or shorter.
        assert_eq!(circuit.admit(later), Ok(()));
        circuit.failed(later, 1.0);
        assert_eq!(circuit.admit(later), Err(options.shortest * 2));
        circuit.unmade();
        assert_eq!(circuit.state(later), BreakerState::Open);
        // And one that was not made while it was closed is no answer that begins a new row.
        let mut circuit = Circuit::new(options);
        for _ in 0..options.failures {
            circuit.unmade();
            circuit.failed(NOW, 1.0);
        }
        assert_eq!(circuit.state(NOW), BreakerState::Open);
    }

    #[test]
    fn late_answers_of_calls_from_before_do_not_prolong_it() {
        let mut circuit = open();
        for _ in 0..100 {
            circuit.failed(NOW.plus(Duration::from_millis(900)), 1.0);
        }
        assert_eq!(circuit.admit(NOW.plus(BreakerOptions::default().shortest)), Ok(()));
    }
}
