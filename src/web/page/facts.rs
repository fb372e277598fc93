//! What a page tells, read once from the rooms: everything after this is pure.

use super::filter::Filter;
use super::lists::MAX_ROWS;
use crate::api::RequestOutcome;
use crate::clock::Clock;
use crate::metrics::{BuildInfo, ConfigLoad, SourceReading};
use crate::schedule::{Hold, LastError, Schedule};
use crate::task::TaskId;
use crate::time::Time;
use crate::view::Overview;
use crate::web::Web;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Polls that are named with when they come: enough to see that something happens, and when.
const MAX_NEXT_POLLS: usize = 10;

/// What a page tells.
#[derive(Debug)]
pub(super) struct Facts {
    /// The moment that it tells of.
    pub(super) now: Time,
    pub(super) overview: Overview,
    pub(super) polling: Polling,
    pub(super) exporter: Exporter,
}

/// How the API is asked, and how it answers.
#[derive(Debug, Default)]
pub(super) struct Polling {
    /// Whether the latest request succeeded; `None` before the first.
    pub(super) up: Option<bool>,
    pub(super) last_answer: Option<Time>,
    pub(super) lag: Duration,
    /// Tasks that are polled.
    pub(super) polled: usize,
    pub(super) under_way: usize,
    /// What holds all requests back, and until when.
    pub(super) holds: Vec<(Hold, Time)>,
    pub(super) failing: Vec<FailingKind>,
    pub(super) next: Vec<(TaskId, Time)>,
    /// Finished requests since the process's start, by outcome.
    pub(super) requests: Vec<(&'static str, u64)>,
}

/// A kind in which polls fail.
#[derive(Debug)]
pub(super) struct FailingKind {
    pub(super) kind: &'static str,
    pub(super) tasks: usize,
    pub(super) since: Time,
    /// What happened last.
    pub(super) latest: String,
}

/// How the exporter itself does.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) is_ready: bool,
    /// The loops that have not come round for a minute.
    pub(super) stuck: Vec<&'static str>,
    pub(super) config: ConfigLoad,
    pub(super) started: Time,
    pub(super) sources: BTreeMap<String, SourceReading>,
    pub(super) store_errors: u64,
    /// Since when the store fails, if it does now.
    pub(super) store_fails_since: Option<Time>,
    pub(super) per_task_limit: usize,
    pub(super) telemetry_path: String,
    pub(super) build: BuildInfo,
}

/// When a task is polled next, and how its latest poll failed.
#[derive(Debug)]
pub(super) struct Poll {
    /// `None` while it is under way.
    pub(super) due: Option<Time>,
    pub(super) last_error: Option<LastError>,
}

impl Facts {
    /// Reads what a page tells: every task when the reader looks for some, and otherwise only the heads of the lists.
    pub(super) fn read(web: &Web, filter: &Filter) -> Self {
        let rooms = &web.rooms;
        let overview = if filter.is_empty() { rooms.view.heads(MAX_ROWS) } else { rooms.view.everything() };
        let (clock, instruments) = (Both::read(&rooms.clock), &rooms.instruments);
        let requests = RequestOutcome::ALL.map(RequestOutcome::as_str);
        let requests = requests.map(|outcome| (outcome, instruments.api_requests.with_label_values(&[outcome]).get()));
        let polling = Polling {
            up: instruments.up(),
            last_answer: instruments.last_successful_poll(),
            requests: requests.into(),
            ..rooms.schedule.with(|schedule| Polling::of(schedule, clock))
        };
        let exporter = Exporter {
            is_ready: rooms.health.is_ready(),
            stuck: rooms.health.stuck(),
            config: instruments.config_load(),
            started: rooms.clock.started(),
            sources: instruments.sources(),
            store_errors: instruments.store_errors.get(),
            store_fails_since: instruments.store_failing(),
            per_task_limit: web.settings().per_task_limit,
            telemetry_path: web.layout.telemetry_path.clone(),
            build: BuildInfo::of_this_binary(),
        };
        Self { now: clock.wall, overview, polling, exporter }
    }
}

impl Polling {
    fn of(schedule: &Schedule, clock: Both) -> Self {
        let failing = schedule.failing_kinds().map(|(kind, failing)| FailingKind {
            kind,
            tasks: failing.tasks,
            since: clock.wall_at(failing.since),
            latest: failing.latest.to_string(),
        });
        let next = schedule.next_polls().take(MAX_NEXT_POLLS);
        Self {
            lag: schedule.lag(clock.elapsed),
            polled: schedule.len(),
            under_way: schedule.under_way(),
            holds: schedule.holds(clock.elapsed).map(|(hold, until)| (hold, clock.wall_at(until))).collect(),
            failing: failing.collect(),
            next: next.map(|(due, id)| (id.clone(), clock.wall_at(due))).collect(),
            ..Self::default()
        }
    }
}

/// The next polls of these tasks; those that are not polled are left out.
pub(super) fn polls<'a>(web: &Web, ids: impl Iterator<Item = &'a TaskId>) -> HashMap<&'a TaskId, Poll> {
    let clock = Both::read(&web.rooms.clock);
    web.rooms.schedule.with(|schedule| {
        let polls = ids.filter_map(|id| {
            let standing = schedule.standing(id)?;
            let due = standing.due.map(|due| clock.wall_at(due));
            Some((id, Poll { due, last_error: standing.last_error }))
        });
        polls.collect()
    })
}

/// Both clocks at one moment: the schedule keeps the monotonic one, people read the other.
#[derive(Clone, Copy)]
struct Both {
    wall: Time,
    elapsed: Duration,
}

impl Both {
    fn read(clock: &Clock) -> Self {
        Self { wall: clock.wall(), elapsed: clock.elapsed() }
    }

    /// What the wall clock shows, or has shown, at a moment of the monotonic one.
    fn wall_at(self, at: Duration) -> Time {
        let ahead = at.saturating_sub(self.elapsed);
        let back = self.elapsed.saturating_sub(at);
        let back = i64::try_from(back.as_micros()).unwrap_or(i64::MAX);
        Time::from_micros(self.wall.after(ahead).as_micros().saturating_sub(back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_the_monotonic_clock_is_one_of_the_wall_clock() {
        let wall = Time::from_micros(1_000_000_000);
        let clock = Both { wall, elapsed: Duration::from_secs(100) };
        for (at, seconds) in [(100, 1000), (0, 900), (160, 1060)] {
            assert_eq!(clock.wall_at(Duration::from_secs(at)), Time::from_micros(seconds * 1_000_000));
        }
    }
}
