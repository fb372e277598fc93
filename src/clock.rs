//! The one place that reads the clocks.

use crate::time::Time;
use governor::nanos::Nanos;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Reads the wall clock and the monotonic clock; handed to the rooms that do I/O, which pass `now` on.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    /// Set in simulated time only: the wall clock at the start, moving with tokio's clock.
    simulated_wall: Option<Time>,
}

impl Clock {
    /// The system's clocks.
    #[expect(clippy::disallowed_methods, reason = "the one adapter that reads the clock")]
    pub fn system() -> Self {
        Self { started: Instant::now(), simulated_wall: None }
    }

    /// A wall clock that starts at `wall` and moves with tokio's clock, paused or not.
    #[expect(clippy::disallowed_methods, reason = "the one adapter that reads the clock")]
    pub fn simulated(wall: Time) -> Self {
        Self { started: Instant::now(), simulated_wall: Some(wall) }
    }

    /// The wall clock: Unix time.
    #[expect(clippy::disallowed_methods, reason = "the one adapter that reads the clock")]
    pub fn wall(&self) -> Time {
        if let Some(wall) = self.simulated_wall {
            return wall.after(self.elapsed());
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    /// The monotonic clock: time since this clock was made.
    #[expect(clippy::disallowed_methods, reason = "the one adapter that reads the clock")]
    pub fn elapsed(&self) -> Duration {
        Instant::now().duration_since(self.started)
    }

    /// The moment at which [`Clock::elapsed`] will be `elapsed`, for a timer.
    pub fn instant(&self, elapsed: Duration) -> Instant {
        self.started + elapsed
    }
}

/// As rate limiters read it, so that simulated time moves their budgets too.
impl governor::clock::Clock for Clock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.elapsed())
    }
}
