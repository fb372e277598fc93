//! `tasks`: the static list.

use super::path::KeyPath;
use super::value::{Problem, Value};
use crate::task::{FileKey, Group, InvalidName, TaskId};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Most distinct groups: each multiplies the series of nearly every metric.
const MAX_GROUPS: usize = 100;

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

/// Reads the list. A task that is listed twice with the same settings is in it once.
pub(super) fn read(value: &Value<'_>) -> Result<Vec<StaticTask>, Problem> {
    let mut tasks: Vec<StaticTask> = Vec::new();
    let mut listed: BTreeMap<TaskId, (usize, KeyPath)> = BTreeMap::new();
    let mut groups = BTreeSet::new();
    for entry in value.list("tasks")? {
        let Entry { task, id_path, group_path } = read_entry(&entry)?;
        if let Some((first, first_path)) = listed.get(&task.id) {
            if tasks.get(*first) == Some(&task) {
                continue;
            }
            let text = "this task is listed before with other settings, allowed is one entry per task; remove one";
            return Err(Problem::new(id_path, text).with_other(first_path.clone()));
        }
        if groups.insert(task.group.clone()) && groups.len() > MAX_GROUPS {
            let text = format!("this is group number {}, allowed are {MAX_GROUPS} distinct groups", MAX_GROUPS + 1);
            return Err(Problem::new(group_path, text));
        }
        listed.insert(task.id.clone(), (tasks.len(), id_path));
        tasks.push(task);
    }
    Ok(tasks)
}

/// One entry as it is written, and where.
struct Entry {
    task: StaticTask,
    id_path: KeyPath,
    group_path: KeyPath,
}

fn read_entry(entry: &Value<'_>) -> Result<Entry, Problem> {
    const ALLOWED: &str = "a main task ID as a text (in quotes if it looks like a number), or a mapping with id, group, submitted_at, file_keys";
    let path = entry.path();
    if !entry.is_mapping() {
        let id = entry.text().ok_or_else(|| entry.wrong(ALLOWED))?;
        let id = TaskId::new(id).map_err(|error| named(entry, &error))?;
        let task = StaticTask { id, group: Group::default(), submitted_at: None, file_keys: Vec::new() };
        return Ok(Entry { task, id_path: path.clone(), group_path: path.clone() });
    }
    let mut section = entry.section()?;
    let id = section.get("id").map(|value| text(&value, "a main task ID", TaskId::new)).transpose()?;
    let task_parts = (
        section.read("group", Group::default(), |value| text(value, "a group's name", Group::new))?,
        section.get("submitted_at").and_then(Value::some).map(|value| time(&value)).transpose()?,
        section.read("file_keys", Vec::new(), file_keys)?,
    );
    let (id_path, group_path) = (section.path("id"), section.path("group"));
    section.finish()?;
    let Some(id) = id else {
        return Err(Problem::new(path.clone(), "the key `id` is missing: write the main task ID there"));
    };
    let (group, submitted_at, file_keys) = task_parts;
    Ok(Entry { task: StaticTask { id, group, submitted_at, file_keys }, id_path, group_path })
}

/// A name in text form; a number is refused, for YAML would change how it is written.
fn text<T>(value: &Value<'_>, what: &str, new: fn(&str) -> Result<T, InvalidName>) -> Result<T, Problem> {
    let text = value.text().ok_or_else(|| value.wrong(&format!("{what} as a text; put it in quotes")))?;
    new(text).map_err(|error| named(value, &error))
}

fn named(value: &Value<'_>, error: &InvalidName) -> Problem {
    Problem::new(value.path().clone(), error.to_string())
}

fn time(value: &Value<'_>) -> Result<Time, Problem> {
    let time = value.text().and_then(|text| Time::parse(text).ok());
    time.ok_or_else(|| value.wrong("RFC 3339 date and time with its offset, like 2026-11-23T10:00:00Z"))
}

fn file_keys(value: &Value<'_>) -> Result<Vec<FileKey>, Problem> {
    let (mut keys, mut seen) = (Vec::new(), BTreeSet::new());
    for entry in value.list("file keys")? {
        let key = text(&entry, "a file key", FileKey::new)?;
        if seen.insert(key.clone()) {
            keys.push(key);
        }
    }
    Ok(keys)
}
