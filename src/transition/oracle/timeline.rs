//! What reaches the exporter of a world: bodies with gaps and disturbances between them.

use super::world::World;
use crate::task::{ErrorCode, FileSeen, FilesSeen, Observation, State};
use crate::time::Time;
use proptest::collection::vec;
use proptest::prelude::*;

/// When every timeline begins: a moment in 2023, in microseconds.
pub(super) const BEGINNING: Time = Time::from_micros(1_700_000_000_000_000);

/// Something that happens to the exporter, `gap` microseconds after what happened before it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) gap: u64,
    /// Ticks by which the world has moved on.
    pub(super) advance: usize,
    pub(super) what: What,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A poll is answered; it is counted `delay` microseconds later.
    Body { dressing: Dressing, delay: u64 },
    /// The answer before comes once more.
    Again,
    /// The API answers 404.
    NotFound,
    /// The exporter restarts from its store.
    Restart,
    /// Time alone is looked at.
    Expire,
    /// A start becomes known, so many microseconds from now.
    FixStart(i64),
}

/// How a body shows the truth.
#[derive(Clone, Debug, Default)]
pub(super) struct Dressing {
    /// By how many ticks it is stale.
    pub(super) stale: usize,
    pub(super) said: Said,
    /// Files whose entry is one tick staler than the rest.
    staler: u8,
    /// Files that it leaves out.
    vanish: u8,
    /// Unfinished files whose state it gives in a word that nobody knows.
    unknown: u8,
    operation_unknown: bool,
    order: u8,
    codes: u8,
}

impl Dressing {
    /// Whether it shows anything older than the present.
    pub(super) fn is_stale(&self) -> bool {
        self.stale > 0 || self.staler > 0
    }
}

/// Whether a body has a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Said {
    #[default]
    Listed,
    Absent,
    Empty,
}

/// A body with the truth behind it: which file each entry is.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) operation: State,
    /// `None` when it says nothing of the files.
    pub(super) entries: Option<Vec<(usize, FileSeen)>>,
}

impl Body {
    /// The body that the API gives of `world` at `tick`. Nothing vanishes from one that is `clear`.
    pub(super) fn of(world: &World, tick: usize, dressing: &Dressing, clear: bool) -> Self {
        let tick = tick.saturating_sub(dressing.stale);
        let operation = match world.operation_at(tick) {
            State::Queued | State::InProgress | State::Unknown if dressing.operation_unknown => State::Unknown,
            state @ (State::Queued | State::InProgress | State::Completed | State::Failed | State::Unknown) => state,
        };
        if dressing.said == Said::Absent || (clear && dressing.said == Said::Empty) {
            return Self { operation, entries: None };
        }
        let mut entries = Vec::new();
        for (index, file) in world.files.iter().enumerate() {
            let named = |mask: u8| mask & (1 << index) != 0;
            let left_out = !clear && (named(dressing.vanish) || dressing.said == Said::Empty);
            let tick = if named(dressing.staler) { tick.saturating_sub(1) } else { tick };
            let Some((key, state)) = file.at(tick).filter(|_| !left_out) else { continue };
            let state = if state.finished().is_none() && named(dressing.unknown) { State::Unknown } else { state };
            let error_code = (state == State::Failed).then(|| code(dressing.codes, index)).flatten();
            entries.push((index, FileSeen { key: key.clone(), state, error_code }));
        }
        if dressing.order & 1 != 0 {
            entries.reverse();
        }
        if !entries.is_empty() {
            let by = usize::from(dressing.order >> 1) % entries.len();
            entries.rotate_left(by);
        }
        Self { operation, entries: Some(entries) }
    }

    /// The body as the exporter gets it.
    pub(super) fn observation(&self, received: Time) -> Observation {
        let files = match &self.entries {
            None => FilesSeen::NotSaid,
            Some(entries) => FilesSeen::All(entries.iter().map(|(_, seen)| seen.clone()).collect()),
        };
        Observation { received, state: self.operation, files }
    }
}

fn code(codes: u8, index: usize) -> Option<ErrorCode> {
    match (codes >> index) & 3 {
        0 => None,
        1 => ErrorCode::from_api("timeout"),
        _ => ErrorCode::from_api("internal_error"),
    }
}

/// Gaps that lie around every bound of the rules, with a poll interval of 15 seconds.
fn gap() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1_000_000..16_000_000_u64,
        1 => Just(0),
        1 => Just(30_000_000),
        1 => Just(30_000_001),
        1 => 16_000_000..120_000_000_u64,
        1 => Just(300_000_000),
        1 => 120_000_000..3_700_000_000_u64,
    ]
}

fn rarely(mask: u8) -> impl Strategy<Value = u8> {
    prop_oneof![2 => Just(0), 1 => 0..=mask]
}

fn dressing() -> impl Strategy<Value = Dressing> {
    let said = prop_oneof![8 => Just(Said::Listed), 2 => Just(Said::Absent), 1 => Just(Said::Empty)];
    let stale = prop_oneof![3 => Just(0), 1 => 1..4_usize];
    (stale, said, rarely(63), rarely(63), rarely(63), prop::bool::weighted(0.1), any::<u8>(), any::<u8>()).prop_map(
        |(stale, said, staler, vanish, unknown, operation_unknown, order, codes)| Dressing {
            stale,
            said,
            staler,
            vanish,
            unknown,
            operation_unknown,
            order,
            codes,
        },
    )
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        12 => (dressing(), prop_oneof![Just(0), 0..9_000_000_u64]).prop_map(|(dressing, delay)| What::Body { dressing, delay }),
        2 => Just(What::Again),
        1 => Just(What::NotFound),
        1 => Just(What::Restart),
        1 => Just(What::Expire),
        1 => prop_oneof![Just(0), -4_000_000_000..60_000_000_i64].prop_map(What::FixStart),
    ]
}

/// What happens before everything has come to its end.
pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec((gap(), 0..3_usize, what()).prop_map(|(gap, advance, what)| Step { gap, advance, what }), 0..14)
}
