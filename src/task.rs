//! The vocabulary: what a task, a file and an answer about them are. No I/O, no clock.

mod names;
mod record;

pub use names::{ErrorCode, FileKey, Group, InvalidName, TaskId};
pub use record::{Dropped, Failure, FileHistory, FileRecord, Settlement, TaskRecord};

use crate::time::Time;
use std::time::Duration;

/// The state of a task or a file, as the API reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Accepted and waiting.
    Queued,
    /// Being worked on; the API's older word for it is `running`.
    InProgress,
    /// Ended well; for a task, with at least one of its files completed.
    Completed,
    /// Ended badly; for a task, with all its files failed.
    Failed,
    /// Never yet observed, not found, or a word that the exporter does not know.
    Unknown,
}

impl State {
    /// Every state, in the order in which they are exposed.
    pub const ALL: [Self; 5] = [Self::Queued, Self::InProgress, Self::Completed, Self::Failed, Self::Unknown];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// The finished state that this is, if it is one.
    pub const fn finished(self) -> Option<Finished> {
        match self {
            Self::Completed => Some(Finished::Completed),
            Self::Failed => Some(Finished::Failed),
            Self::Queued | Self::InProgress | Self::Unknown => None,
        }
    }
}

/// One of the two states in which a task or a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Finished {
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
}

impl Finished {
    /// Both, in the order in which they are exposed.
    pub const ALL: [Self; 2] = [Self::Completed, Self::Failed];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// How a task that settled came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The operation completed and no file failed.
    Completed,
    /// The operation completed, yet at least one of its files failed.
    PartiallyFailed,
    /// The operation failed.
    Failed,
}

impl Outcome {
    /// Every outcome, in the order in which they are exposed.
    pub const ALL: [Self; 3] = [Self::Completed, Self::PartiallyFailed, Self::Failed];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::PartiallyFailed => "partially_failed",
            Self::Failed => "failed",
        }
    }
}

/// Why a task was given up unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The API has not known it for an hour, and no list names it.
    NotFound,
    /// It was still unfinished `poll.abandon_after` its start.
    Abandoned,
}

impl DropReason {
    /// Both, in the order in which they are exposed.
    pub const ALL: [Self; 2] = [Self::NotFound, Self::Abandoned];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Abandoned => "abandoned",
        }
    }
}

/// One valid answer of the API about one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When the whole answer had been received.
    pub received: Time,
    /// The operation's state.
    pub state: State,
    /// What the answer says of the files.
    pub files: FilesSeen,
}

/// What an answer says of a task's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesSeen {
    /// `files_data` absent or null: nothing.
    NotSaid,
    /// The whole list, possibly empty.
    All(Vec<FileSeen>),
    /// The answer of the file endpoint, which speaks only of the file asked for.
    Only {
        /// The key that was asked for.
        asked: FileKey,
        /// The entries as they came; none says nothing.
        entries: Vec<FileSeen>,
    },
}

/// One entry of `files_data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSeen {
    /// The output's key once there is one, the input's until then.
    pub key: FileKey,
    /// The file's state.
    pub state: State,
    /// The API's code for a failure; `None` when it gave none.
    pub error_code: Option<ErrorCode>,
}

/// Which of the two status routes a poll asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The whole task.
    Task,
    /// One file of it, by its key.
    File(FileKey),
}

/// Something that is counted, once, when it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A task was first observed finished. `latency` is `None` when it is not known well enough.
    TaskFinished {
        /// The state it was first seen to end in.
        state: Finished,
        /// From its start to its end.
        latency: Option<Duration>,
    },
    /// A task settled: its outcome is decided.
    TaskSettled {
        /// How it came out.
        outcome: Outcome,
        /// Whether it failed without ever naming a failed file, so that only this event tells of the failure.
        unnamed_failure: bool,
    },
    /// A file finished.
    FileCompleted {
        /// From its task's start to its end; `None` when it is not known well enough.
        latency: Option<Duration>,
    },
    /// A file failed.
    FileFailed {
        /// The API's code, `unspecified` where it gave none.
        error_code: ErrorCode,
        /// From its task's start to its end; `None` when it is not known well enough.
        latency: Option<Duration>,
    },
    /// A task was given up unfinished.
    TaskDropped(DropReason),
}
