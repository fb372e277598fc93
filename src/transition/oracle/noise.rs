//! Bodies that nothing real stands behind: whatever comes, nothing is counted twice and no failure is lost.

use super::run::{Counted, POLICY};
use super::timeline::BEGINNING;
use crate::task::{ErrorCode, FileKey, FileSeen, FilesSeen, Group, Observation, State, TaskId, TaskRecord};
use crate::time::Time;
use crate::transition::{expire, fix_start, not_found, observe, observe_unchanged};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Long enough for everything to fall due.
const AGES: Duration = Duration::from_hours(24 * 365);

#[derive(Clone, Debug)]
enum Noise {
    Body(State, Option<Vec<(u8, State, bool)>>),
    NotFound,
    FixStart(i64),
    Expire,
}

fn state() -> impl Strategy<Value = State> {
    prop::sample::select(State::ALL.as_slice())
}

fn list() -> impl Strategy<Value = Vec<(u8, State, bool)>> {
    vec((0..5_u8, state(), any::<bool>()), 0..5)
}

fn noise() -> impl Strategy<Value = Noise> {
    prop_oneof![
        10 => (state(), prop::option::weighted(0.9, list())).prop_map(|(state, list)| Noise::Body(state, list)),
        1 => Just(Noise::NotFound),
        1 => (-1_000_000_000..1_000_000_000_i64).prop_map(Noise::FixStart),
        1 => Just(Noise::Expire),
    ]
}

/// Times between: the wall clock may be set back.
fn noises() -> impl Strategy<Value = Vec<(i64, Noise)>> {
    let gap = prop_oneof![8 => 0..60_000_000_i64, 1 => -100_000_000..0_i64, 1 => 0..4_000_000_000_i64];
    vec((gap, noise()), 0..16)
}

fn entries(list: &[(u8, State, bool)]) -> Vec<FileSeen> {
    list.iter()
        .map(|(key, state, coded)| FileSeen {
            key: FileKey::from_api(&char::from(b'A' + key).to_string()),
            state: *state,
            error_code: ErrorCode::from_api("timeout").filter(|_| *coded && *state == State::Failed),
        })
        .collect()
}

fn counts_each_once(noises: &[(i64, Noise)], distinct: bool) -> Result<(), TestCaseError> {
    let mut record = TaskRecord::new(TaskId::new("task").unwrap(), Group::default(), &[]);
    let mut counted = Counted::default();
    let mut now = BEGINNING;
    let mut ever_finished = false;
    let mut most_failed: BTreeMap<FileKey, usize> = BTreeMap::new();
    for (gap, noise) in noises {
        now = Time::from_micros(now.as_micros() + gap);
        match noise {
            Noise::Body(state, list) => {
                let mut seen = list.as_deref().map(entries);
                if distinct && let Some(seen) = &mut seen {
                    let mut keys = BTreeSet::new();
                    seen.retain(|entry| keys.insert(entry.key.clone()));
                }
                let listed: Option<Vec<_>> =
                    seen.as_ref().map(|seen| seen.iter().map(|entry| (entry.key.clone(), entry.state)).collect());
                let mut failed_here: BTreeMap<FileKey, usize> = BTreeMap::new();
                for entry in seen.iter().flatten().filter(|entry| entry.state == State::Failed) {
                    *failed_here.entry(entry.key.clone()).or_default() += 1;
                }
                for (key, count) in failed_here {
                    let most = most_failed.entry(key).or_default();
                    *most = count.max(*most);
                }
                ever_finished |= state.finished().is_some();
                let files = seen.map_or(FilesSeen::NotSaid, FilesSeen::All);
                let observation = Observation { received: now, state: *state, files };
                let mut unchanged = record.clone();
                let nothing_new = observe_unchanged(&mut unchanged, &observation);
                let events = observe(&mut record, &observation, &POLICY, now);
                prop_assert!(
                    !nothing_new || (events.is_empty() && unchanged == record),
                    "the short way comes out elsewhere"
                );
                counted.add(&events);
                prop_assert_eq!(record.state, *state);
                if let Some(mut listed) = listed {
                    let mut shown: Vec<_> = record.present_files().map(|file| (file.key.clone(), file.state)).collect();
                    shown.sort();
                    listed.sort();
                    prop_assert_eq!(shown, listed);
                }
            }
            Noise::NotFound => not_found(&mut record, now),
            Noise::FixStart(offset) => fix_start(&mut record, Time::from_micros(now.as_micros() + offset)),
            Noise::Expire => counted.add(&expire(&mut record, &POLICY, now)),
        }
        if let (Some(start), Some(first_seen)) = (record.start, record.first_seen) {
            prop_assert!(start <= first_seen, "a start after the first observation");
        }
        let least: usize = most_failed.values().sum();
        prop_assert!(counted.failed.len() >= least, "{} of {least} failures", counted.failed.len());
        if distinct {
            prop_assert_eq!(counted.failed.len(), least, "a failure counted twice");
        }
        let completed = record.files.iter().filter(|file| file.counted_completed).count();
        prop_assert!(counted.completed.len() <= completed);
        prop_assert_eq!(counted.tasks.len(), usize::from(ever_finished));
        prop_assert!(counted.settled.len() + counted.dropped <= 1);
    }
    counted.add(&expire(&mut record, &POLICY, now.after(AGES)));
    counted.add(&expire(&mut record, &POLICY, now.after(AGES)));
    let ends = ever_finished || record.start.is_some();
    prop_assert_eq!(counted.settled.len() + counted.dropped, usize::from(ends));
    Ok(())
}

proptest! {
    #[test]
    fn each_key_that_was_ever_shown_failed_is_one_failure(noises in noises()) {
        counts_each_once(&noises, true)?;
    }

    #[test]
    fn keys_that_come_twice_lose_no_failure(noises in noises()) {
        counts_each_once(&noises, false)?;
    }
}
