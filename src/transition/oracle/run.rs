//! Runs a timeline through the counting core, and holds each step against the truth.

use super::expectation::{Expected, Latency, Oracle, SETTLES_AFTER};
use super::timeline::{BEGINNING, Body, Dressing, Step, What};
use super::world::{Kind, World};
use crate::task::{ErrorCode, Event, Finished, Group, Outcome, State, TaskId, TaskRecord};
use crate::time::Time;
use crate::transition::{Policy, expire, fix_start, not_found, observe, observe_unchanged};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::time::Duration;

/// The policy of every timeline.
pub(super) const POLICY: Policy = Policy {
    poll_interval: Duration::from_secs(15),
    abandon_after: Duration::from_hours(168),
    retention: Duration::from_hours(1),
};

/// Events by kind, with what they carry.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    pub(super) tasks: Vec<(Finished, Option<Duration>)>,
    pub(super) settled: Vec<(Outcome, bool)>,
    pub(super) failed: Vec<(ErrorCode, Option<Duration>)>,
    pub(super) completed: Vec<Option<Duration>>,
    pub(super) dropped: usize,
}

impl Counted {
    pub(super) fn add(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::TaskFinished { state, latency } => self.tasks.push((*state, *latency)),
                Event::TaskSettled { outcome, unnamed_failure } => self.settled.push((*outcome, *unnamed_failure)),
                Event::FileCompleted { latency } => self.completed.push(*latency),
                Event::FileFailed { error_code, latency } => self.failed.push((error_code.clone(), *latency)),
                Event::TaskDropped(_) => self.dropped += 1,
            }
        }
    }

    pub(super) fn of(events: &[Event]) -> Self {
        let mut counted = Self::default();
        counted.add(events);
        counted
    }
}

/// One timeline on its way through the core.
pub(super) struct Run<'w> {
    world: &'w World,
    /// Whether no entry ever vanishes.
    clear: bool,
    /// Whether no body is stale.
    ordered: bool,
    pub(super) record: TaskRecord,
    oracle: Oracle<'w>,
    counted: Counted,
    now: Time,
    tick: usize,
    latest: Option<Body>,
    /// What happened, for the reader of a failure.
    transcript: String,
}

impl<'w> Run<'w> {
    pub(super) fn new(world: &'w World, clear: bool) -> Self {
        Self {
            world,
            clear,
            ordered: true,
            record: TaskRecord::new(TaskId::new("task").unwrap(), Group::default(), &[]),
            oracle: Oracle::new(world, POLICY),
            counted: Counted::default(),
            now: BEGINNING,
            tick: 0,
            latest: None,
            transcript: String::new(),
        }
    }

    /// Runs the steps, then true and complete bodies, then five minutes more.
    pub(super) fn through(mut self, steps: &[Step]) -> Result<(), TestCaseError> {
        for step in steps {
            self.now = self.now.after(Duration::from_micros(step.gap));
            self.tick = (self.tick + step.advance).min(self.world.last_tick);
            self.take(&step.what)?;
        }
        self.tick = self.world.last_tick;
        for _ in 0..2 {
            self.now = self.now.after(Duration::from_secs(7));
            self.body(&Dressing::default(), 0)?;
        }
        self.now = self.now.after(SETTLES_AFTER);
        self.time_alone()?;
        self.close()
    }

    fn take(&mut self, what: &What) -> Result<(), TestCaseError> {
        match what {
            What::Body { dressing, delay } => self.body(dressing, *delay),
            What::Again => match self.latest.clone() {
                Some(body) => self.show(body, 0),
                None => Ok(()),
            },
            What::NotFound => {
                not_found(&mut self.record, self.now);
                self.oracle.not_found();
                self.note("404", &[]);
                self.gauges()
            }
            What::Restart => {
                self.record = self.record.clone();
                Ok(())
            }
            What::Expire => self.time_alone(),
            What::FixStart(offset) => {
                let start = Time::from_micros(self.now.as_micros() + offset);
                fix_start(&mut self.record, start);
                self.oracle.fix_start(start);
                self.note(&format!("start may be {}", moment(start)), &[]);
                Ok(())
            }
        }
    }

    fn body(&mut self, dressing: &Dressing, delay: u64) -> Result<(), TestCaseError> {
        self.ordered &= !dressing.is_stale();
        self.show(Body::of(self.world, self.tick, dressing, self.clear), delay)
    }

