//! How actors of one SKU on several replicas take turns. Pure: the caller brings durations and
//! chance.
//!
//! Whoever has just committed knows the stock record and is ahead of those that have to read it
//! first. Left alone it would win again and again, and never hear of the others: in simulation, and
//! with two replicas on MongoDB, the second one waited for longer than its buyers do. So the winner
//! keeps its turn for a while and then leaves a gap that the others cannot miss, short turns while
//! there are others, long ones to find out whether there are; and whoever waits tries the more
//! often the longer it has waited.

use std::time::Duration;

/// How long a turn lasts while others were met lately, and while none were.
const SHORT_TURN: Duration = Duration::from_millis(60);
const LONG_TURN: Duration = Duration::from_millis(400);
/// How much work after the last meeting others count as met lately.
const LATELY: Duration = Duration::from_secs(2);
/// The gap that the winner leaves after its turn, give or take a quarter.
const GAP: Duration = Duration::from_millis(20);
/// The pause after the first defeat: as long as so many attempts like it, bounded; half of it after
/// each [`HALVED`] of waiting; and the shortest. Give or take a half.
const FIRST: u32 = 5;
const LONGEST: Duration = Duration::from_millis(20);
const HALVED: Duration = Duration::from_millis(150);
const SHORTEST: Duration = Duration::from_millis(1);

/// How contended the stock record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Work done in this turn.
    turn: Duration,
    /// Work done since others were met.
    alone: Duration,
    /// Time lost since the last success.
    waited: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { turn: Duration::ZERO, alone: LATELY, waited: Duration::ZERO }
    }
}

impl Pace {
    /// Whether others were met lately.
    pub(super) fn is_contended(&self) -> bool {
        self.alone < LATELY
    }

    /// The pause after an attempt that came too late and took `took`; `chance` is 0..1.
    pub(super) fn came_too_late(&mut self, took: Duration, chance: f64) -> Duration {
        (self.turn, self.alone) = (Duration::ZERO, Duration::ZERO);
        self.waited += took;
        let halved = self.waited.as_secs_f64() / HALVED.as_secs_f64();
        let first = (took * FIRST).min(LONGEST);
        let pause = first.mul_f64(0.5f64.powf(halved)).max(SHORTEST).mul_f64(0.5 + chance.clamp(0.0, 1.0));
        self.waited += pause;
        pause
    }

