//! Lists of tasks from elsewhere, in Prometheus's own formats: files that are watched, and URLs that are asked.
//!
//! `format` reads a list, `file` and `files` watch, `http` (with `client` and `credentials`) asks. Each source has a loop
//! of its own here, so that none waits for another. A refresh that fails is counted and leaves the last good list in
//! force; the log says when a source begins to fail, when it fails for another reason, and when it is good again.

mod client;
mod credentials;
mod file;
mod files;
mod format;
mod http;

pub use client::ClientError;

use crate::clock::Clock;
use crate::config::{DiscoveryConfig, HttpSource};
use crate::ledger::{LedgerHandle, List, Source};
use crate::metrics::Instruments;
use file::RETRY_AFTER;
use files::{Look, Watcher};
use futures_util::future::join_all;
use http::Fetcher;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often files are looked at. One look costs a system call per file, and a task that is listed is followed within a
/// second, the scale on which its first polls come anyway.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most names of unknown labels that a source is warned of: a producer that makes up names must not fill the log.
const MAX_WARNINGS: usize = 100;

/// The configured sources of tasks.
#[derive(Debug)]
pub struct Discovery {
    files: Vec<(String, Watcher)>,
    http: Vec<(String, Fetcher)>,
}

/// A source that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// A glob is none.
    #[error("discovery.files[{index}]: {pattern:?} is no glob: {problem}")]
    Glob {
        /// Which entry of the list, from 0.
        index: usize,
        /// The glob.
        pattern: String,
        /// What is wrong with it.
        problem: glob::PatternError,
    },
    /// The client of a URL can't be made.
    #[error("discovery.http[{index}] ({url}): {problem}")]
    Client {
        /// Which entry of the list, from 0.
        index: usize,
        /// The URL.
        url: String,
        /// What is wrong.
        problem: Box<ClientError>,
    },
}

impl Discovery {
    /// Prepares the configured sources; nothing is looked at or asked yet.
    ///
    /// # Errors
    ///
    /// A glob that is none, and a TLS file that can't be read or holds no certificate or key.
    pub fn new(config: &DiscoveryConfig) -> Result<Self, DiscoveryError> {
        let watcher = |(index, pattern): (usize, &String)| match Watcher::new(pattern) {
            Ok(watcher) => Ok((format!("files/{index}"), watcher)),
            Err(problem) => Err(DiscoveryError::Glob { index, pattern: pattern.clone(), problem }),
        };
        let fetcher = |(index, source)| Ok((format!("http/{index}"), fetcher(index, source)?));
        Ok(Self {
            files: config.files.iter().enumerate().map(watcher).collect::<Result<_, _>>()?,
            http: config.http.iter().enumerate().map(fetcher).collect::<Result<_, _>>()?,
        })
    }

    /// Checks that a URL can be asked as far as the files with which TLS is spoken go; nothing is asked.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new) has.
    pub fn check_source(index: usize, source: &HttpSource) -> Result<(), DiscoveryError> {
        fetcher(index, source).map(drop)
    }

    /// The sources: `files/0`, `http/1`.
    pub fn sources(&self) -> Vec<Source> {
        let files = self.files.iter().map(|(name, watcher)| named(name, watcher.pattern()));
        let urls = self.http.iter().map(|(name, fetcher)| named(name, fetcher.origin()));
        files.chain(urls).collect()
    }

    /// Tells the ledger which tasks the sources name, now and whenever that changes, until `stop`.
    pub async fn run(self, ledger: LedgerHandle, instruments: Arc<Instruments>, clock: Clock, stop: CancellationToken) {
        for source in self.sources() {
            instruments.source_exists(&source.name);
        }
        let outlet = |source: Source, place: String| Outlet {
            name: source.name.clone(),
            source,
            place,
            ledger: ledger.clone(),
            instruments: instruments.clone(),
            wanted: List { targets: Vec::new(), is_whole: true },
            is_told: false,
            warned: BTreeSet::new(),
        };
        let watched = self.files.into_iter().map(|(name, watcher)| {
            let outlet = outlet(named(&name, watcher.pattern()), watcher.pattern().to_owned());
            watch(watcher, outlet, &clock)
        });
        let asked = self.http.into_iter().map(|(name, fetcher)| {
            let outlet = outlet(named(&name, fetcher.origin()), fetcher.source().url.to_string());
            ask(fetcher, outlet)
        });
        // Whatever is under way may be cut anywhere: a list that was not told is told after the restart.
        stop.run_until_cancelled(futures_util::future::join(join_all(watched), join_all(asked))).await;
        // Without sources there is nothing to do, and yet this is no part that has ended by itself.
        stop.cancelled().await;
    }
}

fn fetcher(index: usize, source: &HttpSource) -> Result<Fetcher, DiscoveryError> {
    Fetcher::new(source.clone()).map_err(|problem| {
        let url = source.url.to_string();
        DiscoveryError::Client { index, url, problem: Box::new(problem) }
    })
}

