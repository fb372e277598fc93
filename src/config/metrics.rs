//! `metrics`: what is exposed.

use crate::task::ErrorCode;

/// What is exposed.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// Upper bounds of the completion latency histograms, in seconds, rising, without `+Inf`.
    pub latency_buckets: Vec<f64>,
    /// Error codes that are exposed as 0 from the start.
    pub known_error_codes: Vec<ErrorCode>,
    /// How many distinct error codes are counted by name before new ones are counted as `other`.
    pub max_error_codes: usize,
    /// How many tasks the per-task metrics cover at most.
    pub per_task_limit: usize,
}
