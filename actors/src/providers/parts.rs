//! The parts of a provider that has many others behind it, such as items at a bank or hosts: whose
//! failure a failure is. Pure; the present is passed in.
//!
//! Who calls it: a [`super::Breaker`]. What never happens here: a part that answered and is still held
//! against, more parts kept than [`MOST`].

use std::collections::HashMap;
use std::time::Duration;

use super::breaker::{BreakerOptions, BreakerState, Circuit};
use crate::time::Timestamp;

/// Parts that are remembered as failing; of more, the one that failed longest ago is forgotten.
const MOST: usize = 10_000;

/// The parts whose last call was not answered.
#[derive(Debug)]
pub(super) struct Parts {
    options: BreakerOptions,
    failing: HashMap<String, Failing>,
}

#[derive(Debug)]
struct Failing {
    circuit: Circuit,
    last: Timestamp,
}

impl Parts {
    /// None fails.
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self { options, failing: HashMap::new() }
    }

    /// Whether its last call was not answered, so that another failure of it tells nothing of others.
    pub(super) fn is_suspect(&self, part: &str) -> bool {
        self.failing.contains_key(part)
    }

    /// Whether a call for this part may go out, as far as the part goes. Whoever may must tell the
    /// outcome.
    ///
    /// # Errors
    /// The span after which to ask again.
    pub(super) fn admit(&mut self, part: &str, now: Timestamp) -> Result<(), Duration> {
        self.failing.get_mut(part).map_or(Ok(()), |failing| failing.circuit.admit(now))
    }

    /// Tells how a call for this part ended. `jitter` is 0..1.
    pub(super) fn ended(&mut self, part: &str, answered: bool, now: Timestamp, jitter: f64) {
        if answered {
            self.failing.remove(part);
            return;
        }
        if self.failing.len() >= MOST && !self.failing.contains_key(part) {
            self.forget_oldest();
        }
        let new = || Failing { circuit: Circuit::new(self.options), last: now };
        let failing = self.failing.entry(part.to_owned()).or_insert_with(new);
        failing.last = now;
        failing.circuit.failed(now, jitter);
    }

    /// How many are left alone now.
    pub(super) fn left_alone(&self, now: Timestamp) -> usize {
        let is_open = |failing: &&Failing| failing.circuit.state(now) != BreakerState::Closed;
        self.failing.values().filter(is_open).count()
    }

    fn forget_oldest(&mut self) {
        let oldest = self.failing.iter().min_by_key(|(_, failing)| failing.last);
        if let Some(part) = oldest.map(|(part, _)| part.clone()) {
            self.failing.remove(&part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    #[test]
    fn a_part_that_fails_again_and_again_is_left_alone_and_no_other_one() {
        let options = BreakerOptions::default();
        let mut parts = Parts::new(options);
        for _ in 0..options.failures {
            assert_eq!(parts.admit("a", NOW), Ok(()));
            parts.ended("a", false, NOW, 1.0);
        }
        assert_eq!(parts.admit("a", NOW), Err(options.shortest));
        assert_eq!((parts.admit("b", NOW), parts.left_alone(NOW)), (Ok(()), 1));
        parts.ended("a", true, NOW, 1.0);
        assert!(!parts.is_suspect("a") && parts.admit("a", NOW).is_ok());
    }

    #[test]
    fn of_too_many_the_one_that_failed_longest_ago_is_forgotten() {
        let mut parts = Parts::new(BreakerOptions::default());
        for n in 0..=MOST {
            let at = NOW.plus(Duration::from_millis(n as u64));
            parts.ended(&format!("p{n}"), false, at, 1.0);
        }
        assert_eq!(parts.failing.len(), MOST);
        assert!(!parts.is_suspect("p0") && parts.is_suspect("p1") && parts.is_suspect(&format!("p{MOST}")));
    }
}
