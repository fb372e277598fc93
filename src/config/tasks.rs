//! `tasks`: the static list.

use crate::task::{FileKey, Group, TaskId};
use crate::time::Time;

/// One task of the static list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticTask {
    /// The main task ID.
    pub id: TaskId,
    /// Its group.
    pub group: Group,
    /// When it was submitted, if the list says so.
    pub submitted_at: Option<Time>,
    /// The only files to poll, by the file endpoint; empty for the whole task.
    pub file_keys: Vec<FileKey>,
}
