//! The schedule as the rooms that do I/O share it.

use super::Schedule;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// The schedule behind a lock that is held for memory work only, and a bell for the poller.
#[derive(Debug)]
pub struct SharedSchedule {
    schedule: Mutex<Schedule>,
    changed: Notify,
}

impl SharedSchedule {
    /// Shares a schedule.
    pub fn new(schedule: Schedule) -> Self {
        Self { schedule: Mutex::new(schedule), changed: Notify::new() }
    }

    /// Works with the schedule.
    pub fn with<T>(&self, work: impl FnOnce(&mut Schedule) -> T) -> T {
        // Nothing under the lock can panic halfway through a change.
        work(&mut self.schedule.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Works with the schedule, and rings when a poll may now be made sooner than before.
    pub fn change<T>(&self, work: impl FnOnce(&mut Schedule) -> T) -> T {
        let (result, is_sooner) = self.with(|schedule| {
            let before = schedule.next_at();
            let result = work(schedule);
            let after = schedule.next_at();
            (result, after.is_some_and(|after| before.is_none_or(|before| after < before)))
        });
        if is_sooner {
            self.ring();
        }
        result
    }

    /// Makes the poller look at the schedule.
    pub fn ring(&self) {
        self.changed.notify_one();
    }

    /// Waits for the next change; one that came before is not missed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