    /// The pause after an attempt that succeeded and took `took`; none inside a turn.
    pub(super) fn succeeded(&mut self, took: Duration, chance: f64) -> Duration {
        self.waited = Duration::ZERO;
        self.turn += took;
        self.alone = (self.alone + took).min(LATELY);
        let turn = if self.alone < LATELY { SHORT_TURN } else { LONG_TURN };
        if self.turn < turn {
            return Duration::ZERO;
        }
        self.turn = Duration::ZERO;
        GAP.mul_f64(0.75 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replicas that always have work, on a store that takes as long as MongoDB does: milliseconds.
    struct Simulation {
        random: fastrand::Rng,
        version: u64,
        /// Whose transaction holds the record.
        held_by: Option<usize>,
        replicas: Vec<Replica>,
    }

    struct Replica {
        pace: Pace,
        at: f64,
        phase: Phase,
        knows: Option<u64>,
        began: f64,
        retries: u32,
        done: u32,
        last: f64,
        longest: f64,
    }

    #[derive(Clone, Copy)]
    enum Phase {
        Begin,
        Read,
        Lock,
        Commit,
        TooLate,
    }

    impl Simulation {
        fn new(replicas: usize, seed: u64) -> Self {
            let replica = || Replica {
                pace: Pace::default(),
                at: 0.0,
                phase: Phase::Begin,
                knows: None,
                began: 0.0,
                retries: 0,
                done: 0,
                last: 0.0,
                longest: 0.0,
            };
            let replicas = (0..replicas).map(|_| replica()).collect();
            Self { random: fastrand::Rng::with_seed(seed), version: 0, held_by: None, replicas }
        }

        fn between(&mut self, from: f64, to: f64) -> f64 {
            from + (to - from) * self.random.f64()
        }

        /// Runs `span` ms; what was done, and the longest time that anyone went without.
        fn run(mut self, span: f64) -> (u32, f64) {
            loop {
                let next = (0..self.replicas.len())
                    .min_by(|a, b| self.replicas[*a].at.total_cmp(&self.replicas[*b].at));
                let n = next.unwrap();
                if self.replicas[n].at > span {
                    break;
                }
                let takes = self.step(n);
                self.replicas[n].at += takes;
            }
            let longest = self.replicas.iter().map(|r| r.longest.max(span - r.last)).fold(0.0, f64::max);
            (self.replicas.iter().map(|replica| replica.done).sum(), longest)
        }

        /// One step of a replica; how long it takes.
        fn step(&mut self, n: usize) -> f64 {
            let at = self.replicas[n].at;
            match self.replicas[n].phase {
                Phase::Begin => {
                    self.replicas[n].began = at;
                    self.replicas[n].retries = 0;
                    let known = self.replicas[n].knows.is_some();
                    self.replicas[n].phase = if known { Phase::Lock } else { Phase::Read };
                    if known { self.between(0.5, 2.0) } else { self.between(0.5, 1.5) }
                }
                Phase::Read => {
                    self.replicas[n].knows = Some(self.version);
                    self.replicas[n].phase = Phase::Lock;
                    self.between(0.5, 2.0)
                }
                Phase::Lock if self.replicas[n].knows != Some(self.version) => {
                    self.replicas[n].phase = Phase::TooLate;
                    self.between(0.5, 1.5)
                }
                Phase::Lock if self.held_by.is_none() => {
                    self.held_by = Some(n);
                    self.replicas[n].phase = Phase::Commit;
                    self.between(10.0, 16.0)
                }
                // The store itself tries again for a while.
                Phase::Lock => {
                    self.replicas[n].retries += 1;
                    let pause = f64::from(5u32 << self.replicas[n].retries.min(6));
                    self.between(0.25, 0.75) * pause
                }
                Phase::Commit => {
                    self.version += 1;
                    self.held_by = None;
                    let chance = self.random.f64();
                    let replica = &mut self.replicas[n];
                    replica.knows = Some(self.version);
                    replica.done += 1;
                    replica.longest = replica.longest.max(at - replica.last);
                    replica.last = at;
                    replica.phase = Phase::Begin;
                    let took = Duration::from_secs_f64((at - replica.began) / 1000.0);
                    replica.pace.succeeded(took, chance).as_secs_f64() * 1000.0
                }
                Phase::TooLate => {
                    let chance = self.random.f64();
                    let replica = &mut self.replicas[n];
                    replica.knows = None;
                    replica.phase = Phase::Begin;
                    let took = Duration::from_secs_f64((at - replica.began) / 1000.0);
                    replica.pace.came_too_late(took, chance).as_secs_f64() * 1000.0
                }
            }
        }
    }

    #[test]
    fn nobody_goes_without_for_as_long_as_a_buyer_waits() {
        for seed in 0..20 {
            for replicas in [2, 3] {
                let (_, longest) = Simulation::new(replicas, seed).run(10_000.0);
                assert!(longest < 1500.0, "{replicas} replicas, seed {seed}: {longest} ms without");
            }
        }
    }

    #[test]
    fn turns_cost_little_alone_and_in_company() {
        let without_a_pause = 10_000.0 / 14.25;
        for (replicas, share) in [(1, 0.94), (2, 0.75), (3, 0.75), (6, 0.75)] {
            let done: u32 = (0..10).map(|seed| Simulation::new(replicas, seed).run(10_000.0).0).sum();
            let of_all = f64::from(done) / 10.0 / without_a_pause;
            assert!(of_all > share, "{replicas} replicas: {of_all}");
        }
    }

    #[test]
    fn whoever_waits_tries_the_more_often_the_longer_it_has_waited() {
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..100).map(|_| pace.came_too_late(Duration::from_millis(5), 0.5)).collect();
        assert!(pauses.is_sorted_by(|a, b| a >= b), "{pauses:?}");
        assert_eq!((pauses[0] > LONGEST / 2, pauses[99]), (true, SHORTEST));
    }

    #[test]
    fn a_turn_ends_in_a_gap_and_is_short_in_company() {
        let commits = |pace: &mut Pace| {
            (1..1000).find(|_| pace.succeeded(Duration::from_millis(10), 0.5) > Duration::ZERO).unwrap()
        };
        let mut pace = Pace::default();
        assert_eq!(commits(&mut pace), 40);
        pace.came_too_late(Duration::from_millis(5), 0.5);
        assert_eq!(commits(&mut pace), 6);
    }
}
