//! What has been counted: counters, histograms and last failures by group, each with the time it began.
//!
//! They are kept beside the task records and change in the same transaction. Sums are whole microseconds, so that a
//! total read back after a restart is the very number that was shown before.

mod exemplar;

pub use exemplar::Exemplar;

use crate::task::{DropReason, ErrorCode, Event, Finished, Group, Outcome, TaskId};
use crate::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A counter family of the `group` families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterFamily {
    /// Tasks that settled, by `outcome`.
    TasksFinished,
    /// Files that finished, by `state`.
    FilesFinished,
    /// Files that failed, by `error_code`.
    FileFailures,
    /// Tasks that finished with a latency that could not be known.
    TaskLatencyUnknown,
    /// Files that finished with a latency that could not be known.
    FileLatencyUnknown,
    /// Tasks given up unfinished, by `reason`.
    TasksDropped,
}

impl CounterFamily {
    /// Every family, in the order in which they are exposed.
    pub const ALL: [Self; 6] = [
        Self::TasksFinished,
        Self::FilesFinished,
        Self::FileFailures,
        Self::TaskLatencyUnknown,
        Self::FileLatencyUnknown,
        Self::TasksDropped,
    ];

    /// The metric's name, under which the store keeps it too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TasksFinished => "dragdropdo_tasks_finished_total",
            Self::FilesFinished => "dragdropdo_files_finished_total",
            Self::FileFailures => "dragdropdo_file_failures_total",
            Self::TaskLatencyUnknown => "dragdropdo_task_latency_unknown_total",
            Self::FileLatencyUnknown => "dragdropdo_file_latency_unknown_total",
            Self::TasksDropped => "dragdropdo_tasks_dropped_total",
        }
    }

    /// The label beside `group`, if the family has one.
    pub const fn label(self) -> Option<&'static str> {
        match self {
            Self::TasksFinished => Some("outcome"),
            Self::FilesFinished => Some("state"),
            Self::FileFailures => Some("error_code"),
            Self::TasksDropped => Some("reason"),
            Self::TaskLatencyUnknown | Self::FileLatencyUnknown => None,
        }
    }

    /// The label values that exist from the start in every group.
    fn closed_values(self) -> Vec<&'static str> {
        match self {
            Self::TasksFinished => Outcome::ALL.map(Outcome::as_str).to_vec(),
            Self::FilesFinished => Finished::ALL.map(Finished::as_str).to_vec(),
            Self::TasksDropped => DropReason::ALL.map(DropReason::as_str).to_vec(),
            Self::TaskLatencyUnknown | Self::FileLatencyUnknown => vec![""],
            Self::FileFailures => Vec::new(),
        }
    }
}

/// A histogram family of the `group` families, each by `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HistogramFamily {
    /// From a task's start until it finished.
    TaskLatency,
    /// From its task's start until a file finished.
    FileLatency,
}

impl HistogramFamily {
    /// Both, in the order in which they are exposed.
    pub const ALL: [Self; 2] = [Self::TaskLatency, Self::FileLatency];

    /// The metric's name, under which the store keeps it too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TaskLatency => "dragdropdo_task_completion_latency_seconds",
            Self::FileLatency => "dragdropdo_file_completion_latency_seconds",
        }
    }
}

/// One thing to count, in one group.
#[derive(Clone, Debug, PartialEq)]
pub enum Count {
    /// A counter goes up; by zero, it comes to exist.
    Counter {
        /// Which.
        family: CounterFamily,
        /// Its label's value; empty for a family without one.
        value: Arc<str>,
        /// By how much.
        by: u64,
    },
    /// A latency enters a histogram; `None`, the histogram comes to exist.
    Latency {
        /// Which.
        family: HistogramFamily,
        /// Its `state`.
        state: Finished,
        /// The latency, and the task that it was measured on.
        measured: Option<Exemplar>,
    },
    /// A failure was counted at this time.
    LastFailure {
        /// Its error code.
        error_code: ErrorCode,
        /// When.
        at: Time,
    },
}

impl Count {
    fn one(family: CounterFamily, value: &str) -> Self {
        Self::Counter { family, value: value.into(), by: 1 }
    }

    /// Everything that exists from the moment that a group is known, at zero.
    pub fn group_at_zero(known_error_codes: &[ErrorCode]) -> Vec<Self> {
        let zero = |family, value: &str| Self::Counter { family, value: value.into(), by: 0 };
        let closed = CounterFamily::ALL
            .into_iter()
            .flat_map(|family| family.closed_values().into_iter().map(move |value| zero(family, value)));
        let codes = known_error_codes.iter().map(|code| zero(CounterFamily::FileFailures, code.as_str()));
        let histograms = HistogramFamily::ALL.into_iter().flat_map(|family| {
            Finished::ALL.into_iter().map(move |state| Self::Latency { family, state, measured: None })
        });
        closed.chain(codes).chain(histograms).collect()
    }

