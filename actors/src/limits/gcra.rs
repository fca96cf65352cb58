//! The decision: pure, the same wherever it is counted.

use std::time::Duration;

/// So many uses in a window, for each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    name: &'static str,
    uses: u32,
    interval_micros: u64,
}

impl Quota {
    /// `uses` (1 at least) in each `window`; an hour and ten minutes at most between two uses. All of them may come at once;
    /// then one comes back each `window / uses`. Quotas with different names count apart.
    pub const fn new(name: &'static str, uses: u32, window: Duration) -> Self {
        let uses = if uses == 0 { 1 } else { uses };
        let micros = window.as_micros() / uses as u128;
        let interval_micros = if micros == 0 {
            1
        } else if micros > u32::MAX as u128 * 1000 {
            u32::MAX as u64 * 1000
        } else {
            micros as u64
        };
        Self { name, uses, interval_micros }
    }

    /// What it is called.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How many uses there are in a window.
    pub const fn uses(&self) -> u32 {
        self.uses
    }

    /// After how many microseconds one use comes back.
    pub const fn interval_micros(&self) -> u64 {
        self.interval_micros
    }

    /// After how many microseconds all of them have come back.
    pub const fn window_micros(&self) -> u64 {
        self.interval_micros.saturating_mul(self.uses as u64)
    }

    /// The decision, when the key's uses are all forgotten `busy_micros` from now: before this use
    /// if it is refused, after it if it is allowed.
    pub fn decision(&self, allowed: bool, busy_micros: u64) -> Decision {
        let left = self.window_micros().saturating_sub(busy_micros);
        Decision {
            allowed,
            remaining: u32::try_from(left / self.interval_micros).unwrap_or(u32::MAX),
            reset: Duration::from_micros(busy_micros),
            retry_after: match allowed {
                true => Duration::ZERO,
                false => Duration::from_micros(self.interval_micros.saturating_sub(left)),
            },
        }
    }
}

/// What became of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Uses that are left now.
    pub remaining: u32,
    /// Until all uses have come back.
    pub reset: Duration,
    /// Until the next one has, if this one is refused.
    pub retry_after: Duration,
}

/// Uses a quota once. `busy_until` is when the key's uses are all forgotten, in microseconds of
/// any clock; the second value is when they are after this use.
pub fn decide(quota: &Quota, busy_until: u64, now: u64) -> (Decision, u64) {
    // More than a window ahead is nothing that was ever written: the clock went back.
    let busy = busy_until.saturating_sub(now).min(quota.window_micros());
    let after = busy + quota.interval_micros();
    match after <= quota.window_micros() {
        true => (quota.decision(true, after), now + after),
        false => (quota.decision(false, busy), now + busy),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn all_uses_may_come_at_once_and_come_back_one_by_one() {
        let quota = Quota::new("q", 3, Duration::from_secs(60));
        let mut busy_until = 0;
        let mut take = |now| {
            let (decision, after) = decide(&quota, busy_until, now);
            busy_until = after;
            decision
        };
        let now = 1_000 * SECOND;
        let remaining: Vec<_> = (0..3).map(|_| take(now)).map(|d| (d.allowed, d.remaining)).collect();
        assert_eq!(remaining, [(true, 2), (true, 1), (true, 0)]);
        let refused = take(now + 5 * SECOND);
        assert_eq!((refused.allowed, refused.remaining), (false, 0));
        assert_eq!(refused.retry_after, Duration::from_secs(15));
        assert_eq!(refused.reset, Duration::from_secs(55));
        assert!(take(now + 20 * SECOND).allowed);
        assert!(!take(now + 20 * SECOND).allowed);
        assert_eq!(take(now + 200 * SECOND).remaining, 2);
    }

    proptest! {
        #[test]
        fn no_span_has_more_uses_than_a_full_quota_and_what_came_back(
            uses in 1_u32..50,
            window in 1_u64..100,
            waits in prop::collection::vec(0_u64..20_000_000, 1..200),
        ) {
            let quota = Quota::new("q", uses, Duration::from_secs(window));
            let (mut now, mut busy_until) = (SECOND, 0);
            let mut allowed = Vec::new();
            for wait in waits {
                now += wait;
                let (decision, after) = decide(&quota, busy_until, now);
                prop_assert!(after >= busy_until.min(now) && after - now <= quota.window_micros());
                if decision.allowed {
                    allowed.push(now);
                } else {
                    // One moment earlier than told is still too early, then it is not.
                    let then = now + u64::try_from(decision.retry_after.as_micros()).unwrap();
                    prop_assert!(!decide(&quota, after, then - 1).0.allowed);
                    prop_assert!(decide(&quota, after, then).0.allowed);
                }
                busy_until = after;
            }
            for (first, begin) in allowed.iter().enumerate() {
                for (last, end) in allowed.iter().enumerate().skip(first) {
                    let most = u64::from(uses) + (end - begin) / quota.interval_micros();
                    prop_assert!((last - first + 1) as u64 <= most);
                }
            }
        }
    }
}
