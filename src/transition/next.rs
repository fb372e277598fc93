//! What the next poll of a task asks for.
//!
//! A task whose files were named with it is followed by the file endpoint, one file after the other. The task itself
//! is asked for when an answer did not have the file: it may have changed its key.

use crate::task::{Ask, FileRecord, TaskRecord};

/// What the next poll of a task asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// The route to ask.
    pub ask: Ask,
    /// Whether it continues the poll that was just answered, rather than waiting for its turn.
    pub at_once: bool,
}

/// What the first poll of a task asks for.
pub fn first_ask(record: &TaskRecord) -> Ask {
    pending_file(record, 0).map_or(Ask::Task, |file| Ask::File(file.key.clone()))
}

/// What the next poll asks for, after an answer to `asked` that had the file (or the task) or had it not.
pub fn next_ask(record: &TaskRecord, asked: &Ask, had_it: bool) -> Next {
    match asked {
        Ask::File(_) if !had_it => Next { ask: Ask::Task, at_once: true },
        Ask::Task if !had_it => Next { ask: Ask::Task, at_once: false },
        Ask::File(key) => {
            let is_it = |file: &FileRecord| file.key == *key || file.former_keys().contains(key);
            let position = record.files.iter().position(is_it).unwrap_or(0);
            match pending_file(record, position + 1) {
                Some(file) => Next { ask: Ask::File(file.key.clone()), at_once: true },
                None => Next { ask: first_ask(record), at_once: false },
            }
        }
        Ask::Task => Next { ask: first_ask(record), at_once: false },
    }
}

/// The first file from `position` on that has not finished; when all have, any file tells the operation's state.
fn pending_file(record: &TaskRecord, position: usize) -> Option<&FileRecord> {
    if !record.narrowed {
        return None;
    }
    let unfinished = record.files.iter().skip(position).find(|file| !file.has_finished());
    unfinished.or_else(|| record.files.first().filter(|_| position == 0))
}
