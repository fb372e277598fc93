//! The ground truth: what became of every operation, from the plans and not from any answer.

use crate::time::Time;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// How an operation comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All files completed.
    Completed,
    /// Some files completed and some failed; the API calls the operation completed.
    PartiallyFailed,
    /// All files failed.
    Failed,
}

/// Totals over a set of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Operations, whatever their outcome.
    pub operations: u64,
    /// Operations of which every file completed.
    pub completed: u64,
    /// Operations of which some files completed and some failed.
    pub partially_failed: u64,
    /// Operations of which every file failed.
    pub failed: u64,
    /// Files completed; a merge or zip that completes has one.
    pub files_completed: u64,
    /// Files failed; a merge or zip that fails has as many as it had inputs.
    pub files_failed: u64,
    /// Failed files by the code that the API gives, as it gives it; those without a code under the empty text.
    pub failures_by_code: BTreeMap<String, u64>,
    /// The sum of the operations' durations, from creation to finish.
    #[serde(rename = "duration_seconds", serialize_with = "as_seconds")]
    pub duration: Duration,
}

/// What became of all operations, and what will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// The moment for which it holds.
    #[serde(serialize_with = "as_rfc3339")]
    pub now: Time,
    /// The operations that have finished by now.
    pub finished: Tally,
    /// All operations ever created, as they will have come out in the end.
    pub planned: Tally,
    /// The same by tag: by the text that the submitter put into `notes`, empty where there was none.
    pub tags: BTreeMap<String, TagTruth>,
}

/// What became of the operations with one tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TagTruth {
    /// The operations that have finished by now.
    pub finished: Tally,
    /// All operations ever created, as they will have come out in the end.
    pub planned: Tally,
}

/// One operation, as the list of operations names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationSummary {
    /// The main task ID.
    pub id: String,
    /// The submitter's tag; empty where there was none.
    pub tag: String,
    /// The API's word for its action.
    pub action: &'static str,
    /// When it was created.
    #[serde(serialize_with = "as_rfc3339")]
    pub created: Time,
    /// When it finishes, or has finished.
    #[serde(serialize_with = "as_rfc3339")]
    pub finishes: Time,
    /// Whether it has finished.
    pub finished: bool,
    /// How it comes out.
    pub outcome: Outcome,
    /// Files that complete.
    pub files_completed: u64,
    /// Files that fail.
    pub files_failed: u64,
}

impl Tally {
    /// The tally of one operation without its files.
    pub(super) fn of_operation(outcome: Outcome, duration: Duration) -> Self {
        let one_if = |wanted| u64::from(outcome == wanted);
        Self {
            operations: 1,
            completed: one_if(Outcome::Completed),
            partially_failed: one_if(Outcome::PartiallyFailed),
            failed: one_if(Outcome::Failed),
            duration,
            ..Self::default()
        }
    }

    /// Adds another tally to this one.
    pub(super) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.completed += other.completed;
        self.partially_failed += other.partially_failed;
        self.failed += other.failed;
        self.files_completed += other.files_completed;
        self.files_failed += other.files_failed;
        for (code, files) in &other.failures_by_code {
            *self.failures_by_code.entry(code.clone()).or_default() += files;
        }
        self.duration += other.duration;
    }
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn as_rfc3339<S: Serializer>(at: &Time, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tallies_add_up_and_read_as_plain_json() {
        let mut total = Tally::of_operation(Outcome::PartiallyFailed, Duration::from_millis(1500));
        total.files_failed = 2;
        total.failures_by_code.insert("internal_error".into(), 2);
        total.add(&total.clone());
        total.add(&Tally::of_operation(Outcome::Completed, Duration::from_secs(1)));
        assert_eq!(
            serde_json::to_value(&total).unwrap(),
            json!({
                "operations": 3, "completed": 1, "partially_failed": 2, "failed": 0,
                "files_completed": 0, "files_failed": 4, "failures_by_code": {"internal_error": 4},
                "duration_seconds": 4.0,
            })
        );
    }
}
