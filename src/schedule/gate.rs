//! What holds back all requests: an exhausted quota, or a key that is not accepted.

use super::{Backoff, Job, MAX_BACKOFF, Setback};
use crate::task::TaskId;
use std::time::Duration;

/// The first wait after a 429 that does not say how long.
const FIRST_HOLD: Duration = Duration::from_secs(1);
/// The time between two requests while the key is not accepted: enough to notice within a minute that it is again.
const SLOW_INTERVAL: Duration = Duration::from_secs(30);

/// Why all requests are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The key's quota is used up: the API answered 429.
    RateLimited,
    /// The key is not accepted: the API answered 401, or 403 for two different tasks in a row.
    KeyRejected,
}

/// The gate that every request passes.
#[derive(Debug, Default)]
pub struct Gate {
    hold: Option<QuotaHold>,
    /// Set while the key is not accepted: when the next request may go.
    slow_until: Option<Duration>,
    /// The task whose request was answered with 403, until the API answers another with something better.
    forbidden: Option<TaskId>,
    /// When the key last changed: what was asked with the one before says nothing of this one.
    key_changed: Duration,
}

#[derive(Debug)]
struct QuotaHold {
    set: Duration,
    until: Duration,
    /// 429s in a row, each to a request that was sent after the hold before.
    count: u32,
}

impl Gate {
    /// When the next request may go; `None` when nothing holds it back.
    pub fn opens_at(&self) -> Option<Duration> {
        self.hold.as_ref().map(|hold| hold.until).max(self.slow_until)
    }

    /// What holds requests back at `now`, and until when. While the key is not accepted, something always does.
    pub fn holds(&self, now: Duration) -> impl Iterator<Item = (Hold, Duration)> {
        let quota = self.hold.as_ref().map(|hold| hold.until).filter(|until| *until > now);
        let quota = quota.map(|until| (Hold::RateLimited, until));
        quota.into_iter().chain(self.slow_until.map(|until| (Hold::KeyRejected, until)))
    }

    /// A request goes.
    pub(super) fn dispatched(&mut self, now: Duration) {
        if let Some(until) = &mut self.slow_until {
            *until = now + SLOW_INTERVAL;
        }
    }

    /// A request failed.
    pub(super) fn set_back(&mut self, job: &Job, setback: Setback, retry_after: Option<Duration>, now: Duration) {
        if setback == Setback::RateLimited {
            self.hold_back(job, retry_after, now);
            return;
        }
        self.quota_is_back(job);
        if job.dispatched < self.key_changed {
            return;
        }
        match setback {
            Setback::KeyRejected => self.slow_down(now),
            Setback::Forbidden => {
                if self.forbidden.as_ref().is_some_and(|other| *other != job.id) {
                    self.slow_down(now);
                }
                self.forbidden = Some(job.id.clone());
            }
            Setback::RateLimited | Setback::Unavailable | Setback::Other => {}
        }
    }

    /// A request got a readable answer.
    pub(super) fn succeeded(&mut self, job: &Job) {
        self.quota_is_back(job);
        self.slow_until = None;
        self.forbidden = None;
    }

    /// A request was answered with 404. It says nothing of the quota or the key but that this one passed.
    pub(super) fn not_found(&mut self, job: &Job) {
        self.quota_is_back(job);
        self.forbidden = None;
    }

    /// The key has changed.
    pub(super) fn key_changed(&mut self, now: Duration) {
        self.key_changed = now;
        self.slow_until = None;
        self.forbidden = None;
    }

    fn slow_down(&mut self, now: Duration) {
        self.slow_until.get_or_insert(now + SLOW_INTERVAL);
    }

    fn hold_back(&mut self, job: &Job, retry_after: Option<Duration>, now: Duration) {
        // Requests that were under way when the hold began say nothing new.
        let earlier = self.hold.as_ref().map_or(0, |hold| hold.count);
        let is_new = self.hold.as_ref().is_none_or(|hold| job.dispatched >= hold.set);
        let count = if is_new { earlier.saturating_add(1) } else { earlier };
        let wait = retry_after.map_or_else(
            || Backoff::new(FIRST_HOLD, MAX_BACKOFF).after(count.saturating_sub(1)),
            |wait| wait.min(MAX_BACKOFF),
        );
        let until = match &self.hold {
            Some(hold) if !is_new && retry_after.is_none() => hold.until,
            Some(hold) => hold.until.max(now + wait),
            None => now + wait,
        };
        let set = self.hold.as_ref().filter(|_| !is_new).map_or(now, |hold| hold.set);
        self.hold = Some(QuotaHold { set, until, count });
    }

    /// A request that was sent after the hold began was not answered with 429.
    fn quota_is_back(&mut self, job: &Job) {
        if self.hold.as_ref().is_some_and(|hold| job.dispatched >= hold.set) {
            self.hold = None;
        }
    }
}
