//! A circuit breaker: after some failures in a row the other side is left alone for a while, then
//! tried by one call at a time.
//!
//! [`Circuit`] is pure, the present is passed in; [`Breaker`] is one for callers on any thread. Where a
//! call is for a part of the provider (an item, a host), the part has a circuit of its own, and it is
//! tried at a bounded rate although others have failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::circuits::{Admitted, Circuits};
use crate::backoff::Backoff;
use crate::cluster::Clock;
use crate::supervision::lock;
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

/// What a call tells of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has answered, be it with a refusal.
    Answer,
    /// It has not.
    Silence,
    /// Nothing: after it was let through, the call was not made.
    Nothing,
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

/// When to ask again while an operator holds a provider back.
const HELD: Duration = Duration::from_secs(1);

/// A breaker that all calls to one provider share. Cheap to clone.
#[derive(Clone)]
pub struct Breaker {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    circuits: Arc<Mutex<Circuits>>,
    held: Arc<AtomicBool>,
}

impl Breaker {
    /// A closed breaker for the provider that figures and logs call `name`.
    pub fn new(name: &str, options: BreakerOptions, clock: Arc<dyn Clock>) -> Self {
        let circuits = Arc::new(Mutex::new(Circuits::new(options)));
        Self { name: name.into(), clock, circuits, held: Arc::default() }
    }

    /// Lets no call through any more, whatever the other side does, or lets them again. Calls that
    /// are out go on.
    pub fn hold(&self, held: bool) {
        if self.held.swap(held, Ordering::AcqRel) != held {
            tracing::warn!(provider = &*self.name, held, "an operator holds a provider back, or not");
        }
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it stands.
    pub fn state(&self) -> BreakerState {
        if self.held.load(Ordering::Acquire) {
            return BreakerState::Held;
        }
        lock(&self.circuits).state(self.clock.now())
    }

    /// How many of the provider's parts are left alone although the provider is not.
    pub fn parts_left_alone(&self) -> usize {
        lock(&self.circuits).parts_left_alone(self.clock.now())
    }

    /// Whether a call may go out now.
    ///
    /// # Errors
    /// The span after which to ask again.
    pub fn admit(&self) -> Result<(), Duration> {
        self.admit_for(None).map(drop)
    }

    fn admit_for(&self, part: Option<&str>) -> Result<Admitted, Duration> {
        if self.held.load(Ordering::Acquire) {
            return Err(HELD);
        }
        lock(&self.circuits).admit(part, self.clock.now())
    }

    /// Makes `call` if it may go out now, and counts how it ended: `answered` tells of its outcome
    /// whether the other side answered, be it with a refusal. A call that is dropped midway has not
    /// been answered.
    ///
    /// # Errors
    /// The span after which to ask again; the call has not been made.
    pub async fn guard<T>(
        &self,
        call: impl Future<Output = T> + Send,
        answered: impl FnOnce(&T) -> bool + Send,
    ) -> Result<T, Duration> {
        let heard = move |outcome: &T| if answered(outcome) { Heard::Answer } else { Heard::Silence };
        self.guard_part(None, call, heard).await
    }

    /// The same of a call for this part of the provider, if it is for one alone; `heard` tells of its
    /// outcome what it says of the other side. A part that fails again and again is left alone by itself.
    ///
    /// # Errors
    /// The span after which to ask again; the call has not been made.
    pub async fn guard_part<T>(
        &self,
        part: Option<&str>,
        call: impl Future<Output = T> + Send,
        heard: impl FnOnce(&T) -> Heard + Send,
    ) -> Result<T, Duration> {
        let admitted = self.admit_for(part)?;
        let mut told = Told { breaker: self, part, admitted, heard: Heard::Silence };
        let outcome = call.await;
        told.heard = heard(&outcome);
        Ok(outcome)
    }

    /// Tells how a call that was admitted ended: whether the other side answered, be it with a
    /// refusal.
    pub fn ended(&self, answered: bool) {
        let heard = if answered { Heard::Answer } else { Heard::Silence };
        self.ended_for(None, Admitted::Freely, heard);
    }

    fn ended_for(&self, part: Option<&str>, admitted: Admitted, heard: Heard) {
        let now = self.clock.now();
        let (before, after) = {
            let mut circuits = lock(&self.circuits);
            let before = circuits.state(now);
            if heard == Heard::Nothing {
                circuits.unmade(part, admitted);
            } else {
                circuits.ended(part, admitted, heard == Heard::Answer, now, fastrand::f64());
            }
            (before, circuits.state(now))
        };
        if before != after {
            tracing::warn!(
                provider = &*self.name,
                before = before.name(),
                after = after.name(),
                "a circuit breaker"
            );
        }
    }
}

struct Told<'a> {
    breaker: &'a Breaker,
    part: Option<&'a str>,
    admitted: Admitted,
    heard: Heard,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.breaker.ended_for(self.part, self.admitted, self.heard);
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
    fn what_an_operator_holds_is_left_alone_until_it_is_let_go() {
        let breaker = Breaker::new(
            "scripted",
            BreakerOptions::default(),
            Arc::new(crate::testing::ManualClock::default()),
        );
        let of_another_thread = breaker.clone();
        breaker.hold(true);
        assert_eq!((of_another_thread.admit(), of_another_thread.state()), (Err(HELD), BreakerState::Held));
        breaker.ended(true);
        assert_eq!(breaker.admit(), Err(HELD));
        breaker.hold(false);
        assert_eq!((of_another_thread.admit(), of_another_thread.state()), (Ok(()), BreakerState::Closed));
    }

