//! The watchdog: a plain thread that asks each actor thread for a sign of life, because a thread
//! that spins or waits for ever cannot say so itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::arbiters::Arbiters;

/// Watches the actor threads until it is dropped.
pub struct Watchdog {
    stuck: Arc<AtomicBool>,
    _stop: Sender<()>,
}

impl Watchdog {
    /// Asks every `period`; a thread that has not answered for `patience` is stuck.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(arbiters: Arc<Arbiters>, period: Duration, patience: Duration) -> std::io::Result<Self> {
        let stuck = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = channel::<()>();
        let told = stuck.clone();
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            let born = Instant::now();
            let seen: Arc<Vec<AtomicU64>> =
                Arc::new((0..arbiters.len()).map(|_| AtomicU64::new(0)).collect());
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                let now = millis(born.elapsed());
                let late = |at: &AtomicU64| {
                    now.saturating_sub(at.load(Ordering::Relaxed)) > millis(patience + period)
                };
                let any = seen.iter().any(late);
                if told.swap(any, Ordering::Relaxed) != any {
                    if any {
                        tracing::error!("an actor thread gives no sign of life");
                    } else {
                        tracing::info!("all actor threads answer again");
                    }
                }
                let seen = seen.clone();
                arbiters.probe(move |n| seen[n].store(millis(born.elapsed()), Ordering::Relaxed));
            }
        })?;
        Ok(Self { stuck, _stop: stop })
    }

    /// Whether a thread gives no sign of life.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_turn_is_noticed_and_so_is_its_recovery() {
        actix_rt::System::new().block_on(async {
            // Given a watched thread,
            let arbiters = Arc::new(Arbiters::start(1));
            let tick = Duration::from_millis(5);
            let watchdog = Watchdog::start(arbiters.clone(), tick, Duration::from_millis(30)).unwrap();

            // when it is stuck, the watchdog says so;
            let (release, stuck) = channel::<()>();
            arbiters.spawn(move || {
                let _ = stuck.recv();
            });
            wait_for(|| watchdog.is_stuck());

            // when it turns again, the watchdog is quiet.
            release.send(()).unwrap();
            wait_for(|| !watchdog.is_stuck());
        });
    }

    fn wait_for(what: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !what() {
            assert!(Instant::now() < until, "not within 20 s");
            std::thread::yield_now();
        }
    }
}
