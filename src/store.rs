//! The durable store: load, atomic commit, schema version. It knows records and totals, not the rules about them.
//!
//! SQLite in write-ahead mode with full synchronous commits. A commit either keeps everything it was given or nothing,
//! but for single task rows that the database refuses: they are left out, with what they would have counted, and named.

mod early;
mod lock;
mod rows;
mod totals;
mod transaction;

use crate::config::StorageUrl;
use crate::task::{Group, TaskId, TaskRecord};
use crate::time::Time;
use crate::totals::{Count, Totals};
use futures_util::TryStreamExt;
use lock::Lock;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqlStr};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use transaction::Transaction;

/// How long a statement waits while somebody else, an operator with `sqlite3` or a backup, holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

// Primary result codes of SQLite: https://www.sqlite.org/rescode.html
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const IO_ERROR: u32 = 10;
const FULL: u32 = 13;
const TOO_BIG: u32 = 18;
const CONSTRAINT: u32 = 19;
const MISMATCH: u32 = 20;

/// The migrations, oldest first: version, description, SQL. One that has been released is never changed.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "records and totals", include_str!("../migrations/0001_records_and_totals.sql")),
    (2, "webhooks", include_str!("../migrations/0002_webhooks.sql")),
];

/// Where a record stands after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is tracked.
    Tracked,
    /// It left the gauges at this time and is only remembered.
    Departed(Time),
    /// Nothing of it is kept.
    Forgotten,
}

/// A task's new record and what it makes count.
#[derive(Clone, Debug)]
pub struct Change {
    /// The record as it is to be.
    pub record: Arc<TaskRecord>,
    /// Where it stands then.
    pub fate: Fate,
    /// What is counted with it, in its group.
    pub counts: Vec<Count>,
}

/// A webhook delivery about a task that is not tracked, kept in case it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyWebhook {
    /// The task.
    pub id: TaskId,
    /// When it says that the task ended, if it does.
    pub announced: Option<Time>,
    /// When it was received.
    pub received: Time,
}

/// Everything that is committed in one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work<'a> {
    /// Totals that come to exist, for groups newly known.
    pub opened: Option<&'a Totals>,
    /// Task records and what they make count.
    pub changes: &'a [Change],
    /// Webhook deliveries to keep.
    pub early_webhooks: &'a [EarlyWebhook],
}

impl Work<'_> {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.opened.is_none() && self.changes.is_empty() && self.early_webhooks.is_empty()
    }
}

/// What is remembered of a task that is not tracked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recalled {
    /// Its record, if it was tracked before.
    pub record: Option<TaskRecord>,
    /// A webhook delivery that came before it was known.
    pub early_webhook: Option<EarlyWebhook>,
}

/// What a commit did.
#[derive(Debug, Default)]
pub struct Committed {
    /// What was added to the totals.
    pub added: Totals,
    /// The places of the changes that the database refused, each with its reason.
    pub refused: BTreeMap<usize, String>,
}

/// Everything that the store holds for the start of the process.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The tracked tasks.
    pub tasks: Vec<TaskRecord>,
    /// The totals of every known group.
    pub totals: Totals,
    /// The IDs of rows that cannot be read, each with its reason: set aside and left as they are.
    pub unreadable: Vec<(String, String)>,
}

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another exporter uses the database.
    #[error("another exporter ({holder}) uses the database {path}: stop it, or give this one a storage.url of its own", path = path.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// The lock file cannot be made.
    #[error("the lock file {path} cannot be used: {source}; the exporter must be able to write in that folder", path = path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database cannot be opened.
    #[error("the database {path} cannot be opened: {source}; check storage.url, the folder and its permissions", path = path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// Another program holds the database.
    #[error("the database {path} is locked by another program: end it, like a `sqlite3` with an open transaction, and start again", path = path.display())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// The disk takes or gives nothing.
    #[error("the database {path} cannot be read or written: {source}; see whether the disk is full or broken, and start again", path = path.display())]
    Disk {
        /// The database.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// A newer exporter has changed the schema.
    #[error(
        "the database {path} has schema version {found}, and this exporter knows only up to {known}: \
         a newer exporter wrote it, so run that version or a later one",
        path = path.display()
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// The version that the database has.
        found: i64,
        /// The newest version that this exporter knows.
        known: i64,
    },
    /// The schema cannot be brought up to date.
    #[error("the schema of the database {path} cannot be brought up to date: {source}; restore a backup, or start with a new file", path = path.display())]
    Migrate {
        /// The database.
        path: PathBuf,
        /// Why.
        source: MigrateError,
    },
    /// A row of the totals makes no sense.
    #[error("the database's totals cannot be read: {0}; restore a backup, or start with a new file")]
    Totals(String),
    /// The row of a task makes no sense.
    #[error("the stored record of task {id} cannot be read: {reason}; repair or delete its row")]
    Unreadable {
        /// The task.
        id: TaskId,
        /// Why.
        reason: String,
    },
    /// A statement failed.
    #[error("the database answers: {0}")]
    Database(#[from] sqlx::Error),
}

