//! What a page for people is made of: the heads of its lists, or every task, all of one moment.

use super::{GroupSnapshot, Tables, View};
use crate::task::{TaskId, TaskRecord};
use std::collections::HashSet;
use std::sync::Arc;

/// What a page for people shows of the view.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Every known group.
    pub groups: Vec<GroupSnapshot>,
    /// Tracked tasks, each once and in no order.
    pub tasks: Vec<Arc<TaskRecord>>,
    /// How many there are of all tracked tasks, whatever of them is in `tasks`.
    pub counts: Counts,
}

/// Tracked tasks and their failures, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks that have not finished.
    pub unfinished: usize,
    /// Tasks that have.
    pub finished: usize,
    /// Failures that were counted of them.
    pub failures: usize,
}

impl View {
    /// The known groups, and of the tasks the first `limit` each of three lists: the oldest unfinished, the newest
    /// finished, and those with the newest failures. The cost does not grow with the number of tasks.
    pub fn heads(&self, limit: usize) -> Overview {
        let tables = self.lock();
        let unfinished = tables.places.iter().take(limit.min(tables.counts.unfinished));
        let from = tables.places.first().map(|place| place.before_finished());
        let finished = from.into_iter().flat_map(|from| tables.places.range(from..).take(limit));
        let failing = tables.failing.iter().take(limit).map(|(_, id)| id);
        let ids: HashSet<&TaskId> = unfinished.chain(finished).map(|place| place.id()).chain(failing).collect();
        let tasks = ids.into_iter().filter_map(|id| tables.tasks.get(id).cloned());
        tables.overview(tasks.collect())
    }

    /// The known groups and every tracked task. It takes a reference to each, so the cost grows with their number: some
    /// milliseconds for a hundred thousand.
    pub fn everything(&self) -> Overview {
        let tables = self.lock();
        tables.overview(tables.tasks.values().cloned().collect())
    }
}

impl Tables {
    fn overview(&self, tasks: Vec<Arc<TaskRecord>>) -> Overview {
        Overview { groups: self.group_snapshots(), tasks, counts: self.counts }
    }
}

impl Counts {
    pub(super) fn add(&mut self, record: &TaskRecord) {
        *self.of(record) += 1;
        self.failures += record.failures().count();
    }

    pub(super) fn subtract(&mut self, record: &TaskRecord) {
        *self.of(record) -= 1;
        self.failures -= record.failures().count();
    }

    fn of(&mut self, record: &TaskRecord) -> &mut usize {
        if record.end.is_some() { &mut self.finished } else { &mut self.unfinished }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, Fate};
    use crate::task::{FileHistory, FileKey, FileRecord, Group, State};
    use crate::time::Time;
    use crate::totals::Totals;
    use std::collections::BTreeSet;
    use std::time::Duration;

    const NOW: Time = Time::from_micros(1_700_000_000_000_000);

    fn at(seconds: u64) -> Option<Time> {
        Some(NOW.after(Duration::from_secs(seconds)))
    }

    fn task(id: &str, end: Option<Time>, failures: &[Option<Time>]) -> TaskRecord {
        let mut record = TaskRecord::new(TaskId::new(id).unwrap(), Group::default(), &[]);
        (record.start, record.end) = (at(0), end);
        for failed_at in failures {
            let key = FileKey::from_api("f");
            let history = FileHistory { failed_as: Some(key.clone()), failed_at: *failed_at, ..FileHistory::default() };
            record.files.push(FileRecord { history: Some(Box::new(history)), ..FileRecord::new(key, State::Failed) });
        }
        record
    }

    fn ids(overview: &Overview) -> BTreeSet<&str> {
        overview.tasks.iter().map(|task| task.id.as_str()).collect()
    }

    #[test]
    fn the_heads_are_the_oldest_unfinished_the_newest_finished_and_the_newest_failures() {
        let tasks = vec![
            task("unfinished", None, &[]),
            task("unfinished too", None, &[]),
            task("finished first", at(1), &[at(1)]),
            task("finished second", at(2), &[at(2), at(9)]),
            task("finished third", at(3), &[at(3)]),
            task("failed at an unknown time", at(0), &[None]),
            task("finished last", at(5), &[]),
        ];
        let view = View::new(tasks, Totals::new(), &[]);
        let heads = view.heads(1);
        assert_eq!(ids(&heads), BTreeSet::from(["unfinished", "finished last", "finished second"]));
        assert_eq!(heads.counts, Counts { unfinished: 2, finished: 5, failures: 5 });
        assert_eq!(view.heads(9).tasks.len(), 7);
        let heads = view.heads(3);
        assert!(!ids(&heads).contains("failed at an unknown time"), "{heads:?}");
        assert_eq!((view.everything().tasks.len(), view.everything().counts), (7, heads.counts));
        assert!(View::default().heads(1).tasks.is_empty());
    }

    #[test]
    fn what_departs_or_changes_leaves_nothing_behind() {
        let view = View::new(vec![task("a", None, &[]), task("b", at(1), &[at(1)])], Totals::new(), &[]);
        let change = |record, fate| Change { record: Arc::new(record), fate, counts: Vec::new() };
        let changes = [
            change(task("a", at(7), &[at(6), at(7)]), Fate::Tracked),
            change(task("b", at(1), &[at(1)]), Fate::Departed(NOW)),
        ];
        view.publish(changes.iter(), &Totals::new());
        assert_eq!(view.heads(9).counts, Counts { unfinished: 0, finished: 1, failures: 2 });
        assert_eq!(ids(&view.heads(9)), BTreeSet::from(["a"]));
        view.publish([change(task("a", None, &[]), Fate::Forgotten)].iter(), &Totals::new());
        assert_eq!(view.heads(9).counts, Counts::default());
        assert!(view.lock().failing.is_empty());
    }
}
