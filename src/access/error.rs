//! What keeps a web config file from being put in force.

use crate::config::ConfigError;
use std::io;
use std::path::PathBuf;

/// Why a web config file can't be put in force. It never shows what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file itself can't be read, or is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that it names can't be read.
    #[error("{}: tls_server_config.{key}: cannot read {}: {cause}; name a PEM file that the exporter may read", web_config.display(), path.display())]
    Unreadable {
        /// The web config file.
        web_config: PathBuf,
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A certificate, key or CA is of no use.
    #[error("{}: tls_server_config.{key}: {problem}", web_config.display())]
    Unusable {
        /// The web config file.
        web_config: PathBuf,
        /// The key that holds it, or names its file.
        key: &'static str,
        /// What is wrong, with what, and what to do.
        problem: String,
    },
}
