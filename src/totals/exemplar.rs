//! Which task the latest latency of a bucket was: what OpenMetrics calls an exemplar.

use crate::task::TaskId;
use crate::time::Time;
use std::time::Duration;

/// Most characters of an exemplar's label names and values together, as OpenMetrics 1.0 allows (its section
/// "Exemplars"); a scraper may refuse the whole exposition for a longer one.
const MAX_CHARACTERS: usize = 128;

/// A latency that was counted, and the task that it was measured on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// The task.
    pub task_id: TaskId,
    /// The latency: the very value that decided on the bucket.
    pub latency: Duration,
    /// When it was counted.
    pub counted: Time,
}

impl Exemplar {
    /// The name of its label.
    pub const LABEL: &'static str = "task_id";

    /// Whether OpenMetrics has room for it.
    pub fn fits(&self) -> bool {
        Self::LABEL.chars().count() + self.task_id.as_str().chars().count() <= MAX_CHARACTERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_task_id_that_fits_has_121_characters_of_any_size() {
        let fits = |character: &str, count| {
            let task_id = TaskId::new(&character.repeat(count)).unwrap();
            Exemplar { task_id, latency: Duration::ZERO, counted: Time::from_micros(0) }.fits()
        };
        assert!(fits("x", 121) && fits("ü", 121));
        assert!(!fits("x", 122) && !fits("ü", 122));
    }
}
