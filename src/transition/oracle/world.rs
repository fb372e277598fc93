//! The hidden truth: what really happens to an operation and its files, tick by tick.

use crate::task::{FileKey, Finished, State};
use proptest::collection::vec;
use proptest::prelude::*;

/// Most files of an operation in these worlds; masks of a byte name them.
const MOST_FILES: usize = 5;

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Completes,
    Fails,
    /// It never ends: the operation fails and names nobody.
    NeverEnds,
}

/// What really happens to one file.
#[derive(Clone, Debug)]
pub(super) struct TrueFile {
    pub(super) input: FileKey,
    pub(super) output: FileKey,
    pub(super) fate: Fate,
    starts: usize,
    ends: usize,
    /// For one tick it is completed under its input's key still.
    lingers: bool,
    appears: usize,
    /// A merge took it from this tick on.
    gone: Option<usize>,
}

impl TrueFile {
    /// Its key and state at `tick`; `None` while it is not listed.
    pub(super) fn at(&self, tick: usize) -> Option<(&FileKey, State)> {
        if tick < self.appears || self.gone.is_some_and(|gone| tick >= gone) {
            return None;
        }
        if tick < self.starts {
            return Some((&self.input, State::Queued));
        }
        if tick < self.ends || self.fate == Fate::NeverEnds {
            return Some((&self.input, State::InProgress));
        }
        if self.fate == Fate::Fails {
            return Some((&self.input, State::Failed));
        }
        let lingers = self.lingers && tick == self.ends;
        Some((if lingers { &self.input } else { &self.output }, State::Completed))
    }
}

/// What can be told apart in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Every file is listed from the beginning, has a key of its own, and changes it at most when it completes.
    Plain,
    /// As plain, and some files are completed under the input's key before they have the output's.
    Lingering,
    /// Some inputs share a key.
    Duplicates,
    /// Several inputs give way to one output.
    Merge,
    /// Some files are listed later than others.
    Growing,
    /// The operation fails, and no file is ever shown failed.
    Unnamed,
}

/// One operation and its files.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) files: Vec<TrueFile>,
    pub(super) operation: Finished,
    operation_ends: usize,
    /// From this tick on nothing changes.
    pub(super) last_tick: usize,
}

impl World {
    /// The operation's state at `tick`.
    pub(super) fn operation_at(&self, tick: usize) -> State {
        if tick >= self.operation_ends {
            return match self.operation {
                Finished::Completed => State::Completed,
                Finished::Failed => State::Failed,
            };
        }
        if tick == 0 { State::Queued } else { State::InProgress }
    }

    /// Whether two files share a key.
    pub(super) fn has_duplicates(&self) -> bool {
        self.kind == Kind::Duplicates
    }
}

#[derive(Clone, Debug)]
struct Plan {
    fails: bool,
    starts: usize,
    runs: usize,
    keeps_key: bool,
    lingers: bool,
    twin: bool,
    appears: usize,
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        prop::bool::weighted(0.4),
        0..2_usize,
        1..4_usize,
        prop::bool::weighted(0.2),
        any::<bool>(),
        any::<bool>(),
        0..3_usize,
    )
        .prop_map(|(fails, starts, runs, keeps_key, lingers, twin, appears)| Plan {
            fails,
            starts,
            runs,
            keeps_key,
            lingers,
            twin,
            appears,
        })
}

/// Worlds of every kind.
pub(super) fn world() -> impl Strategy<Value = World> {
    let kind = prop_oneof![
        6 => Just(Kind::Plain),
        2 => Just(Kind::Lingering),
        3 => Just(Kind::Duplicates),
        2 => Just(Kind::Merge),
        2 => Just(Kind::Growing),
        1 => Just(Kind::Unnamed),
    ];
    (kind, vec(plan(), 0..MOST_FILES), any::<bool>(), 0..3_usize)
        .prop_map(|(kind, plans, doomed, lag)| build(kind, &plans, doomed, lag))
}

/// Worlds in which every file can be told from every other.
pub(super) fn plain_world() -> impl Strategy<Value = World> {
    (vec(plan(), 1..MOST_FILES), any::<bool>(), 0..3_usize)
        .prop_map(|(plans, doomed, lag)| build(Kind::Plain, &plans, doomed, lag))
}

/// `doomed` decides an operation without files; `lag` is the operation's end against its last file's, less one tick.
fn build(kind: Kind, plans: &[Plan], doomed: bool, lag: usize) -> World {
    let mut files: Vec<TrueFile> = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        let name = char::from(b'A' + u8::try_from(index).unwrap());
        let twin_of = files.last().filter(|_| kind == Kind::Duplicates && plan.twin).map(|file| file.input.clone());
        let input = twin_of.unwrap_or_else(|| FileKey::from_api(&name.to_string()));
        let output = if plan.keeps_key { input.clone() } else { FileKey::from_api(&format!("{name}'")) };
        let fate = match kind {
            Kind::Unnamed => Fate::NeverEnds,
            Kind::Merge => Fate::Completes,
            Kind::Plain | Kind::Lingering | Kind::Duplicates | Kind::Growing if plan.fails => Fate::Fails,
            Kind::Plain | Kind::Lingering | Kind::Duplicates | Kind::Growing => Fate::Completes,
        };
        let appears = if kind == Kind::Growing { plan.appears } else { 0 };
        files.push(TrueFile {
            input,
            output,
            fate,
            starts: appears + plan.starts,
            ends: appears + plan.starts + plan.runs,
            lingers: kind == Kind::Lingering && plan.lingers,
            appears,
            gone: None,
        });
    }
    let last_file_ends = files.iter().map(|file| file.ends).max().unwrap_or(2);
    let operation_ends = (last_file_ends + lag).saturating_sub(1).max(1);
    let mut last_tick = operation_ends.max(last_file_ends) + 1;
    if kind == Kind::Merge && !files.is_empty() {
        let merged = operation_ends;
        for file in &mut files {
            file.gone = Some(merged);
        }
        files.push(TrueFile {
            input: FileKey::from_api("M"),
            output: FileKey::from_api("M'"),
            fate: Fate::Completes,
            starts: 0,
            ends: merged,
            lingers: false,
            appears: merged,
            gone: None,
        });
        last_tick = merged + 1;
    }
    let all_fail = files.iter().all(|file| file.fate != Fate::Completes);
    let operation = match (files.is_empty(), doomed, all_fail) {
        (true, true, _) | (false, _, true) => Finished::Failed,
        (true, false, _) | (false, _, false) => Finished::Completed,
    };
    World { kind, files, operation, operation_ends, last_tick }
}