    fn show(&mut self, body: Body, delay: u64) -> Result<(), TestCaseError> {
        let received = self.now;
        self.now = received.after(Duration::from_micros(delay));
        let observation = body.observation(received);
        let expected = self.oracle.observe(&body, received);
        let mut unchanged = self.record.clone();
        let nothing_new = observe_unchanged(&mut unchanged, &observation);
        let events = observe(&mut self.record, &observation, &POLICY, self.now);
        self.note(&describe(&body, received), &events);
        let counted = Counted::of(&events);
        self.counted.add(&events);
        let alike = !nothing_new || (events.is_empty() && unchanged == self.record);
        self.check(alike, "the short way for an answer with nothing new comes out elsewhere")?;
        self.compare(&expected, &counted, received)?;
        self.settling(&counted)?;
        self.check(!self.oracle.must_have_settled() || self.record.settled.is_some(), "it should have settled")?;
        self.gauges()?;
        let mut again = self.record.clone();
        let repeated = observe(&mut again, &observation, &POLICY, self.now);
        self.check(repeated.is_empty(), &format!("the same answer once more counts {repeated:?}"))?;
        self.latest = Some(body);
        Ok(())
    }

    fn time_alone(&mut self) -> Result<(), TestCaseError> {
        let events = expire(&mut self.record, &POLICY, self.now);
        self.note(&format!("{} time alone", moment(self.now)), &events);
        let counted = Counted::of(&events);
        self.counted.add(&events);
        self.check(counted.tasks.is_empty(), "time alone finishes no task")?;
        self.check(counted.failed.is_empty() && counted.completed.is_empty(), "time alone finishes no file")?;
        self.settling(&counted)?;
        let due = self.oracle.must_have_settled_by(self.now);
        self.check(!due || self.record.settled.is_some(), "five minutes after its end it should have settled")?;
        self.gauges()
    }

    fn compare(&self, expected: &Expected, counted: &Counted, received: Time) -> Result<(), TestCaseError> {
        let finished: Vec<_> = expected.task.iter().map(|(state, _)| *state).collect();
        let got: Vec<_> = counted.tasks.iter().map(|(state, _)| *state).collect();
        self.check(finished == got, &format!("tasks finished: {finished:?} expected"))?;
        if let (Some((_, expected)), Some((_, got))) = (expected.task, counted.tasks.first()) {
            self.latencies(&[expected], &[*got])?;
        }
        if !self.world.has_duplicates() {
            let mut codes: Vec<_> = expected.failed.iter().map(|(code, _)| code).collect();
            let mut got: Vec<_> = counted.failed.iter().map(|(code, _)| code).collect();
            codes.sort();
            got.sort();
            self.check(codes == got, &format!("failures {codes:?} expected"))?;
        }
        if self.clear && self.world.kind == Kind::Plain {
            self.latencies(&expected.completed, &counted.completed)?;
            let failed: Vec<_> = expected.failed.iter().map(|(_, latency)| *latency).collect();
            let got: Vec<_> = counted.failed.iter().map(|(_, latency)| *latency).collect();
            self.latencies(&failed, &got)?;
        }
        let (_, most) = self.oracle.failures(self.clear);
        self.check(self.counted.failed.len() <= most, &format!("at most {most} failures"))?;
        let most = self.oracle.most_completions(self.clear, self.ordered);
        self.check(self.counted.completed.len() <= most, &format!("at most {most} completions"))?;
        let known = counted.completed.iter().chain(counted.failed.iter().map(|(_, latency)| latency)).flatten();
        for latency in known.chain(counted.tasks.iter().filter_map(|(_, latency)| latency.as_ref())) {
            let longest = self.record.start.map(|start| received.since(start));
            self.check(longest.is_some_and(|longest| *latency <= longest), "a latency without a start or too long")?;
        }
        Ok(())
    }

