//! Which file of a body is which file of the record.
//!
//! In this order: the same key and the same state; the same key; the same for files that had vanished; a key that a
//! file had before (a stale answer); an unfinished file that went while a finished one came (the input's key gave way to
//! the output's); a completed one that went while a completed one came. The rest is new.
//!
//! Where that leaves a choice, a completed entry goes to a file whose completion has been counted, and a failed entry
//! never goes to a file whose failure was counted under another key: a file that fails keeps its key, so this is
//! another file's failure. Thus completions may be undercounted, failures never.

use crate::task::{FileKey, FileRecord, FileSeen, State};
use std::collections::HashMap;

/// For each entry the place of its file among `files`, or `None` for a new file.
pub(super) fn pair(files: &[FileRecord], entries: &[FileSeen]) -> Vec<Option<usize>> {
    let mut pairing = Pairing { files, entries, taken: vec![false; files.len()], pairs: vec![None; entries.len()] };
    for present in [true, false] {
        if pairing.pairs.iter().all(Option::is_some) {
            return pairing.pairs;
        }
        let mut shelf = Shelf::new(files.iter().enumerate().rev().filter(|(_, file)| file.present == present));
        pairing.by_key(&mut shelf, true);
        pairing.by_key(&mut shelf, false);
    }
    let mut shelf = Shelf::by_former_keys(files);
    pairing.by_key(&mut shelf, false);
    pairing.by_coming_and_going();
    pairing.pairs
}

/// For a task of which only some files are followed: which of them each entry of the whole list is.
///
/// A followed file that the list does not name under a key it has or had is a completed entry that nobody else is,
/// preferably one whose key begins with the file's.
pub(super) fn wanted(files: &[FileRecord], entries: &[FileSeen]) -> Vec<(usize, usize)> {
    let mut pairing = Pairing { files, entries, taken: vec![false; files.len()], pairs: vec![None; entries.len()] };
    let mut shelf = Shelf::new(files.iter().enumerate().rev());
    pairing.by_key(&mut shelf, true);
    pairing.by_key(&mut shelf, false);
    pairing.by_key(&mut Shelf::by_former_keys(files), false);
    for (place, file) in files.iter().enumerate() {
        if pairing.taken[place] || file.has_finished() {
            continue;
        }
        let free = |entry: &usize| pairing.pairs[*entry].is_none() && entries[*entry].state == State::Completed;
        let named_after = |entry: &usize| {
            let rest = entries[*entry].key.as_str().strip_prefix(file.key.as_str());
            rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        let candidate =
            (0..entries.len()).filter(free).find(named_after).or_else(|| (0..entries.len()).find(|entry| free(entry)));
        if let Some(entry) = candidate {
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
}

impl Pairing<'_> {
    fn take(&mut self, entry: usize, place: usize) {
        self.taken[place] = true;
        self.pairs[entry] = Some(place);
    }

    fn by_key(&mut self, shelf: &mut Shelf<'_>, same_state: bool) {
        for (at, entry) in self.entries.iter().enumerate() {
            if self.pairs[at].is_none()
                && let Some(place) = shelf.pick(entry, same_state, &self.taken)
            {
                self.take(at, place);
            }
        }
    }

    fn by_coming_and_going(&mut self) {
        let gone = |pairing: &Self, is_it: &dyn Fn(&FileRecord) -> bool| -> Vec<usize> {
            let places = 0..pairing.files.len();
            places
                .filter(|at| pairing.files[*at].present && !pairing.taken[*at] && is_it(&pairing.files[*at]))
                .collect()
        };
        let unfinished = |file: &FileRecord| file.state.finished().is_none();
        let counted = gone(self, &|file| unfinished(file) && file.counted_completed);
        let uncounted = gone(self, &|file| unfinished(file) && !file.counted_completed);
        self.zip(State::Completed, counted.into_iter().chain(uncounted));
        let unfailed = gone(self, &|file| unfinished(file) && !file.counted_failed());
        self.zip(State::Failed, unfailed.into_iter());
        let completed = gone(self, &|file| file.state == State::Completed);
        self.zip(State::Completed, completed.into_iter());
    }

    /// Gives the entries in `state` that are nobody's yet to the files at `places`, in order.
    fn zip(&mut self, state: State, mut places: impl Iterator<Item = usize>) {
        for at in 0..self.entries.len() {
            if self.pairs[at].is_none() && self.entries[at].state == state {
                let Some(place) = places.next() else { return };
                self.take(at, place);
            }
        }
    }
}

/// What of a file decides whether an entry with a key of its own should be it.
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

    /// All kinds that an entry in `state` may be, those of which it would count nothing new first.
    fn fit_for(state: State) -> impl Iterator<Item = Self> {
        let failures = [Failure::NotCounted, Failure::UnderThisKey, Failure::UnderAnother];
        let all = State::ALL.into_iter().flat_map(move |state| {
            let kinds = failures.into_iter().map(move |failed| Self { state, completed: false, failed });
            kinds.flat_map(|kind| [kind, Self { completed: true, ..kind }])
        });
        let fits = move |kind: &Self| state != State::Failed || kind.failed != Failure::UnderAnother;
        let counts_nothing_new = move |kind: &Self| match state {
            State::Completed => kind.completed,
            State::Failed => kind.failed == Failure::UnderThisKey,
            State::Queued | State::InProgress | State::Unknown => !kind.completed && kind.failed == Failure::NotCounted,
        };
        let first = all.clone().filter(fits).filter(counts_nothing_new);
        first.chain(all.filter(fits).filter(move |kind| !counts_nothing_new(kind)))
    }
}

/// Files by a key and by their kind, so that a body with one key a hundred thousand times costs no more than another.
struct Shelf<'a> {
    places: HashMap<&'a FileKey, HashMap<Kind, Vec<usize>>>,
}

impl<'a> Shelf<'a> {
    /// Files by the key they have; the last put in is the first picked.
    fn new(files: impl Iterator<Item = (usize, &'a FileRecord)>) -> Self {
        let mut shelf = Self { places: HashMap::new() };
        for (place, file) in files {
            shelf.put(&file.key, place, file);
        }
        shelf
    }

    /// Files by the keys they had before.
    fn by_former_keys(files: &'a [FileRecord]) -> Self {
        let mut shelf = Self { places: HashMap::new() };
        for (place, file) in files.iter().enumerate().rev() {
            for key in file.former_keys() {
                shelf.put(key, place, file);
            }
        }
        shelf
    }

    fn put(&mut self, key: &'a FileKey, place: usize, file: &FileRecord) {
        self.places.entry(key).or_default().entry(Kind::of(file, key)).or_default().push(place);
    }

    fn pick(&mut self, entry: &FileSeen, same_state: bool, taken: &[bool]) -> Option<usize> {
        let kinds = self.places.get_mut(&entry.key)?;
        for kind in Kind::fit_for(entry.state).filter(|kind| !same_state || kind.state == entry.state) {
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
