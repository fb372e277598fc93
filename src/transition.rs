//! What an observation changes and what it makes count. Pure: no I/O, no clock, no metrics.
//!
//! Time enters as `now`, events leave as values. The rules are those of the section "What is counted" in
//! `docs/metrics.md`; in short:
//!
//! - the API's finished states are final, so a file adds at most one to each finished state and a task is
//!   finished and settled once, whatever later bodies say ([`observe`]);
//! - the gauges follow the latest body ([`TaskRecord::state`], [`FileRecord::state`]);
//! - files are matched between bodies by key, by former key, and by one going as another comes (`files`);
//! - a latency counts only when it is known well enough (`latency`);
//! - what falls due by time alone is in [`expire`].

mod expiry;
mod files;
mod latency;
mod next;

pub use expiry::{deadline, expire, leaves_at};
pub use next::{Next, first_ask, next_ask};

use crate::task::{Event, FileRecord, FilesSeen, Finished, Observation, Outcome, Settlement, State, TaskRecord};
use crate::time::Time;
use std::time::Duration;

/// The parts of the configuration that the rules depend on.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `poll.interval`: the longest time between two polls of a task.
    pub poll_interval: Duration,
    /// `poll.abandon_after`: how long after its start an unfinished task is given up.
    pub abandon_after: Duration,
    /// `retention`: how long a settled task stays in the gauges once no list names it.
    pub retention: Duration,
}

/// Applies one observation to a task's record and returns what it makes count. `now` is the moment of counting.
pub fn observe(record: &mut TaskRecord, observation: &Observation, policy: &Policy, now: Time) -> Vec<Event> {
    let mut events = Vec::new();
    let received = not_before_what_is_known(record, observation.received);
    record.not_found_since = None;
    if record.first_seen.is_none() {
        record.first_seen = Some(received);
        record.start = record.start.map(|start| start.min(received));
    }
    record.state = observation.state;
    let mut sets_start = false;
    match observation.state.finished() {
        None if record.end.is_none() => {
            sets_start = record.start.is_none();
            record.start.get_or_insert(received);
            record.last_unfinished = Some(received);
        }
        None => {}
        Some(state) => {
            record.finished = Some(state);
            if record.end.is_none() {
                let announced = announced_end(record, received);
                let end = announced.unwrap_or(received);
                record.end = Some(end);
                record.announced = None;
                // What a webhook announced has no uncertainty.
                let last_unfinished = announced.or(record.last_unfinished);
                let latency = latency::known(record.start, end, last_unfinished, policy);
                events.push(Event::TaskFinished { state, latency });
            }
        }
    }
    // A file that was finished already in the observation that set the start took an unknown time.
    let start = if sets_start { None } else { record.start };
    let finish = files::Finish { start, task_end: record.end, received, now, policy };
    files::observe(record, &observation.files, &finish, &mut events);
    if record.end.is_some() && record.present_files().all(FileRecord::has_finished) {
        settle(record, now, &mut events);
    }
    events
}

/// Applies an observation that shows nothing new, in place; false, with nothing changed, when it shows anything else.
///
/// Only the times of the last unfinished observation move: they are worth no write of their own.
pub fn observe_unchanged(record: &mut TaskRecord, observation: &Observation) -> bool {
    let known = record.first_seen.is_some() && record.not_found_since.is_none();
    let same_state = record.state == observation.state
        && observation.state.finished().is_none_or(|state| record.finished == Some(state));
    if !known || !same_state || !files::are_unchanged(record, &observation.files) {
        return false;
    }
    let received = not_before_what_is_known(record, observation.received);
    if record.end.is_none() {
        record.last_unfinished = Some(received);
    }
    for file in files::spoken_of(record, &observation.files) {
        if file.state.finished().is_none() {
            file.last_unfinished = Some(received);
        }
    }
    true
}

/// Whether two records of a task differ in more than the times of the last unfinished observation.
pub fn differ_durably(before: &TaskRecord, after: &TaskRecord) -> bool {
    let strip = |record: &TaskRecord| {
        let mut record = TaskRecord { last_unfinished: None, ..record.clone() };
        for file in &mut record.files {
            file.last_unfinished = None;
        }
        record
    };
    strip(before) != strip(after)
}

/// Notes when a signed webhook says that the task ended.
///
/// Of several, the earliest that is not before the last unfinished observation counts.
pub fn announce(record: &mut TaskRecord, at: Time) {
    if record.end.is_some() {
        return;
    }
    let is_possible = |at: &Time| record.last_unfinished.is_none_or(|last| *at >= last);
    record.announced = match record.announced.filter(is_possible) {
        Some(known) if is_possible(&at) => Some(known.min(at)),
        Some(known) => Some(known),
        None => Some(at),
    };
}

/// The announced end, when it lies between the last unfinished and the first finished observation.
fn announced_end(record: &TaskRecord, received: Time) -> Option<Time> {
    let earliest = record.last_unfinished.or(record.start);
    record.announced.filter(|at| *at <= received && earliest.is_none_or(|earliest| *at >= earliest))
}

/// Notes that the API answered 404 for the task: its state is unknown until it is observed again.
pub fn not_found(record: &mut TaskRecord, at: Time) {
    record.state = State::Unknown;
    record.not_found_since.get_or_insert(at);
}

/// Fixes the start of a task that has none, by its submission or registration.
///
/// A task that has been observed has its start, or finished without one: it keeps what it has.
pub fn fix_start(record: &mut TaskRecord, start: Time) {
    if record.first_seen.is_none() {
        record.start.get_or_insert(start);
    }
}

/// Decides and counts the outcome of a finished task, once.
fn settle(record: &mut TaskRecord, now: Time, events: &mut Vec<Event>) {
    if record.settled.is_some() {
        return;
    }
    let Some(finished) = record.finished else { return };
    let names_a_failure = record.files.iter().any(FileRecord::counted_failed);
    let outcome = match finished {
        Finished::Failed => Outcome::Failed,
        Finished::Completed if names_a_failure => Outcome::PartiallyFailed,
        Finished::Completed => Outcome::Completed,
    };
    record.settled = Some(Settlement { at: now, outcome });
    let unnamed_failure = outcome == Outcome::Failed && !names_a_failure;
    events.push(Event::TaskSettled { outcome, unnamed_failure });
}

/// A clock that steps back must not make an answer older than what it follows.
fn not_before_what_is_known(record: &TaskRecord, received: Time) -> Time {
    [record.first_seen, record.last_unfinished].into_iter().flatten().fold(received, Time::max)
}

/// Whether an answer to the file endpoint had the file that was asked for.
pub fn answers_the_file(files: &FilesSeen) -> bool {
    match files {
        FilesSeen::Only { asked, entries } => files::entries_asked_for(asked, entries).next().is_some(),
        FilesSeen::All(_) | FilesSeen::NotSaid => false,
    }
}

#[cfg(test)]
mod examples;
#[cfg(test)]
mod oracle;
