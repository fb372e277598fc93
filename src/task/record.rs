//! The record of one task: everything that is known of it, and what has been counted.

use super::{DropReason, ErrorCode, FileKey, Finished, Group, Outcome, State, TaskId};
use crate::time::Time;

/// Everything that is known of one task. It is the unit of storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    /// The main task ID.
    pub id: TaskId,
    /// The group under which it is counted.
    pub group: Group,
    /// Whether it was registered over HTTP (and not only named by a list).
    pub registered: bool,
    /// Whether only the files that it was given are followed, by the file endpoint.
    pub narrowed: bool,
    /// Its start, once known; fixed once.
    pub start: Option<Time>,
    /// The receipt of the first observation.
    pub first_seen: Option<Time>,
    /// The state in the latest body; [`State::Unknown`] before the first, and while the API answers 404.
    pub state: State,
    /// The latest observation that showed it unfinished, up to its end.
    pub last_unfinished: Option<Time>,
    /// When a signed webhook says that it ended, until it has been observed finished.
    pub announced: Option<Time>,
    /// Its end: when it finished, once it has.
    pub end: Option<Time>,
    /// The latest finished state that a body showed.
    pub finished: Option<Finished>,
    /// When and how it settled.
    pub settled: Option<Settlement>,
    /// Since when the API has not known it: the first 404 in a row.
    pub not_found_since: Option<Time>,
    /// Since when no list names it; `None` while one does.
    pub unlisted_since: Option<Time>,
    /// When and why it was given up.
    pub dropped: Option<Dropped>,
    /// Its files, those that the latest body named first, then those remembered; each in the order in which they came.
    pub files: Vec<FileRecord>,
}

/// When a task settled, and how it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// When it settled.
    pub at: Time,
    /// How it came out.
    pub outcome: Outcome,
}

/// When a task was given up, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// When it was given up.
    pub at: Time,
    /// Why.
    pub reason: DropReason,
}

/// One file of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Its key in the latest body that named it.
    pub key: FileKey,
    /// Its state in the latest body that named it.
    pub state: State,
    /// Whether the latest body that spoke of the files named it; a file that did vanish is remembered.
    pub present: bool,
    /// Whether its completion has been counted.
    pub counted_completed: bool,
    /// The latest observation that showed it unfinished.
    pub last_unfinished: Option<Time>,
    /// What few files have; boxed to keep the many small.
    pub history: Option<Box<FileHistory>>,
}

/// A failure that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// When it was counted; `None` when that was not kept.
    pub at: Option<Time>,
    /// The file that failed; `None` for an operation that failed without naming one.
    pub file: Option<&'a FileRecord>,
}

/// The part of a file's record that a file has only when it failed or changed its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileHistory {
    /// The keys that it had before, by which a stale answer is recognised.
    pub former_keys: Vec<FileKey>,
    /// The key that it had when its failure was counted; `None` while it has not been.
    pub failed_as: Option<FileKey>,
    /// When its failure was counted; `None` before that, and for one that was counted before this was kept.
    pub failed_at: Option<Time>,
    /// The error code of the latest body that showed it failed.
    pub error_code: Option<ErrorCode>,
}

impl TaskRecord {
    /// A task that nothing has been observed of. With `file_keys`, only those files are followed.
    pub fn new(id: TaskId, group: Group, file_keys: &[FileKey]) -> Self {
        Self {
            id,
            group,
            registered: false,
            narrowed: !file_keys.is_empty(),
            start: None,
            first_seen: None,
            state: State::Unknown,
            last_unfinished: None,
            announced: None,
            end: None,
            finished: None,
            settled: None,
            not_found_since: None,
            unlisted_since: None,
            dropped: None,
            files: file_keys.iter().map(|key| FileRecord::new(key.clone(), State::Unknown)).collect(),
        }
    }

    /// The files that the latest body named.
    pub fn present_files(&self) -> impl Iterator<Item = &FileRecord> {
        self.files.iter().filter(|file| file.present)
    }

    /// The failures that were counted of it: its files', or its own when it failed without naming a file.
    pub fn failures(&self) -> impl Iterator<Item = Failure<'_>> {
        let files = self.files.iter().filter(|file| file.counted_failed());
        let mut files = files.map(|file| Failure { at: file.failed_at(), file: Some(file) }).peekable();
        let names_none = files.peek().is_none();
        let unnamed = self.settled.filter(|settled| names_none && settled.outcome == Outcome::Failed);
        files.chain(unnamed.map(|settled| Failure { at: Some(settled.at), file: None }))
    }
}

impl FileRecord {
    /// A file that nothing has been counted of.
    pub fn new(key: FileKey, state: State) -> Self {
        Self { key, state, present: true, counted_completed: false, last_unfinished: None, history: None }
    }

    /// Whether its failure has been counted.
    pub fn counted_failed(&self) -> bool {
        self.history.as_ref().is_some_and(|history| history.failed_as.is_some())
    }

    /// When its failure was counted, where that is known.
    pub fn failed_at(&self) -> Option<Time> {
        self.history.as_ref()?.failed_at
    }

    /// Whether it has ever been observed finished: the API's finished states are final.
    pub fn has_finished(&self) -> bool {
        self.counted_completed || self.counted_failed()
    }

    /// The error code of its failure, while its state is failed.
    pub fn error_code(&self) -> Option<&ErrorCode> {
        self.history.as_ref().filter(|_| self.state == State::Failed)?.error_code.as_ref()
    }

    /// The keys that it had before.
    pub fn former_keys(&self) -> &[FileKey] {
        self.history.as_ref().map_or(&[], |history| &history.former_keys)
    }
}
