//! Tasks of which only some files are followed, by the file endpoint.

use super::expectation::{Oracle, SETTLES_AFTER};
use super::run::{Counted, POLICY};
use super::timeline::{BEGINNING, Body, Dressing};
use super::world::{Fate, World, plain_world};
use crate::task::{FileKey, FileSeen, FilesSeen, Finished, Group, Observation, Outcome, State, TaskId, TaskRecord};
use crate::time::Time;
use crate::transition::{expire, not_found, observe, observe_unchanged};
use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Clone, Debug)]
enum What {
    /// The file endpoint is asked for one of the followed files. With `resolves` it knows a file by its former key.
    File {
        which: usize,
        stale: usize,
        resolves: bool,
    },
    /// The main task is asked for.
    Task {
        stale: usize,
    },
    NotFound,
    Expire,
}

#[derive(Clone, Debug)]
struct Step {
    gap: u64,
    advance: usize,
    what: What,
}

fn step() -> impl Strategy<Value = Step> {
    let stale = || prop_oneof![3 => Just(0), 1 => 1..3_usize];
    let what = prop_oneof![
        6 => (0..4_usize, stale(), any::<bool>())
            .prop_map(|(which, stale, resolves)| What::File { which, stale, resolves }),
        2 => stale().prop_map(|stale| What::Task { stale }),
        1 => Just(What::NotFound),
        1 => Just(What::Expire),
    ];
    (1_000_000..40_000_000_u64, 0..3_usize, what).prop_map(|(gap, advance, what)| Step { gap, advance, what })
}

struct Run<'w> {
    world: &'w World,
    followed: Vec<usize>,
    record: TaskRecord,
    oracle: Oracle<'w>,
    counted: Counted,
    transcript: String,
}

impl<'w> Run<'w> {
    fn new(world: &'w World, mask: u8) -> Self {
        let mut followed: Vec<usize> = (0..world.files.len()).filter(|index| mask & (1 << index) != 0).collect();
        if followed.is_empty() {
            followed.push(0);
        }
        let keys: Vec<FileKey> = followed.iter().map(|index| world.files[*index].input.clone()).collect();
        let record = TaskRecord::new(TaskId::new("task").unwrap(), Group::default(), &keys);
        let (oracle, transcript) = (Oracle::new(world, POLICY), format!("  following {keys:?}\n"));
        Self { world, followed, record, oracle, counted: Counted::default(), transcript }
    }

    fn ask_for_file(&mut self, tick: usize, which: usize, resolves: bool, now: Time) -> Result<(), TestCaseError> {
        let present: Vec<_> = self.record.present_files().map(|file| file.key.clone()).collect();
        let Some(asked) = present.get(which % present.len().max(1)).cloned() else { return Ok(()) };
        let body = Body::of(self.world, tick, &Dressing::default(), true);
        let all = body.entries.unwrap_or_default();
        let named = |(index, seen): &(usize, FileSeen)| {
            let former = resolves && seen.state == State::Completed && self.world.files[*index].input == asked;
            seen.key == asked || former
        };
        let entries: Vec<_> = all.into_iter().filter(named).collect();
        let seen = entries.iter().map(|(_, seen)| seen.clone()).collect();
        let files = FilesSeen::Only { asked, entries: seen };
        self.show(Body { operation: body.operation, entries: Some(entries) }, files, now)
    }

    fn ask_for_task(&mut self, tick: usize, now: Time) -> Result<(), TestCaseError> {
        let body = Body::of(self.world, tick, &Dressing::default(), true);
        let files = body.observation(now).files;
        self.show(body, files, now)
    }