    #[test]
    fn late_answers_of_calls_from_before_do_not_prolong_it() {
        let mut circuit = open();
        for _ in 0..100 {
            circuit.failed(NOW.plus(Duration::from_millis(900)), 1.0);
        }
        assert_eq!(circuit.admit(NOW.plus(BreakerOptions::default().shortest)), Ok(()));
    }

    /// A call for a part that ends so; whether it was made.
    async fn called(breaker: &Breaker, part: Option<&str>, answered: bool) -> bool {
        let heard = if answered { Heard::Answer } else { Heard::Silence };
        breaker.guard_part(part, async {}, move |()| heard).await.is_ok()
    }

    #[tokio::test]
    async fn parts_that_fail_on_and_on_are_not_held_against_the_provider() {
        let (clock, options) = (Arc::new(crate::testing::ManualClock::default()), BreakerOptions::default());
        let breaker = Breaker::new("scripted", options, clock.clone());
        // Ten items hang: as news that may be the provider's failure,
        for n in 0..options.failures {
            assert!(called(&breaker, Some(&format!("item-{n}")), false).await);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(!called(&breaker, None, true).await && !called(&breaker, Some("item-0"), true).await);
        // but another one waits for no pause, and finds that it is not,
        assert!(called(&breaker, Some("well"), true).await);
        assert_eq!(breaker.state(), BreakerState::Closed);
        // and from then on they are nobody's trouble but their own.
        for _ in 0..options.failures {
            for n in 0..options.failures {
                called(&breaker, Some(&format!("item-{n}")), false).await;
            }
        }
        assert_eq!((breaker.state(), breaker.parts_left_alone()), (BreakerState::Closed, 10));
        assert!(!called(&breaker, Some("item-0"), true).await, "it is left alone itself");
        assert!(called(&breaker, None, true).await && called(&breaker, Some("well"), true).await);
        // A part that answers again is like any other.
        clock.advance(options.longest);
        assert!(called(&breaker, Some("item-0"), true).await);
        assert_eq!(breaker.parts_left_alone(), 9);
    }

    #[tokio::test]
    async fn a_provider_that_is_down_for_all_parts_is_tried_by_few() {
        let (clock, options) = (Arc::new(crate::testing::ManualClock::default()), BreakerOptions::default());
        let breaker = Breaker::new("scripted", options, clock.clone());
        let mut made = 0;
        for n in 0..1000 {
            made += u32::from(called(&breaker, Some(&format!("item-{n}")), false).await);
        }
        assert!((options.failures..2 * options.failures).contains(&made), "{made} were asked in vain");
        assert_eq!(breaker.state(), BreakerState::Open);
        clock.advance(options.shortest);
        assert!(called(&breaker, None, false).await);
        assert!(!called(&breaker, None, true).await, "the probe failed");
        // Whoever is answered shows that it is back.
        assert!(called(&breaker, Some("item-999"), true).await && called(&breaker, None, true).await);
    }
}
