//! A circuit breaker: after some failures in a row the other side is left alone for a while, then
//! tried by one call at a time.
//!
//! A [`super::Circuit`] is pure; a [`Breaker`] is one for callers on any thread. Where a call is for a part of
//! the provider (an item, a host), the part has a circuit of its own, and it is tried at a bounded rate
//! although others have failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::circuit::{BreakerOptions, BreakerState};
use super::circuits::{Admitted, Circuits};
use crate::cluster::Clock;
use crate::supervision::lock;

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
