//! Which file of a body is which file of the record.
//!
//! In this order:
//!
//! 1. what has been counted under the very key and state that the entry shows;
//! 2. the same key and the same state, then the same key, and the same among files that had vanished;
//! 3. a key that a file had before: a stale answer;
//! 4. an unfinished file that went while a completed one came, since the input's key gives way to the output's; then a
//!    completed one that went while a completed one came.
//!
//! The rest is new. A file that fails keeps its key, so a failed entry is found by its key alone, and a file whose
//! failure was counted never takes another key. Where the order leaves a choice, an entry goes where it counts nothing
//! new: completions may thus be undercounted, and failures neither under- nor overcounted.

use crate::task::{FileKey, FileRecord, FileSeen, State};
use std::collections::{HashMap, HashSet};

/// Which file an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The file at this place of the record.
    File(usize),
    /// A new one.
    New,
    /// A new one as far as can be told, but completed under a key under which a completion has been counted.
    Counted,
}

/// For each entry, which of the files it is.
pub(super) fn pair(files: &[FileRecord], entries: &[FileSeen]) -> Vec<Match> {
    let mut pairing = Pairing::new(files, entries);
    let in_place = |present: bool| files.iter().enumerate().rev().filter(move |(_, file)| file.present == present);
    let mut shelves = [Shelf::by_key(in_place(true)), Shelf::by_key(in_place(false))];
    let mut former = Shelf::by_former_keys(files);

    for shelf in &mut shelves {
        pairing.by_key(shelf, Fit::CountsNothingNew, |entry| entry.state.finished().is_some());
    }
    pairing.by_key(&mut former, Fit::CountsNothingNew, |entry| entry.state == State::Completed);
    for shelf in &mut shelves {
        for fit in Fit::BEST_FIRST {
            pairing.by_key(shelf, fit, |_| true);
        }
    }
    for fit in Fit::BEST_FIRST {
        pairing.by_key(&mut former, fit, |entry| entry.state != State::Failed);
    }
    pairing.by_coming_and_going();
    pairing.matches()
}

/// For a task of which only some files are followed: which of them each entry of the whole list is.
///
/// A followed file that the list does not name under a key it has or had is a completed entry that nobody else is,
/// preferably one whose key begins with the file's.
pub(super) fn wanted(files: &[FileRecord], entries: &[FileSeen]) -> Vec<(usize, usize)> {
    let mut pairing = Pairing::new(files, entries);
    let mut shelf = Shelf::by_key(files.iter().enumerate().rev());
    for fit in Fit::BEST_FIRST {
        pairing.by_key(&mut shelf, fit, |_| true);
    }
    let mut former = Shelf::by_former_keys(files);
    for fit in Fit::BEST_FIRST {
        pairing.by_key(&mut former, fit, |entry| entry.state != State::Failed);
    }
    for (place, file) in files.iter().enumerate() {
        if pairing.taken[place] || file.has_finished() {
            continue;
        }
        let free = |entry: &usize| pairing.pairs[*entry].is_none() && entries[*entry].state == State::Completed;
        let named_after = |entry: &usize| {
            let rest = entries[*entry].key.as_str().strip_prefix(file.key.as_str());
            rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        let candidates = || (0..entries.len()).filter(free);
        if let Some(entry) = candidates().find(named_after).or_else(|| candidates().next()) {
            pairing.take(entry, place);
        }
    }
    pairing.pairs.iter().enumerate().filter_map(|(entry, file)| file.map(|file| (file, entry))).collect()
}

struct Pairing<'a> {
    files: &'a [FileRecord],
    entries: &'a [FileSeen],
    taken: Vec<bool>,
    pairs: Vec<Option<usize>>,
    /// Keys that files had before, and whether a completion was counted for one of those.
    former_keys: HashSet<&'a FileKey>,
    completed_keys: HashSet<&'a FileKey>,
}

impl<'a> Pairing<'a> {
    fn new(files: &'a [FileRecord], entries: &'a [FileSeen]) -> Self {
        let former_keys = |is_it: fn(&FileRecord) -> bool| {
            files.iter().filter(move |file| is_it(file)).flat_map(FileRecord::former_keys).collect()
        };
        Self {
            files,
            entries,
            taken: vec![false; files.len()],
            pairs: vec![None; entries.len()],
            former_keys: former_keys(|_| true),
            completed_keys: former_keys(|file| file.counted_completed),
        }
    }

    fn matches(&self) -> Vec<Match> {
        let of = |(pair, entry): (&Option<usize>, &FileSeen)| match pair {
            Some(place) => Match::File(*place),
            None if self.completes_again(entry) => Match::Counted,
            None => Match::New,
        };
        self.pairs.iter().zip(self.entries).map(of).collect()
    }

    fn completes_again(&self, entry: &FileSeen) -> bool {
        entry.state == State::Completed && self.completed_keys.contains(&entry.key)
    }

    fn take(&mut self, entry: usize, place: usize) {
        self.taken[place] = true;
        self.pairs[entry] = Some(place);
    }

    /// Gives entries to files on the shelf that fit so well, those in the same state first.
    fn by_key(&mut self, shelf: &mut Shelf<'_>, fit: Fit, is_it: impl Fn(&FileSeen) -> bool) {
        for same_state in [true, false] {
            for (at, entry) in self.entries.iter().enumerate() {
                if self.pairs[at].is_none()
                    && is_it(entry)
                    && let Some(place) = shelf.pick(entry, same_state, fit, &self.taken)
                {
                    self.take(at, place);
                }
            }
        }
    }