    fn show(&mut self, mut body: Body, files: FilesSeen, now: Time) -> Result<(), TestCaseError> {
        if let Some(entries) = &mut body.entries {
            entries.retain(|(index, _)| self.followed.contains(index));
        }
        let expected = self.oracle.observe(&body, now);
        let observation = Observation { received: now, state: body.operation, files };
        let mut unchanged = self.record.clone();
        let nothing_new = observe_unchanged(&mut unchanged, &observation);
        let events = observe(&mut self.record, &observation, &POLICY, now);
        let seconds = now.since(BEGINNING).as_secs_f64();
        writeln!(self.transcript, "  {seconds}s {:?} {:?} -> {events:?}", observation.state, observation.files)
            .unwrap();
        let alike = !nothing_new || (events.is_empty() && unchanged == self.record);
        self.check(alike, "the short way for an answer with nothing new comes out elsewhere")?;
        let counted = Counted::of(&events);
        self.counted.add(&events);
        let task = expected.task.map(|(state, latency)| (state, latency.exact));
        self.check(task.as_slice() == counted.tasks, &format!("task {task:?} expected"))?;
        let mut failed: Vec<_> =
            expected.failed.into_iter().map(|(code, latency)| (code, latency.exact, latency.or_unknown)).collect();
        failed.sort();
        let mut got = counted.failed;
        got.sort();
        let alike = failed.len() == got.len()
            && failed.iter().zip(&got).all(|((code, exact, or_unknown), (got_code, got))| {
                code == got_code && (exact == got || (*or_unknown && got.is_none()))
            });
        self.check(alike, &format!("failures {failed:?} expected"))?;
        let most = self.oracle.most_completions(true, true);
        self.check(self.counted.completed.len() <= most, &format!("at most {most} completions"))?;
        self.check(self.record.state == self.oracle.state, "the operation's state is shown")?;
        self.settling()
    }

    fn settling(&self) -> Result<(), TestCaseError> {
        self.check(self.counted.settled.len() <= 1 && self.counted.dropped == 0, "it settles once")?;
        let told = self.counted.settled.first().map(|(outcome, _)| *outcome);
        self.check(told == self.record.settled.map(|settlement| settlement.outcome), "record and events disagree")
    }

    fn check(&self, holds: bool, message: &str) -> Result<(), TestCaseError> {
        if holds { Ok(()) } else { Err(TestCaseError::fail(format!("{message}, in:\n{}", self.transcript))) }
    }

    fn close(&self) -> Result<(), TestCaseError> {
        let fates = |fate: Fate| self.followed.iter().filter(|index| self.world.files[**index].fate == fate).count();
        let (failed, completed) = (fates(Fate::Fails), fates(Fate::Completes));
        self.check(self.counted.failed.len() == failed, &format!("{failed} followed files failed"))?;
        self.check(self.counted.completed.len() == completed, &format!("{completed} followed files completed"))?;
        let shown = |state: State| self.record.present_files().filter(|file| file.state == state).count();
        self.check(shown(State::Failed) == failed && shown(State::Completed) == completed, "their states are shown")?;
        let outcome = match (self.world.operation, failed) {
            (Finished::Failed, _) => Outcome::Failed,
            (Finished::Completed, 0) => Outcome::Completed,
            (Finished::Completed, _) => Outcome::PartiallyFailed,
        };
        let told = self.counted.settled.first().map(|(outcome, _)| *outcome);
        self.check(told == Some(outcome), &format!("outcome {outcome:?} expected"))
    }
}

proptest! {
    #[test]
    fn only_the_followed_files_are_counted_each_once(
        world in plain_world(),
        mask in 1..32_u8,
        steps in vec(step(), 0..14),
    ) {
        let mut run = Run::new(&world, mask);
        let (mut now, mut tick) = (BEGINNING, 0);
        for step in &steps {
            now = now.after(Duration::from_micros(step.gap));
            tick = (tick + step.advance).min(world.last_tick);
            match step.what {
                What::File { which, stale, resolves } => {
                    run.ask_for_file(tick.saturating_sub(stale), which, resolves, now)?;
                }
                What::Task { stale } => run.ask_for_task(tick.saturating_sub(stale), now)?,
                What::NotFound => {
                    not_found(&mut run.record, now);
                    run.oracle.not_found();
                }
                What::Expire => {
                    run.counted.add(&expire(&mut run.record, &POLICY, now));
                    run.settling()?;
                }
            }
        }
        for _ in 0..2 {
            now = now.after(Duration::from_secs(7));
            run.ask_for_task(world.last_tick, now)?;
        }
        run.check(run.record.settled.is_some(), "all it follows has finished: it should have settled")?;
        run.counted.add(&expire(&mut run.record, &POLICY, now.after(SETTLES_AFTER)));
        run.settling()?;
        run.close()?;
    }
}
