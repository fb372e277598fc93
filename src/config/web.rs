//! `web`: the listener for scrapes and registrations.

use std::path::PathBuf;

/// The listener for scrapes and registrations.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// `host:port` to listen on; an empty host listens on all addresses.
    pub listen_address: String,
    /// The file with the bearer token of `POST /api/v1/tasks`; without it that route answers 403.
    pub api_token_file: Option<PathBuf>,
}
