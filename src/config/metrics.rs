//! `metrics`: what is exposed.

use super::value::{Problem, Section, Value};
use crate::task::ErrorCode;
use std::collections::BTreeSet;

/// Most buckets of a histogram: each is a series per group and state.
const MAX_BUCKETS: usize = 100;
/// Most error codes counted by name: each is a series per group in which it occurred.
const MAX_ERROR_CODES: usize = 10_000;
/// Most tasks covered by the per-task metrics: each is about a dozen series, so this is over a million.
const MAX_PER_TASK_LIMIT: usize = 100_000;

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
    /// Whether OpenMetrics has `_created` samples.
    pub created_samples: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            latency_buckets: vec![1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0],
            known_error_codes: ErrorCode::from_api("internal_error").into_iter().collect(),
            max_error_codes: 100,
            per_task_limit: 100,
            created_samples: false,
        }
    }
}

impl MetricsConfig {
    /// Reads the section.
    pub(super) fn read(mut section: Section<'_>) -> Result<Self, Problem> {
        let default = Self::default();
        let config = Self {
            latency_buckets: section.read("latency_buckets", default.latency_buckets, latency_buckets)?,
            known_error_codes: section.read("known_error_codes", default.known_error_codes, known_error_codes)?,
            max_error_codes: section
                .read("max_error_codes", default.max_error_codes, |value| value.whole(1..=MAX_ERROR_CODES))?,
            per_task_limit: section
                .read("per_task_limit", default.per_task_limit, |value| value.whole(0..=MAX_PER_TASK_LIMIT))?,
            created_samples: section.read("created_samples", default.created_samples, Value::boolean)?,
        };
        if config.known_error_codes.len() > config.max_error_codes {
            let (known, most) = (config.known_error_codes.len(), config.max_error_codes);
            let text = format!("found {known} codes, allowed are at most metrics.max_error_codes, which is {most}");
            return Err(Problem::new(section.path("known_error_codes"), text));
        }
        section.finish()?;
        Ok(config)
    }
}

fn latency_buckets(value: &Value<'_>) -> Result<Vec<f64>, Problem> {
    let entries = value.list("numbers")?;
    if entries.is_empty() || entries.len() > MAX_BUCKETS {
        let text = format!("found {} buckets, allowed are 1 to {MAX_BUCKETS}", entries.len());
        return Err(Problem::new(value.path().clone(), text));
    }
    let mut buckets: Vec<f64> = Vec::with_capacity(entries.len());
    for entry in entries {
        let seconds = entry.number().filter(|seconds| *seconds > 0.0 && seconds.is_finite());
        let seconds = seconds.ok_or_else(|| entry.wrong("a number of seconds above 0 (+Inf is added by itself)"))?;
        if let Some(last) = buckets.last().filter(|last| **last >= seconds) {
            return Err(entry.wrong(&format!("a number above the one before it, {last}")));
        }
        buckets.push(seconds);
    }
    Ok(buckets)
}

fn known_error_codes(value: &Value<'_>) -> Result<Vec<ErrorCode>, Problem> {
    let (mut codes, mut seen) = (Vec::new(), BTreeSet::new());
    for entry in value.list("error codes")? {
        let code = entry.text().and_then(ErrorCode::from_api);
        let code = code.ok_or_else(|| entry.wrong("an error code as a text that is not empty, like internal_error"))?;
        if seen.insert(code.clone()) {
            codes.push(code);
        }
    }
    Ok(codes)
}
