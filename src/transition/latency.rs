//! When a latency is known well enough to be shown.

use super::Policy;
use crate::time::Time;
use std::time::Duration;

/// The time from `start` to `end`, or `None` when it is not known well enough.
///
/// The end lies somewhere after the last unfinished observation, or after the start when there was none. That stretch
/// may be as long as two polling intervals or half the latency, whichever is longer: an exporter that was down for an
/// hour then reports no hour-long latencies.
pub(super) fn known(
    start: Option<Time>,
    end: Time,
    last_unfinished: Option<Time>,
    policy: &Policy,
) -> Option<Duration> {
    let start = start?;
    let latency = end.since(start);
    let uncertainty = end.since(last_unfinished.unwrap_or(start));
    (uncertainty <= (latency / 2).max(policy.poll_interval.saturating_mul(2))).then_some(latency)
}
