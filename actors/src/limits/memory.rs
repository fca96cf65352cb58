//! Counting in this process: for one replica alone, and while there is nowhere else to count.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{Decision, Limits, Quota, decide};
use crate::cluster::Clock;
use crate::supervision::lock;

/// Parts that are locked apart.
const SHARDS: usize = 16;
/// Keys of a part that are never looked through for those at rest.
const FEW: usize = 64;

/// Counts in memory, for a bounded number of keys. Of more keys than that, it forgets those that
/// were used least.
pub struct MemoryLimits {
    clock: Arc<dyn Clock>,
    hasher: RandomState,
    most: usize,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Default)]
struct Shard {
    /// When the uses of a key are all forgotten, in microseconds.
    busy_until: HashMap<String, u64>,
    /// How many keys there may be before those at rest are looked for.
    sweep_at: usize,
}

impl Shard {
    fn make_room(&mut self, now: u64, most: usize) {
        if self.busy_until.len() < self.sweep_at.max(FEW).min(most) {
            return;
        }
        self.busy_until.retain(|_, busy_until| *busy_until > now);
        if self.busy_until.len() >= most {
            let mut ends: Vec<u64> = self.busy_until.values().copied().collect();
            let (_, median, _) = ends.select_nth_unstable(most / 2);
            let median = *median;
            self.busy_until.retain(|_, busy_until| *busy_until > median);
        }
        self.sweep_at = self.busy_until.len() * 2;
        self.busy_until.shrink_to(self.sweep_at);
    }
}

impl MemoryLimits {
    /// Counts for at most `keys` keys at a time (about 100 bytes each).
    pub fn new(clock: Arc<dyn Clock>, keys: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { clock, hasher: RandomState::new(), most: (keys / SHARDS).max(1), shards }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_millis()).unwrap_or(0).saturating_mul(1000)
    }

    fn shard(&self, key: &str) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key);
        &self.shards[(hash % SHARDS as u64) as usize]
    }

    /// Keys that are remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).busy_until.len()).sum()
    }

    /// Whether no key is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn full(quota: &Quota, key: &str) -> String {
    format!("{}:{key}", quota.name())
}

#[async_trait]
impl Limits for MemoryLimits {
    async fn take(&self, quota: &Quota, key: &str) -> Decision {
        let (key, now) = (full(quota, key), self.now());
        let mut shard = lock(self.shard(&key));
        if let Some(busy_until) = shard.busy_until.get_mut(&key) {
            let (decision, after) = decide(quota, *busy_until, now);
            *busy_until = after;
            return decision;
        }
        shard.make_room(now, self.most);
        let (decision, after) = decide(quota, now, now);
        shard.busy_until.insert(key, after);
        decision
    }

    async fn give_back(&self, quota: &Quota, key: &str) {
        let key = full(quota, key);
        let mut shard = lock(self.shard(&key));
        if let Some(busy_until) = shard.busy_until.get_mut(&key) {
            *busy_until = busy_until.saturating_sub(quota.interval_micros());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::ManualClock;

    const QUOTA: Quota = Quota::new("tries", 2, Duration::from_secs(60));

    fn limits(keys: usize) -> (MemoryLimits, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        (MemoryLimits::new(clock.clone(), keys), clock)
    }

    #[tokio::test]
    async fn each_key_of_each_quota_counts_alone() {
        let (limits, clock) = limits(1000);
        let other = Quota::new("other", 2, Duration::from_secs(60));
        assert!(limits.take(&QUOTA, "a").await.allowed);
        assert!(limits.take(&QUOTA, "a").await.allowed);
        assert!(!limits.take(&QUOTA, "a").await.allowed);
        assert!(limits.take(&QUOTA, "b").await.allowed);
        assert!(limits.take(&other, "a").await.allowed);
        clock.advance(Duration::from_secs(30));
        assert!(limits.take(&QUOTA, "a").await.allowed);
        assert!(!limits.take(&QUOTA, "a").await.allowed);
    }

    #[tokio::test]
    async fn what_is_given_back_can_be_used_again_and_no_more_than_that() {
        let (limits, _) = limits(1000);
        for _ in 0..5 {
            assert!(limits.take(&QUOTA, "a").await.allowed);
            limits.give_back(&QUOTA, "a").await;
        }
        limits.give_back(&QUOTA, "a").await;
        limits.give_back(&QUOTA, "never used").await;
        let allowed = [limits.take(&QUOTA, "a").await, limits.take(&QUOTA, "a").await];
        assert!(allowed.iter().all(|decision| decision.allowed));
        assert!(!limits.take(&QUOTA, "a").await.allowed);
    }

    #[tokio::test]
    async fn keys_at_rest_are_forgotten() {
        let (limits, clock) = limits(1_000_000);
        for round in 0..10 {
            for key in 0..5_000 {
                limits.take(&QUOTA, &format!("{round}-{key}")).await;
            }
            clock.advance(Duration::from_secs(120));
        }
        assert!(limits.len() < 15_000, "{}", limits.len());
    }

    #[tokio::test]
    async fn a_crowd_of_keys_takes_no_more_room_and_frees_nobody_who_used_much() {
        let (limits, clock) = limits(1600);
        let much = Quota::new("much", 100, Duration::from_secs(3600));
        while limits.take(&much, "greedy").await.allowed {}
        for key in 0..20_000 {
            limits.take(&much, &key.to_string()).await;
        }
        assert!(limits.len() <= 1600, "{}", limits.len());
        clock.advance(Duration::from_secs(1));
        assert!(!limits.take(&much, "greedy").await.allowed);
    }
}