    fn latencies(&self, expected: &[Latency], got: &[Option<Duration>]) -> Result<(), TestCaseError> {
        let message = format!("latencies {expected:?} expected, {got:?} counted");
        self.check(expected.len() == got.len(), &message)?;
        if expected.iter().any(|latency| latency.or_unknown) {
            let allowed =
                |got: &Option<Duration>| got.is_none() || expected.iter().any(|latency| latency.exact == *got);
            return self.check(got.iter().all(allowed), &message);
        }
        let mut exact: Vec<_> = expected.iter().map(|latency| latency.exact).collect();
        let mut got = got.to_vec();
        exact.sort();
        got.sort();
        self.check(exact == got, &message)
    }

    /// Holds a settlement in `counted`, or its absence, against the truth.
    fn settling(&self, counted: &Counted) -> Result<(), TestCaseError> {
        self.check(self.counted.dropped == 0, "nothing is to be dropped")?;
        self.check(self.counted.settled.len() <= 1, "it settles once")?;
        let settled = self.record.settled.map(|settlement| settlement.outcome);
        let told = self.counted.settled.first().map(|(outcome, _)| *outcome);
        self.check(settled == told, "the record and the events disagree on the settlement")?;
        if let Some((outcome, unnamed)) = counted.settled.first() {
            let expected = match (self.world.operation, self.oracle.any_failed()) {
                (Finished::Failed, _) => Outcome::Failed,
                (Finished::Completed, true) => Outcome::PartiallyFailed,
                (Finished::Completed, false) => Outcome::Completed,
            };
            self.check(*outcome == expected, &format!("outcome {expected:?} expected"))?;
            let expected = self.world.operation == Finished::Failed && !self.oracle.any_failed();
            self.check(*unnamed == expected, &format!("an unnamed failure: {expected} expected"))?;
        }
        let told_apart = self.clear && self.world.kind == Kind::Plain;
        let early = told_apart && !counted.settled.is_empty() && self.oracle.must_not_have_settled(self.now);
        self.check(!early, "it settled too early")
    }

    fn gauges(&self) -> Result<(), TestCaseError> {
        self.check(self.record.state == self.oracle.state, &format!("state {:?} expected", self.oracle.state))?;
        let mut shown: Vec<_> = self.record.present_files().map(|file| (&file.key, file.state)).collect();
        let mut listed: Vec<_> = self.oracle.listed.iter().map(|(_, key, state)| (key, *state)).collect();
        shown.sort();
        listed.sort();
        self.check(shown == listed, &format!("the files should be {listed:?}, and are {shown:?}"))
    }

    /// Everything has come to its end.
    fn close(&self) -> Result<(), TestCaseError> {
        self.check(self.counted.tasks.len() == 1, "the task finished once")?;
        self.check(self.counted.settled.len() == 1, "the task settled once")?;
        let (least, most) = self.oracle.failures(self.clear);
        let failures = self.counted.failed.len();
        self.check((least..=most).contains(&failures), &format!("{least} to {most} failures, and {failures} counted"))?;
        let exact = self.clear && (self.world.kind == Kind::Plain || (self.ordered && self.world.kind != Kind::Merge));
        let most = self.oracle.most_completions(self.clear, self.ordered);
        let completions = self.counted.completed.len();
        self.check(!exact || completions == most, &format!("{most} completed, and {completions} were counted"))
    }

    fn check(&self, holds: bool, message: &str) -> Result<(), TestCaseError> {
        if holds { Ok(()) } else { Err(TestCaseError::fail(format!("{message}, in:\n{}", self.transcript))) }
    }

    fn note(&mut self, what: &str, events: &[Event]) {
        writeln!(self.transcript, "  {what} -> {events:?}").unwrap();
    }
}

fn moment(at: Time) -> String {
    let micros = at.as_micros() - BEGINNING.as_micros();
    format!("{}{}.{:06}s", if micros < 0 { "-" } else { "" }, micros.abs() / 1_000_000, micros.abs() % 1_000_000)
}

fn describe(body: &Body, received: Time) -> String {
    let mut text = format!("{} operation {}", moment(received), body.operation.as_str());
    match &body.entries {
        None => text.push_str(", no list"),
        Some(entries) => {
            for (_, seen) in entries {
                let code = seen.error_code.as_ref().filter(|_| seen.state == State::Failed);
                write!(text, ", {} {}", seen.key, seen.state.as_str()).unwrap();
                if let Some(code) = code {
                    write!(text, " ({code})").unwrap();
                }
            }
            if entries.is_empty() {
                text.push_str(", an empty list");
            }
        }
    }
    text
}