fn named(name: &str, origin: &str) -> Source {
    Source { name: name.to_owned(), origin: origin.to_owned() }
}

/// Watches the files of a source for as long as it is polled.
async fn watch(mut watcher: Watcher, mut outlet: Outlet, clock: &Clock) {
    let mut ticks = interval(LOOK_EVERY);
    // After a file system that hung, one look is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When the ledger refused the list, and why.
    let mut refused: Option<(Duration, String)> = None;
    loop {
        ticks.tick().await;
        let now = clock.elapsed();
        let looked = tokio::task::spawn_blocking(move || {
            let look = watcher.look(now);
            (watcher, look)
        });
        let Ok((looked_with, look)) = looked.await else {
            // Only a runtime that is shutting down drops a look.
            return;
        };
        watcher = looked_with;
        let Look { targets, is_whole, failures, mended, unknown_labels } = look;
        for failure in failures {
            let file = failure.place.display();
            outlet.failed(failure.is_news, &format!("{file}: {}", failure.reason));
        }
        for place in mended {
            outlet.mended(&place.display().to_string());
        }
        outlet.warn_of(unknown_labels);
        let is_retry = refused.as_ref().is_some_and(|(at, _)| now >= at.saturating_add(RETRY_AFTER));
        let result = match targets {
            Some(targets) => outlet.tell(List { targets, is_whole }).await,
            None if is_retry => outlet.tell_again().await,
            None => continue,
        };
        match result {
            Ok(()) => {
                if refused.take().is_some() {
                    outlet.mended(&outlet.place);
                }
            }
            Err(reason) => {
                outlet.failed(refused.as_ref().is_none_or(|(_, before)| *before != reason), &reason);
                refused = Some((now, reason));
            }
        }
    }
}

/// Asks a source for as long as it is polled.
async fn ask(mut fetcher: Fetcher, mut outlet: Outlet) {
    let mut ticks = interval(fetcher.source().refresh_interval);
    // A producer that was slow is not asked twice in a row.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Why the last refresh failed, while they do.
    let mut failure: Option<String> = None;
    loop {
        ticks.tick().await;
        let result = match fetcher.fetch().await {
            Ok(list) => {
                outlet.warn_of(list.unknown_labels);
                outlet.tell(List { targets: list.targets, is_whole: true }).await
            }
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(()) => {
                if failure.take().is_some() {
                    outlet.mended(&outlet.place);
                }
            }
            Err(reason) => {
                outlet.failed(failure.as_ref() != Some(&reason), &reason);
                failure = Some(reason);
            }
        }
    }
}

/// Where the lists of a source go, and what is said of it.
struct Outlet {
    source: Source,
    /// The name of the source.
    name: String,
    /// Its glob or URL, as it may be shown.
    place: String,
    ledger: LedgerHandle,
    instruments: Arc<Instruments>,
    /// What the source named last.
    wanted: List,
    /// Whether the ledger has been told so.
    is_told: bool,
    /// Labels that were warned of.
    warned: BTreeSet<String>,
}

impl Outlet {
    /// Tells the ledger what the source names, unless it knows.
    async fn tell(&mut self, list: List) -> Result<(), String> {
        if !self.is_told || self.wanted != list {
            self.wanted = list;
            self.is_told = false;
        }
        self.tell_again().await
    }

    /// Tells the ledger what the source named last, unless it knows.
    async fn tell_again(&mut self) -> Result<(), String> {
        if !self.is_told {
            let tasks = self.wanted.targets.len();
            self.ledger.listed(&self.source, self.wanted.clone()).await.map_err(|error| error.to_string())?;
            tracing::debug!(source = self.name, tasks, "the source {} ({}) names {tasks} tasks", self.name, self.place);
            self.is_told = true;
        }
        Ok(())
    }

    /// A refresh failed: it is always counted, and told when it is the first in a row, or for another reason than before.
    fn failed(&self, is_news: bool, reason: &str) {
        self.instruments.source_failed(&self.name);
        if is_news {
            tracing::warn!(
                source = self.name,
                reason,
                "the source {} ({}) can't be refreshed, and its last good list stays in force: {reason}",
                self.name,
                self.place
            );
        } else {
            tracing::debug!(source = self.name, reason, "the source {} still can't be refreshed: {reason}", self.name);
        }
    }

    fn mended(&self, place: &str) {
        tracing::info!(source = self.name, "the source {} can be refreshed again: {place}", self.name);
    }

    /// Warns of each label without a meaning once.
    fn warn_of(&mut self, unknown_labels: BTreeSet<String>) {
        for label in unknown_labels {
            if self.warned.len() < MAX_WARNINGS && self.warned.insert(label.clone()) {
                tracing::warn!(
                    source = self.name,
                    label,
                    "the source {} gives tasks the label {label:?}, which is ignored: known are group and submitted_at",
                    self.name
                );
            }
        }
    }
}
