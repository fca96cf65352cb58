//! How long to wait before trying again what failed, or what another came before.
//!
//! Who uses it: every retry, here and in the adapters. Whoever retries bounds how often; what never
//! happens here is a wait that grows without bound, or one that those who failed together end
//! together.

use std::time::Duration;

/// A pause that doubles with each failure in a row, up to a bound, and is cut by chance to something
/// between a half and the whole of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
}

impl Backoff {
    /// For commits that meet those of others: their winner takes some milliseconds.
    pub const CONTENTION: Self = Self::new(Duration::from_millis(5), Duration::from_millis(200));

    /// From `shortest`, doubling, to `longest`.
    pub const fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest }
    }

    /// The longest pause after so many failures in a row: none after none.
    pub fn most(&self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            _ => self.shortest.saturating_mul(1 << (failures - 1).min(30)).min(self.longest),
        }
    }

    /// The pause after so many failures in a row. `jitter` is 0..1: half of [`Self::most`] to all.
    pub fn pause(&self, failures: u32, jitter: f64) -> Duration {
        self.most(failures).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// Waits for that pause, by tokio's clock.
    pub async fn wait(&self, failures: u32) {
        tokio::time::sleep(self.pause(failures, fastrand::f64())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

    #[test]
    fn pauses_double_up_to_the_longest_and_there_is_none_before_the_first_failure() {
        let pauses: Vec<_> = (0..7).map(|failures| BACKOFF.pause(failures, 1.0).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(BACKOFF.pause(u32::MAX, 1.0), Duration::from_secs(1));
        let endless = Backoff::new(Duration::from_secs(1 << 60), Duration::MAX);
        assert_eq!(endless.most(u32::MAX), Duration::MAX);
    }

    #[test]
    fn chance_cuts_a_pause_to_a_half_at_least() {
        for (jitter, millis) in [(-1.0, 50), (0.0, 50), (0.5, 75), (1.0, 100), (2.0, 100)] {
            assert_eq!(BACKOFF.pause(1, jitter).as_millis(), millis, "{jitter}");
        }
    }
}
