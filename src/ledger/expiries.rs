//! When time alone changes a task next.

use crate::task::{TaskId, TaskRecord};
use crate::time::Time;
use crate::transition::{self, Policy};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// How long nothing is given up or settled by time alone of a task that has not been polled yet, since the start or since
/// it came: the first poll may show that it ended long ago.
const FIRST_POLL: Duration = Duration::from_secs(5 * 60);

/// The moment at which to look at each task, if there is one.
#[derive(Debug)]
pub(super) struct Expiries {
    /// When this process began: what was heard of a task before says nothing of what became of it since.
    began: Time,
    moments: BTreeSet<(Time, TaskId)>,
    by_task: HashMap<TaskId, Time>,
}

impl Expiries {
    /// No moments yet, in a process that begins now.
    pub(super) fn new(began: Time) -> Self {
        Self { began, moments: BTreeSet::new(), by_task: HashMap::new() }
    }

    /// Notes when a task is to be looked at, as its record stands now.
    pub(super) fn note(&mut self, record: &TaskRecord, policy: &Policy) {
        self.set(&record.id, transition::deadline(record, policy));
    }

    /// The same for a task that has not been polled by this process.
    pub(super) fn note_unpolled(&mut self, record: &TaskRecord, policy: &Policy, now: Time) {
        let deadline = transition::deadline(record, policy);
        let earliest = if record.settled.is_some() { now } else { now.after(FIRST_POLL) };
        self.set(&record.id, deadline.map(|at| at.max(earliest)));
    }

    /// The same under another policy, whose shorter times may be over already. A task that this process has not heard of
    /// keeps what is left of the time for its first poll.
    pub(super) fn note_anew(&mut self, record: &TaskRecord, policy: &Policy, now: Time) {
        let deadline = transition::deadline(record, policy);
        let is_heard_of = [record.last_unfinished, record.not_found_since].iter().flatten().any(|at| *at >= self.began);
        let noted = self.by_task.get(&record.id).filter(|_| record.settled.is_none() && !is_heard_of);
        let earliest = noted.map_or(now, |noted| now.after(FIRST_POLL).min(*noted));
        self.set(&record.id, deadline.map(|at| at.max(earliest)));
    }

    /// Notes when to look at a task once more, or that there is no need to.
    pub(super) fn set(&mut self, id: &TaskId, at: Option<Time>) {
        let before = match at {
            Some(at) => self.by_task.insert(id.clone(), at),
            None => self.by_task.remove(id),
        };
        if let Some(before) = before {
            self.moments.remove(&(before, id.clone()));
        }
        if let Some(at) = at {
            self.moments.insert((at, id.clone()));
        }
    }

    /// The tasks to look at by `now`.
    pub(super) fn due(&mut self, now: Time) -> Vec<TaskId> {
        let mut due = Vec::new();
        while self.moments.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, id)) = self.moments.pop_first()
        {
            self.by_task.remove(&id);
            due.push(id);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_one_moment_which_moves() {
        let at = Time::from_micros;
        let mut expiries = Expiries::new(at(0));
        let id = TaskId::new("a").unwrap();
        for moment in [Some(at(5)), Some(at(9)), Some(at(7))] {
            expiries.set(&id, moment);
        }
        assert!(expiries.due(at(6)).is_empty());
        assert_eq!(expiries.due(at(8)), std::slice::from_ref(&id));
        expiries.set(&id, Some(at(10)));
        expiries.set(&id, None);
        assert!(expiries.due(at(99)).is_empty() && expiries.by_task.is_empty());
    }
}
