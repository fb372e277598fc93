//! The published view: what has been committed, and nothing else. The ledger writes it, everybody may read it.
//!
//! Everything that a scrape shows is kept up as changes come in, so that the cost of a scrape does not grow with the
//! number of tasks. Readers and the writer share one lock that is held for memory work only: a scrape takes references
//! and renders after letting go, and a commit to the disk happens before the writer asks for it.

mod order;
mod overview;

pub use overview::{Counts, Overview};

use crate::store::{Change, Fate};
use crate::task::{Group, State, TaskId, TaskRecord};
use crate::time::Time;
use crate::totals::{GroupTotals, Totals};
use order::Place;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The published view. Cheap to share by reference.
#[derive(Debug, Default)]
pub struct View(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    tasks: HashMap<TaskId, Arc<TaskRecord>>,
    /// In the order in which the per-task metrics cover them.
    places: BTreeSet<Place>,
    /// The tasks with counted failures, that with the newest first; a time that was not kept counts as the oldest.
    failing: BTreeSet<(Reverse<Option<Time>>, TaskId)>,
    counts: Counts,
    groups: BTreeMap<Group, GroupTables>,
    bounds: Arc<[f64]>,
}

#[derive(Debug, Default)]
struct GroupTables {
    tasks: [u64; State::ALL.len()],
    files: [u64; State::ALL.len()],
    unfinished: BTreeSet<(Time, TaskId)>,
    totals: Arc<GroupTotals>,
}

/// What a scrape shows of the view.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every known group.
    pub groups: Vec<GroupSnapshot>,
    /// The bounds of the latency histograms, in seconds.
    pub bounds: Arc<[f64]>,
    /// The tasks that the per-task metrics cover: unfinished ones, oldest first, then finished ones, newest first.
    pub tasks: Vec<Arc<TaskRecord>>,
    /// How many tracked tasks the limit hides.
    pub hidden: usize,
}

/// What a scrape shows of one group.
#[derive(Clone, Debug)]
pub struct GroupSnapshot {
    /// The group.
    pub group: Group,
    /// Tracked tasks by state, in the order of [`State::ALL`].
    pub tasks: [u64; State::ALL.len()],
    /// Files of tracked tasks by state, in the order of [`State::ALL`].
    pub files: [u64; State::ALL.len()],
    /// The start of the oldest unfinished task.
    pub oldest_unfinished: Option<Time>,
    /// What has been counted.
    pub totals: Arc<GroupTotals>,
}

impl View {
    /// The view of what was loaded. `bounds` are those of the latency histograms, in seconds.
    pub fn new(tasks: Vec<TaskRecord>, totals: Totals, bounds: &[f64]) -> Self {
        let mut tables = Tables { bounds: bounds.into(), ..Tables::default() };
        for (group, totals) in totals {
            tables.groups.entry(group).or_default().totals = Arc::new(totals);
        }
        for record in tasks {
            tables.put(Arc::new(record));
        }
        Self(Mutex::new(tables))
    }

    /// Publishes what was committed.
    pub fn publish<'a>(&self, changes: impl Iterator<Item = &'a Change>, added: &Totals) {
        let mut tables = self.lock();
        for (group, added) in added {
            Arc::make_mut(&mut tables.groups.entry(group.clone()).or_default().totals).merge(added);
        }
        for change in changes {
            tables.take(&change.record.id);
            match change.fate {
                Fate::Tracked => tables.put(change.record.clone()),
                Fate::Departed(_) | Fate::Forgotten => {}
            }
        }
    }

    /// Shows totals that were read anew, with histograms of other bounds.
    pub fn replace_totals(&self, totals: Totals, bounds: &[f64]) {
        let mut tables = self.lock();
        tables.bounds = bounds.into();
        for (group, totals) in totals {
            tables.groups.entry(group).or_default().totals = Arc::new(totals);
        }
    }

    /// The record of a tracked task.
    pub fn task(&self, id: &TaskId) -> Option<Arc<TaskRecord>> {
        self.lock().tasks.get(id).cloned()
    }

    /// Changes a tracked task's record where it stands, in a way that is not shown; what `change` answers is returned.
    pub fn touch(&self, id: &TaskId, change: impl FnOnce(&mut TaskRecord) -> bool) -> Option<bool> {
        self.lock().tasks.get_mut(id).map(|record| change(Arc::make_mut(record)))
    }

    /// All tracked tasks, by ID.
    pub fn tasks(&self) -> Vec<Arc<TaskRecord>> {
        let mut tasks = self.tasks_that(|_| true);
        tasks.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        tasks
    }

    /// The tracked tasks of which `is_it` holds, in no order.
    pub fn tasks_that(&self, is_it: impl Fn(&TaskRecord) -> bool) -> Vec<Arc<TaskRecord>> {
        self.lock().tasks.values().filter(|record| is_it(record)).cloned().collect()
    }

    /// The known groups.
    pub fn groups(&self) -> BTreeSet<Group> {
        self.lock().groups.keys().cloned().collect()
    }

    /// The totals of every known group.
    pub fn totals(&self) -> BTreeMap<Group, Arc<GroupTotals>> {
        self.lock().groups.iter().map(|(group, tables)| (group.clone(), tables.totals.clone())).collect()
    }

    /// What a scrape shows, with at most `limit` tasks by themselves.
    pub fn snapshot(&self, limit: usize) -> Snapshot {
        let tables = self.lock();
        let tasks = tables.places.iter().take(limit).filter_map(|place| tables.tasks.get(place.id()).cloned());
        Snapshot {
            groups: tables.group_snapshots(),
            bounds: tables.bounds.clone(),
            tasks: tasks.collect(),
            hidden: tables.tasks.len().saturating_sub(limit),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // Nothing under the lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn group_snapshots(&self) -> Vec<GroupSnapshot> {
        let groups = self.groups.iter().map(|(group, tables)| GroupSnapshot {
            group: group.clone(),
            tasks: tables.tasks,
            files: tables.files,
            oldest_unfinished: tables.unfinished.first().map(|(start, _)| *start),
            totals: tables.totals.clone(),
        });
        groups.collect()
    }

    fn put(&mut self, record: Arc<TaskRecord>) {
        let group = self.groups.entry(record.group.clone()).or_default();
        group.tasks[place_of(record.state)] += 1;
        for file in record.present_files() {
            group.files[place_of(file.state)] += 1;
        }
        if let Some(start) = oldest_candidate(&record) {
            group.unfinished.insert((start, record.id.clone()));
        }
        self.places.insert(Place::of(&record));
        self.counts.add(&record);
        if let Some(latest) = latest_failure(&record) {
            self.failing.insert((Reverse(latest), record.id.clone()));
        }
        self.tasks.insert(record.id.clone(), record);
    }

    fn take(&mut self, id: &TaskId) {
        let Some(record) = self.tasks.remove(id) else { return };
        self.places.remove(&Place::of(&record));
        self.counts.subtract(&record);
        if let Some(latest) = latest_failure(&record) {
            self.failing.remove(&(Reverse(latest), record.id.clone()));
        }
        let Some(group) = self.groups.get_mut(&record.group) else { return };
        group.tasks[place_of(record.state)] -= 1;
        for file in record.present_files() {
            group.files[place_of(file.state)] -= 1;
        }
        if let Some(start) = oldest_candidate(&record) {
            group.unfinished.remove(&(start, record.id.clone()));
        }
    }
}