/// The open store. Its owner is the only writer.
#[derive(Debug)]
pub struct Store {
    connection: SqliteConnection,
    bounds: Arc<[f64]>,
    /// Held while the store is open.
    _lock: Option<Lock>,
}

impl Store {
    /// Opens the store and brings its schema up to date. `bounds` are those of the latency histograms, in seconds.
    ///
    /// # Errors
    ///
    /// Another exporter that uses it, a newer schema, or anything that keeps it from being opened.
    pub async fn open(url: &StorageUrl, bounds: &[f64]) -> Result<Self, StoreError> {
        let (options, path, lock) = match url {
            StorageUrl::Memory => (SqliteConnectOptions::new().in_memory(true), PathBuf::from("memory"), None),
            StorageUrl::Sqlite(path) => {
                let lock = Lock::take(path)?;
                (SqliteConnectOptions::new().filename(path).create_if_missing(true), path.clone(), Some(lock))
            }
        };
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(|source| unopened(&path, source))?;
        migrate(&mut connection, &path).await?;
        Ok(Self { connection, bounds: bounds.into(), _lock: lock })
    }

    /// The bounds of the latency histograms, in seconds.
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// Reads everything for the start. Histograms whose bounds are no longer the configured ones begin anew at `now`.
    ///
    /// # Errors
    ///
    /// Totals that cannot be read, or a database that does not answer. A task's row that cannot be read is no error.
    pub async fn load(&mut self, now: Time) -> Result<Loaded, StoreError> {
        let mut loaded =
            Loaded { totals: totals::load(&mut self.connection, &self.bounds, now).await?, ..Loaded::default() };
        // All records of a group share its name.
        let mut groups: HashSet<Group> = HashSet::new();
        let mut found = sqlx::query(rows::SELECT_TRACKED).fetch(&mut self.connection);
        while let Some(row) = found.try_next().await? {
            match rows::read(&row) {
                Ok(mut record) => {
                    match groups.get(&record.group) {
                        Some(group) => record.group = group.clone(),
                        None => drop(groups.insert(record.group.clone())),
                    }
                    loaded.tasks.push(record);
                }
                Err(reason) => {
                    loaded.unreadable.push((row.try_get_unchecked(0).unwrap_or_default(), reason.to_string()));
                }
            }
        }
        Ok(loaded)
    }

