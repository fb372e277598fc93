//! The log, on standard error. A thread of its own writes it: whoever reads it late, or not at all, must not hold up the
//! exporter, so what finds no room is lost, and how much is told as soon as there is room.

use clap::ValueEnum;
use std::io::{self, Write};
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait to be written: what the exporter says in an hour of trouble, in a few MiB.
const WAITING_LINES: usize = 10_000;
/// How often it is looked whether lines were lost.
const LOOK_FOR_LOSS: Duration = Duration::from_secs(10);

/// Least level of what is logged.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogLevel {
    /// Every file that completes, and what is looked at when something is odd.
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

/// Starts logging, until what it answers is dropped; that waits about a second, at most, for the last lines to be read. The
/// libraries' own words are kept to errors: what they mean for the exporter, it says itself.
pub(super) fn start(level: LogLevel, format: LogFormat) -> WorkerGuard {
    let level = match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    };
    let filter = EnvFilter::new(format!("error,dragdropdo_exporter={level}"));
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    tokio::spawn(tell_of_loss(writer.error_counter()));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Logfmt => {
            let writer = move || Legible(writer.clone());
            registry.with(tracing_logfmt::builder().with_target(false).layer().with_writer(writer)).try_init()
        }
        LogFormat::Json => registry
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false).with_writer(writer))
            .try_init(),
    };
    if let Err(error) = started {
        super::complain(&format!("the log cannot be started: {error}"));
    }
    guard
}

/// Takes the backslashes off apostrophes, which need none between double quotes: whoever searches the log for words like
/// "can't be refreshed" finds them in either format.
struct Legible<W>(W);

impl<W: Write> Write for Legible<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(&legible(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn legible(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.len());
    let mut is_quoted = false;
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'\\', Some(b'\'')) if is_quoted => {}
            (b'\\', Some(_)) if is_quoted => {
                text.push(byte);
                text.extend(bytes.next());
            }
            _ => {
                is_quoted ^= byte == b'"';
                text.push(byte);
            }
        }
    }
    text
}

async fn tell_of_loss(counter: ErrorCounter) {
    let mut ticks = tokio::time::interval(LOOK_FOR_LOSS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = 0;
    loop {
        ticks.tick().await;
        let lost = counter.dropped_lines();
        if lost > told {
            // All of them each time: this very line may be lost, too.
            tracing::warn!(lines = lost, "lines of this log are lost because nobody read it in time, so far {lost}");
            told = lost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_apostrophes_between_quotes_lose_their_backslash() {
        for (line, expected) in [
            (r#"a="can\'t" b=1"#, r#"a="can't" b=1"#),
            (r#"a="\\\'" b="\"\'""#, r#"a="\\'" b="\"'""#),
            (r#"a=\'b c="\n""#, r#"a=\'b c="\n""#),
            (r"a\", r"a\"),
        ] {
            assert_eq!(String::from_utf8(legible(line.as_bytes())).unwrap(), expected);
        }
    }
}
