//! The three lists of a page: the newest failures, the oldest unfinished tasks, the newest finished ones.

use super::filter::Matcher;
use crate::task::{ErrorCode, Failure, FileRecord, State, TaskRecord};
use crate::view::Counts;
use std::cmp::Reverse;
use std::sync::Arc;

/// Rows of a list: more than anybody reads at night, and a usual page stays below some hundred kilobytes. The filter
/// finds the others.
pub(super) const MAX_ROWS: usize = 25;
/// Files that are named in a task's row because the reader looked for them; enough to see that they are the right ones.
const MAX_FOUND_FILES: usize = 3;

/// The lists of a page.
#[derive(Debug, Default)]
pub(super) struct Lists<'a> {
    /// Failures, the newest first; those whose time was not kept come last.
    pub(super) failures: List<FailureRow<'a>>,
    /// Unfinished tasks, the oldest first; those without a start come last.
    pub(super) unfinished: List<TaskRow<'a>>,
    /// Finished tasks, the newest first.
    pub(super) finished: List<TaskRow<'a>>,
}

/// The first rows of a list, and how many there are in all.
#[derive(Debug)]
pub(super) struct List<R> {
    pub(super) rows: Vec<R>,
    pub(super) total: usize,
}

/// A failure that was counted, and its task.
#[derive(Debug)]
pub(super) struct FailureRow<'a> {
    pub(super) task: &'a TaskRecord,
    pub(super) failure: Failure<'a>,
}

/// A task, and its files that the reader looked for.
#[derive(Debug)]
pub(super) struct TaskRow<'a> {
    pub(super) task: &'a TaskRecord,
    pub(super) found: List<&'a FileRecord>,
}

impl<'a> Lists<'a> {
    /// The lists of what `matcher` finds among these tasks.
    ///
    /// A failure is found by its own file and error code and by its task's ID, in the state of its file or of its task; a
    /// task by its ID, its files and their codes, in its own state.
    pub(super) fn of(tasks: &'a [Arc<TaskRecord>], matcher: &Matcher<'_>) -> Self {
        let (mut failures, mut unfinished, mut finished) = (First::new(), First::new(), First::new());
        for task in tasks.iter().filter(|task| matcher.has_group(task)) {
            let by_id = matcher.has_text([task.id.as_str()]);
            for (place, failure) in task.failures().enumerate() {
                let row = FailureRow { task, failure };
                let states = [task.state, failure.file.map_or(State::Failed, |file| file.state)];
                if matcher.has_state(&states) && (by_id || matcher.has_text(row.texts())) {
                    failures.offer((Reverse(failure.at), &task.id, place), row);
                }
            }
            if !matcher.has_state(&[task.state]) {
                continue;
            }
            if by_id || task.present_files().any(|file| matcher.has_text(texts(file))) {
                match task.end {
                    None => unfinished.offer((task.start.is_none(), task.start, &task.id), task),
                    Some(end) => finished.offer((Reverse(end), &task.id), task),
                }
            }
        }
        let row = |task: &'a Arc<TaskRecord>| TaskRow::of(task, matcher);
        Self { failures: failures.list(|row| row), unfinished: unfinished.list(row), finished: finished.list(row) }
    }

    /// The same rows, as the first of so many.
    pub(super) fn out_of(mut self, counts: Counts) -> Self {
        self.failures.total = counts.failures;
        self.unfinished.total = counts.unfinished;
        self.finished.total = counts.finished;
        self
    }
}

impl<'a> TaskRow<'a> {
    fn of(task: &'a TaskRecord, matcher: &Matcher<'_>) -> Self {
        let is_found = |file: &&FileRecord| matcher.asks_for_text() && matcher.has_text(texts(file));
        let mut rows: Vec<&FileRecord> = task.present_files().filter(is_found).collect();
        let total = rows.len();
        rows.truncate(MAX_FOUND_FILES);
        Self { task, found: List { rows, total } }
    }
}

