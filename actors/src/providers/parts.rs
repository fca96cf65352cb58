//! The parts of a provider that has many others behind it, such as items at a bank or hosts: whose
//! failure a failure is, and who was well lately. Pure; the present is passed in.
//!
//! Who calls it: the circuits of a provider. What never happens here: a part that answered and is still
//! held against, more parts of a kind kept than [`MOST`].

use std::collections::HashMap;
use std::time::Duration;

use super::circuit::{BreakerOptions, BreakerState, Circuit};
use crate::time::Timestamp;

/// Parts that are remembered as failing, and as well; of more, the one of which nothing was heard for
/// longest is forgotten.
const MOST: usize = 10_000;
/// For how long an answer tells that a part is well: some intervals of its runs.
const LATELY: Duration = Duration::from_secs(24 * 3600);

/// How a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has answered lately, and has not failed since.
    Well,
    /// Nothing is known of it.
    New,
    /// Its last call was not answered.
    Failing,
}

/// The parts that were heard of.
#[derive(Debug)]
pub(super) struct Parts {
    options: BreakerOptions,
    /// Those whose last call was not answered.
    failing: HashMap<String, Failing>,
    /// When the others answered last.
    well: HashMap<String, Timestamp>,
}

#[derive(Debug)]
struct Failing {
    circuit: Circuit,
    last: Timestamp,
}

impl Parts {
    /// None is known.
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self { options, failing: HashMap::new(), well: HashMap::new() }
    }

    /// How this part stands.
    pub(super) fn standing(&self, part: &str, now: Timestamp) -> Standing {
        if self.is_suspect(part) {
            return Standing::Failing;
        }
        let is_well = self.well.get(part).is_some_and(|at| now.since(*at) < LATELY);
        if is_well { Standing::Well } else { Standing::New }
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

    /// For how long a part that failed is left alone while its provider is in doubt; `None` if it has
    /// not failed, or long enough ago.
    pub(super) fn rest_in_doubt(&self, part: &str, now: Timestamp) -> Option<Duration> {
        let rest = self.options.longest.checked_sub(now.since(self.failing.get(part)?.last))?;
        (!rest.is_zero()).then_some(rest)
    }

    /// Tells how a call for this part ended. `jitter` is 0..1.
    pub(super) fn ended(&mut self, part: &str, answered: bool, now: Timestamp, jitter: f64) {
        if answered {
            self.failing.remove(part);
            make_room(&mut self.well, part, |at| *at);
            self.well.insert(part.to_owned(), now);
            return;
        }
        self.well.remove(part);
        make_room(&mut self.failing, part, |failing| failing.last);
        let new = || Failing { circuit: Circuit::new(self.options), last: now };
        let failing = self.failing.entry(part.to_owned()).or_insert_with(new);
        failing.last = now;
        failing.circuit.failed(now, jitter);
    }

    /// A call for this part that was admitted was not made.
    pub(super) fn unmade(&mut self, part: &str) {
        if let Some(failing) = self.failing.get_mut(part) {
            failing.circuit.unmade();
        }
    }

    /// How many are left alone now.
    pub(super) fn left_alone(&self, now: Timestamp) -> usize {
        let is_open = |failing: &&Failing| failing.circuit.state(now) != BreakerState::Closed;
        self.failing.values().filter(is_open).count()
    }

    /// How many have failed.
    #[cfg(test)]
    pub(super) fn failing(&self) -> usize {
        self.failing.len()
    }
}

/// Forgets the one that was heard of longest ago if there is no room for `part`.
fn make_room<T>(parts: &mut HashMap<String, T>, part: &str, heard: impl Fn(&T) -> Timestamp) {
    if parts.len() < MOST || parts.contains_key(part) {
        return;
    }
    let oldest = parts.iter().min_by_key(|(_, known)| heard(*known));
    if let Some(oldest) = oldest.map(|(part, _)| part.clone()) {
        parts.remove(&oldest);
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
    fn a_part_is_new_then_well_for_a_while_or_failing_until_it_answers() {
        let mut parts = Parts::new(BreakerOptions::default());
        assert_eq!(parts.standing("a", NOW), Standing::New);
        for _ in 0..2 {
            parts.ended("a", true, NOW, 1.0);
            assert_eq!(parts.standing("a", NOW), Standing::Well);
            assert_eq!(parts.standing("a", NOW.plus(LATELY)), Standing::New);
            parts.ended("a", false, NOW, 1.0);
            assert_eq!(parts.standing("a", NOW.plus(LATELY)), Standing::Failing);
        }
    }

    #[test]
    fn of_too_many_the_one_that_was_heard_of_longest_ago_is_forgotten() {
        for answered in [false, true] {
            let mut parts = Parts::new(BreakerOptions::default());
            for n in 0..=MOST {
                let at = NOW.plus(Duration::from_millis(n as u64));
                parts.ended(&format!("p{n}"), answered, at, 1.0);
            }
            assert_eq!(parts.failing.len() + parts.well.len(), MOST);
            let standing = |part: &str| parts.standing(part, NOW.plus(Duration::from_secs(60)));
            assert_eq!(standing("p0"), Standing::New);
            assert_ne!(standing("p1"), Standing::New);
            assert_ne!(standing(&format!("p{MOST}")), Standing::New);
        }
    }
}
