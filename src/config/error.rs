//! Errors of the configuration, each to be acted on without any other document.

use std::io;
use std::path::PathBuf;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing or may not be read. The message holds the reason already, so it is not given as the source.
    #[error("{}: the configuration file can't be read: {reason}; --config.file names another one", path.display())]
    Unreadable {
        /// The configuration file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The web config file is missing or may not be read.
    #[error(
        "{}: the web config file cannot be read: {reason}; put it there, or name another by web.config_file or --web.config.file",
        path.display()
    )]
    UnreadableWebConfig {
        /// The web config file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The file is larger than any sensible configuration.
    #[error("{}: the configuration file is larger than {most_mib} MiB, which is the most allowed", path.display())]
    TooLarge {
        /// The configuration file.
        path: PathBuf,
        /// The largest size, in MiB.
        most_mib: usize,
    },
    /// Something within the file is wrong.
    #[error("{}:{line}:{column}: {what}", path.display())]
    Wrong {
        /// The configuration file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The key path, what was found and what is allowed.
        what: String,
    },
}
