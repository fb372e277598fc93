//! The lock that keeps a second exporter off the same database.
//!
//! It is on a file beside the database and never on the database itself, whose own locks would go with it; so
//! `sqlite3` and backups go on working. The system releases it with the process, however that ends.

use super::StoreError;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The held lock.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the lock is held by keeping the file open")] File);

impl Lock {
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let path = path_for(database);
        let unusable = |source| StoreError::Lock { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is a courtesy: that it is held is known.
                if file.read_to_string(&mut holder).is_err() || holder.trim().is_empty() {
                    holder = "unknown process".to_owned();
                }
                return Err(StoreError::InUse { path: database.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        file.set_len(0).map_err(unusable)?;
        file.rewind().map_err(unusable)?;
        writeln!(file, "process {}", std::process::id()).map_err(unusable)?;
        Ok(Self(file))
    }
}

pub(super) fn path_for(database: &Path) -> PathBuf {
    let mut path: OsString = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}
