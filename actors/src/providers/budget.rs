//! How often a provider is asked, all replicas together.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::Clock;
use crate::limits::{Limits, Quota};

/// A budget of requests to one provider. Cheap to clone.
#[derive(Clone)]
pub struct Budget {
    limits: Arc<dyn Limits>,
    clock: Arc<dyn Clock>,
    quota: Quota,
    provider: &'static str,
}

impl Budget {
    /// `per_minute` requests (1 at least) to `provider`, counted where `limits` are: for all replicas in
    /// Redis, for this one in memory.
    pub fn new(
        provider: &'static str,
        per_minute: u32,
        limits: Arc<dyn Limits>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let quota = Quota::new("provider", per_minute, Duration::from_secs(60));
        Self { limits, clock, quota, provider }
    }

    /// Whom it is for.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Waits until a request may go out, which counts from then on.
    ///
    /// # Errors
    /// None may within `patience`; the span after which to ask again.
    pub async fn wait(&self, patience: Duration) -> Result<(), Duration> {
        let until = self.clock.now().plus(patience);
        loop {
            let decision = self.limits.take(&self.quota, self.provider).await;
            if decision.allowed {
                return Ok(());
            }
            // Not all that wait come back at one moment.
            let pause =
                decision.retry_after.max(Duration::from_millis(20)).mul_f64(1.0 + fastrand::f64() / 4.0);
            if self.clock.now().plus(pause) > until {
                return Err(pause);
            }
            self.clock.sleep(pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MemoryLimits;
    use crate::testing::ManualClock;

    #[tokio::test]
    async fn replicas_share_a_budget_and_wait_for_it() {
        let clock = Arc::new(ManualClock::default());
        let limits: Arc<dyn Limits> = Arc::new(MemoryLimits::new(clock.clone(), 100));
        let budget = |provider| Budget::new(provider, 3, limits.clone(), clock.clone());
        let (one, other, foreign) = (budget("bank"), budget("bank"), budget("other"));
        for budget in [&one, &other, &one] {
            assert_eq!(budget.wait(Duration::ZERO).await, Ok(()));
        }
        assert!(other.wait(Duration::ZERO).await.unwrap_err() >= Duration::from_secs(20));
        assert_eq!(foreign.wait(Duration::ZERO).await, Ok(()));
        let waiting = tokio::spawn(async move { other.wait(Duration::from_secs(120)).await });
        while !waiting.is_finished() {
            clock.advance(Duration::from_secs(5));
            tokio::task::yield_now().await;
        }
        assert_eq!(waiting.await.unwrap(), Ok(()), "it waited and did not fail");
    }
}
