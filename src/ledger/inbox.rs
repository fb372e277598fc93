//! What the ledger is told, and by whom.

use super::Settings;
use crate::schedule::Job;
use crate::task::{FileKey, Group, Observation, TaskId};
use crate::time::Time;
use tokio::sync::{mpsc, oneshot};

/// Inputs that wait for the ledger. A full inbox makes polls and requests wait, within the time that each has; what waits
/// may be as long as an answer of the API, so there are not many.
const INBOX: usize = 256;

/// A source of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name in the metrics: `static`, `files/0`, `http/1`. It is the place in the configuration, which may change.
    pub name: String,
    /// What it is: its glob or URL.
    pub origin: String,
}

/// What a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The tasks.
    pub targets: Vec<Target>,
    /// Whether these are all: not while a part of the source has been broken since the start.
    pub is_whole: bool,
}

/// A task that somebody wants followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The main task ID.
    pub id: TaskId,
    /// Its group.
    pub group: Group,
    /// When it was submitted, where that is known.
    pub submitted_at: Option<Time>,
    /// The only files to follow; empty for the whole task.
    pub file_keys: Vec<FileKey>,
}

/// What became of one registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The main task ID.
    pub id: TaskId,
    /// The group under which it is counted: for a task that was known already, the one it had.
    pub group: Group,
    /// Whether it was not known before.
    pub is_new: bool,
}

/// Why a registration was refused. Nothing has changed then, but where a single row is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// One group too many.
    #[error("the group {:?} would be one too many, at most {limit} are allowed: use one of those there are", group.as_str())]
    TooManyGroups {
        /// The new group.
        group: Group,
        /// How many there may be.
        limit: usize,
    },
    /// The record of the task cannot be read.
    #[error("the stored record of task {0} cannot be read and was set aside: repair or delete its row in the store")]
    SetAside(TaskId),
    /// The store refused the task's record.
    #[error("the store refused the record of task {id}: {reason}")]
    Refused {
        /// The task.
        id: TaskId,
        /// The store's reason.
        reason: String,
    },
    /// The store does not answer.
    #[error("the store does not answer, so nothing can be registered now: try again")]
    StoreUnavailable,
    /// The exporter is shutting down.
    #[error("the exporter is shutting down: try again when it is back")]
    ShuttingDown,
}

/// Why a list of tasks was refused. What its source named before stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// One group too many.
    #[error("the group {:?} would be one too many, at most {limit} are allowed: use one of those there are", group.as_str())]
    TooManyGroups {
        /// The new group.
        group: Group,
        /// How many there may be.
        limit: usize,
    },
    /// The exporter is shutting down.
    #[error("the exporter is shutting down")]
    ShuttingDown,
}

/// Why a task was not forgotten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// It is not tracked.
    #[error("the task {0} is not tracked: GET /api/v1/tasks shows those that are")]
    NotTracked(TaskId),
    /// Lists name it.
    #[error("the task {id} is named by {lists}: take it off there, and it goes by itself", lists = sources.join(", "))]
    Listed {
        /// The task.
        id: TaskId,
        /// The sources that name it.
        sources: Vec<String>,
    },
    /// The exporter is shutting down.
    #[error("the exporter is shutting down: try again when it is back")]
    ShuttingDown,
}

/// What became of a webhook delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It is about a task that is tracked.
    Accepted,
    /// It is about a task that is not tracked; it is kept for a while.
    UnknownTask,
}

/// The ledger does not take anything now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store does not answer, or the exporter is shutting down: send it again")]
pub struct Unavailable;