    /// What an event of a task makes count, at `now`. `bounded` keeps the number of error codes within its limit.
    pub fn of(
        event: &Event,
        task_id: &TaskId,
        now: Time,
        bounded: &mut impl FnMut(&ErrorCode) -> ErrorCode,
    ) -> Vec<Self> {
        let timed = |family, state, latency: Option<Duration>, unknown| match latency {
            Some(latency) => {
                let measured = Some(Exemplar { task_id: task_id.clone(), latency, counted: now });
                Self::Latency { family, state, measured }
            }
            None => Self::one(unknown, ""),
        };
        let file = |state: Finished, latency| {
            let timed = timed(HistogramFamily::FileLatency, state, latency, CounterFamily::FileLatencyUnknown);
            vec![Self::one(CounterFamily::FilesFinished, state.as_str()), timed]
        };
        match event {
            Event::TaskFinished { state, latency } => {
                vec![timed(HistogramFamily::TaskLatency, *state, *latency, CounterFamily::TaskLatencyUnknown)]
            }
            Event::TaskSettled { outcome, unnamed_failure } => {
                let mut counts = vec![Self::one(CounterFamily::TasksFinished, outcome.as_str())];
                if *unnamed_failure {
                    counts.push(Self::LastFailure { error_code: ErrorCode::unspecified(), at: now });
                }
                counts
            }
            Event::FileCompleted { latency } => file(Finished::Completed, *latency),
            Event::FileFailed { error_code, latency } => {
                let error_code = bounded(error_code);
                let mut counts = file(Finished::Failed, *latency);
                counts.push(Self::one(CounterFamily::FileFailures, error_code.as_str()));
                counts.push(Self::LastFailure { error_code, at: now });
                counts
            }
            Event::TaskDropped(reason) => vec![Self::one(CounterFamily::TasksDropped, reason.as_str())],
        }
    }
}

/// A counter and the time it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Its value.
    pub value: u64,
    /// When it began to count.
    pub created: Time,
}

/// A histogram and the time it began.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Observations in each bucket alone (not cumulative), one more than there are bounds.
    pub buckets: Vec<u64>,
    /// The sum of all observations, in microseconds.
    pub sum_micros: u64,
    /// When it began to count.
    pub created: Time,
    /// The latest exemplar of each bucket that has one, by the bucket's place. They are not stored: whoever scrapes them
    /// keeps them.
    pub exemplars: BTreeMap<usize, Exemplar>,
}

impl Histogram {
    /// A histogram without observations.
    pub fn new(bounds: &[f64], created: Time) -> Self {
        Self { buckets: vec![0; bounds.len() + 1], sum_micros: 0, created, exemplars: BTreeMap::new() }
    }

    /// Counts a latency. One whose task ID OpenMetrics has no room for leaves its bucket the earlier exemplar.
    fn observe(&mut self, bounds: &[f64], measured: &Exemplar) {
        let bucket = bucket(bounds, measured.latency);
        self.buckets[bucket] += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros(measured.latency));
        if measured.fits() {
            self.exemplars.insert(bucket, measured.clone());
        }
    }
}

/// The place of the bucket that a latency falls into.
pub fn bucket(bounds: &[f64], latency: Duration) -> usize {
    bounds.partition_point(|bound| *bound < latency.as_secs_f64())
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

/// All totals of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupTotals {
    /// Counters by family and label value.
    pub counters: BTreeMap<(CounterFamily, Arc<str>), Counter>,
    /// Histograms by family and state.
    pub histograms: BTreeMap<(HistogramFamily, Finished), Histogram>,
    /// When the latest failure was counted, by error code.
    pub last_failures: BTreeMap<ErrorCode, Time>,
}

impl GroupTotals {
    /// Adds what was counted. What does not exist yet begins at `now`.
    pub fn add(&mut self, count: &Count, bounds: &[f64], now: Time) {
        match count {
            Count::Counter { family, value, by } => {
                let new = || Counter { value: 0, created: now };
                self.counters.entry((*family, value.clone())).or_insert_with(new).value += by;
            }
            Count::Latency { family, state, measured } => {
                let histogram = self.histograms.entry((*family, *state)).or_insert_with(|| Histogram::new(bounds, now));
                if let Some(measured) = measured {
                    histogram.observe(bounds, measured);
                }
            }
            Count::LastFailure { error_code, at } => {
                let last = self.last_failures.entry(error_code.clone()).or_insert(*at);
                *last = (*last).max(*at);
            }
        }
    }

