//! What falls due by time alone.

use super::{Policy, settle};
use crate::task::{DropReason, Dropped, Event, TaskRecord};
use crate::time::Time;
use std::time::Duration;

/// A finished task settles this long after it finished, whatever its files say: the API's word for a file may never come.
pub(super) const SETTLE_AFTER: Duration = Duration::from_secs(5 * 60);
/// A task that no list names is dropped when the API has not known it for this long.
pub(super) const DROP_AFTER: Duration = Duration::from_secs(60 * 60);

/// Applies what has fallen due by `now`: settling, abandoning, dropping. Returns what it makes count.
pub fn expire(record: &mut TaskRecord, policy: &Policy, now: Time) -> Vec<Event> {
    let mut events = Vec::new();
    match due(record, policy) {
        Some((at, Due::Settle)) if at <= now => settle(record, now, &mut events),
        Some((at, Due::Drop(reason))) if at <= now => {
            record.dropped = Some(Dropped { at: now, reason });
            events.push(Event::TaskDropped(reason));
        }
        Some(_) | None => {}
    }
    events
}

/// When [`expire`] next has something to do, or the task leaves the gauges; `None` when time alone changes nothing.
pub fn deadline(record: &TaskRecord, policy: &Policy) -> Option<Time> {
    due(record, policy).map(|(at, _)| at).or_else(|| leaves_at(record, policy))
}

/// When a settled task that no list names leaves the gauges.
pub fn leaves_at(record: &TaskRecord, policy: &Policy) -> Option<Time> {
    let settled = record.settled?.at;
    Some(record.unlisted_since?.max(settled).after(policy.retention))
}

enum Due {
    Settle,
    Drop(DropReason),
}

fn due(record: &TaskRecord, policy: &Policy) -> Option<(Time, Due)> {
    if record.settled.is_some() || record.dropped.is_some() {
        return None;
    }
    if let Some(end) = record.end {
        return Some((end.after(SETTLE_AFTER), Due::Settle));
    }
    let abandoned = record.start.map(|start| (start.after(policy.abandon_after), Due::Drop(DropReason::Abandoned)));
    let not_found = record
        .not_found_since
        .filter(|_| record.unlisted_since.is_some())
        .map(|since| (since.after(DROP_AFTER), Due::Drop(DropReason::NotFound)));
    [abandoned, not_found].into_iter().flatten().min_by_key(|(at, _)| *at)
}
