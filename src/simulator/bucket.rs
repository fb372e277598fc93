//! The rate limit: a token bucket per API key, as the vendor describes it.

use crate::time::Time;
use std::num::NonZeroU32;
use std::time::Duration;

/// A number of requests per period; a bucket holds as many tokens as one period refills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per period, and the largest burst.
    pub requests: NonZeroU32,
    /// The period, usually a minute.
    pub period: Duration,
}

/// A token bucket. It keeps the time that it still needs to be full instead of a number of tokens,
/// so that nothing is lost to rounding.
#[derive(Clone, Debug)]
pub(super) struct TokenBucket {
    /// The time in which one token is refilled.
    refill: Duration,
    /// The time in which an empty bucket becomes full.
    period: Duration,
    full_in: Duration,
    at: Time,
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(limit: RateLimit, now: Time) -> Self {
        let refill = limit.period / limit.requests.get();
        // The product and not `limit.period`: what the division cut off must not cost the last token.
        Self { refill, period: refill * limit.requests.get(), full_in: Duration::ZERO, at: now }
    }

    /// Takes one token.
    ///
    /// # Errors
    ///
    /// The time until there will be one, when there is none.
    pub(super) fn take(&mut self, now: Time) -> Result<(), Duration> {
        self.full_in = self.full_in.saturating_sub(now.since(self.at));
        self.at = self.at.max(now);
        let full_in = self.full_in + self.refill;
        if full_in > self.period {
            return Err(full_in - self.period);
        }
        self.full_in = full_in;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Time = Time::from_micros(1_700_000_000_000_000);

    fn limit(requests: u32, period: Duration) -> RateLimit {
        RateLimit { requests: NonZeroU32::new(requests).unwrap(), period }
    }

    #[test]
    fn a_full_bucket_allows_one_period_at_once_and_then_says_how_long_to_wait() {
        let mut bucket = TokenBucket::new(limit(1000, Duration::from_secs(60)), START);
        for _ in 0..1000 {
            assert_eq!(bucket.take(START), Ok(()));
        }
        assert_eq!(bucket.take(START), Err(Duration::from_millis(60)));
        assert_eq!(bucket.take(START.after(Duration::from_millis(59))), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(START.after(Duration::from_millis(60))), Ok(()));
        assert!(bucket.take(START.after(Duration::from_millis(60))).is_err());
    }

    #[test]
    fn a_refused_request_costs_nothing() {
        let mut bucket = TokenBucket::new(limit(1, Duration::from_secs(10)), START);
        assert_eq!(bucket.take(START), Ok(()));
        for second in 1..10 {
            assert!(bucket.take(START.after(Duration::from_secs(second))).is_err());
        }
        assert_eq!(bucket.take(START.after(Duration::from_secs(10))), Ok(()));
    }

    proptest! {
        #[test]
        fn no_window_grants_more_than_a_full_bucket_and_its_refill(
            requests in 1_u32..50,
            pauses in prop::collection::vec(0_u64..400, 1..200),
        ) {
            let period = Duration::from_secs(3);
            let mut bucket = TokenBucket::new(limit(requests, period), START);
            let mut now = START;
            let mut granted: Vec<Time> = Vec::new();
            for pause in pauses {
                now = now.after(Duration::from_millis(pause));
                match bucket.take(now) {
                    Ok(()) => granted.push(now),
                    Err(wait) => prop_assert!(wait <= period / requests),
                }
            }
            for (first, from) in granted.iter().enumerate() {
                for (last, to) in granted.iter().enumerate().skip(first) {
                    let refilled = to.since(*from).as_secs_f64() / 3.0 * f64::from(requests);
                    prop_assert!((last - first + 1) as f64 <= f64::from(requests) + refilled + 1e-3);
                }
            }
        }

        #[test]
        fn who_waits_as_long_as_told_is_let_through(requests in 1_u32..50, tries in 1_usize..200) {
            let mut bucket = TokenBucket::new(limit(requests, Duration::from_secs(3)), START);
            let mut now = START;
            for _ in 0..tries {
                if let Err(wait) = bucket.take(now) {
                    // Time counts in microseconds: round up.
                    now = now.after(wait + Duration::from_micros(1));
                    prop_assert_eq!(bucket.take(now), Ok(()));
                }
            }
        }
    }
}
