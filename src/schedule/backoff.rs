//! How long to wait after failures: doubling up to a bound, spread by chance.

use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// The longest wait after failures, and the longest that a `Retry-After` is followed: an API that recovers is noticed
/// within it.
pub const MAX_BACKOFF: Duration = Duration::from_secs(5 * 60);
/// The largest part by which chance shortens a wait. It only shortens, so that no bound is passed.
const JITTER: f64 = 0.1;

/// A wait that doubles with each failure in a row.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// The first wait, and the longest.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first: first.min(most), most }
    }

    /// The wait after a failure that follows `earlier` failures in a row.
    pub fn after(self, earlier: u32) -> Duration {
        // Past 2^31 every first wait has met its bound.
        self.first.saturating_mul(1 << earlier.min(31)).min(self.most)
    }
}

/// `wait`, shortened by up to a tenth.
pub(super) fn jittered(wait: Duration, random: &mut StdRng) -> Duration {
    wait.mul_f64(1.0 - random.random_range(0.0..=JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let backoff = Backoff::new(Duration::from_secs(2), MAX_BACKOFF);
        let waits: Vec<u64> = (0..10).map(|earlier| backoff.after(earlier).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_its_bound_nor_shorter_than_nine_tenths(
            first in 1u64..1_000_000, most in 1u64..1_000_000, earlier: u32, seed: u64,
        ) {
            let backoff = Backoff::new(Duration::from_millis(first), Duration::from_millis(most));
            let wait = backoff.after(earlier);
            prop_assert!(wait <= Duration::from_millis(most));
            let jittered = jittered(wait, &mut StdRng::seed_from_u64(seed));
            prop_assert!(jittered <= wait && jittered >= wait.mul_f64(0.899));
        }
    }
}
