//! Limits counted in Redis, so that all replicas count as one.
//!
//! While Redis does not answer, each replica counts for itself: a limit is then as many times as
//! wide as there are replicas, and no request fails for it.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;
use steward_actors::limits::{Decision, Limits, MemoryLimits, Quota};
use steward_actors::supervision::lock;
use tokio::time::{Instant, timeout};

use super::RedisPool;

/// How long a request waits for its count.
const DEADLINE: Duration = Duration::from_millis(100);
/// How long a log-in waits for its count, which costs far more to give out wrongly.
const PATIENT_DEADLINE: Duration = Duration::from_secs(1);
/// How long nobody asks a Redis that did not answer.
const REST: Duration = Duration::from_secs(1);

/// The same decision as `steward_actors::limits::decide`, by Redis's clock, on one key: allowed or
/// not, and the microseconds until all uses have come back.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local busy = math.min(math.max((tonumber(redis.call('GET', KEYS[1])) or 0) - now, 0), window)
if busy + interval > window then
  return {0, busy}
end
busy = busy + interval
redis.call('SET', KEYS[1], string.format('%.0f', now + busy), 'PX', math.ceil(busy / 1000))
return {1, busy}
";

const GIVE_BACK: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local busy = (tonumber(redis.call('GET', KEYS[1])) or 0) - now - tonumber(ARGV[1])
if busy <= 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], string.format('%.0f', now + busy), 'PX', math.ceil(busy / 1000))
end
return 1
";

/// Counts in Redis, and in memory while there is none.
pub struct RedisLimits {
    pool: RedisPool,
    memory: MemoryLimits,
    patient: bool,
    rests_until: Mutex<Option<Instant>>,
}

impl RedisLimits {
    /// Counts in this Redis, otherwise in `memory`.
    pub fn new(pool: RedisPool, memory: MemoryLimits) -> Self {
        Self { pool, memory, patient: false, rests_until: Mutex::default() }
    }

    /// The same for guesses: waits longer for Redis, and counts in `memory` too what Redis has let pass, so
    /// that a Redis that goes away gives nobody all of a replica's guesses anew.
    pub fn of_guesses(pool: RedisPool, memory: MemoryLimits) -> Self {
        Self { patient: true, ..Self::new(pool, memory) }
    }

    fn command(&self, script: &str, quota: &Quota, key: &str) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(1).arg(self.pool.key(&format!("limit:{}:{key}", quota.name())));
        command.arg(quota.interval_micros()).arg(quota.window_micros());
        command
    }

    /// Redis's answer; none while it rests or if it gives none.
    async fn ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> Option<T> {
        if self.rests() {
            return None;
        }
        let deadline = if self.patient { PATIENT_DEADLINE } else { DEADLINE };
        match timeout(deadline, self.pool.query(command)).await {
            Ok(Ok(answer)) => Some(answer),
            failed => {
                let reason = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "no answer in time".to_owned(),
                };
                if self.begins_to_rest() {
                    tracing::warn!(reason, "limits are counted by each replica alone for the moment");
                }
                None
            }
        }
    }

    fn rests(&self) -> bool {
        let until = lock(&self.rests_until);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Nobody asks for a while. False if that is so already: of the many who waited for an answer
    /// together, the first one ends the asking.
    fn begins_to_rest(&self) -> bool {
        let now = Instant::now();
        let mut until = lock(&self.rests_until);
        let rested = until.is_some_and(|until| now < until);
        if !rested {
            *until = Some(now + REST);
        }
        !rested
    }
}

#[async_trait]
impl Limits for RedisLimits {
    async fn take(&self, quota: &Quota, key: &str) -> Decision {
        match self.ask::<(u8, u64)>(&self.command(TAKE, quota, key)).await {
            Some((allowed, busy_micros)) => {
                if self.patient && allowed == 1 {
                    self.memory.take(quota, key).await;
                }
                quota.decision(allowed == 1, busy_micros)
            }
            None => self.memory.take(quota, key).await,
        }
    }

    async fn give_back(&self, quota: &Quota, key: &str) {
        if self.ask::<u8>(&self.command(GIVE_BACK, quota, key)).await.is_none() || self.patient {
            self.memory.give_back(quota, key).await;
        }
    }
}
