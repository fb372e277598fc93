//! The events that webhooks announce, and the body of each. No I/O, no clock.

use crate::simulator::body;
use crate::simulator::operation::{Entry, FilePlace, Operation, State};
use crate::simulator::style::{Style, StyleOptions};
use crate::time::Time;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EventType {
    OperationCompleted,
    OperationFailed,
    FileCompleted,
    FileFailed,
}

/// Something that happened to an operation or to one of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) struct Event {
    pub(super) kind: EventType,
    pub(super) at: Time,
    /// The file that ended; `None` when the operation itself did.
    file: Option<FilePlace>,
}

/// The form of one webhook's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    style: Style,
    /// Where a file's webhook names the main task.
    main_task_id: IdPlace,
    camel_case_file: bool,
}

/// Where the webhook of a file names the main task. The vendor documents it for operations alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdPlace {
    /// `payload.main_task.id`, as in the webhooks of operations.
    MainTask,
    /// `payload.main_task_id`
    Payload,
    /// `payload.file_task.main_task_id`
    FileTask,
}

impl EventType {
    /// The `type` in the body.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::OperationCompleted => "operation.completed",
            Self::OperationFailed => "operation.failed",
            Self::FileCompleted => "fileTask.completed",
            Self::FileFailed => "fileTask.failed",
        }
    }
}

impl Event {
    /// What happens to `operation` at `at`: the files that end, and then the operation itself when they are the last.
    pub(in crate::simulator) fn all_at(operation: &Operation, at: Time) -> Vec<Self> {
        let file_event = |place: FilePlace| Self {
            kind: if place.failed { EventType::FileFailed } else { EventType::FileCompleted },
            at,
            file: Some(place),
        };
        let mut events: Vec<Self> = operation.ended_at(at).map(file_event).collect();
        if operation.finishes() == at {
            let failed = operation.at(at).state == State::Failed;
            let kind = if failed { EventType::OperationFailed } else { EventType::OperationCompleted };
            events.push(Self { kind, at, file: None });
        }
        events
    }

    /// A number of its own within its operation, the same in every run.
    pub(in crate::simulator) fn number(self) -> u64 {
        // No operation has so many inputs.
        self.file.map_or(u64::MAX, |place| ((place.job as u64) << 32) | place.entry as u64)
    }

    /// The body of the webhook that announces this event of `operation`, which the API calls `id`.
    pub(super) fn body(self, id: &str, operation: &Operation, form: Form) -> Value {
        let payload = match self.file.and_then(|place| operation.ended(place)) {
            Some(file) => form.file_payload(id, &file),
            None => form.operation_payload(id, operation, self.at),
        };
        json!({"type": self.kind.as_str(), "timestamp": six_digits(self.at), "payload": payload})
    }
}

impl Form {
    /// Draws the form of one body.
    pub(super) fn draw(style: &StyleOptions, random: &mut StdRng) -> Self {
        let main_task_id = match random.random_range(0..3) {
            0 => IdPlace::MainTask,
            1 => IdPlace::Payload,
            _ => IdPlace::FileTask,
        };
        let camel_case_file = random.random();
        Self { style: style.draw(random), main_task_id, camel_case_file }
    }

    fn operation_payload(self, id: &str, operation: &Operation, at: Time) -> Value {
        let Self { style, .. } = self;
        let snapshot = operation.at(at);
        let count = |state| snapshot.entries.iter().filter(|entry| entry.state == state).count();
        let files: Vec<Value> = snapshot.entries.iter().map(|entry| body::file(entry, style)).collect();
        let main_task = Map::from_iter([
            ("id".to_owned(), id.into()),
            ("status".to_owned(), body::operation_word(&snapshot, style).into()),
            (
                "count".to_owned(),
                json!({
                    "total": snapshot.entries.len(),
                    "success": count(State::Completed),
                    "failed": count(State::Failed),
                }),
            ),
            (body::key("file_data", style), files.into()),
        ]);
        Map::from_iter([(body::key("main_task", style), main_task.into())]).into()
    }

    fn file_payload(self, id: &str, file: &Entry<'_>) -> Value {
        let style = Style { camel_case: self.camel_case_file, ..self.style };
        let key = |name| body::key(name, style);
        let mut file_task = body::file(file, style);
        let mut payload = Map::new();
        match self.main_task_id {
            IdPlace::MainTask => drop(payload.insert(key("main_task"), json!({"id": id}))),
            IdPlace::Payload => drop(payload.insert(key("main_task_id"), id.into())),
            IdPlace::FileTask => file_task[key("main_task_id")] = id.into(),
        }
        payload.insert(key("file_task"), file_task);
        payload.into()
    }
}

/// The moment in UTC with six digits, also where the last of them are zero.
fn six_digits(at: Time) -> String {
    match jiff::Timestamp::from_microsecond(at.as_micros()) {
        Ok(timestamp) => format!("{timestamp:.6}"),
        Err(_) => at.to_string(),
    }
}

#[cfg(test)]
mod tests;
