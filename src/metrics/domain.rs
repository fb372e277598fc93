//! The families of the published view: what is tracked, what has been counted, and the tasks one by one.

use super::text::{Family, Kind, Value};
use crate::task::{Finished, State, TaskRecord};
use crate::totals::{CounterFamily, HistogramFamily};
use crate::view::{GroupSnapshot, Snapshot};
use std::sync::Arc;

pub(super) fn render(out: &mut String, snapshot: &Snapshot) {
    by_state(
        out,
        snapshot,
        "dragdropdo_tasks",
        "Tracked tasks now in each state, by the latest answer of the D3 API. unknown: never yet observed, not found, \
         or a word that the exporter does not know.",
        |group| &group.tasks,
    );
    by_state(
        out,
        snapshot,
        "dragdropdo_files",
        "Files of tracked tasks now in each state, by the latest answer about each task.",
        |group| &group.files,
    );
    for family in CounterFamily::ALL {
        counters(out, snapshot, family);
    }
    last_failures(out, snapshot);
    for family in HistogramFamily::ALL {
        histograms(out, snapshot, family);
    }
    oldest_unfinished(out, snapshot);
    tasks(out, &snapshot.tasks);
    Family::new(
        out,
        "dragdropdo_exporter_hidden_tasks",
        Kind::Gauge,
        "Tracked tasks that the per-task metrics leave out, by metrics.per_task_limit.",
    )
    .sample(&[], Value::Count(snapshot.hidden as u64));
}

fn by_state(
    out: &mut String,
    snapshot: &Snapshot,
    name: &str,
    help: &str,
    counts: impl Fn(&GroupSnapshot) -> &[u64; State::ALL.len()],
) {
    let mut family = Family::new(out, name, Kind::Gauge, help);
    for group in &snapshot.groups {
        for (state, count) in State::ALL.into_iter().zip(counts(group)) {
            family.sample(&[("group", group.group.as_str()), ("state", state.as_str())], Value::Count(*count));
        }
    }
}

fn counters(out: &mut String, snapshot: &Snapshot, which: CounterFamily) {
    let help = match which {
        CounterFamily::TasksFinished => {
            "Tasks that settled, each once, by outcome. partially_failed: completed, and at least one file failed."
        }
        CounterFamily::FilesFinished => "Files that finished, each once per state.",
        CounterFamily::FileFailures => {
            "Files that failed, each once, by the error code of the D3 API. unspecified: it gave none; \
             other: one more than metrics.max_error_codes."
        }
        CounterFamily::TaskLatencyUnknown => {
            "Tasks that finished with a latency that is not known well enough for the histogram."
        }
        CounterFamily::FileLatencyUnknown => {
            "Files that finished with a latency that is not known well enough for the histogram."
        }
        CounterFamily::TasksDropped => {
            "Tasks given up unfinished. not_found: the D3 API did not know them for an hour; \
             abandoned: unfinished for poll.abandon_after."
        }
    };
    let mut family = Family::new(out, which.name(), Kind::Counter, help);
    for group in &snapshot.groups {
        for ((_, value), counter) in group.totals.counters.iter().filter(|((of, _), _)| *of == which) {
            let count = Value::Count(counter.value);
            match which.label() {
                Some(label) => family.sample(&[("group", group.group.as_str()), (label, value)], count),
                None => family.sample(&[("group", group.group.as_str())], count),
            }
        }
    }
}

fn last_failures(out: &mut String, snapshot: &Snapshot) {
    let mut family = Family::new(
        out,
        "dragdropdo_last_failure_timestamp_seconds",
        Kind::Gauge,
        "When the latest failure was counted, Unix time, by error code; absent before the first. It survives restarts.",
    );
    for group in &snapshot.groups {
        for (error_code, at) in &group.totals.last_failures {
            let labels = [("group", group.group.as_str()), ("error_code", error_code.as_str())];
            family.sample(&labels, Value::Number(at.as_secs_f64()));
        }
    }
}

fn histograms(out: &mut String, snapshot: &Snapshot, which: HistogramFamily) {
    let help = match which {
        HistogramFamily::TaskLatency => {
            "Time from a task's start until it finished, where it is known well enough, by the state it ended in."
        }
        HistogramFamily::FileLatency => {
            "Time from its task's start until a file finished, where it is known well enough, by the state it ended in."
        }
    };
    let mut family = Family::new(out, which.name(), Kind::Histogram, help);
    for group in &snapshot.groups {
        for state in Finished::ALL {
            let Some(histogram) = group.totals.histograms.get(&(which, state)) else { continue };
            let mut cumulative = 0;
            let buckets = snapshot.bounds.iter().zip(&histogram.buckets).map(|(bound, count)| {
                cumulative += count;
                (*bound, cumulative)
            });
            let buckets: Vec<(f64, u64)> = buckets.collect();
            let count = histogram.buckets.iter().sum();
            let labels = [("group", group.group.as_str()), ("state", state.as_str())];
            family.histogram(&labels, buckets.into_iter(), count, seconds(histogram.sum_micros));
        }
    }
}

fn oldest_unfinished(out: &mut String, snapshot: &Snapshot) {
    let mut family = Family::new(
        out,
        "dragdropdo_oldest_unfinished_task_start_timestamp_seconds",
        Kind::Gauge,
        "Start of the group's oldest unfinished task, Unix time; absent when there is none.",
    );
    for group in &snapshot.groups {
        if let Some(start) = group.oldest_unfinished {
            family.sample(&[("group", group.group.as_str())], Value::Number(start.as_secs_f64()));
        }
    }
}

/// The three per-task metrics.
fn tasks(out: &mut String, tasks: &[Arc<TaskRecord>]) {
    let mut states = Family::new(
        out,
        "dragdropdo_task_state",
        Kind::Gauge,
        "1 for the state that a task is in, 0 for the others; for at most metrics.per_task_limit tasks.",
    );
    for task in tasks {
        for state in State::ALL {
            states.sample(&labels(task, state), Value::Count(u64::from(task.state == state)));
        }
    }
    let mut files = Family::new(
        out,
        "dragdropdo_task_files",
        Kind::Gauge,
        "A task's files in each state; for at most metrics.per_task_limit tasks.",
    );
    for task in tasks {
        for state in State::ALL {
            let count = task.present_files().filter(|file| file.state == state).count();
            files.sample(&labels(task, state), Value::Count(count as u64));
        }
    }
    let mut starts = Family::new(
        out,
        "dragdropdo_task_start_timestamp_seconds",
        Kind::Gauge,
        "When a task started, Unix time; absent while unknown; for at most metrics.per_task_limit tasks.",
    );
    for task in tasks {
        if let Some(start) = task.start {
            let labels = [("group", task.group.as_str()), ("task_id", task.id.as_str())];
            starts.sample(&labels, Value::Number(start.as_secs_f64()));
        }
    }
}

fn labels(task: &TaskRecord, state: State) -> [(&str, &str); 3] {
    [("group", task.group.as_str()), ("task_id", task.id.as_str()), ("state", state.as_str())]
}

#[expect(clippy::cast_precision_loss, reason = "a sum of latencies beyond 285 years loses microseconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
