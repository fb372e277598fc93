//! One file of a source: looked at again and again, read when it changed, kept at its last good list when it breaks.

use super::format::{self, FormatError, List, MAX_BYTES, Notation};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// How soon a broken file is looked into again without a change, and counted again: a source that stays broken shows as a
/// rising counter, and not as one failure per second.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(60);
/// Reads with the same stamp after which a file is taken as it is. The clock of a file system may stand still between
/// two writes, by milliseconds or a second, so the first read after a change may have missed the second.
const ENOUGH_READS: u8 = 2;

/// What tells that a file changed, after following links: a rename over it and a swap of the folder that a link leads to
/// change its identity, a rewrite its times or its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
        }
    }
}

/// Why the content of a file can't be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It can't be read.
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is a folder, a pipe or the like.
    #[error("it is no regular file")]
    NoFile,
    /// Its name does not say what it holds.
    #[error("its name ends neither in .json nor in .yml or .yaml")]
    Ending,
    /// It is no list.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// What is known of one file.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// The stamp of the last read; none while it can't be told.
    stamp: Option<Stamp>,
    /// Reads with that stamp.
    reads: u8,
    /// What the last look found is not believed yet.
    in_doubt: bool,
    /// The last good list.
    list: Option<List>,
    trouble: Option<Trouble>,
}

/// A file that is broken.
#[derive(Debug)]
struct Trouble {
    /// The stamp with which its last failed refresh was counted.
    stamp: Option<Stamp>,
    /// When, on a monotonic clock.
    counted_at: Duration,
    /// Why it failed.
    reason: String,
}

impl Trouble {
    fn is_to_be_retried(&self, now: Duration) -> bool {
        now >= self.counted_at.saturating_add(RETRY_AFTER)
    }
}

/// What a look at a file found.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing new.
    Nothing,
    /// Something that is believed only when the next look finds the like again.
    Doubtful,
    /// A good list.
    Good {
        /// Whether it is another than before.
        is_new: bool,
        /// Whether the file was broken before.
        mended: bool,
    },
    /// A failed refresh.
    Broken {
        /// Why.
        error: FileError,
        /// Whether the file was good before, or broken otherwise.
        is_news: bool,
    },
    /// The file is gone.
    Gone,
}

impl Watched {
    /// The last good list.
    pub(super) fn list(&self) -> Option<&List> {
        self.list.as_ref()
    }

    /// Whether it is broken.
    pub(super) fn is_broken(&self) -> bool {
        self.trouble.is_some()
    }

    /// Looks at the file at `path`, which may name at most `room` tasks. `now` is a monotonic clock.
    ///
    /// A file that is gone, empty or wrong may be one that is just being written: it gets a second look before that is
    /// believed.
    pub(super) fn look(&mut self, path: &Path, room: usize, now: Duration) -> Found {
        self.look_by(Stamp::of, path, room, now)
    }

    fn look_by(&mut self, stamp_of: fn(&Metadata) -> Stamp, path: &Path, room: usize, now: Duration) -> Found {
        let metadata = std::fs::metadata(path);
        let mut stamp = metadata.as_ref().ok().map(stamp_of);
        let retry = self.trouble.as_ref().is_some_and(|trouble| trouble.is_to_be_retried(now));
        if stamp == self.stamp && self.reads >= ENOUGH_READS && !self.in_doubt && !retry {
            return Found::Nothing;
        }
        let result = match metadata {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.reads = 0;
                return if self.believe() { Found::Gone } else { Found::Doubtful };
            }
            Err(error) => Err(error.into()),
            // Opening a pipe would wait for somebody to write.
            Ok(metadata) if !metadata.is_file() => Err(FileError::NoFile),
            Ok(_) => read(path, room, |metadata| stamp = Some(stamp_of(metadata))),
        };
        self.reads = if stamp == self.stamp { self.reads.saturating_add(1) } else { 1 };
        self.stamp = stamp;
        match result {
            Ok(list) => {
                let is_new = self.list.as_ref() != Some(&list);
                if is_new && list == List::default() && stamp.is_some_and(|stamp| stamp.size == 0) && !self.believe() {
                    return Found::Doubtful;
                }
                self.in_doubt = false;
                self.list = Some(list);
                Found::Good { is_new, mended: self.trouble.take().is_some() }
            }
            Err(error) if self.believe() => self.broken(error, now),
            Err(_) => Found::Doubtful,
        }
    }

    /// Whether the last look was in doubt already.
    fn believe(&mut self) -> bool {
        self.in_doubt = !self.in_doubt;
        !self.in_doubt
    }

    /// Counts the trouble once per change of the file, and once in a while as long as it lasts.
    fn broken(&mut self, error: FileError, now: Duration) -> Found {
        let is_counted =
            self.trouble.as_ref().is_some_and(|last| last.stamp == self.stamp && !last.is_to_be_retried(now));
        if is_counted {
            return Found::Nothing;
        }
        let reason = error.to_string();
        let is_news = self.trouble.as_ref().is_none_or(|last| last.reason != reason);
        self.trouble = Some(Trouble { stamp: self.stamp, counted_at: now, reason });
        Found::Broken { error, is_news }
    }
}

/// Reads the file at `path`, and tells what it was that was read: it may be another than was looked at before.
fn read(path: &Path, room: usize, tell: impl FnOnce(&Metadata)) -> Result<List, FileError> {
    let notation = notation(path)?;
    let file = File::open(path)?;
    // Taken before reading: what is written meanwhile shows as a change at the next look.
    tell(&file.metadata()?);
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.trim_ascii().is_empty() {
        return Ok(List::default());
    }
    Ok(format::read(&bytes, notation, room)?)
}

fn notation(path: &Path) -> Result<Notation, FileError> {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "json" => Ok(Notation::Json),
        "yml" | "yaml" => Ok(Notation::Yaml),
        _ => Err(FileError::Ending),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a file system whose clock stands still.
    fn look(watched: &mut Watched, path: &Path) -> Found {
        let stamp_of = |metadata: &Metadata| Stamp { modified: (0, 0), changed: (0, 0), ..Stamp::of(metadata) };
        watched.look_by(stamp_of, path, 10, Duration::ZERO)
    }

    #[test]
    fn a_second_write_that_no_stamp_tells_of_is_read_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let mut watched = Watched::default();
        for id in ["a", "b"] {
            std::fs::write(&path, format!("[{{\"targets\": [\"{id}\"]}}]")).unwrap();
            assert!(matches!(look(&mut watched, &path), Found::Good { is_new: true, mended: false }));
            assert_eq!(watched.list().unwrap().targets[0].id.as_str(), id);
        }
        assert!(matches!(look(&mut watched, &path), Found::Nothing));
    }

    #[test]
    fn a_second_write_that_breaks_the_file_is_told_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let mut watched = Watched::default();
        std::fs::write(&path, "[ ]").unwrap();
        assert!(matches!(look(&mut watched, &path), Found::Good { .. }));
        std::fs::write(&path, "[ }").unwrap();
        assert!(matches!(look(&mut watched, &path), Found::Doubtful));
        assert!(matches!(look(&mut watched, &path), Found::Broken { is_news: true, .. }));
        assert!(matches!(look(&mut watched, &path), Found::Nothing));
    }
}
