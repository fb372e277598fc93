//! `check-config`: reads a configuration file and the files that it names, as a start does, and contacts nothing.

use super::{Failure, read_config, say};
use crate::access::Loaded;
use crate::api::{self, Key};
use crate::app::StartError;
use crate::config::{Config, ConfigError, HttpSource, KeySource, TlsServerConfig, WebConfigFile};
use crate::discovery::Discovery;
use crate::web::{ApiToken, WebhookSecret};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = read_config(file).map_err(|error| Failure::usage(without_flags(error)))?;
    let notes = check_files(&config)?;
    let groups: BTreeSet<&str> = config.tasks.iter().map(|task| task.group.as_str()).collect();
    say(&format!("{} is valid: {} tasks in {} groups", file.display(), config.tasks.len(), groups.len()));
    for note in notes.0 {
        say(&format!("note: {note}"));
    }
    Ok(())
}

/// The error, without advice about flags that this command does not have.
fn without_flags(error: ConfigError) -> anyhow::Error {
    match error {
        ConfigError::Unreadable { path, reason } => {
            anyhow::anyhow!("{}: the configuration file cannot be read: {reason}", path.display())
        }
        error
        @ (ConfigError::UnreadableWebConfig { .. } | ConfigError::TooLarge { .. } | ConfigError::Wrong { .. }) => {
            error.into()
        }
    }
}

/// Opens the files that the configuration names, by what a start opens them with.
fn check_files(config: &Config) -> Result<Notes, StartError> {
    let mut notes = Notes::default();
    match &config.api.key {
        KeySource::File(path) if path == Path::new(KeySource::DEFAULT_FILE) && !path.exists() => {
            notes.0.push(format!(
                "no API key is here; the exporter will not start without one: {}",
                KeySource::HOW_TO_GIVE_ONE
            ));
        }
        KeySource::File(path) if !notes.can_open("api.api_key_file", path) => {}
        source @ (KeySource::Inline(_) | KeySource::File(_)) => drop(Key::open(source)?),
    }
    if let Some(path) = notes.openable("api.ca_file", config.api.ca_file.as_deref()) {
        api::read_roots(path)?;
    }
    if let Some(path) = notes.openable("web.api_token_file", config.web.api_token_file.as_deref()) {
        ApiToken::open(path)?;
    }
    if let Some(path) = notes.openable("webhook.secret_file", config.webhook.secret_file.as_deref()) {
        WebhookSecret::open(path)?;
    }
    for (index, source) in config.discovery.http.iter().enumerate() {
        check_source(index, source, &mut notes)?;
    }
    if let Some(path) = notes.openable("web.config_file", config.web.config_file.as_deref()) {
        let web_config = WebConfigFile::load(path).map_err(crate::access::AccessError::from)?;
        let files = web_config.tls.as_ref().into_iter().flat_map(TlsServerConfig::files);
        if notes.can_open_all(files.map(|(key, path)| (key.to_owned(), path.as_path()))) {
            Loaded::open(Some(path))?;
        }
    }
    Ok(notes)
}

fn check_source(index: usize, source: &HttpSource, notes: &mut Notes) -> Result<(), StartError> {
    let identity = source.tls.identity.as_ref();
    let files = [
        ("ca_file", source.tls.ca_file.as_deref()),
        ("cert_file", identity.map(|files| files.cert_file.as_path())),
        ("key_file", identity.map(|files| files.key_file.as_path())),
    ];
    let key = |name| format!("discovery.http[{index}].tls_config.{name}");
    let files = files.into_iter().filter_map(|(name, path)| Some((key(name), path?)));
    if notes.can_open_all(files) && source.tls.has_files() {
        Discovery::check_source(index, source)?;
    }
    Ok(())
}

/// What could not be checked here.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn openable<'a>(&mut self, key: &str, path: Option<&'a Path>) -> Option<&'a Path> {
        path.filter(|path| self.can_open(key, path))
    }

    fn can_open_all<'a>(&mut self, files: impl Iterator<Item = (String, &'a Path)>) -> bool {
        // Each is noted.
        files.fold(true, |all, (key, path)| self.can_open(&key, path) && all)
    }

    /// Whether a file is to be opened: it may be here only for the exporter.
    fn can_open(&mut self, key: &str, path: &Path) -> bool {
        // What is in a pipe is read once, by the exporter.
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
            return false;
        }
        let why = match File::open(path).map_err(|error| error.kind()) {
            Err(ErrorKind::NotFound) => "is not here; the exporter will not start without it",
            Err(ErrorKind::PermissionDenied) => "is not checked, since you may not read it; the exporter must",
            // Whoever reads it says what is wrong.
            Ok(_) | Err(_) => return true,
        };
        self.0.push(format!("{key} {} {why}", path.display()));
        false
    }
}
