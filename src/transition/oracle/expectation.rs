//! What must be counted of a body, computed from the truth behind it and never by matching bodies.

use super::timeline::Body;
use super::world::{Kind, World};
use crate::task::{ErrorCode, FileKey, Finished, State};
use crate::time::Time;
use crate::transition::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long after its end a task settles, whatever its files say.
pub(super) const SETTLES_AFTER: Duration = Duration::from_secs(300);

/// A latency that must be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Latency {
    pub(super) exact: Option<Duration>,
    /// Whether the contract may be read so that it is unknown.
    pub(super) or_unknown: bool,
}

/// What must be counted of one body, when every file can be told from every other.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    pub(super) task: Option<(Finished, Latency)>,
    pub(super) failed: Vec<(ErrorCode, Latency)>,
    pub(super) completed: Vec<Latency>,
}

/// What was shown of one true file.
#[derive(Clone, Debug, Default)]
struct Shown {
    unfinished: Option<Time>,
    failed: bool,
    completed_as: BTreeSet<FileKey>,
}

/// Follows the truth behind what the exporter is told.
#[derive(Debug)]
pub(super) struct Oracle<'w> {
    world: &'w World,
    policy: Policy,
    start: Option<Time>,
    /// Whether the start became known only after the end.
    late_start: bool,
    first_seen: Option<Time>,
    unfinished: Option<Time>,
    end: Option<Time>,
    shown: Vec<Shown>,
    /// The latest list: which file each entry is, its key and state.
    pub(super) listed: Vec<(usize, FileKey, State)>,
    /// By key, the most failed entries that one body had.
    most_failed: BTreeMap<FileKey, usize>,
    pub(super) state: State,
}

impl<'w> Oracle<'w> {
    pub(super) fn new(world: &'w World, policy: Policy) -> Self {
        Self {
            world,
            policy,
            start: None,
            late_start: false,
            first_seen: None,
            unfinished: None,
            end: None,
            shown: vec![Shown::default(); world.files.len()],
            listed: Vec::new(),
            most_failed: BTreeMap::new(),
            state: State::Unknown,
        }
    }

    /// Rule 3: fixed once, and no later than the first observation.
    pub(super) fn fix_start(&mut self, start: Time) {
        if self.start.is_none() {
            self.start = Some(self.first_seen.map_or(start, |first| first.min(start)));
            self.late_start = self.end.is_some();
        }
    }

    pub(super) fn not_found(&mut self) {
        self.state = State::Unknown;
    }

    /// Takes in a body; returns what must be counted of it.
    pub(super) fn observe(&mut self, body: &Body, received: Time) -> Expected {
        self.state = body.operation;
        let first = self.first_seen.is_none();
        let mut start_is_receipt = false;
        if first {
            self.first_seen = Some(received);
            if let Some(start) = self.start {
                start_is_receipt = start >= received;
                self.start = Some(start.min(received));
            }
        }
        let finished = body.operation.finished();
        let mut sets_start = false;
        if self.start.is_none() && finished.is_none() {
            self.start = self.first_seen;
            self.late_start = self.end.is_some();
            sets_start = true;
        }
        let mut expected = Expected::default();
        if self.end.is_none() {
            match finished {
                None => self.unfinished = Some(received),
                Some(state) => {
                    self.end = Some(received);
                    let exact = self.latency(received, self.unfinished);
                    expected.task = Some((state, Latency { exact, or_unknown: start_is_receipt }));
                }
            }
        }
        if let Some(entries) = &body.entries {
            self.listed.clear();
            let mut failed_here: BTreeMap<FileKey, usize> = BTreeMap::new();
            for (index, seen) in entries {
                self.listed.push((*index, seen.key.clone(), seen.state));
                let end = self.end.map_or(received, |end| end.min(received));
                let exact = if sets_start { None } else { self.latency(end, self.shown[*index].unfinished) };
                let latency = Latency { exact, or_unknown: start_is_receipt || self.late_start };
                let shown = &mut self.shown[*index];
                match seen.state.finished() {
                    None => shown.unfinished = Some(received),
                    Some(Finished::Completed) => {
                        if shown.completed_as.is_empty() {
                            expected.completed.push(latency);
                        }
                        shown.completed_as.insert(seen.key.clone());
                    }
                    Some(Finished::Failed) => {
                        *failed_here.entry(seen.key.clone()).or_default() += 1;
                        if !shown.failed {
                            let code = seen.error_code.clone().unwrap_or_else(ErrorCode::unspecified);
                            expected.failed.push((code, latency));
                        }
                        shown.failed = true;
                    }
                }
            }
            for (key, count) in failed_here {
                let most = self.most_failed.entry(key).or_default();
                *most = count.max(*most);
            }
        }
        expected
    }

    /// Rule 4, without webhooks.
    fn latency(&self, end: Time, unfinished: Option<Time>) -> Option<Duration> {
        let latency = end.since(self.start?);
        let uncertain = end.since(unfinished.or(self.start)?);
        (uncertain <= self.policy.poll_interval * 2 || uncertain * 2 <= latency).then_some(latency)
    }

    /// Whether the latest list has only finished entries, and the latest body a finished operation.
    pub(super) fn must_have_settled(&self) -> bool {
        self.state.finished().is_some() && self.listed.iter().all(|(_, _, state)| state.finished().is_some())
    }

    /// Whether the task must have settled by `now`, whatever its files say.
    pub(super) fn must_have_settled_by(&self, now: Time) -> bool {
        self.end.is_some_and(|end| now >= end.after(SETTLES_AFTER))
    }

    /// Whether nothing allows the task to have settled by `now`; true only where every file can be told apart.
    pub(super) fn must_not_have_settled(&self, now: Time) -> bool {
        let ended = |shown: &Shown| shown.failed || !shown.completed_as.is_empty();
        let waits = self.listed.iter().any(|(index, _, _)| !ended(&self.shown[*index]));
        self.end.is_none() || (waits && !self.must_have_settled_by(now))
    }

    /// Whether any body showed a failed file.
    pub(super) fn any_failed(&self) -> bool {
        self.shown.iter().any(|shown| shown.failed)
    }

    /// The fewest and most failures that may have been counted. `clear` means that no entry ever vanished.
    ///
    /// When one of two twins is missing nobody can say which, so one may be taken for the other.
    pub(super) fn failures(&self, clear: bool) -> (usize, usize) {
        let truly = self.shown.iter().filter(|shown| shown.failed).count();
        if !self.world.has_duplicates() {
            return (truly, truly);
        }
        let may_seem_failed = self.world.files.iter().filter(|file| self.most_failed.contains_key(&file.input)).count();
        (self.most_failed.values().sum(), if clear { truly } else { may_seem_failed })
    }

    /// The most completions that may have been counted. `ordered` means that no body was stale.
    pub(super) fn most_completions(&self, clear: bool, ordered: bool) -> usize {
        if self.world.has_duplicates() && !clear {
            return self.world.files.len();
        }
        // A file that was seen completed under both its keys, with something else in between, looks like two.
        let two_faced = self.world.kind == Kind::Lingering && !(clear && ordered);
        let of = |shown: &Shown| if two_faced { shown.completed_as.len() } else { shown.completed_as.len().min(1) };
        self.shown.iter().map(of).sum()
    }
}
