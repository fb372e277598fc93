//! A source of files: everything that a glob matches, each file kept at its last good list.
//!
//! It is watched by looking, and not by the system's notifications: those say nothing on network file systems, and get a
//! rename over a file or the swap of the folder that a link leads to (as Kubernetes replaces what it mounts) wrong or
//! not at all.

use super::file::{Found, RETRY_AFTER, Watched};
use super::format::{MAX_TARGETS, bounded};
use crate::ledger::Target;
use glob::{MatchOptions, Pattern, PatternError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most files of a source: more are surely not lists, and each is looked at every second.
const MAX_FILES: usize = 1000;
/// Not `require_literal_leading_dot`, on which the library panics where a name is not UTF-8: [`is_meant`] is in its place.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };
/// The longest reason of a folder that can't be searched, in characters: it is one line of a log.
const MAX_REASON_CHARS: usize = 300;

/// A source of files.
#[derive(Debug)]
pub(super) struct Watcher {
    pattern: String,
    /// The one file that is meant, where the pattern has no wildcard.
    only: Option<PathBuf>,
    files: BTreeMap<PathBuf, Watched>,
    /// When the last failed search was counted and why it failed, while searches fail.
    search_failure: Option<(Duration, String)>,
    has_told: bool,
    /// Whether a list has been told with nothing missing.
    has_told_all: bool,
}

/// What a look at the files of a source found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// The targets of all files by ID, when they are others than at the last look.
    pub(super) targets: Option<Vec<Target>>,
    /// Whether those are all: not while a file has been broken since the start.
    pub(super) is_whole: bool,
    /// Refreshes that failed.
    pub(super) failures: Vec<Failure>,
    /// Places that were broken, and are good again or gone.
    pub(super) mended: Vec<PathBuf>,
    /// Labels without a meaning here, of lists that are new.
    pub(super) unknown_labels: BTreeSet<String>,
}

/// A refresh that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The file, or the glob itself.
    pub(super) place: PathBuf,
    /// Why.
    pub(super) reason: String,
    /// Whether it is the first in a row, or for another reason than the one before.
    pub(super) is_news: bool,
}

impl Watcher {
    /// A source of the files that `pattern` matches.
    pub(super) fn new(pattern: &str) -> Result<Self, PatternError> {
        Pattern::new(pattern)?;
        Ok(Self {
            pattern: pattern.to_owned(),
            only: literal(pattern),
            files: BTreeMap::new(),
            search_failure: None,
            has_told: false,
            has_told_all: false,
        })
    }

    /// The glob.
    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Looks at all files. `now` is a monotonic clock.
    ///
    /// The first list is told when no file is in doubt, and only where there is a good one or no file at all: a source
    /// that is broken from the start has not said that it names nothing.
    pub(super) fn look(&mut self, now: Duration) -> Look {
        let mut look = Look::default();
        let found = self.search(now, &mut look);
        for path in found {
            if self.files.len() < MAX_FILES || self.files.contains_key(&path) {
                self.files.entry(path).or_default();
            }
        }
        let mut room = MAX_TARGETS - self.files.values().map(length).sum::<usize>().min(MAX_TARGETS);
        let (mut changed, mut in_doubt, mut gone) = (false, false, Vec::new());
        for (path, file) in &mut self.files {
            let before = length(file);
            match file.look(path, room + before, now) {
                Found::Nothing => {}
                Found::Doubtful => in_doubt = true,
                Found::Good { is_new, mended } => {
                    if is_new {
                        changed = true;
                        look.unknown_labels
                            .extend(file.list().into_iter().flat_map(|list| list.unknown_labels.clone()));
                    }
                    look.mended.extend(mended.then(|| path.clone()));
                }
                Found::Broken { error, is_news } => {
                    look.failures.push(Failure { place: path.clone(), reason: error.to_string(), is_news });
                }
                Found::Gone => {
                    // A file that is not there is not broken any more, either.
                    look.mended.extend(file.is_broken().then(|| path.clone()));
                    gone.push(path.clone());
                }
            }
            room = (room + before).saturating_sub(length(file));
        }
        for path in gone {
            changed |= self.files.remove(&path).is_some_and(|file| file.list().is_some());
        }
        let is_good = match self.files.is_empty() {
            true => self.search_failure.is_none(),
            false => self.files.values().any(|file| file.list().is_some()),
        };
        // Once everything has been told, a file that breaks keeps its list, and a new one that is broken never had any.
        let is_whole = self.search_failure.is_none() && self.files.values().all(|file| file.list().is_some());
        let becomes_whole = is_whole && !self.has_told_all;
        look.is_whole = is_whole || self.has_told_all;
        if if self.has_told { changed || becomes_whole } else { is_good && !in_doubt } {
            self.has_told = true;
            self.has_told_all = look.is_whole;
            look.targets = Some(self.union());
        }
        look
    }

