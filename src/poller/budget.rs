//! The budget that all requests share: the key's quota also feeds the application that submits the work.

use crate::clock::Clock;
use crate::config::RateLimit;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::time::Duration;

/// One request per period's share, in bursts of at most one second's worth.
#[derive(Debug)]
pub(super) struct Budget {
    limiter: RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<Nanos>>,
    clock: Clock,
}

impl Budget {
    pub(super) fn new(limit: RateLimit, clock: Clock) -> Self {
        Self { limiter: RateLimiter::direct_with_clock(quota(limit), clock.clone()), clock }
    }

    /// Takes one request from the budget.
    ///
    /// # Errors
    ///
    /// How long it takes until there is one.
    pub(super) fn take(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|not_yet| not_yet.wait_time_from(self.clock.now()))
    }
}

fn quota(limit: RateLimit) -> Quota {
    let share = limit.period / limit.requests.get();
    let per_second = f64::from(limit.requests.get()) / limit.period.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number, cut on purpose")]
    let burst = NonZeroU32::new(per_second as u32).unwrap_or(NonZeroU32::MIN);
    // A share of nothing would be a budget without a bound: a nanosecond is none that can be reached.
    Quota::with_period(share.max(Duration::from_nanos(1)))
        .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
        .allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    fn budget(requests: u32, period: u64) -> Budget {
        let limit = RateLimit { requests: NonZeroU32::new(requests).unwrap(), period: Duration::from_secs(period) };
        Budget::new(limit, Clock::simulated(Time::from_micros(0)))
    }

    async fn requests_in(budget: &Budget, seconds: u64) -> u32 {
        let mut requests = 0;
        for _ in 0..seconds * 1000 {
            while budget.take().is_ok() {
                requests += 1;
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        requests
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_at_most_one_seconds_worth_and_the_rate_holds_over_time() {
        let per_minute = budget(300, 60);
        assert_eq!(requests_in(&per_minute, 1).await, 5 + 4);
        assert_eq!(requests_in(&per_minute, 60).await, 300);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_budget_lets_one_request_go_at_a_time() {
        let per_hour = budget(60, 3600);
        assert_eq!(per_hour.take(), Ok(()));
        let wait = per_hour.take().unwrap_err();
        assert!(wait > Duration::from_secs(59) && wait <= Duration::from_secs(60), "{wait:?}");
        assert_eq!(requests_in(&per_hour, 601).await, 10);
    }
}