fn place_of(state: State) -> usize {
    match state {
        State::Queued => 0,
        State::InProgress => 1,
        State::Completed => 2,
        State::Failed => 3,
        State::Unknown => 4,
    }
}

fn oldest_candidate(record: &TaskRecord) -> Option<Time> {
    record.start.filter(|_| record.end.is_none())
}

/// When the latest of its counted failures was counted, if it has any.
fn latest_failure(record: &TaskRecord) -> Option<Option<Time>> {
    record.failures().map(|failure| failure.at).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::totals::Count;
    use std::time::Duration;

    const NOW: Time = Time::from_micros(1_700_000_000_000_000);

    fn record(id: &str, start: Option<u64>, end: Option<u64>) -> TaskRecord {
        let at = |seconds: u64| NOW.after(Duration::from_secs(seconds));
        let mut record = TaskRecord::new(TaskId::new(id).unwrap(), Group::default(), &[]);
        record.start = start.map(at);
        record.end = end.map(at);
        record.state = if end.is_some() { State::Completed } else { State::Queued };
        record
    }

    fn change(record: TaskRecord, fate: Fate) -> Change {
        Change { record: Arc::new(record), fate, counts: Vec::new() }
    }

    #[test]
    fn unfinished_tasks_come_first_oldest_first_then_finished_ones_newest_first() {
        let tasks = vec![
            record("done early", Some(0), Some(10)),
            record("never seen", None, None),
            record("young", Some(9), None),
            record("done late", Some(0), Some(20)),
            record("old", Some(1), None),
        ];
        let view = View::new(tasks, Totals::new(), &[]);
        let order =
            |limit| -> Vec<String> { view.snapshot(limit).tasks.iter().map(|task| task.id.to_string()).collect() };
        assert_eq!(order(9), ["old", "young", "never seen", "done late", "done early"]);
        assert_eq!(order(2), ["old", "young"]);
        assert_eq!(view.snapshot(2).hidden, 3);
        assert!(order(0).is_empty());
    }

    #[test]
    fn a_task_that_departs_takes_its_gauges_along_and_leaves_the_totals() {
        let view = View::new(vec![record("a", Some(1), None), record("b", Some(5), None)], Totals::new(), &[1.0]);
        let mut added = Totals::new();
        for count in Count::group_at_zero(&[]) {
            added.entry(Group::default()).or_default().add(&count, &[1.0], NOW);
        }
        view.publish([change(record("a", Some(1), Some(7)), Fate::Tracked)].iter(), &added);
        let group = view.snapshot(9).groups.remove(0);
        assert_eq!(group.tasks, [1, 0, 1, 0, 0]);
        assert_eq!(group.oldest_unfinished, Some(NOW.after(Duration::from_secs(5))));
        for id in ["a", "b"] {
            view.publish([change(record(id, None, None), Fate::Departed(NOW))].iter(), &Totals::new());
        }
        let group = view.snapshot(9).groups.remove(0);
        assert_eq!((group.tasks, group.oldest_unfinished), ([0; 5], None));
        assert!(!group.totals.counters.is_empty());
        assert!(view.tasks().is_empty());
    }
}
