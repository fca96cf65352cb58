//! When an actor that fell is started again. Pure: the caller brings the time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::backoff::Backoff;

/// How restarts are spaced and when they end.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// Falls within [`Self::window`] after which the actor is given up for a while.
    pub most: usize,
    /// The span in which falls are counted; a fall older than this is forgotten.
    pub window: Duration,
    /// The longest pause before a restart.
    pub longest: Duration,
    /// Whether giving up brings down the replica (infrastructure) or only this key.
    pub escalates: bool,
}

impl RestartPolicy {
    /// For an actor of one key: the first restart at once, then pauses up to a second; after more
    /// than 5 falls in 60 s this key alone answers "unavailable" until the window has passed.
    pub const KEYED: Self =
        Self { most: 5, window: Duration::from_secs(60), longest: Duration::from_secs(1), escalates: false };

    /// For what the whole replica needs: the same, but giving up makes the replica unready and
    /// ends it.
    pub const INFRASTRUCTURE: Self = Self { escalates: true, ..Self::KEYED };
}

/// What to do after a fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Start again after this pause.
    Restart(Duration),
    /// Answer "unavailable" for this long, then start again.
    Suspend(Duration),
    /// Tell the parent: this replica cannot go on.
    Escalate,
}

/// The recent falls of one actor.
#[derive(Clone, Debug, Default)]
pub struct History {
    falls: VecDeque<Duration>,
}

impl History {
    /// Decides what follows a fall at `now`, a monotonic time. `jitter` is 0..1 and spreads the
    /// pauses of actors that fell together.
    pub fn fell(&mut self, policy: &RestartPolicy, now: Duration, jitter: f64) -> After {
        self.falls.push_back(now);
        while self.falls.front().is_some_and(|at| now.saturating_sub(*at) > policy.window) {
            self.falls.pop_front();
        }
        let falls = self.falls.len();
        if falls > policy.most {
            if policy.escalates {
                return After::Escalate;
            }
            let oldest = self.falls.front().copied().unwrap_or(now);
            let left = policy.window.saturating_sub(now.saturating_sub(oldest));
            return After::Suspend(left.max(policy.longest));
        }
        if falls == 1 {
            return After::Restart(Duration::ZERO);
        }
        let again = u32::try_from(falls - 1).unwrap_or(u32::MAX);
        After::Restart(Backoff::new(Duration::from_millis(50), policy.longest).pause(again, jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_next_wait_longer() {
        let mut history = History::default();
        let policy = RestartPolicy::KEYED;
        assert_eq!(history.fell(&policy, at(0.0), 1.0), After::Restart(Duration::ZERO));
        assert_eq!(history.fell(&policy, at(0.1), 1.0), After::Restart(Duration::from_millis(50)));
        assert_eq!(history.fell(&policy, at(0.2), 1.0), After::Restart(Duration::from_millis(100)));
    }

    #[test]
    fn no_pause_is_longer_than_the_longest() {
        let policy = RestartPolicy { most: 50, ..RestartPolicy::KEYED };
        let mut history = History::default();
        for n in 0..50 {
            let After::Restart(pause) = history.fell(&policy, at(f64::from(n) / 10.0), 1.0) else {
                panic!("given up after {n}");
            };
            assert!(pause <= policy.longest);
        }
    }

    #[test]
    fn a_keyed_actor_is_suspended_and_infrastructure_escalates() {
        for (policy, last) in [
            (RestartPolicy::KEYED, After::Suspend(Duration::from_secs(60))),
            (RestartPolicy::INFRASTRUCTURE, After::Escalate),
        ] {
            let mut history = History::default();
            for _ in 0..5 {
                assert!(matches!(history.fell(&policy, at(0.0), 0.0), After::Restart(_)));
            }
            assert_eq!(history.fell(&policy, at(0.0), 0.0), last);
        }
    }

    #[test]
    fn a_minute_of_health_forgets() {
        let mut history = History::default();
        for n in 0..20 {
            let fall = history.fell(&RestartPolicy::KEYED, at(f64::from(n) * 61.0), 0.0);
            assert_eq!(fall, After::Restart(Duration::ZERO));
        }
    }
}
