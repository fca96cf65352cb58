//! Time is the store's: the local monotonic clock plus its offset to the store's clock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use crate::store::{Store, StoreError};
use crate::supervision::lock;
use crate::time::Timestamp;

/// How uncertain the offset may be before a replica is not fit to serve.
pub const MAX_UNCERTAINTY: Duration = Duration::from_millis(500);

/// The present, and waiting for a point in time.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The present, by the store's clock. Never earlier than what it said before.
    fn now(&self) -> Timestamp;

    /// Returns once `at` is reached.
    async fn sleep_until(&self, at: Timestamp);

    /// Returns after `span`.
    async fn sleep(&self, span: Duration) {
        self.sleep_until(self.now().plus(span)).await;
    }
}

/// The production clock. Its offset is measured at start and at every heartbeat.
pub struct StoreClock {
    born: Instant,
    measured: Mutex<Measured>,
    latest: AtomicI64,
}

#[derive(Clone, Copy)]
struct Measured {
    at: Instant,
    offset_millis: i64,
    uncertainty: Duration,
}

impl StoreClock {
    /// Measures the offset for the first time.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked.
    pub async fn start(store: &dyn Store) -> Result<Self, StoreError> {
        let born = Instant::now();
        let measured = measure(store, born).await?;
        Ok(Self { born, measured: Mutex::new(measured), latest: AtomicI64::new(i64::MIN) })
    }

    /// Measures the offset again. A measurement that is less certain than what the last one has
    /// become is not taken over.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked; the last measurement stays.
    pub async fn measure(&self, store: &dyn Store) -> Result<(), StoreError> {
        let fresh = measure(store, self.born).await?;
        let mut measured = lock(&self.measured);
        if fresh.uncertainty <= grown(*measured) {
            *measured = fresh;
        }
        Ok(())
    }

    /// By how much [`Clock::now`] may be off: half the round trip of the last measurement, and a
    /// drift of 500 ppm since.
    pub fn uncertainty(&self) -> Duration {
        grown(*lock(&self.measured))
    }
}

fn grown(measured: Measured) -> Duration {
    measured.uncertainty + measured.at.elapsed() / 2000
}

async fn measure(store: &dyn Store, born: Instant) -> Result<Measured, StoreError> {
    let asked = Instant::now();
    let time = store.time().await?;
    let at = Instant::now();
    let half = at.duration_since(asked) / 2;
    let local = i64::try_from((asked + half).duration_since(born).as_millis()).unwrap_or(i64::MAX);
    Ok(Measured { at, offset_millis: time.as_millis().saturating_sub(local), uncertainty: half })
}

#[async_trait]
impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        let offset = lock(&self.measured).offset_millis;
        let local = i64::try_from(self.born.elapsed().as_millis()).unwrap_or(i64::MAX);
        let now = local.saturating_add(offset);
        Timestamp::from_millis(self.latest.fetch_max(now, Ordering::AcqRel).max(now))
    }

    async fn sleep_until(&self, at: Timestamp) {
        loop {
            let left = at.since(self.now());
            if left.is_zero() {
                return;
            }
            // The offset may change meanwhile, so no single long sleep.
            sleep(left.min(Duration::from_secs(10))).await;
        }
    }
}
