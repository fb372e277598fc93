//! When time alone changes a task next.

use crate::task::{TaskId, TaskRecord};
use crate::time::Time;
use crate::transition::{self, Policy};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Moments at which to look at a task. One that has moved since is found out by looking.
#[derive(Debug, Default)]
pub(super) struct Expiries(BinaryHeap<Reverse<(Time, TaskId)>>);

impl Expiries {
    /// Notes when a task is to be looked at, as its record stands now.
    pub(super) fn note(&mut self, record: &TaskRecord, policy: &Policy) {
        if let Some(at) = transition::deadline(record, policy) {
            self.0.push(Reverse((at, record.id.clone())));
        }
    }

    /// Notes when to look at a task once more.
    pub(super) fn note_at(&mut self, at: Time, id: &TaskId) {
        self.0.push(Reverse((at, id.clone())));
    }

    /// The tasks to look at by `now`.
    pub(super) fn due(&mut self, now: Time) -> Vec<TaskId> {
        let mut due = Vec::new();
        while let Some(Reverse((at, _))) = self.0.peek()
            && *at <= now
            && let Some(Reverse((_, id))) = self.0.pop()
        {
            due.push(id);
        }
        due
    }
}
