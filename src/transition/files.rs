//! Files between two bodies of their task: which is which, and what is new about it.

mod pairing;

use super::{Policy, latency};
use crate::task::{ErrorCode, Event, FileHistory, FileKey, FileRecord, FileSeen, FilesSeen, State, TaskRecord};
use crate::time::Time;
use pairing::Match;

/// Files of one task remembered beyond those of the latest body. An API that names its files anew with every answer
/// would otherwise fill the memory; the oldest is forgotten first.
const MAX_REMEMBERED: usize = 10_000;
/// Former keys kept of a file. One is usual (the input's); more come only with an API that changes its mind.
const MAX_FORMER_KEYS: usize = 8;

/// What the latency of a file that finishes in this observation depends on.
pub(super) struct Finish<'a> {
    pub(super) start: Option<Time>,
    pub(super) task_end: Option<Time>,
    pub(super) received: Time,
    /// The moment of counting.
    pub(super) now: Time,
    pub(super) policy: &'a Policy,
}

/// Applies what an answer says of the files.
pub(super) fn observe(record: &mut TaskRecord, seen: &FilesSeen, finish: &Finish<'_>, events: &mut Vec<Event>) {
    match seen {
        FilesSeen::NotSaid => {}
        FilesSeen::All(entries) if record.narrowed => {
            for (file, entry) in pairing::wanted(&record.files, entries) {
                update(&mut record.files[file], &entries[entry], finish, events);
            }
        }
        FilesSeen::All(entries) => observe_list(record, entries, finish, events),
        FilesSeen::Only { asked, entries } => observe_one(record, asked, entries, finish, events),
    }
}

/// The whole list: what it does not name is remembered, what nothing matched is a new file.
fn observe_list(record: &mut TaskRecord, entries: &[FileSeen], finish: &Finish<'_>, events: &mut Vec<Event>) {
    let matches = pairing::pair(&record.files, entries);
    let mut went: Vec<bool> = record.files.iter().map(|file| file.present).collect();
    for found in &matches {
        if let Match::File(place) = found {
            went[*place] = false;
        }
    }
    // A failed entry is a file of its own; that an unfinished one went as it came tells how long it can have failed.
    let gone = record.files.iter().zip(went).filter(|(file, went)| *went && file.state.finished().is_none());
    let last_unfinished = gone.filter_map(|(file, _)| file.last_unfinished).max();
    for file in &mut record.files {
        file.present = false;
    }
    for (entry, found) in entries.iter().zip(matches) {
        let at = place_of(record, entry, found);
        let file = &mut record.files[at];
        if found == Match::New && entry.state == State::Failed {
            file.last_unfinished = last_unfinished;
        }
        update(file, entry, finish, events);
    }
    // Stable: a list in another order changes nothing that is worth a write.
    record.files.sort_by_key(|file| !file.present);
    record.files.truncate(entries.len() + MAX_REMEMBERED);
}

/// The place of an entry's file, which is made when it is a new one.
fn place_of(record: &mut TaskRecord, entry: &FileSeen, found: Match) -> usize {
    if let Match::File(place) = found {
        return place;
    }
    let mut file = FileRecord::new(entry.key.clone(), State::Unknown);
    file.counted_completed = found == Match::Counted;
    record.files.push(file);
    record.files.len() - 1
}

/// The file endpoint's answer: whatever key it has now, it is the file that was asked for.
fn observe_one(
    record: &mut TaskRecord,
    asked: &FileKey,
    entries: &[FileSeen],
    finish: &Finish<'_>,
    events: &mut Vec<Event>,
) {
    let entries: Vec<FileSeen> = entries_asked_for(asked, entries).cloned().collect();
    let is_it = |file: &FileRecord| file.key == *asked;
    let was_it = |file: &FileRecord| file.former_keys().contains(asked);
    let mut places: Vec<usize> = places(&record.files, is_it);
    if places.is_empty() {
        places = self::places(&record.files, was_it);
    }
    if let ([place], [entry]) = (&places[..], &entries[..]) {
        update(&mut record.files[*place], entry, finish, events);
        return;
    }
    let files: Vec<FileRecord> = places.iter().map(|place| record.files[*place].clone()).collect();
    for (entry, found) in entries.iter().zip(pairing::pair(&files, &entries)) {
        let found = match found {
            Match::File(file) => Match::File(places[file]),
            Match::New | Match::Counted => found,
        };
        let at = place_of(record, entry, found);
        update(&mut record.files[at], entry, finish, events);
    }
}

