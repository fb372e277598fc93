//! The order in which the per-task metrics cover tasks.

use crate::task::{TaskId, TaskRecord};

/// A task's place: unfinished ones first, the oldest first and those without a start last; then the finished ones, the
/// newest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    finished: bool,
    startless: bool,
    rank: i64,
    id: TaskId,
}

impl Place {
    pub(super) fn of(record: &TaskRecord) -> Self {
        let rank = match (record.end, record.start) {
            (Some(end), _) => end.as_micros().saturating_neg(),
            (None, Some(start)) => start.as_micros(),
            (None, None) => 0,
        };
        let startless = record.end.is_none() && record.start.is_none();
        Self { finished: record.end.is_some(), startless, rank, id: record.id.clone() }
    }

    /// The place before every finished task.
    pub(super) fn before_finished(&self) -> Self {
        Self { finished: true, startless: false, rank: i64::MIN, id: self.id.clone() }
    }

    pub(super) fn id(&self) -> &TaskId {
        &self.id
    }
}
