//! `storage`: the durable store.

use std::path::PathBuf;
use std::time::Duration;

/// The durable store.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Where it is.
    pub url: StorageUrl,
    /// How long the record of a task that left the gauges still prevents counting it again.
    pub remember: Duration,
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageUrl {
    /// A SQLite database in this file.
    Sqlite(PathBuf),
    /// Nothing is kept beyond the process.
    Memory,
}