pub(super) enum Input {
    /// A poll was answered with an observation.
    Observed { job: Job, observation: Observation },
    /// A poll was answered with 404.
    NotFound { job: Job, at: Time },
    /// A source of tasks names these, and no others when the list is whole.
    Listed { source: Source, list: List, reply: oneshot::Sender<Result<(), ListError>> },
    /// Somebody registers tasks over HTTP.
    Register { targets: Vec<Target>, at: Time, reply: Reply },
    /// Somebody wants a registered task forgotten.
    Delete { id: TaskId, reply: oneshot::Sender<Result<(), DeleteError>> },
    /// A signed webhook speaks of a task, and perhaps of its end.
    Delivered { id: TaskId, announced: Option<Time>, reply: oneshot::Sender<Result<Delivered, Unavailable>> },
    /// The configuration has changed.
    Reconfigure { change: Box<Reconfiguration>, reply: oneshot::Sender<Result<(), String>> },
}

/// What a changed configuration changes for the ledger.
#[derive(Clone, Debug)]
pub struct Reconfiguration {
    /// The numbers and limits.
    pub settings: Settings,
    /// The bounds of the latency histograms, in seconds.
    pub bounds: Vec<f64>,
}

pub(super) type Reply = oneshot::Sender<Result<Vec<Registered>, RegisterError>>;

/// The way into the ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LedgerHandle(mpsc::Sender<Input>);

impl LedgerHandle {
    pub(super) fn new() -> (Self, mpsc::Receiver<Input>) {
        let (sender, receiver) = mpsc::channel(INBOX);
        (Self(sender), receiver)
    }

    /// Tells of an observation. When it is durable and published, the schedule learns of the task's next poll.
    pub async fn observed(&self, job: Job, observation: Observation) {
        self.tell(Input::Observed { job, observation }).await;
    }

    /// Tells of a 404.
    pub async fn not_found(&self, job: Job, at: Time) {
        self.tell(Input::NotFound { job, at }).await;
    }

    /// Tells which tasks a source names now; returns when they are tracked.
    ///
    /// # Errors
    ///
    /// A group too many; the source's last list stays in force then.
    pub async fn listed(&self, source: &Source, list: List) -> Result<(), ListError> {
        let ask = |reply| Input::Listed { source: source.clone(), list, reply };
        self.ask(ask).await.unwrap_or(Err(ListError::ShuttingDown))
    }

    /// Registers tasks, which `at` is the moment of; returns when they are durable.
    ///
    /// # Errors
    ///
    /// A group too many, or a store that refuses a record or does not answer.
    pub async fn register(&self, targets: Vec<Target>, at: Time) -> Result<Vec<Registered>, RegisterError> {
        self.ask(|reply| Input::Register { targets, at, reply }).await.unwrap_or(Err(RegisterError::ShuttingDown))
    }

    /// Forgets a registered task: it leaves the gauges, and its record only prevents counting it again.
    ///
    /// # Errors
    ///
    /// A task that is not tracked, or that a list names.
    pub async fn delete(&self, id: TaskId) -> Result<(), DeleteError> {
        self.ask(|reply| Input::Delete { id, reply }).await.unwrap_or(Err(DeleteError::ShuttingDown))
    }

    /// Tells of a signed webhook; returns when it is durable.
    ///
    /// # Errors
    ///
    /// A store that does not answer.
    pub async fn delivered(&self, id: TaskId, announced: Option<Time>) -> Result<Delivered, Unavailable> {
        self.ask(|reply| Input::Delivered { id, announced, reply }).await.unwrap_or(Err(Unavailable))
    }

    /// Changes the ledger's part of the configuration, as a whole or not at all.
    ///
    /// # Errors
    ///
    /// A store that does not answer, with its reason.
    pub async fn reconfigure(&self, change: Reconfiguration) -> Result<(), String> {
        let ended = || Err("the exporter is shutting down".to_owned());
        self.ask(|reply| Input::Reconfigure { change: Box::new(change), reply }).await.unwrap_or_else(ended)
    }

    /// The ledger's answer; `None` when it has ended.
    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Option<T> {
        let (reply, wait) = oneshot::channel();
        self.tell(input(reply)).await;
        wait.await.ok()
    }

    async fn tell(&self, input: Input) {
        if self.0.send(input).await.is_err() {
            tracing::debug!("the ledger has ended: what comes late is observed again after the restart");
        }
    }
}
