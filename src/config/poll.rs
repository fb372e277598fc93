//! `poll`: how often a task is polled, and for how long.

use std::time::Duration;

/// How often a task is polled.
#[derive(Clone, Debug)]
pub struct PollConfig {
    /// The longest time between two polls of a task.
    pub interval: Duration,
    /// The shortest time between two polls of a task.
    pub min_interval: Duration,
    /// The share of its age after which a task is polled again: about the relative error of a latency.
    pub precision: f64,
    /// How long after its start a task that is still unfinished is given up.
    pub abandon_after: Duration,
}