impl FailureRow<'_> {
    /// The error code, as the API gave it.
    pub(super) fn error_code(&self) -> &str {
        let history = self.failure.file.and_then(|file| file.history.as_deref());
        let code = history.and_then(|history| history.error_code.as_ref());
        code.map_or(ErrorCode::UNSPECIFIED, |code| code.as_str())
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.failure.file.map(|file| file.key.as_str()).into_iter().chain([self.error_code()])
    }
}

/// Where a file's record can be found by a text: its key, and its error code while it is failed.
fn texts(file: &FileRecord) -> impl Iterator<Item = &str> {
    let is_coded = file.state == State::Failed;
    let code = file.error_code().map_or(ErrorCode::UNSPECIFIED, |code| code.as_str());
    [file.key.as_str()].into_iter().chain(is_coded.then_some(code))
}

impl<R> List<R> {
    /// How many there are beyond the rows.
    pub(super) fn more(&self) -> usize {
        self.total.saturating_sub(self.rows.len())
    }
}

impl<R> Default for List<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), total: 0 }
    }
}

/// The first rows by a key of any number that is offered, in little memory.
struct First<K, R> {
    rows: Vec<(K, R)>,
    offered: usize,
}

impl<K: Ord, R> First<K, R> {
    fn new() -> Self {
        Self { rows: Vec::new(), offered: 0 }
    }

    fn offer(&mut self, key: K, row: R) {
        self.offered += 1;
        self.rows.push((key, row));
        if self.rows.len() >= 8 * MAX_ROWS {
            self.keep_first();
        }
    }

    fn keep_first(&mut self) {
        self.rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.rows.truncate(MAX_ROWS);
    }

    fn list<T>(mut self, make: impl Fn(R) -> T) -> List<T> {
        self.keep_first();
        List { rows: self.rows.into_iter().map(|(_, row)| make(row)).collect(), total: self.offered }
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::Filter;
    use super::*;
    use crate::task::{FileHistory, FileKey, Group, Outcome, Settlement, TaskId};
    use crate::time::Time;

    fn at(seconds: i64) -> Time {
        Time::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
    }

    fn task(id: &str, group: &str, state: State, start: Option<i64>, end: Option<i64>) -> TaskRecord {
        let mut task = TaskRecord::new(TaskId::new(id).unwrap(), Group::new(group).unwrap(), &[]);
        (task.state, task.start, task.end) = (state, start.map(at), end.map(at));
        task
    }

    fn file(key: &str, state: State) -> FileRecord {
        FileRecord::new(FileKey::from_api(key), state)
    }

    fn failed(key: &str, code: &str, failed_at: Option<i64>) -> FileRecord {
        let history = FileHistory {
            failed_as: Some(FileKey::from_api(key)),
            failed_at: failed_at.map(at),
            error_code: ErrorCode::from_api(code),
            former_keys: Vec::new(),
        };
        FileRecord { history: Some(Box::new(history)), ..file(key, State::Failed) }
    }

    fn tasks() -> Vec<Arc<TaskRecord>> {
        let mut unnamed = task("unnamed", "invoices", State::Failed, Some(0), Some(30));
        unnamed.settled = Some(Settlement { at: at(40), outcome: Outcome::Failed });
        let mut partial = task("partial", "photos", State::Completed, Some(1), Some(20));
        partial.files = vec![failed("scan.PDF", "", Some(10)), file("out", State::Completed)];
        let mut running = task("running", "photos", State::InProgress, Some(5), None);
        running.files = vec![failed("old", "code", None), failed("new", "code", Some(12)), file("x", State::Queued)];
        let new = task("new", "invoices", State::Unknown, None, None);
        let old = task("old", "invoices", State::Queued, Some(2), None);
        [unnamed, partial, running, new, old].map(Arc::new).into()
    }

    /// What is found: failures by task and file, unfinished tasks, finished tasks.
    fn found(query: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
        let (tasks, filter) = (tasks(), Filter::of(&format!("/?{query}").parse().unwrap()));
        let lists = Lists::of(&tasks, &filter.matcher().unwrap());
        let failure = |row: &FailureRow<'_>| {
            format!("{} {} {}", row.task.id, row.failure.file.map_or("-", |file| file.key.as_str()), row.error_code())
        };
        let ids = |list: &List<TaskRow<'_>>| list.rows.iter().map(|row| row.task.id.to_string()).collect();
        (lists.failures.rows.iter().map(failure).collect(), ids(&lists.unfinished), ids(&lists.finished))
    }

