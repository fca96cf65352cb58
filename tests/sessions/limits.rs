//! Limits counted in a real Redis, and without one.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use steward::storage::redis::{RedisLimits, RedisPool};
use steward_actors::limits::{Limits, MemoryLimits, Quota};
use steward_actors::testing::ManualClock;

pub const QUOTA: Quota = Quota::new("tries", 5, Duration::from_secs(3600));

pub fn limits(uri: &str, prefix: &str) -> RedisLimits {
    let pool = RedisPool::connect(&SecretString::from(uri), prefix).unwrap();
    RedisLimits::new(pool, MemoryLimits::new(Arc::new(ManualClock::default()), 1000))
}

fn redis() -> String {
    std::env::var("STEWARD_TEST_REDIS_URI").expect("STEWARD_TEST_REDIS_URI is set by scripts/services env")
}

#[tokio::test]
async fn replicas_count_as_one() {
    let prefix = format!("t{}:", uuid::Uuid::new_v4().simple());
    let replicas = [limits(&redis(), &prefix), limits(&redis(), &prefix)];
    let tries = (0..40).map(|n| replicas[n % 2].take(&QUOTA, "ann"));
    let decisions = futures_util::future::join_all(tries).await;
    assert_eq!(decisions.iter().filter(|decision| decision.allowed).count(), 5);
    let refused = replicas[0].take(&QUOTA, "ann").await;
    assert!(!refused.allowed && refused.remaining == 0);
    // One use comes back after 720 s.
    let soon = Duration::from_secs(600)..=Duration::from_secs(720);
    assert!(soon.contains(&refused.retry_after), "{refused:?}");
    assert!(replicas[1].take(&QUOTA, "bob").await.allowed);

    replicas[1].give_back(&QUOTA, "ann").await;
    let after = [replicas[0].take(&QUOTA, "ann").await, replicas[1].take(&QUOTA, "ann").await];
    assert_eq!(after.map(|decision| decision.allowed), [true, false]);
}

#[tokio::test]
async fn what_is_forgotten_takes_no_room() {
    let prefix = format!("t{}:", uuid::Uuid::new_v4().simple());
    let counted = limits(&redis(), &prefix);
    counted.take(&QUOTA, "ann").await;
    let pool = RedisPool::connect(&SecretString::from(redis()), &prefix).unwrap();
    let key = pool.key("limit:tries:ann");
    let millis: i64 = pool.query(redis::cmd("PTTL").arg(&key)).await.unwrap();
    assert!((1..=720_000).contains(&millis), "{millis}");
    counted.give_back(&QUOTA, "ann").await;
    assert_eq!(pool.query::<i64>(redis::cmd("PTTL").arg(&key)).await.unwrap(), -2);
}

#[tokio::test]
async fn without_redis_each_replica_counts_for_itself() {
    // Port 1 of this machine: nothing listens there.
    let alone = limits("redis://127.0.0.1:1", "t:");
    for _ in 0..5 {
        assert!(alone.take(&QUOTA, "ann").await.allowed);
    }
    assert!(!alone.take(&QUOTA, "ann").await.allowed);
}

#[tokio::test]
async fn guesses_that_redis_has_counted_are_not_given_anew_when_it_goes_away() {
    let mut redis = crate::redis_server::RedisServer::start();
    let pool = RedisPool::connect(&redis.uri(), "t:").unwrap();
    let counted = RedisLimits::of_guesses(pool, MemoryLimits::new(Arc::new(ManualClock::default()), 1000));
    for _ in 0..4 {
        assert!(counted.take(&QUOTA, "ann").await.allowed);
    }
    counted.give_back(&QUOTA, "ann").await;
    redis.kill();
    let after = [(); 3].map(|()| counted.take(&QUOTA, "ann"));
    let allowed: Vec<bool> =
        futures_util::future::join_all(after).await.iter().map(|decision| decision.allowed).collect();
    assert_eq!(allowed, [true, true, false]);
}