    /// Whether the series that a count goes to exists.
    pub fn has(&self, count: &Count) -> bool {
        match count {
            Count::Counter { family, value, .. } => self.counters.contains_key(&(*family, value.clone())),
            Count::Latency { family, state, .. } => self.histograms.contains_key(&(*family, *state)),
            Count::LastFailure { error_code, .. } => self.last_failures.contains_key(error_code),
        }
    }

    /// Adds another group's totals of what was counted since, for totals that were loaded.
    pub fn merge(&mut self, since: &Self) {
        for (key, counter) in &since.counters {
            self.counters.entry(key.clone()).or_insert(Counter { value: 0, ..*counter }).value += counter.value;
        }
        for (key, new) in &since.histograms {
            let histogram = self.histograms.entry(*key).or_insert_with(|| Histogram {
                buckets: vec![0; new.buckets.len()],
                sum_micros: 0,
                created: new.created,
                exemplars: BTreeMap::new(),
            });
            for (bucket, more) in histogram.buckets.iter_mut().zip(&new.buckets) {
                *bucket += more;
            }
            histogram.sum_micros = histogram.sum_micros.saturating_add(new.sum_micros);
            histogram.exemplars.extend(new.exemplars.clone());
        }
        for (error_code, at) in &since.last_failures {
            let last = self.last_failures.entry(error_code.clone()).or_insert(*at);
            *last = (*last).max(*at);
        }
    }
}

/// The totals of every known group.
pub type Totals = BTreeMap<Group, GroupTotals>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_on_a_bound_falls_into_the_bucket_of_that_bound() {
        let bounds = [1.0, 2.5];
        assert_eq!(bucket(&bounds, Duration::from_secs(1)), 0);
        assert_eq!(bucket(&bounds, Duration::from_micros(1_000_001)), 1);
        assert_eq!(bucket(&bounds, Duration::from_secs(3)), 2);
    }

    fn file_latency(task_id: &str, seconds: u64) -> Count {
        let task_id = TaskId::new(task_id).unwrap();
        let measured = Exemplar { task_id, latency: Duration::from_secs(seconds), counted: Time::from_micros(5) };
        let (family, state) = (HistogramFamily::FileLatency, Finished::Completed);
        Count::Latency { family, state, measured: Some(measured) }
    }

    #[test]
    fn a_bucket_has_the_latest_exemplar_that_fits_and_another_bucket_its_own() {
        let (bounds, now) = ([1.0, 10.0], Time::from_micros(1));
        let (mut totals, mut since) = (GroupTotals::default(), GroupTotals::default());
        for count in [file_latency("first", 3), file_latency("other", 30)] {
            totals.add(&count, &bounds, now);
        }
        for count in [file_latency("second", 10), file_latency(&"x".repeat(256), 2), file_latency("fast", 1)] {
            since.add(&count, &bounds, now);
        }
        totals.merge(&since);
        let histogram = &totals.histograms[&(HistogramFamily::FileLatency, Finished::Completed)];
        assert_eq!(histogram.buckets, [1, 3, 1]);
        let shown = histogram.exemplars.iter().map(|(place, exemplar)| (*place, exemplar.task_id.as_str()));
        assert_eq!(shown.collect::<Vec<_>>(), [(0, "fast"), (1, "second"), (2, "other")]);
        assert_eq!(histogram.exemplars[&1].latency, Duration::from_secs(10));
    }

    #[test]
    fn totals_merged_from_parts_equal_totals_added_at_once() {
        let bounds = [1.0];
        let (early, late) = (Time::from_micros(1), Time::from_micros(2));
        let counts = |seconds| {
            [
                Count::one(CounterFamily::FilesFinished, "completed"),
                file_latency("task", seconds),
                Count::LastFailure { error_code: ErrorCode::unspecified(), at: Time::from_micros(9) },
            ]
        };
        let (mut whole, mut part) = (GroupTotals::default(), GroupTotals::default());
        for count in counts(1) {
            whole.add(&count, &bounds, early);
        }
        let mut merged = whole.clone();
        for count in counts(3) {
            whole.add(&count, &bounds, late);
            part.add(&count, &bounds, late);
        }
        merged.merge(&part);
        assert_eq!(merged, whole);
        assert_eq!(merged.histograms[&(HistogramFamily::FileLatency, Finished::Completed)].created, early);
    }
}