    fn by_coming_and_going(&mut self) {
        let entries = self.entries;
        let completed = |entry: &FileSeen| entry.state == State::Completed;
        let unfinished = |file: &FileRecord| file.state.finished().is_none();
        // A completion that was counted, of a file that is another's now, must not count for a third.
        let again: Vec<usize> = (0..entries.len()).filter(|at| self.completes_again(&entries[*at])).collect();
        self.give(&again, |file| file.counted_completed);
        let came: Vec<usize> =
            (0..entries.len()).filter(|at| completed(&entries[*at]) && !self.completes_again(&entries[*at])).collect();
        self.give(&came, |file| unfinished(file) && file.counted_completed);
        self.give(&came, |file| unfinished(file) && !file.counted_completed);
        self.give(&came, |file| file.state == State::Completed);
        // A stale answer that shows an input again, whose output went.
        let back: Vec<usize> = (0..entries.len())
            .filter(|at| entries[*at].state.finished().is_none() && self.former_keys.contains(&entries[*at].key))
            .collect();
        self.give(&back, |file| file.state == State::Completed);
    }

    /// Gives those of the entries that are nobody's yet to files that went, in order.
    fn give(&mut self, entries: &[usize], is_it: impl Fn(&FileRecord) -> bool) {
        let mut gone = (0..self.files.len()).filter(|place| {
            let file = &self.files[*place];
            file.present && !file.counted_failed() && is_it(file)
        });
        for at in entries {
            if self.pairs[*at].is_none() {
                let Some(place) = gone.find(|place| !self.taken[*place]) else { return };
                self.taken[place] = true;
                self.pairs[*at] = Some(place);
            }
        }
    }
}

/// How well an entry fits a file with the same key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The entry shows what has been counted, or nothing that is counted.
    CountsNothingNew,
    /// The entry may well be the file's next state.
    Follows,
    /// The file has finished the other way.
    Contradicts,
}

impl Fit {
    const BEST_FIRST: [Self; 3] = [Self::CountsNothingNew, Self::Follows, Self::Contradicts];
}

/// What of a file decides how well an entry fits it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    state: State,
    completed: bool,
    failed: Failure,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Failure {
    NotCounted,
    UnderThisKey,
    UnderAnother,
}

impl Kind {
    fn of(file: &FileRecord, key: &FileKey) -> Self {
        let failed = match file.history.as_ref().and_then(|history| history.failed_as.as_ref()) {
            None => Failure::NotCounted,
            Some(failed_as) if failed_as == key => Failure::UnderThisKey,
            Some(_) => Failure::UnderAnother,
        };
        Self { state: file.state, completed: file.counted_completed, failed }
    }

    /// How well an entry in `state` fits; `None` when it must be another file.
    fn fit(self, state: State) -> Option<Fit> {
        let has_finished = self.completed || self.failed != Failure::NotCounted;
        match state {
            State::Completed if self.completed => Some(Fit::CountsNothingNew),
            State::Completed if has_finished => Some(Fit::Contradicts),
            State::Completed => Some(Fit::Follows),
            State::Failed => match self.failed {
                Failure::UnderThisKey => Some(Fit::CountsNothingNew),
                Failure::NotCounted if self.completed => Some(Fit::Contradicts),
                Failure::NotCounted => Some(Fit::Follows),
                Failure::UnderAnother => None,
            },
            State::Queued | State::InProgress | State::Unknown if has_finished => Some(Fit::Follows),
            State::Queued | State::InProgress | State::Unknown => Some(Fit::CountsNothingNew),
        }
    }

    /// All kinds that an entry in `state` fits so well.
    fn fitting(state: State, fit: Fit) -> impl Iterator<Item = Self> {
        let failures = [Failure::NotCounted, Failure::UnderThisKey, Failure::UnderAnother];
        State::ALL
            .into_iter()
            .flat_map(move |state| failures.map(|failed| Self { state, completed: false, failed }))
            .flat_map(|kind| [kind, Self { completed: true, ..kind }])
            .filter(move |kind| kind.fit(state) == Some(fit))
    }
}

/// Files by a key and by their kind, so that a body with one key a hundred thousand times costs no more than another.
struct Shelf<'a> {
    places: HashMap<&'a FileKey, HashMap<Kind, Vec<usize>>>,
}

impl<'a> Shelf<'a> {
    /// Files by the key they have; the last put in is the first picked.
    fn by_key(files: impl Iterator<Item = (usize, &'a FileRecord)>) -> Self {
        let mut shelf = Self { places: HashMap::new() };
        for (place, file) in files {
            shelf.put(&file.key, place, file);
        }
        shelf
    }

    /// Files by the keys they had before, but for those that failed: they keep the key they have.
    fn by_former_keys(files: &'a [FileRecord]) -> Self {
        let mut shelf = Self { places: HashMap::new() };
        for (place, file) in files.iter().enumerate().rev().filter(|(_, file)| !file.counted_failed()) {
            for key in file.former_keys() {
                shelf.put(key, place, file);
            }
        }
        shelf
    }

    fn put(&mut self, key: &'a FileKey, place: usize, file: &FileRecord) {
        self.places.entry(key).or_default().entry(Kind::of(file, key)).or_default().push(place);
    }

    fn pick(&mut self, entry: &FileSeen, same_state: bool, fit: Fit, taken: &[bool]) -> Option<usize> {
        let kinds = self.places.get_mut(&entry.key)?;
        for kind in Kind::fitting(entry.state, fit).filter(|kind| !same_state || kind.state == entry.state) {
            let Some(places) = kinds.get_mut(&kind) else { continue };
            while let Some(place) = places.pop() {
                if !taken[place] {
                    return Some(place);
                }
            }
        }
        None
    }
}