fn places(files: &[FileRecord], is_it: impl Fn(&FileRecord) -> bool) -> Vec<usize> {
    files.iter().enumerate().filter(|(_, file)| is_it(file)).map(|(place, _)| place).collect()
}

/// The entries of the file endpoint's answer that speak of the file asked for: those with its key, or else the only one.
pub(super) fn entries_asked_for<'a>(asked: &'a FileKey, entries: &'a [FileSeen]) -> impl Iterator<Item = &'a FileSeen> {
    let by_key = entries.iter().any(|entry| entry.key == *asked);
    entries.iter().filter(move |entry| if by_key { entry.key == *asked } else { entries.len() == 1 })
}

/// Makes a file's record say what the entry says, and counts what that finishes.
fn update(file: &mut FileRecord, entry: &FileSeen, finish: &Finish<'_>, events: &mut Vec<Event>) {
    if file.key != entry.key {
        let former = std::mem::replace(&mut file.key, entry.key.clone());
        let keys = &mut file.history.get_or_insert_default().former_keys;
        keys.retain(|key| *key != former && *key != entry.key);
        keys.insert(0, former);
        keys.truncate(MAX_FORMER_KEYS);
    }
    file.present = true;
    file.state = entry.state;
    let had_finished = file.has_finished();
    // Its first end only: when a completed file failed after all, nobody saw.
    let latency = |file: &FileRecord| {
        let end = finish.task_end.map_or(finish.received, |end| end.min(finish.received));
        latency::known(finish.start, end, file.last_unfinished, finish.policy).filter(|_| !had_finished)
    };
    match entry.state {
        State::Queued | State::InProgress | State::Unknown => file.last_unfinished = Some(finish.received),
        State::Completed => {
            if !file.counted_completed {
                file.counted_completed = true;
                events.push(Event::FileCompleted { latency: latency(file) });
            }
        }
        State::Failed => {
            let latency = latency(file);
            let history: &mut FileHistory = file.history.get_or_insert_default();
            history.error_code.clone_from(&entry.error_code);
            if history.failed_as.is_none() {
                history.failed_as = Some(entry.key.clone());
                history.failed_at = Some(finish.now);
                let error_code = entry.error_code.clone().unwrap_or_else(ErrorCode::unspecified);
                events.push(Event::FileFailed { error_code, latency });
            }
        }
    }
}

/// Whether an answer says nothing new of the files.
pub(super) fn are_unchanged(record: &TaskRecord, seen: &FilesSeen) -> bool {
    let same = |file: &FileRecord, entry: &FileSeen| {
        file.key == entry.key
            && file.state == entry.state
            && (file.error_code() == entry.error_code.as_ref() || entry.state != State::Failed)
    };
    match seen {
        FilesSeen::NotSaid => true,
        FilesSeen::All(_) if record.narrowed => false,
        FilesSeen::All(entries) => {
            record.present_files().count() == entries.len()
                && record.present_files().zip(entries).all(|(file, entry)| same(file, entry))
        }
        FilesSeen::Only { asked, entries } => match &entries[..] {
            [] => true,
            [entry] => {
                let mut files = record.files.iter().filter(|file| file.key == *asked);
                files.next().is_some_and(|file| file.present && same(file, entry)) && files.next().is_none()
            }
            _ => false,
        },
    }
}

/// The files of which an answer that [`are_unchanged`] speaks.
pub(super) fn spoken_of<'a>(
    record: &'a mut TaskRecord,
    seen: &'a FilesSeen,
) -> impl Iterator<Item = &'a mut FileRecord> {
    record.files.iter_mut().filter(move |file| match seen {
        FilesSeen::NotSaid => false,
        FilesSeen::All(_) => file.present,
        FilesSeen::Only { asked, entries } => file.key == *asked && !entries.is_empty(),
    })
}
