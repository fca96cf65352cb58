//! The circuit of a provider together with those of its parts: whom a failure is held against, and who
//! is asked while the provider is in doubt. Pure; the present and chance are passed in.
//!
//! Who calls it: a [`super::Breaker`]. The provider is held only what is news: the first failure in a row
//! of each of its parts, and every failure of a call that is for no part. What never happens here: a
//! part that may be well waits for the pause that others' failures have made. While the provider is in
//! doubt, parts are tried at a rate of their own, those that have answered lately, those that nobody
//! knows and those that have failed apart from each other, so that however many there are of one sort,
//! the other sorts are asked as soon as if they were alone; and whoever answers ends the doubt.

use std::time::Duration;

use super::circuit::{BreakerOptions, BreakerState, Circuit};
use super::parts::{Parts, Standing};
use crate::time::Timestamp;

/// Calls in a second for parts that have not failed since they last answered, if they ever did: each
/// has one such call, and then it has answered or failed.
const FIRST_TRIALS: u32 = 8;
/// Calls in a second for parts whose last call failed: by one of them it shows that the provider is back.
const LATER_TRIALS: u32 = 2;
/// Calls of one sort that may be out at once: who hangs does not take every place there is.
const MOST_OUT: u32 = 8;
const SECOND: Duration = Duration::from_secs(1);

/// As what a call went out; to be told when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// The provider was not in doubt, or the call is its own probe.
    Freely,
    /// The provider was in doubt; a part that stood so was tried.
    AsTrial(Standing),
}

/// The calls for parts of one sort while the provider is in doubt.
#[derive(Debug)]
struct Trials {
    per_second: u32,
    begun: Timestamp,
    made: u32,
    out: u32,
}

impl Trials {
    fn new(per_second: u32) -> Self {
        Self { per_second, begun: Timestamp::default(), made: 0, out: 0 }
    }

    /// Whether the second that is counted is this one; it is not if the clock was set back.
    fn is_counting(&self, now: Timestamp) -> bool {
        self.begun <= now && now.since(self.begun) < SECOND
    }

    fn have_room(&self, now: Timestamp) -> bool {
        self.out < MOST_OUT && (self.made < self.per_second || !self.is_counting(now))
    }

    fn begin(&mut self, now: Timestamp) {
        if !self.is_counting(now) {
            (self.begun, self.made) = (now, 0);
        }
        self.made += 1;
        self.out += 1;
    }
}

/// The provider's circuit, and those of its parts that fail.
#[derive(Debug)]
pub(super) struct Circuits {
    options: BreakerOptions,
    whole: Circuit,
    parts: Parts,
    /// Of each [`Standing`], in their order.
    trials: [Trials; 3],
}

impl Circuits {
    /// All of them closed.
    pub(super) fn new(options: BreakerOptions) -> Self {
        let trials = [Trials::new(FIRST_TRIALS), Trials::new(FIRST_TRIALS), Trials::new(LATER_TRIALS)];
        Self { options, whole: Circuit::new(options), parts: Parts::new(options), trials }
    }

    /// How the provider's stands.
    pub(super) fn state(&self, now: Timestamp) -> BreakerState {
        self.whole.state(now)
    }

    /// How many parts are left alone now.
    pub(super) fn parts_left_alone(&self, now: Timestamp) -> usize {
        self.parts.left_alone(now)
    }

    /// Whether a call, for this part if it is for one alone, may go out now. Whoever may must tell the
    /// outcome.
    ///
    /// # Errors
    /// The span after which to ask again.
    pub(super) fn admit(&mut self, part: Option<&str>, now: Timestamp) -> Result<Admitted, Duration> {
        let Some(part) = part else { return self.whole.admit(now).map(|()| Admitted::Freely) };
        if self.state(now) == BreakerState::Closed {
            return self.parts.admit(part, now).map(|()| Admitted::Freely);
        }
        self.parts.rest_in_doubt(part, now).map_or(Ok(()), Err)?;
        let standing = self.parts.standing(part, now);
        let trials = &mut self.trials[standing as usize];
        if !trials.have_room(now) {
            return Err(self.options.shortest);
        }
        self.parts.admit(part, now)?;
        trials.begin(now);
        Ok(Admitted::AsTrial(standing))
    }

