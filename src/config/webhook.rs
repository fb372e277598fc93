//! `webhook`: deliveries of the API's webhooks.

use super::value::{Problem, Section, Value};
use super::web::{LISTEN_ADDRESS, is_listen_address};
use std::path::{Path, PathBuf};

/// Deliveries of the API's webhooks.
#[derive(Clone, Debug, Default)]
pub struct WebhookConfig {
    /// The file with the secret that signs deliveries; without it they are answered with 403.
    pub secret_file: Option<PathBuf>,
    /// `host:port` of a listener for webhooks alone; without it they come to the one of `web`.
    pub listen_address: Option<String>,
    /// Whether to track tasks that are first heard of by webhook.
    pub track_unknown: bool,
}

impl WebhookConfig {
    /// Reads the section; a relative path is relative to `folder`.
    pub(super) fn read(mut section: Section<'_>, folder: &Path) -> Result<Self, Problem> {
        let secret_file =
            section.get("secret_file").and_then(Value::some).map(|value| value.file(folder)).transpose()?;
        let listen_address = section.get("listen_address").and_then(Value::some).map(listen_address).transpose()?;
        let track_unknown = section.read("track_unknown", false, Value::boolean)?;
        section.finish()?;
        Ok(Self { secret_file, listen_address, track_unknown })
    }
}

fn listen_address(value: Value<'_>) -> Result<String, Problem> {
    match value.text().filter(|text| is_listen_address(text)) {
        Some(text) => Ok(text.to_owned()),
        None => Err(value.wrong(&format!("{LISTEN_ADDRESS}, or null"))),
    }
}
