//! `storage`: the durable store.

use super::value::{Problem, Section, Value};
use std::path::{Path, PathBuf};
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

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            url: StorageUrl::Sqlite(PathBuf::from("dragdropdo-exporter.db")),
            remember: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl StorageConfig {
    /// Reads the section; the database's path is relative to `folder`, the default's too.
    pub(super) fn read(mut section: Section<'_>, folder: &Path) -> Result<Self, Problem> {
        let default = Self::default();
        let url = match section.read("url", default.url, url)? {
            StorageUrl::Sqlite(path) => StorageUrl::Sqlite(folder.join(path)),
            StorageUrl::Memory => StorageUrl::Memory,
        };
        let remember = section.read("remember", default.remember, Value::duration)?;
        section.finish()?;
        Ok(Self { url, remember })
    }
}

fn url(value: &Value<'_>) -> Result<StorageUrl, Problem> {
    const ALLOWED: &str =
        "sqlite://FILE, like sqlite://dragdropdo-exporter.db or sqlite:///var/lib/exporter.db, or memory";
    let text = value.text().unwrap_or_default();
    if text == "memory" {
        return Ok(StorageUrl::Memory);
    }
    if text.starts_with("postgres:") || text.starts_with("postgresql:") {
        // Never the URL itself, which usually holds a password.
        let text = format!("PostgreSQL is not supported by this version; allowed is {ALLOWED}");
        return Err(Problem::new(value.path().clone(), text));
    }
    match text.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() && !path.ends_with('/') && !path.contains(['?', '#', '\0']) => {
            Ok(StorageUrl::Sqlite(PathBuf::from(path)))
        }
        Some(_) | None => Err(value.wrong(ALLOWED)),
    }
}