    /// Tells how a call that was admitted so has ended. `jitter` is 0..1.
    pub(super) fn ended(
        &mut self,
        part: Option<&str>,
        admitted: Admitted,
        answered: bool,
        now: Timestamp,
        jitter: f64,
    ) {
        self.give_place_back(admitted);
        // Many calls for one part may be out at once: all of them together are one failure.
        let is_first = part.is_some_and(|part| !self.parts.is_suspect(part));
        if let Some(part) = part {
            self.parts.ended(part, answered, now, jitter);
        }
        // That yet another part fails makes nobody's pause longer.
        let is_news = part.is_none() || (is_first && self.state(now) == BreakerState::Closed);
        if answered {
            self.whole.succeeded();
        } else if is_news {
            self.whole.failed(now, jitter);
        }
    }

    /// Tells that a call that was admitted so was not made after all: it shows nothing of anybody.
    pub(super) fn unmade(&mut self, part: Option<&str>, admitted: Admitted) {
        self.give_place_back(admitted);
        match part {
            Some(part) => self.parts.unmade(part),
            None => self.whole.unmade(),
        }
    }

    fn give_place_back(&mut self, admitted: Admitted) {
        if let Admitted::AsTrial(standing) = admitted {
            let trials = &mut self.trials[standing as usize];
            trials.out = trials.out.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const BEGIN: Timestamp = Timestamp::from_millis(1_750_000_000_000);
    const TICK: Duration = Duration::from_millis(100);
    const MINUTE: Duration = Duration::from_secs(60);

    fn options() -> BreakerOptions {
        BreakerOptions::default()
    }

    /// A call for a part that ends at once; whether it was made.
    fn call(circuits: &mut Circuits, part: Option<&str>, answered: bool, now: Timestamp) -> bool {
        let admitted = circuits.admit(part, now);
        if let Ok(admitted) = admitted {
            circuits.ended(part, admitted, answered, now, 0.5);
        }
        admitted.is_ok()
    }

    /// Circuits that so many parts have opened.
    fn opened() -> Circuits {
        let mut circuits = Circuits::new(options());
        for n in 0..options().failures {
            assert!(call(&mut circuits, Some(&format!("bad-{n}")), false, BEGIN));
        }
        assert_eq!(circuits.state(BEGIN), BreakerState::Open);
        circuits
    }

    /// Callers for a part each, who come again as soon as they were told to, the first one first.
    struct Callers {
        circuits: Circuits,
        next: Vec<Timestamp>,
        chance: fastrand::Rng,
        /// When a call was made, and by whom.
        made: Vec<(Timestamp, usize)>,
    }

    impl Callers {
        fn new(count: usize) -> Self {
            let (circuits, chance) = (Circuits::new(options()), fastrand::Rng::with_seed(7));
            Self { circuits, next: vec![BEGIN; count], chance, made: Vec::new() }
        }

        fn go(&mut self, from: Timestamp, span: Duration, answers: impl Fn(usize) -> bool) {
            let mut now = from;
            while now < from.plus(span) {
                for caller in 0..self.next.len() {
                    self.come(caller, answers(caller), now);
                }
                now = now.plus(TICK);
            }
        }

        fn come(&mut self, caller: usize, answers: bool, now: Timestamp) {
            if now < self.next[caller] {
                return;
            }
            let part = format!("part-{caller}");
            match self.circuits.admit(Some(&part), now) {
                Ok(admitted) => {
                    self.made.push((now, caller));
                    self.circuits.ended(Some(&part), admitted, answers, now, self.chance.f64());
                    self.next[caller] = now.plus(TICK);
                }
                // As runs that nobody was asked for wait.
                Err(after) => self.next[caller] = now.plus(after.mul_f64(1.0 + self.chance.f64() / 2.0)),
            }
        }

        /// How many calls were made by those whom `whose` names, from then on for so long.
        fn made(&self, from: Timestamp, span: Duration, whose: impl Fn(usize) -> bool) -> usize {
            let within = |at: Timestamp| from <= at && at < from.plus(span);
            self.made.iter().filter(|(at, caller)| within(*at) && whose(*caller)).count()
        }
    }

    #[test]
    fn forty_parts_that_fail_for_ever_keep_a_healthy_one_waiting_for_seconds_at_most() {
        const HEALTHY: usize = 40;
        for all_known in [false, true] {
            let mut callers = Callers::new(HEALTHY + 1);
            let mut begin = BEGIN;
            if all_known {
                // All of them have answered before, as after a day without failures.
                callers.go(begin, TICK, |_| true);
                begin = begin.plus(TICK);
                callers.made.clear();
            }
            // The healthy one comes last, whenever it comes.
            callers.go(begin, 5 * MINUTE, |caller| caller == HEALTHY);
            let first = callers.made.iter().find(|(_, caller)| *caller == HEALTHY).map(|(at, _)| *at);
            let waited = first.map(|at| at.since(begin));
            assert!(waited.is_some_and(|span| span <= Duration::from_secs(10)), "{all_known}: {waited:?}");
            assert_eq!(callers.circuits.state(begin.plus(5 * MINUTE)), BreakerState::Closed);
            // From then on they are nobody's trouble but their own: each is asked as its own circuit lets.
            assert_eq!(callers.circuits.parts.failing(), HEALTHY);
            let last = begin.plus(4 * MINUTE);
            assert!(callers.made(last, MINUTE, |caller| caller < HEALTHY) <= HEALTHY * 9);
            assert!(callers.made(last, MINUTE, |caller| caller == HEALTHY) > 500, "it is not held up");
        }
    }

    #[test]
    fn when_everything_is_down_calls_are_bounded_and_it_is_soon_known_that_it_is_back() {
        const PARTS: usize = 200;
        let mut callers = Callers::new(PARTS);
        callers.go(BEGIN, 10 * MINUTE, |_| false);
        let end = BEGIN.plus(10 * MINUTE);
        assert_ne!(callers.circuits.state(end), BreakerState::Closed);
        // Each has its first chance, at a bounded rate,
        let most = (options().failures + FIRST_TRIALS) as usize;
        assert!(callers.made(BEGIN, SECOND, |_| true) <= most);
        let early = callers.made.iter().filter(|(at, _)| *at < BEGIN.plus(MINUTE));
        assert_eq!(early.map(|(_, caller)| caller).collect::<HashSet<_>>().len(), PARTS);
        // and then few of them are asked again.
        assert!(callers.made(BEGIN.plus(MINUTE), 9 * MINUTE, |_| true) <= 9 * 60 * LATER_TRIALS as usize + 2);

        callers.made.clear();
        callers.go(end, 3 * SECOND, |_| true);
        assert!(!callers.made.is_empty());
        assert_eq!(callers.circuits.state(end.plus(3 * SECOND)), BreakerState::Closed);
    }

    #[test]
    fn a_part_that_was_well_lately_and_one_that_is_new_wait_for_no_others_pause() {
        let mut circuits = Circuits::new(options());
        assert!(call(&mut circuits, Some("well"), true, BEGIN));
        // More and more that fail, all of them new, use up what new ones may be tried.
        let asked = (0..100).filter(|n| call(&mut circuits, Some(&format!("new-{n}")), false, BEGIN)).count();
        assert_eq!(asked, (options().failures + FIRST_TRIALS) as usize);
        assert!(call(&mut circuits, Some("well"), true, BEGIN), "it was asked at once");
        assert_eq!(circuits.state(BEGIN), BreakerState::Closed);

        // Calls for no part fail on and on, so the pause is as long as it gets.
        let (mut circuits, mut now) = (opened(), BEGIN);
        for _ in 0..8 {
            while let Err(after) = circuits.admit(None, now) {
                now = now.plus(after);
            }
            circuits.ended(None, Admitted::Freely, false, now, 1.0);
        }
        assert_eq!(circuits.admit(None, now), Err(options().longest));
        assert!(call(&mut circuits, Some("new"), true, now));
        assert_eq!(circuits.state(now), BreakerState::Closed);
    }

    #[test]
    fn only_failures_of_several_parts_open_the_whole() {
        let mut circuits = Circuits::new(options());
        // Many calls for one part are out when it goes silent,
        let out: Vec<Admitted> = (0..100).map(|_| circuits.admit(Some("a"), BEGIN).unwrap()).collect();
        for admitted in out {
            circuits.ended(Some("a"), admitted, false, BEGIN, 0.5);
        }
        assert_eq!(circuits.state(BEGIN), BreakerState::Closed);
        assert!(circuits.admit(Some("a"), BEGIN).is_err() && circuits.admit(Some("b"), BEGIN).is_ok());
        // and an answer among them begins a new row.
        for n in 0..100 {
            let (bad, good) = (format!("bad-{n}"), format!("good-{}", n / 5));
            assert!(call(&mut circuits, Some(&bad), false, BEGIN));
            assert!(call(&mut circuits, Some(&good), true, BEGIN));
        }
        assert_eq!(circuits.state(BEGIN), BreakerState::Closed);
        assert_eq!(opened().state(BEGIN), BreakerState::Open);
    }

    #[test]
    fn trials_of_a_part_that_failed_make_no_pause_longer_and_are_seldom() {
        let mut circuits = opened();
        let mut now = BEGIN.plus(options().longest);
        assert!(!call(&mut circuits, Some("bad-0"), false, now.minus(TICK)), "it has failed just now");
        let asked = (0..options().failures)
            .filter(|n| call(&mut circuits, Some(&format!("bad-{n}")), false, now))
            .count();
        assert_eq!(asked, LATER_TRIALS as usize);
        // One call that is for no part shows what the provider is like.
        assert!(call(&mut circuits, None, true, now));
        assert_eq!(circuits.state(now), BreakerState::Closed);
        now = now.plus(SECOND);
        assert!(call(&mut circuits, Some("bad-9"), true, now));
    }

    #[test]
    fn trials_that_hang_take_some_places_and_give_them_back() {
        let (mut circuits, mut now, mut out) = (opened(), BEGIN, Vec::new());
        for n in 0..100 {
            let part = format!("hangs-{n}");
            out.extend(circuits.admit(Some(&part), now).ok().map(|admitted| (part, admitted)));
            now = now.plus(SECOND);
        }
        assert_eq!(out.len(), MOST_OUT as usize);
        for (part, admitted) in out {
            circuits.ended(Some(&part), admitted, false, now, 0.5);
        }
        assert!(circuits.admit(Some("another"), now).is_ok());
    }

    #[test]
    fn calls_that_are_held_back_on_their_way_close_nothing_while_the_provider_is_down() {
        let (mut circuits, mut chance) = (opened(), fastrand::Rng::with_seed(7));
        let (mut now, mut made, mut unmade) = (BEGIN, 0, 0);
        while now < BEGIN.plus(10 * MINUTE) {
            // The first one is for no part; a budget lets about every second call go.
            for caller in 0..20 {
                let name = format!("part-{caller}");
                let part = (caller > 0).then_some(name.as_str());
                let Ok(admitted) = circuits.admit(part, now) else { continue };
                if chance.bool() {
                    circuits.ended(part, admitted, false, now, chance.f64());
                    made += 1;
                } else {
                    circuits.unmade(part, admitted);
                    unmade += 1;
                }
                assert_ne!(circuits.state(now), BreakerState::Closed);
            }
            now = now.plus(TICK);
        }
        assert!(made > 0 && unmade > 0, "{made} {unmade}");
        // Their places are free again, and the first answer ends the doubt.
        assert!(call(&mut circuits, Some("well"), true, now.plus(SECOND)));
        assert_eq!(circuits.state(now.plus(SECOND)), BreakerState::Closed);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_trials() {
        let mut circuits = opened();
        let asked = (0..100).filter(|n| call(&mut circuits, Some(&format!("new-{n}")), false, BEGIN)).count();
        assert_eq!(asked, FIRST_TRIALS as usize);
        let earlier = BEGIN.minus(MINUTE);
        assert!(call(&mut circuits, Some("new"), true, earlier));
    }
}
