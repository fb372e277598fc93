//! The families of the published view: what is tracked, what has been counted, and the tasks one by one.

use super::exposition::{Bucket, Exposition, Kind, Value};
use crate::task::{Finished, State, TaskRecord};
use crate::totals::{CounterFamily, HistogramFamily};
use crate::view::{GroupSnapshot, Snapshot};
use std::sync::Arc;

pub(super) fn render(exposition: &mut Exposition, snapshot: &Snapshot) {
    by_state(
        exposition,
        snapshot,
        "dragdropdo_tasks",
        "Tracked tasks now in each state, by the latest answer of the D3 API. unknown: never yet observed, not found, \
         or a word that the exporter does not know.",
        |group| &group.tasks,
    );
    by_state(
        exposition,
        snapshot,
        "dragdropdo_files",
        "Files of tracked tasks now in each state, by the latest answer about each task.",
        |group| &group.files,
    );
    for family in CounterFamily::ALL {
        counters(exposition, snapshot, family);
    }
    last_failures(exposition, snapshot);
    for family in HistogramFamily::ALL {
        histograms(exposition, snapshot, family);
    }
    oldest_unfinished(exposition, snapshot);
    tasks(exposition, &snapshot.tasks);
    exposition
        .family(
            "dragdropdo_exporter_hidden_tasks",
            Kind::Gauge,
            "Tracked tasks that the per-task metrics leave out, by metrics.per_task_limit.",
        )
        .gauge(&[], Value::Count(snapshot.hidden as u64));
}

fn by_state(
    exposition: &mut Exposition,
    snapshot: &Snapshot,
    name: &str,
    help: &str,
    counts: impl Fn(&GroupSnapshot) -> &[u64; State::ALL.len()],
) {
    let mut family = exposition.family(name, Kind::Gauge, help);
    for group in &snapshot.groups {
        for (state, count) in State::ALL.into_iter().zip(counts(group)) {
            family.gauge(&[("group", group.group.as_str()), ("state", state.as_str())], Value::Count(*count));
        }
    }
}

fn counters(exposition: &mut Exposition, snapshot: &Snapshot, which: CounterFamily) {
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
    let mut family = exposition.family(which.name(), Kind::Counter, help);
    for group in &snapshot.groups {
        for ((_, value), counter) in group.totals.counters.iter().filter(|((of, _), _)| *of == which) {
            let count = Value::Count(counter.value);
            match which.label() {
                Some(label) => {
                    family.counter(&[("group", group.group.as_str()), (label, value)], count, counter.created);
                }
                None => family.counter(&[("group", group.group.as_str())], count, counter.created),
            }
        }
    }
}

fn last_failures(exposition: &mut Exposition, snapshot: &Snapshot) {
    let mut family = exposition.family(
        "dragdropdo_last_failure_timestamp_seconds",
        Kind::Gauge,
        "When the latest failure was counted, Unix time, by error code; absent before the first. It survives restarts.",
    );
    for group in &snapshot.groups {
        for (error_code, at) in &group.totals.last_failures {
            let labels = [("group", group.group.as_str()), ("error_code", error_code.as_str())];
            family.gauge(&labels, Value::Number(at.as_secs_f64()));
        }
    }
}

fn histograms(exposition: &mut Exposition, snapshot: &Snapshot, which: HistogramFamily) {
    let help = match which {
        HistogramFamily::TaskLatency => {
            "Time from a task's start until it finished, where it is known well enough, by the state it ended in."
        }
        HistogramFamily::FileLatency => {
            "Time from its task's start until a file finished, where it is known well enough, by the state it ended in."
        }
    };
    let mut family = exposition.family(which.name(), Kind::Histogram, help);
    for group in &snapshot.groups {
        for state in Finished::ALL {
            let Some(histogram) = group.totals.histograms.get(&(which, state)) else { continue };
            let mut cumulative = 0;
            let bounds = snapshot.bounds.iter().copied().chain([f64::INFINITY]);
            let buckets = bounds.zip(&histogram.buckets).enumerate().map(|(place, (bound, count))| {
                cumulative += count;
                Bucket { bound, cumulative, exemplar: histogram.exemplars.get(&place) }
            });
            let labels = [("group", group.group.as_str()), ("state", state.as_str())];
            family.histogram(&labels, buckets, seconds(histogram.sum_micros), histogram.created);
        }
    }
}

fn oldest_unfinished(exposition: &mut Exposition, snapshot: &Snapshot) {
    let mut family = exposition.family(
        "dragdropdo_oldest_unfinished_task_start_timestamp_seconds",
        Kind::Gauge,
        "Start of the group's oldest unfinished task, Unix time; absent when there is none.",
    );
    for group in &snapshot.groups {
        if let Some(start) = group.oldest_unfinished {
            family.gauge(&[("group", group.group.as_str())], Value::Number(start.as_secs_f64()));
        }
    }
}

/// The three per-task metrics.
fn tasks(exposition: &mut Exposition, tasks: &[Arc<TaskRecord>]) {
    let mut states = exposition.family(
        "dragdropdo_task_state",
        Kind::Gauge,
        "1 for the state that a task is in, 0 for the others; for at most metrics.per_task_limit tasks.",
    );
    for task in tasks {
        for state in State::ALL {
            states.gauge(&labels(task, state), Value::Count(u64::from(task.state == state)));
        }
    }
    let mut files = exposition.family(
        "dragdropdo_task_files",
        Kind::Gauge,
        "A task's files in each state; for at most metrics.per_task_limit tasks.",
    );
    for task in tasks {
        for state in State::ALL {
            let count = task.present_files().filter(|file| file.state == state).count();
            files.gauge(&labels(task, state), Value::Count(count as u64));
        }
    }
    let mut starts = exposition.family(
        "dragdropdo_task_start_timestamp_seconds",
        Kind::Gauge,
        "When a task started, Unix time; absent while unknown; for at most metrics.per_task_limit tasks.",
    );
    for task in tasks {
        if let Some(start) = task.start {
            let labels = [("group", task.group.as_str()), ("task_id", task.id.as_str())];
            starts.gauge(&labels, Value::Number(start.as_secs_f64()));
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
