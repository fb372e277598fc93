//! `check-config`: reads a configuration file and contacts nothing.

use super::{Failure, read_config, say};
use crate::config::{Config, KeySource, TlsServerConfig, WebConfigFile};
use std::collections::BTreeSet;
use std::path::Path;

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = read_config(file).map_err(Failure::usage)?;
    let web_config = config.web.config_file.as_deref().filter(|path| path.exists()).map(WebConfigFile::load);
    let web_config = web_config.transpose().map_err(Failure::usage)?;
    let groups: BTreeSet<&str> = config.tasks.iter().map(|task| task.group.as_str()).collect();
    say(&format!("{} is valid: {} tasks in {} groups", file.display(), config.tasks.len(), groups.len()));
    for (key, path) in missing_files(&config, web_config.as_ref()) {
        say(&format!("note: {key} {} is not here; the exporter will not start without it", path.display()));
    }
    Ok(())
}

fn missing_files<'a>(
    config: &'a Config,
    web_config: Option<&'a WebConfigFile>,
) -> impl Iterator<Item = (&'static str, &'a Path)> {
    let key_file = match &config.api.key {
        KeySource::File(path) => Some(path.as_path()),
        KeySource::Inline(_) => None,
    };
    let files = [
        ("api.api_key_file", key_file),
        ("api.ca_file", config.api.ca_file.as_deref()),
        ("web.config_file", config.web.config_file.as_deref()),
        ("web.api_token_file", config.web.api_token_file.as_deref()),
        ("webhook.secret_file", config.webhook.secret_file.as_deref()),
    ];
    let of_tls = web_config.and_then(|file| file.tls.as_ref()).into_iter().flat_map(TlsServerConfig::files);
    let of_tls = of_tls.map(|(key, path)| (key, Some(path.as_path())));
    files.into_iter().chain(of_tls).filter_map(|(key, path)| Some((key, path?))).filter(|(_, path)| !path.exists())
}
