//! The API key: read, held, and read again when its file changes.

use crate::config::{KeyHeader, KeySource};
use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often a key file is read again. Reading catches every way in which a file is replaced, also the symlink swap of
/// a Kubernetes secret, which file notifications miss; every two seconds it costs nothing and a rotated key is in use
/// before the old one has failed often.
const REREAD_INTERVAL: Duration = Duration::from_secs(2);

/// Longest key, in bytes: servers refuse headers of more than about 8 KiB.
const MAX_KEY_BYTES: u64 = 4096;

/// The current API key. Clones share it.
#[derive(Clone, Debug)]
pub struct Key {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: KeySource,
    current: RwLock<Headers>,
    changes: watch::Sender<u64>,
}

/// The key as the value of either header, marked sensitive so that it is never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Headers {
    bearer: HeaderValue,
    plain: HeaderValue,
}

impl Key {
    /// Reads the key from where the configuration says it is.
    ///
    /// Blanks and line ends around it are not part of it.
    ///
    /// # Errors
    ///
    /// A file that can't be read, and a key that is empty, too long, or holds a blank or a character that no header
    /// can carry.
    pub fn open(source: &KeySource) -> Result<Self, KeyError> {
        let headers = read(source)?;
        let shared = Shared { source: source.clone(), current: RwLock::new(headers), changes: watch::Sender::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A number that rises each time the file's key changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Reads the key file again every two seconds until `cancel`; a key that was given inline never changes.
    ///
    /// While the file can't be read, or holds no key, the last key stays in use.
    pub async fn watch(self, cancel: CancellationToken) {
        let KeySource::File(path) = &self.shared.source else {
            return cancel.cancelled().await;
        };
        let mut failing = false;
        while cancel.run_until_cancelled(tokio::time::sleep(REREAD_INTERVAL)).await.is_some() {
            match self.read_again().await {
                Ok(changed) => {
                    if changed {
                        tracing::info!(path = %path.display(), "the API key changed: using the new one");
                    } else if failing {
                        tracing::info!(path = %path.display(), "the API key file can be read again");
                    }
                    failing = false;
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(path = %path.display(), %error, "keeping the last API key");
                    }
                    failing = true;
                }
            }
        }
    }

    /// The value of `header` with the current key.
    pub(super) fn value(&self, header: KeyHeader) -> HeaderValue {
        let current = self.shared.current.read().unwrap_or_else(PoisonError::into_inner);
        match header {
            KeyHeader::Bearer => current.bearer.clone(),
            KeyHeader::XD3ApiKey => current.plain.clone(),
        }
    }

    /// Whether the key that the source holds now is another than the last.
    async fn read_again(&self) -> Result<bool, KeyError> {
        let shared = Arc::clone(&self.shared);
        let Ok(read) = tokio::task::spawn_blocking(move || read_regular(&shared.source)).await else {
            // Only a runtime that is shutting down drops the read.
            return Ok(false);
        };
        let new = read?;
        let mut current = self.shared.current.write().unwrap_or_else(PoisonError::into_inner);
        if *current == new {
            return Ok(false);
        }
        *current = new;
        drop(current);
        self.shared.changes.send_modify(|generation| *generation += 1);
        Ok(true)
    }
}

/// A key that can't be used. It never shows the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file can't be read.
    #[error("cannot read the API key file {}: {cause}; put the key into it, or let api.api_key_file name another one", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// No key was given, and the file that is read then can't be.
    #[error("no API key is given, and {} cannot be read: {cause}; {WAYS}", path.display())]
    NotGiven {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// What was read is no key.
    #[error("the API key {origin} {problem}; {WAYS}")]
    Unusable {
        /// Where it comes from.
        origin: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

const WAYS: &str = KeySource::HOW_TO_GIVE_ONE;

fn read(source: &KeySource) -> Result<Headers, KeyError> {
    match source {
        KeySource::Inline(secret) => headers(secret.expose_secret().as_bytes())
            .map_err(|problem| KeyError::Unusable { origin: "of api.api_key or DRAGDROPDO_API_KEY".into(), problem }),
        KeySource::File(path) => {
            let bytes = read_bounded(path).map_err(|cause| unreadable(path, cause))?;
            headers(&bytes).map_err(|problem| KeyError::Unusable { origin: format!("in {}", path.display()), problem })
        }
    }
}

/// Reads a file only when it is a regular one: a pipe, fit to be read once at the start, would block this read and
/// with it the shutdown.
fn read_regular(source: &KeySource) -> Result<Headers, KeyError> {
    if let KeySource::File(path) = source {
        let unreadable = |cause| unreadable(path, cause);
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(unreadable(io::Error::other("it is not a regular file and can't be read again")));
        }
    }
    read(source)
}

fn unreadable(path: &Path, cause: io::Error) -> KeyError {
    let path = path.to_owned();
    if path == Path::new(KeySource::DEFAULT_FILE) {
        KeyError::NotGiven { path, cause }
    } else {
        KeyError::Unreadable { path, cause }
    }
}

/// Reads at most one byte more than the longest key with some blanks around it.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(2 * MAX_KEY_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn headers(bytes: &[u8]) -> Result<Headers, &'static str> {
    let key = bytes.trim_ascii();
    if key.is_empty() {
        return Err("is empty");
    }
    if key.len() as u64 > MAX_KEY_BYTES {
        return Err("is longer than 4096 bytes");
    }
    let unfit = "holds a blank, a line end or a character that is not ASCII";
    if !key.iter().all(u8::is_ascii_graphic) {
        return Err(unfit);
    }
    let sensitive = |bytes: &[u8]| -> Result<HeaderValue, &'static str> {
        let mut value = HeaderValue::from_bytes(bytes).map_err(|_| unfit)?;
        value.set_sensitive(true);
        Ok(value)
    };
    Ok(Headers { bearer: sensitive(&[b"Bearer ", key].concat())?, plain: sensitive(key)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;
    use tokio::task::JoinHandle;

    fn file(folder: &TempDir, text: &str) -> PathBuf {
        let path = folder.path().join("key");
        fs::write(&path, text).unwrap();
        path
    }

    fn plain(key: &Key) -> String {
        key.value(KeyHeader::XD3ApiKey).to_str().unwrap().to_owned()
    }

    /// A key, and the task that watches it.
    struct Watched {
        key: Key,
        changes: watch::Receiver<u64>,
        cancel: CancellationToken,
        watching: JoinHandle<()>,
    }

    impl Watched {
        fn of(source: KeySource) -> Self {
            let key = Key::open(&source).unwrap();
            let cancel = CancellationToken::new();
            let watching = tokio::spawn(key.clone().watch(cancel.clone()));
            Self { changes: key.changes(), key, cancel, watching }
        }

        async fn end(self) {
            self.cancel.cancel();
            self.watching.await.unwrap();
        }
    }

    #[test]
    fn a_key_is_trimmed_and_fits_either_header() {
        let folder = TempDir::new().unwrap();
        let key = Key::open(&KeySource::File(file(&folder, " d3_live_1\r\n\n"))).unwrap();
        assert_eq!(plain(&key), "d3_live_1");
        assert_eq!(key.value(KeyHeader::Bearer).to_str().unwrap(), "Bearer d3_live_1");
        let inline = Key::open(&KeySource::Inline("\td3_live_2\n".into())).unwrap();
        assert_eq!(plain(&inline), "d3_live_2");
    }

    #[test]
    fn an_unusable_key_is_refused_with_the_ways_to_give_one_and_never_shown() {
        let folder = TempDir::new().unwrap();
        let long = "k".repeat(5000);
        for (text, problem) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("d3_live secret", "holds a blank, a line end or a character that is not ASCII"),
            ("d3_live\nsecret", "holds a blank, a line end or a character that is not ASCII"),
            ("d3_live\u{e9}secret", "holds a blank, a line end or a character that is not ASCII"),
            (long.as_str(), "is longer than 4096 bytes"),
        ] {
            let path = file(&folder, text);
            assert_eq!(
                Key::open(&KeySource::File(path.clone())).unwrap_err().to_string(),
                format!("the API key in {} {problem}; {WAYS}", path.display())
            );
            assert_eq!(
                Key::open(&KeySource::Inline(text.into())).unwrap_err().to_string(),
                format!("the API key of api.api_key or DRAGDROPDO_API_KEY {problem}; {WAYS}")
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_what_to_do() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("nowhere");
        let message = Key::open(&KeySource::File(path.clone())).unwrap_err().to_string();
        assert!(message.starts_with(&format!("cannot read the API key file {}: No such file", path.display())));
        assert!(
            message.ends_with("; put the key into it, or let api.api_key_file name another one")
                && !message.contains(WAYS),
            "{message}"
        );
        assert!(Key::open(&KeySource::File(folder.path().into())).is_err());
    }

    #[test]
    fn an_endless_file_is_not_read_to_its_end() {
        let message = Key::open(&KeySource::File("/dev/zero".into())).unwrap_err().to_string();
        assert!(message.contains("is longer than 4096 bytes"), "{message}");
    }

    #[test]
    fn debug_shows_no_key() {
        let folder = TempDir::new().unwrap();
        for source in [KeySource::Inline("d3_secret".into()), KeySource::File(file(&folder, "d3_secret"))] {
            let key = Key::open(&source).unwrap();
            let shown = format!("{key:?} {source:?} {:?}", key.value(KeyHeader::Bearer));
            assert!(!shown.contains("d3_secret"), "{shown}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rewritten_file_is_a_new_key() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "first");
        let mut watched = Watched::of(KeySource::File(path.clone()));

        tokio::time::sleep(3 * REREAD_INTERVAL).await;
        assert!(!watched.changes.has_changed().unwrap(), "nothing changed");
        fs::write(&path, "second\n").unwrap();
        watched.changes.changed().await.unwrap();
        assert_eq!(plain(&watched.key), "second");
        watched.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_key_stays_while_the_file_holds_none() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "first");
        let mut watched = Watched::of(KeySource::File(path.clone()));

        for broken in [None, Some(""), Some("two words")] {
            match broken {
                None => fs::remove_file(&path).unwrap(),
                Some(text) => fs::write(&path, text).unwrap(),
            }
            tokio::time::sleep(2 * REREAD_INTERVAL).await;
            assert_eq!(plain(&watched.key), "first");
        }
        fs::write(&path, "first").unwrap();
        tokio::time::sleep(2 * REREAD_INTERVAL).await;
        assert!(!watched.changes.has_changed().unwrap(), "the same key came back");
        fs::write(&path, "second").unwrap();
        watched.changes.changed().await.unwrap();
        assert_eq!(*watched.changes.borrow(), 1);
        watched.end().await;
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_swap_of_the_folder_that_a_symlink_leads_to_is_a_new_key() {
        use std::os::unix::fs::symlink;
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("v1", "first"), ("v2", "second")] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("key"), text).unwrap();
        }
        symlink("v1", at("..data")).unwrap();
        symlink("..data/key", at("key")).unwrap();
        let mut watched = Watched::of(KeySource::File(at("key")));

        symlink("v2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        watched.changes.changed().await.unwrap();
        assert_eq!(plain(&watched.key), "second");
        watched.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn watching_an_inline_key_ends_when_cancelled() {
        let watched = Watched::of(KeySource::Inline("k".into()));
        tokio::time::sleep(3 * REREAD_INTERVAL).await;
        assert!(!watched.watching.is_finished());
        watched.end().await;
    }
}
