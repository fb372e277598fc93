//! The log, on standard error.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Least level of what is logged.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogLevel {
    /// Every request and every file.
    Debug,
    /// Tasks that finish and what changes for them.
    Info,
    /// Failures and troubles.
    Warn,
    /// What keeps the exporter from its work.
    Error,
}

/// Format of the log.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object per line.
    Json,
}

/// Starts logging. The libraries' own words are kept to errors: what they mean for the exporter, it says itself.
pub(super) fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let filter = EnvFilter::new(format!("error,dragdropdo_exporter={level}"));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Logfmt => {
            registry.with(tracing_logfmt::builder().with_target(false).layer().with_writer(std::io::stderr)).try_init()
        }
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_target(false)
                    .with_writer(std::io::stderr),
            )
            .try_init(),
    };
    if let Err(error) = started {
        super::complain(&format!("the log cannot be started: {error}"));
    }
}