    #[test]
    fn failures_and_finished_tasks_come_newest_first_and_unfinished_ones_oldest_first() {
        let (failures, unfinished, finished) = found("");
        assert_eq!(
            failures,
            ["unnamed - unspecified", "running new code", "partial scan.PDF unspecified", "running old code"]
        );
        assert_eq!(unfinished, ["old", "running", "new"]);
        assert_eq!(finished, ["unnamed", "partial"]);
    }

    #[test]
    fn a_text_is_looked_for_in_task_ids_file_keys_and_error_codes() {
        assert_eq!(found("q=scan.pdf").0, ["partial scan.PDF unspecified"]);
        assert_eq!(found("q=scan.pdf").2, ["partial"]);
        assert_eq!(found("q=CODE").1, ["running"]);
        assert_eq!(found("q=unspecified").0, ["unnamed - unspecified", "partial scan.PDF unspecified"]);
        let (failures, unfinished, finished) = found("q=old");
        assert_eq!(
            (failures, unfinished),
            (vec!["running old code".to_owned()], vec!["old".to_owned(), "running".to_owned()])
        );
        assert!(finished.is_empty());
    }

    #[test]
    fn a_state_is_that_of_the_task_and_for_failures_also_that_of_the_file() {
        let (failures, unfinished, finished) = found("state=failed");
        assert_eq!((failures.len(), unfinished.len(), finished), (4, 0, vec!["unnamed".to_owned()]));
        assert_eq!(found("state=completed").0, ["partial scan.PDF unspecified"]);
        assert_eq!(found("state=in_progress&group=photos").1, ["running"]);
        assert_eq!(found("group=nobody"), Default::default());
    }

    #[test]
    fn the_files_that_were_looked_for_are_named_and_bounded() {
        let mut many = task("many", "photos", State::Queued, Some(1), None);
        many.files = (0..9).map(|number| file(&format!("key {number}"), State::Queued)).collect();
        let tasks = [Arc::new(many)];
        for (query, total) in [("q=key", 9), ("q=key+7", 1), ("q=many", 0), ("", 0)] {
            let filter = Filter::of(&format!("/?{query}").parse().unwrap());
            let lists = Lists::of(&tasks, &filter.matcher().unwrap());
            let row = &lists.unfinished.rows[0];
            assert_eq!((row.found.total, row.found.rows.len()), (total, total.min(3)), "{query}");
        }
    }

    #[test]
    fn of_any_number_the_first_rows_are_kept() {
        let tasks: Vec<Arc<TaskRecord>> = (0..1000)
            .map(|number| Arc::new(task(&format!("t{number}"), "g", State::Queued, Some(number * 7919 % 1000), None)))
            .collect();
        let lists = Lists::of(&tasks, &Matcher::default());
        assert_eq!((lists.unfinished.total, lists.unfinished.more()), (1000, 1000 - MAX_ROWS));
        let starts: Vec<Time> = lists.unfinished.rows.iter().filter_map(|row| row.task.start).collect();
        assert_eq!(starts, (0..25).map(at).collect::<Vec<_>>());
        let counts = Counts { unfinished: 5000, finished: 1, failures: 2 };
        assert_eq!(lists.out_of(counts).unfinished.more(), 5000 - MAX_ROWS);
    }
}
