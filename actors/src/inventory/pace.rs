//! How actors of one SKU on several replicas take turns. Pure: the caller brings durations and
//! chance.

use std::time::Duration;

/// The shortest and the longest pause that is made.
const BOUNDS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// Steps of back-off.
const MOST: u32 = 5;

/// How contended the stock record is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    level: u32,
}

impl Pace {
    /// The pause after an attempt that came too late and took `took`; `chance` is 0..1. It grows
    /// with each one, in units of what an attempt takes, so that some other's attempt fits in.
    pub(super) fn came_too_late(&mut self, took: Duration, chance: f64) -> Duration {
        self.level = (self.level + 1).min(MOST);
        spread(took * self.level, chance)
    }

    /// The pause after an attempt that succeeded. There is none, unless others were met lately:
    /// then the winner lets them go first, or else the fastest replica would win every time.
    pub(super) fn succeeded(&mut self, took: Duration, chance: f64) -> Duration {
        if self.level == 0 {
            return Duration::ZERO;
        }
        self.level -= 1;
        spread(took, chance)
    }
}

fn spread(span: Duration, chance: f64) -> Duration {
    span.clamp(BOUNDS.0, BOUNDS.1).mul_f64(chance.clamp(0.0, 1.0) + 0.5).min(BOUNDS.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(4);

    #[test]
    fn alone_on_a_sku_it_never_pauses() {
        assert_eq!(Pace::default().succeeded(TOOK, 1.0), Duration::ZERO);
    }

    #[test]
    fn pauses_grow_with_each_defeat_and_have_a_bound() {
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..8).map(|_| pace.came_too_late(TOOK, 0.5)).collect();
        assert!(pauses.is_sorted() && pauses[0] < pauses[4], "{pauses:?}");
        assert_eq!(Pace::default().came_too_late(Duration::from_secs(9), 1.0), BOUNDS.1);
    }

    #[test]
    fn the_winner_lets_others_go_first_until_the_contention_is_over() {
        let mut pace = Pace::default();
        pace.came_too_late(TOOK, 0.5);
        assert!(pace.succeeded(TOOK, 0.0) > Duration::ZERO);
        assert_eq!(pace.succeeded(TOOK, 1.0), Duration::ZERO);
    }
}
