//! The counting rules by example: each test is a sentence of the contract, and shows one case of it.

mod end;
mod files_said;
mod matching;
mod once;
mod settling;
mod start;

use super::{Policy, expire, fix_start, not_found, observe};
use crate::task::{
    ErrorCode, Event, FileKey, FileSeen, FilesSeen, Finished, Group, Observation, Outcome, State, TaskId, TaskRecord,
};
use crate::time::Time;
use std::time::Duration;

const POLICY: Policy = Policy {
    poll_interval: Duration::from_secs(15),
    abandon_after: Duration::from_hours(24),
    retention: Duration::from_hours(1),
};

/// A task with all that was counted of it.
struct Told {
    record: TaskRecord,
    events: Vec<Event>,
}

fn task() -> Told {
    following(&[])
}

/// A task of which only the files with these keys are followed.
fn following(keys: &[&str]) -> Told {
    let keys: Vec<_> = keys.iter().map(|key| FileKey::from_api(key)).collect();
    let record = TaskRecord::new(TaskId::new("main_task_abc123").unwrap(), Group::default(), &keys);
    Told { record, events: Vec::new() }
}

/// The moment so many seconds after the tests begin.
fn at(seconds: i64) -> Time {
    Time::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

fn file(key: &str, state: State) -> FileSeen {
    FileSeen { key: FileKey::from_api(key), state, error_code: None }
}

fn failing(key: &str, code: &str) -> FileSeen {
    FileSeen { key: FileKey::from_api(key), state: State::Failed, error_code: ErrorCode::from_api(code) }
}

fn seconds(latency: u64) -> Option<Duration> {
    Some(Duration::from_secs(latency))
}

impl Told {
    /// A whole body, received and counted so many seconds in.
    fn sees<const N: usize>(&mut self, seconds: i64, state: State, files: [FileSeen; N]) -> Vec<Event> {
        self.is_told(seconds, state, FilesSeen::All(files.into()))
    }

    /// A body without a list.
    fn sees_no_list(&mut self, seconds: i64, state: State) -> Vec<Event> {
        self.is_told(seconds, state, FilesSeen::NotSaid)
    }

    /// The answer of the file endpoint.
    fn asks<const N: usize>(&mut self, seconds: i64, asked: &str, state: State, files: [FileSeen; N]) -> Vec<Event> {
        let asked = FileKey::from_api(asked);
        self.is_told(seconds, state, FilesSeen::Only { asked, entries: files.into() })
    }

    fn is_told(&mut self, seconds: i64, state: State, files: FilesSeen) -> Vec<Event> {
        let observation = Observation { received: at(seconds), state, files };
        let events = observe(&mut self.record, &observation, &POLICY, at(seconds));
        self.events.extend_from_slice(&events);
        events
    }

    fn is_not_found(&mut self, seconds: i64) {
        not_found(&mut self.record, at(seconds));
    }

    fn starts(&mut self, seconds: i64) {
        fix_start(&mut self.record, at(seconds));
    }

    fn waits_until(&mut self, seconds: i64) -> Vec<Event> {
        let events = expire(&mut self.record, &POLICY, at(seconds));
        self.events.extend_from_slice(&events);
        events
    }

    fn completions(&self) -> usize {
        self.completion_latencies().len()
    }

    fn completion_latencies(&self) -> Vec<Option<Duration>> {
        let latency = |event: &Event| if let Event::FileCompleted { latency } = event { Some(*latency) } else { None };
        self.events.iter().filter_map(latency).collect()
    }

    /// The codes of the failures, in the order in which they were counted.
    fn failures(&self) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(
                |event| {
                    if let Event::FileFailed { error_code, .. } = event { Some(error_code.as_str()) } else { None }
                },
            )
            .collect()
    }

    fn failure_latencies(&self) -> Vec<Option<Duration>> {
        let latency = |event: &Event| if let Event::FileFailed { latency, .. } = event { Some(*latency) } else { None };
        self.events.iter().filter_map(latency).collect()
    }

    fn finishes(&self) -> Vec<(Finished, Option<Duration>)> {
        self.events
            .iter()
            .filter_map(|event| {
                if let Event::TaskFinished { state, latency } = event { Some((*state, *latency)) } else { None }
            })
            .collect()
    }

    /// Outcomes, with whether the failure named nobody.
    fn outcomes(&self) -> Vec<(Outcome, bool)> {
        self.events
            .iter()
            .filter_map(|event| {
                if let Event::TaskSettled { outcome, unnamed_failure } = event {
                    Some((*outcome, *unnamed_failure))
                } else {
                    None
                }
            })
            .collect()
    }

    /// The files as the gauges show them.
    fn shown(&self) -> Vec<(&str, State)> {
        self.record.present_files().map(|file| (file.key.as_str(), file.state)).collect()
    }
}
