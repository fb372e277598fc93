//! `poll`: how often a task is polled, and for how long.

use super::duration;
use super::value::{Problem, Section, Value};
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

impl Default for PollConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            min_interval: Duration::from_secs(2),
            precision: 0.1,
            abandon_after: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl PollConfig {
    /// Reads the section.
    pub(super) fn read(mut section: Section<'_>) -> Result<Self, Problem> {
        let default = Self::default();
        let config = Self {
            interval: section.read("interval", default.interval, Value::positive_duration)?,
            min_interval: section.read("min_interval", default.min_interval, Value::positive_duration)?,
            precision: section.read("precision", default.precision, precision)?,
            abandon_after: section.read("abandon_after", default.abandon_after, Value::positive_duration)?,
        };
        if config.min_interval > config.interval {
            return Err(crossed(&config, &section));
        }
        section.finish()?;
        Ok(config)
    }
}

/// The shortest time between polls is above the longest: told of the one that is written, as the other may be a default.
fn crossed(config: &PollConfig, section: &Section<'_>) -> Problem {
    let (shortest, longest) = (duration::show(config.min_interval), duration::show(config.interval));
    let (interval, min_interval) = (section.path("interval"), section.path("min_interval"));
    if !section.has("min_interval") {
        let text = format!(
            "found {longest}, allowed is at least poll.min_interval, which is {shortest} by default; lower that too"
        );
        return Problem::new(interval, text);
    }
    let by_default = if section.has("interval") { "" } else { " by default" };
    let text = format!("found {shortest}, allowed is at most poll.interval, which is {longest}{by_default}");
    let problem = Problem::new(min_interval, text);
    if section.has("interval") { problem.with_other(interval) } else { problem }
}

fn precision(value: &Value<'_>) -> Result<f64, Problem> {
    let share = value.number().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| value.wrong("a number above 0 and at most 1, like 0.1"))
}