    /// The files there are. Those that are known are looked at too, whether or not they are found again.
    fn search(&mut self, now: Duration, look: &mut Look) -> Vec<PathBuf> {
        if let Some(only) = &self.only {
            // A file that is hidden behind a folder that can't be searched is there, and broken.
            let is_absent =
                matches!(std::fs::metadata(only), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
            return if is_absent { Vec::new() } else { vec![only.clone()] };
        }
        let mut problem = None;
        let mut found = Vec::new();
        match glob::glob_with(&self.pattern, OPTIONS) {
            Err(error) => problem = Some(error.to_string()),
            Ok(paths) => {
                for path in paths {
                    match path {
                        _ if found.len() == MAX_FILES => {
                            problem = Some(format!("it matches more than {MAX_FILES} files: the others are not read"));
                            break;
                        }
                        Ok(path) if is_meant(&path, &self.pattern) => found.push(path),
                        Ok(_) => {}
                        // Folders come and go.
                        Err(error) if error.error().kind() == std::io::ErrorKind::NotFound => {}
                        Err(error) => {
                            problem = Some(format!("cannot search {}: {}", error.path().display(), error.error()));
                        }
                    }
                }
            }
        }
        self.searched(problem, now, look);
        found
    }

    /// Counts searches that fail: the first in a row, and then one in a while.
    fn searched(&mut self, problem: Option<String>, now: Duration, look: &mut Look) {
        let place = || PathBuf::from(&self.pattern);
        match (problem, &self.search_failure) {
            (None, None) => {}
            (None, Some(_)) => {
                look.mended.push(place());
                self.search_failure = None;
            }
            (Some(_), Some((at, _))) if now < at.saturating_add(RETRY_AFTER) => {}
            (Some(reason), last) => {
                let reason = bounded(&reason, MAX_REASON_CHARS);
                let is_news = last.as_ref().is_none_or(|(_, before)| *before != reason);
                look.failures.push(Failure { place: place(), reason: reason.clone(), is_news });
                self.search_failure = Some((now, reason));
            }
        }
    }

    /// The targets of all files by ID. Of an ID that is in several, the one of the first file by name.
    fn union(&self) -> Vec<Target> {
        let mut targets = BTreeMap::new();
        for target in self.files.values().filter_map(Watched::list).flat_map(|list| &list.targets) {
            targets.entry(&target.id).or_insert(target);
        }
        targets.into_values().cloned().collect()
    }
}

fn length(file: &Watched) -> usize {
    file.list().map_or(0, |list| list.targets.len())
}

/// Whether a name that begins with a dot is meant by a pattern that matches it. As in a shell, wildcards mean no such
/// name: it is mostly a file that is not renamed yet.
fn is_meant(path: &Path, pattern: &str) -> bool {
    // Counted from the end, where both have as many parts.
    path.iter().rev().zip(Path::new(pattern).iter().rev()).all(|(name, pattern)| {
        !name.as_encoded_bytes().starts_with(b".") || pattern.as_encoded_bytes().starts_with(b".")
    })
}

/// The path that a pattern without wildcards means; `[*]` and the like are how one escapes them.
fn literal(pattern: &str) -> Option<PathBuf> {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let escaped = ["[[]", "[]]", "[*]", "[?]"].into_iter().find(|escape| rest.starts_with(escape));
        match (escaped, c) {
            (Some(escape), _) => {
                path.push_str(&escape[1..2]);
                rest = &rest[3..];
            }
            (None, '*' | '?' | '[') => return None,
            (None, c) => {
                path.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Some(Path::new(&path).to_owned())
}

#[cfg(test)]
mod tests;
