//! What the ledger is told, and by whom.

use crate::schedule::Job;
use crate::task::{FileKey, Group, Observation, TaskId};
use crate::time::Time;
use tokio::sync::{mpsc, oneshot};

/// Inputs that wait for the ledger. Each poll in flight has at most one here, so it is a bound for registrations: a full
/// inbox makes them wait, within the time that the web server gives them.
const INBOX: usize = 4096;

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
    #[error("the group {group:?} would be the {nth}th, and at most {limit} are allowed: use one of those there are", nth = limit + 1)]
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

pub(super) enum Input {
    /// A poll was answered with an observation.
    Observed { job: Job, observation: Observation },
    /// A poll was answered with 404.
    NotFound { job: Job, at: Time },
    /// A source of tasks names these and no others.
    Listed { source: String, targets: Vec<Target>, done: oneshot::Sender<()> },
    /// Somebody registers tasks over HTTP.
    Register { targets: Vec<Target>, reply: Reply },
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
    pub async fn listed(&self, source: &str, targets: Vec<Target>) {
        let (done, wait) = oneshot::channel();
        self.tell(Input::Listed { source: source.to_owned(), targets, done }).await;
        // An error means that the ledger has ended, and with it the process.
        wait.await.ok();
    }

    /// Registers tasks; returns when they are durable.
    ///
    /// # Errors
    ///
    /// A group too many, or a store that refuses a record or does not answer.
    pub async fn register(&self, targets: Vec<Target>) -> Result<Vec<Registered>, RegisterError> {
        let (reply, wait) = oneshot::channel();
        self.tell(Input::Register { targets, reply }).await;
        wait.await.unwrap_or(Err(RegisterError::ShuttingDown))
    }

    async fn tell(&self, input: Input) {
        if self.0.send(input).await.is_err() {
            tracing::debug!("the ledger has ended: what comes late is observed again after the restart");
        }
    }
}
