//! A task's record as a row.

use crate::task::{
    DropReason, Dropped, ErrorCode, FileHistory, FileKey, FileRecord, Finished, Group, Outcome, Settlement, State,
    TaskId, TaskRecord,
};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use std::error::Error;

pub(super) const SELECT_TRACKED: &str = "SELECT id, grp, registered, narrowed, state, started, first_seen, last_unfinished, ended, finished, settled, \
     outcome, not_found_since, unlisted_since, dropped, drop_reason, files, announced FROM task WHERE departed IS NULL";

pub(super) const SELECT_ONE: &str = "SELECT id, grp, registered, narrowed, state, started, first_seen, last_unfinished, ended, finished, settled, \
     outcome, not_found_since, unlisted_since, dropped, drop_reason, files, announced FROM task WHERE id = $1";

pub(super) const SELECT_DEPARTED_BEFORE: &str = "SELECT id FROM task WHERE departed < $1 ORDER BY departed LIMIT $2";

pub(super) const DELETE: &str = "DELETE FROM task WHERE id = $1";

pub(super) const DELETE_DEPARTED: &str = "DELETE FROM task WHERE id = $1 AND departed IS NOT NULL";

pub(super) const KEEP_DEPARTED: &str = "UPDATE task SET departed = $1 WHERE id = $2 AND departed IS NOT NULL";

const UPSERT: &str = "INSERT INTO task (id, grp, registered, narrowed, state, started, first_seen, last_unfinished, ended, finished, \
     settled, outcome, not_found_since, unlisted_since, dropped, drop_reason, files, departed, announced) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
     ON CONFLICT (id) DO UPDATE SET grp = excluded.grp, registered = excluded.registered, \
     narrowed = excluded.narrowed, state = excluded.state, started = excluded.started, \
     first_seen = excluded.first_seen, last_unfinished = excluded.last_unfinished, ended = excluded.ended, \
     finished = excluded.finished, settled = excluded.settled, outcome = excluded.outcome, \
     not_found_since = excluded.not_found_since, unlisted_since = excluded.unlisted_since, \
     dropped = excluded.dropped, drop_reason = excluded.drop_reason, files = excluded.files, \
     departed = excluded.departed, announced = excluded.announced";

/// The statement that keeps a record.
pub(super) fn upsert(record: &TaskRecord, departed: Option<Time>) -> sqlx::query::Query<'_, Sqlite, SqliteArguments> {
    let files: Vec<FileRow<'_>> = record.files.iter().map(FileRow::of).collect();
    sqlx::query(UPSERT)
        .bind(record.id.as_str())
        .bind(record.group.as_str())
        .bind(i64::from(record.registered))
        .bind(i64::from(record.narrowed))
        .bind(record.state.as_str())
        .bind(record.start.map(Time::as_micros))
        .bind(record.first_seen.map(Time::as_micros))
        .bind(record.last_unfinished.map(Time::as_micros))
        .bind(record.end.map(Time::as_micros))
        .bind(record.finished.map(Finished::as_str))
        .bind(record.settled.map(|settled| settled.at.as_micros()))
        .bind(record.settled.map(|settled| settled.outcome.as_str()))
        .bind(record.not_found_since.map(Time::as_micros))
        .bind(record.unlisted_since.map(Time::as_micros))
        .bind(record.dropped.map(|dropped| dropped.at.as_micros()))
        .bind(record.dropped.map(|dropped| dropped.reason.as_str()))
        // Strings, booleans and numbers are all that a file's row holds: JSON has a form for each.
        .bind(serde_json::to_string(&files).unwrap_or_default())
        .bind(departed.map(Time::as_micros))
        .bind(record.announced.map(Time::as_micros))
}

/// Reads a record from a row of one of the `SELECT`s.
pub(super) fn read(row: &SqliteRow) -> Result<TaskRecord, sqlx::Error> {
    let time = |column: usize| row.try_get::<Option<i64>, _>(column).map(|micros| micros.map(Time::from_micros));
    let word = |column: usize| row.try_get::<Option<&str>, _>(column);
    let settled = match (time(10)?, word(11)?) {
        (Some(at), Some(outcome)) => Some(Settlement { at, outcome: known(outcome, &Outcome::ALL, Outcome::as_str)? }),
        _ => None,
    };
    let dropped = match (time(14)?, word(15)?) {
        (Some(at), Some(reason)) => Some(Dropped { at, reason: known(reason, &DropReason::ALL, DropReason::as_str)? }),
        _ => None,
    };
    let rows: Vec<FileRow<'_>> = serde_json::from_str(row.try_get(16)?).map_err(unreadable)?;
    // Not collected: that would keep the larger rows' allocation for as long as the task is tracked.
    let mut files = Vec::with_capacity(rows.len());
    for row in rows {
        files.push(row.into_record()?);
    }
    Ok(TaskRecord {
        id: TaskId::new(row.try_get(0)?).map_err(unreadable)?,
        group: Group::new(row.try_get(1)?).map_err(unreadable)?,
        registered: row.try_get::<i64, _>(2)? != 0,
        narrowed: row.try_get::<i64, _>(3)? != 0,
        state: known(row.try_get(4)?, &State::ALL, State::as_str)?,
        start: time(5)?,
        first_seen: time(6)?,
        last_unfinished: time(7)?,
        announced: time(17)?,
        end: time(8)?,
        finished: word(9)?.map(|text| known(text, &Finished::ALL, Finished::as_str)).transpose()?,
        settled,
        not_found_since: time(12)?,
        unlisted_since: time(13)?,
        dropped,
        files,
    })
}

fn known<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, sqlx::Error> {
    let found = all.iter().copied().find(|value| name(*value) == text);
    found.ok_or_else(|| unreadable(format!("{text:?} is no word that this exporter writes")))
}

fn unreadable(source: impl Into<Box<dyn Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(source.into())
}

/// A file as an entry of the row's JSON list; what is usual is left out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRow<'a> {
    #[serde(borrow)]
    key: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    state: std::borrow::Cow<'a, str>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    counted_completed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counted_failed_as: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_unfinished: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former_keys: Vec<String>,
}

impl<'a> FileRow<'a> {
    fn of(file: &'a FileRecord) -> Self {
        let history = file.history.as_deref();
        Self {
            key: file.key.as_str().into(),
            state: file.state.as_str().into(),
            gone: !file.present,
            counted_completed: file.counted_completed,
            counted_failed_as: history.and_then(|history| Some(history.failed_as.as_ref()?.as_str().to_owned())),
            failed_at: file.failed_at().map(Time::as_micros),
            error_code: history.and_then(|history| Some(history.error_code.as_ref()?.as_str().to_owned())),
            last_unfinished: file.last_unfinished.map(Time::as_micros),
            former_keys: file.former_keys().iter().map(|key| key.as_str().to_owned()).collect(),
        }
    }

    fn into_record(self) -> Result<FileRecord, sqlx::Error> {
        let history = FileHistory {
            former_keys: self.former_keys.iter().map(|key| FileKey::from_api(key)).collect(),
            failed_as: self.counted_failed_as.as_deref().map(FileKey::from_api),
            failed_at: self.failed_at.map(Time::from_micros),
            error_code: self.error_code.as_deref().and_then(ErrorCode::from_api),
        };
        Ok(FileRecord {
            key: FileKey::from_api(&self.key),
            state: known(&self.state, &State::ALL, State::as_str)?,
            present: !self.gone,
            counted_completed: self.counted_completed,
            last_unfinished: self.last_unfinished.map(Time::from_micros),
            history: (history != FileHistory::default()).then(|| Box::new(history)),
        })
    }
}
