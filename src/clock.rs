//! The one place that reads the clocks.

use crate::time::Time;
use governor::nanos::Nanos;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Reads the wall clock and the monotonic clock; handed to the rooms that do I/O, which pass `now` on.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    /// The wall clock at the start.
    started_wall: Time,
    /// Whether the wall clock moves with tokio's clock, in simulated time.
    is_simulated: bool,
}

impl Clock {
    /// The system's clocks.
    #[expect(clippy::disallowed_methods, reason = "the one adapter that reads the clock")]
    pub fn system() -> Self {
        Self { started: Instant::now(), started_wall: system_wall(), is_simulated: false }
    }

    /// A wall clock that starts at `wall` and moves with tokio's clock, paused or not.
    #[expect(clippy::disallowed_methods, reason = "the one adapter that reads the clock")]
    pub fn simulated(wall: Time) -> Self {
        Self { started: Instant::now(), started_wall: wall, is_simulated: true }
    }

    /// The wall clock: Unix time.
    pub fn wall(&self) -> Time {
        if self.is_simulated { self.started_wall.after(self.elapsed()) } else { system_wall() }
    }

    /// The wall clock when this clock was made, which is at the process's start.
    pub fn started(&self) -> Time {
        self.started_wall
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

#[expect(clippy::disallowed_methods, reason = "the one adapter that reads the clock")]
fn system_wall() -> Time {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}
