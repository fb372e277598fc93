//! Whether the loops of the exporter still come round, and whether it has begun its work.

use crate::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// A loop that has not come round for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// The longest that a loop sleeps or waits between two beats: several fit before it counts as stuck.
pub const BEAT_EVERY: Duration = Duration::from_secs(10);

/// One loop's sign of life. It says that the loop comes round, not that it gets anywhere: being idle, held back by the
/// API or without a disk is healthy.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    clock: Clock,
    last_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    /// A heart that beats now.
    pub fn new(clock: Clock) -> Self {
        let heartbeat = Self { clock, last_ms: Arc::default() };
        heartbeat.beat();
        heartbeat
    }

    /// The loop comes round.
    pub fn beat(&self) {
        let now = u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// Beats on while `work` takes its time.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            self.beat();
            tokio::select! {
                result = &mut work => return result,
                () = tokio::time::sleep(BEAT_EVERY) => {}
            }
        }
    }

    fn is_stuck(&self) -> bool {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.clock.elapsed().saturating_sub(last) > STUCK_AFTER
    }
}

/// What `/-/healthy` and `/-/ready` answer from.
#[derive(Clone, Debug)]
pub struct Health {
    /// The poller's loop.
    pub poller: Heartbeat,
    /// The ledger's loop.
    pub ledger: Heartbeat,
    ready: watch::Sender<bool>,
}

impl Health {
    /// Healthy, and not yet ready.
    pub fn new(clock: &Clock) -> Self {
        Self {
            poller: Heartbeat::new(clock.clone()),
            ledger: Heartbeat::new(clock.clone()),
            ready: watch::Sender::new(false),
        }
    }

    /// The store is loaded and the first sweep of the configured tasks has begun.
    pub fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Whether [`Health::set_ready`] has been called.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until [`Health::set_ready`] has been called.
    pub async fn ready(&self) {
        // It fails only when nobody is left who could call it, and this is one.
        self.ready.subscribe().wait_for(|ready| *ready).await.ok();
    }

    /// The loops that have not come round for a minute.
    pub fn stuck(&self) -> Vec<&'static str> {
        let loops = [("poller", &self.poller), ("ledger", &self.ledger)];
        loops.into_iter().filter(|(_, heartbeat)| heartbeat.is_stuck()).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_has_not_come_round_for_a_minute_is_stuck_and_one_at_long_work_is_not() {
        let health = Health::new(&Clock::simulated(Time::from_micros(0)));
        health.ledger.during(tokio::time::sleep(Duration::from_secs(120))).await;
        assert_eq!(health.stuck(), ["poller"]);
        health.poller.beat();
        assert!(health.stuck().is_empty());
    }
}