    /// What is remembered of a task that is not tracked.
    ///
    /// # Errors
    ///
    /// A database that does not answer, or a row that cannot be read.
    pub async fn recall(&mut self, id: &TaskId) -> Result<Recalled, StoreError> {
        let found = sqlx::query(rows::SELECT_ONE).bind(id.as_str()).fetch_optional(&mut self.connection).await?;
        let unreadable = |error: sqlx::Error| StoreError::Unreadable { id: id.clone(), reason: error.to_string() };
        let record = found.map(|row| rows::read(&row)).transpose().map_err(unreadable)?;
        let found = sqlx::query("SELECT announced, received FROM early_webhook WHERE task_id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut self.connection)
            .await?;
        let early_webhook = found
            .map(|row| -> Result<EarlyWebhook, sqlx::Error> {
                let announced = row.try_get::<Option<i64>, _>(0)?.map(Time::from_micros);
                Ok(EarlyWebhook { id: id.clone(), announced, received: Time::from_micros(row.try_get(1)?) })
            })
            .transpose()?;
        Ok(Recalled { record, early_webhook })
    }

    /// Changes the bounds of the latency histograms, which begin anew at `now`, and reads all totals again; `None` when
    /// the bounds are those that it has.
    ///
    /// # Errors
    ///
    /// A database that does not answer; the bounds are as they were then.
    pub async fn set_bounds(&mut self, bounds: &[f64], now: Time) -> Result<Option<Totals>, StoreError> {
        if bounds == &*self.bounds {
            return Ok(None);
        }
        let totals = totals::load(&mut self.connection, bounds, now).await?;
        self.bounds = bounds.into();
        Ok(Some(totals))
    }

    /// Commits all of it in one transaction.
    ///
    /// # Errors
    ///
    /// A database that does not answer or has no room; nothing is changed then.
    pub async fn commit(&mut self, work: Work<'_>, now: Time) -> Result<Committed, StoreError> {
        let changes = work.changes;
        let mut refused = BTreeMap::new();
        loop {
            let mut added = work.opened.cloned().unwrap_or_default();
            for (_, change) in changes.iter().enumerate().filter(|(place, _)| !refused.contains_key(place)) {
                let group = &change.record.group;
                if change.counts.is_empty() {
                    continue;
                }
                let totals = added.entry(group.clone()).or_default();
                for count in &change.counts {
                    totals.add(count, &self.bounds, now);
                }
            }
            match self.try_commit(&added, work, &refused).await? {
                None => return Ok(Committed { added, refused }),
                Some((place, reason)) => {
                    refused.insert(place, reason);
                }
            }
        }
    }

    /// One attempt, without the refused rows; the place of the next refused one when there is one, with all undone.
    async fn try_commit(
        &mut self,
        added: &Totals,
        work: Work<'_>,
        refused: &BTreeMap<usize, String>,
    ) -> Result<Option<(usize, String)>, StoreError> {
        let mut transaction = Transaction::begin(&mut self.connection).await?;
        for (place, change) in work.changes.iter().enumerate().filter(|(place, _)| !refused.contains_key(place)) {
            let statement = match change.fate {
                Fate::Tracked => rows::upsert(&change.record, None),
                Fate::Departed(at) => rows::upsert(&change.record, Some(at)),
                Fate::Forgotten => sqlx::query(rows::DELETE).bind(change.record.id.as_str()),
            };
            if let Err(error) = statement.execute(transaction.connection()).await {
                // A trigger may have ended the transaction, so nothing more is done in this one.
                transaction.roll_back().await;
                let refusal = is_about_the_row(&error).then(|| (place, error.to_string()));
                return refusal.map_or_else(|| Err(error.into()), |refusal| Ok(Some(refusal)));
            }
        }
        let rest = async {
            totals::add(transaction.connection(), added, &self.bounds).await?;
            early::keep(transaction.connection(), work.early_webhooks).await
        };
        let rest = rest.await;
        transaction.end(rest).await?;
        Ok(None)
    }

    /// The IDs of at most `limit` remembered tasks that left the gauges before `before`, the earliest first.
    ///
    /// # Errors
    ///
    /// A database that does not answer.
    pub async fn departed_before(&mut self, before: Time, limit: u32) -> Result<Vec<String>, StoreError> {
        let found = sqlx::query(rows::SELECT_DEPARTED_BEFORE)
            .bind(before.as_micros())
            .bind(i64::from(limit))
            .fetch_all(&mut self.connection)
            .await?;
        found.iter().map(|row| row.try_get(0).map_err(StoreError::Database)).collect()
    }

    /// Deletes the remembered tasks in `forget`, and remembers those in `keep` as if they had left at `now`.
    ///
    /// # Errors
    ///
    /// A database that does not answer; nothing is changed then.
    pub async fn forget(&mut self, forget: &[String], keep: &[String], now: Time) -> Result<(), StoreError> {
        let mut transaction = Transaction::begin(&mut self.connection).await?;
        let done = async {
            for id in forget {
                sqlx::query(rows::DELETE_DEPARTED).bind(id).execute(transaction.connection()).await?;
            }
            for id in keep {
                let statement = sqlx::query(rows::KEEP_DEPARTED).bind(now.as_micros()).bind(id);
                statement.execute(transaction.connection()).await?;
            }
            Ok(())
        };
        let done = done.await;
        transaction.end(done).await
    }

    /// Deletes webhook deliveries that were kept since before `before`.
    ///
    /// # Errors
    ///
    /// A database that does not answer; nothing is changed then.
    pub async fn forget_early_webhooks(&mut self, before: Time) -> Result<(), StoreError> {
        let statement = sqlx::query("DELETE FROM early_webhook WHERE received < $1").bind(before.as_micros());
        statement.execute(&mut self.connection).await?;
        Ok(())
    }

    /// Closes the database, so that the write-ahead log is folded into it.
    ///
    /// # Errors
    ///
    /// A database that does not answer. What was committed is durable all the same.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }
}

async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let known = MIGRATIONS.last().map_or(0, |(version, ..)| *version);
    let migrations = MIGRATIONS.into_iter().map(|(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    });
    match Migrator::with_migrations(migrations.collect()).run(connection).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _)) if found > known => {
            Err(StoreError::NewerSchema { path: path.to_owned(), found, known })
        }
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) if is_about_the_disk(&error) => {
            Err(unopened(path, error))
        }
        Err(source) => Err(StoreError::Migrate { path: path.to_owned(), source }),
    }
}

/// Whether a statement failed because of the row it carried, and not because of the disk or the database.
fn is_about_the_row(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(TOO_BIG | CONSTRAINT | MISMATCH))
}

/// Why a database cannot be opened, by what can be done about it.
fn unopened(path: &Path, source: sqlx::Error) -> StoreError {
    let path = path.to_owned();
    match primary_code(&source) {
        Some(BUSY | LOCKED) => StoreError::Locked { path },
        Some(IO_ERROR | FULL) => StoreError::Disk { path, source },
        Some(_) | None => StoreError::Open { path, source },
    }
}

/// Whether a statement failed for want of the lock or the disk, and not because of what it says.
fn is_about_the_disk(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED | IO_ERROR | FULL))
}

/// SQLite's primary result code.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

#[cfg(test)]
mod tests;
