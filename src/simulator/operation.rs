//! One operation: its plan, and its state at any moment. No I/O, no clock.

use super::options::{DurationRange, PlanOptions};
use super::truth::{Outcome, Tally};
use crate::time::Time;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use std::borrow::Cow;
use std::time::Duration;

/// The largest share of its time that a file waits before it is worked on: enough for a poller to meet `queued`.
const MAX_QUEUED_SHARE: f64 = 0.3;

/// What an operation does to its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Each file to another format.
    Convert,
    /// Each file to a smaller one.
    Compress,
    /// All files to one document.
    Merge,
    /// All files to one archive.
    Zip,
    /// Sets a password on each file.
    Lock,
    /// Removes the password of each file.
    Unlock,
    /// Changes the password of each file.
    ResetPassword,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 7] =
        [Self::Convert, Self::Compress, Self::Merge, Self::Zip, Self::Lock, Self::Unlock, Self::ResetPassword];

    /// The API's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Convert => "convert",
            Self::Compress => "compress",
            Self::Merge => "merge",
            Self::Zip => "zip",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::ResetPassword => "reset_password",
        }
    }

    /// The action that the API calls `word`, if there is one.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }

    /// Whether it turns all its inputs into one output.
    pub const fn joins_files(self) -> bool {
        matches!(self, Self::Merge | Self::Zip)
    }
}

/// The state of an operation or a file, in the order in which they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Queued,
    InProgress,
    Completed,
    Failed,
}

impl State {
    pub(super) const fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// One operation. Everything that will happen to it is decided when it is planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) action: Action,
    pub(super) tag: String,
    pub(super) created: Time,
    jobs: Vec<Job>,
}

/// What turns one input into an output, or all inputs of a merge or zip into one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    inputs: Vec<String>,
    /// From the operation's creation until work begins.
    starts: Duration,
    /// From the operation's creation until it ends.
    ends: Duration,
    failure: Option<Failure>,
}

/// Why a file fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Option<String>,
    pub(super) message: String,
}

/// Where a file that has ended stands within its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FilePlace {
    pub(super) job: usize,
    /// Which of the job's files: a merge or zip that fails leaves as many as it had inputs.
    pub(super) entry: usize,
    pub(super) failed: bool,
}

/// An operation as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot<'a> {
    pub(super) state: State,
    /// Whether it completed although some of its files failed.
    pub(super) partial: bool,
    pub(super) entries: Vec<Entry<'a>>,
}

/// One file as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The output's key once there is one, the input's until then.
    pub(super) key: Cow<'a, str>,
    /// The inputs that this file comes from.
    pub(super) inputs: &'a [String],
    pub(super) state: State,
    pub(super) failure: Option<&'a Failure>,
}

impl Operation {
    /// Plans an operation that is created at `created`.
    pub(super) fn plan(
        action: Action,
        file_keys: Vec<String>,
        tag: String,
        created: Time,
        options: &PlanOptions,
        random: &mut StdRng,
    ) -> Self {
        let inputs: Vec<Vec<String>> =
            if action.joins_files() { vec![file_keys] } else { file_keys.into_iter().map(|key| vec![key]).collect() };
        let jobs = inputs.into_iter().map(|inputs| Job::plan(inputs, options, random)).collect();
        Self { action, tag, created, jobs }
    }

    /// When the last of its files ends, and so the operation.
    pub(super) fn finishes(&self) -> Time {
        self.created.after(self.jobs.iter().map(|job| job.ends).max().unwrap_or_default())
    }

    /// When the next of its files ends, not before `from`.
    pub(super) fn next_end(&self, from: Time) -> Option<Time> {
        self.jobs.iter().map(|job| self.created.after(job.ends)).filter(|end| *end >= from).min()
    }

    /// The files that end at `at`.
    pub(super) fn ended_at(&self, at: Time) -> impl Iterator<Item = FilePlace> {
        let jobs = self.jobs.iter().enumerate().filter(move |(_, job)| self.created.after(job.ends) == at);
        jobs.flat_map(|(number, job)| {
            let failed = job.failure.is_some();
            let files = if failed { job.inputs.len() } else { 1 };
            (0..files).map(move |entry| FilePlace { job: number, entry, failed })
        })
    }

    /// The file at `place`, as it is once it has ended.
    pub(super) fn ended(&self, place: FilePlace) -> Option<Entry<'_>> {
        let job = self.jobs.get(place.job)?;
        job.entries(job.ends).into_iter().nth(place.entry)
    }

    /// What it is at `now`.
    pub(super) fn at(&self, now: Time) -> Snapshot<'_> {
        let age = now.since(self.created);
        let states = || self.jobs.iter().map(|job| job.state(age));
        let state = if states().all(|state| state == State::Failed) {
            State::Failed
        } else if states().all(State::is_finished) {
            State::Completed
        } else if states().all(|state| state == State::Queued) {
            State::Queued
        } else {
            State::InProgress
        };
        let partial = state == State::Completed && states().any(|state| state == State::Failed);
        Snapshot { state, partial, entries: self.jobs.iter().flat_map(|job| job.entries(age)).collect() }
    }

    /// How it comes out.
    pub(super) fn outcome(&self) -> Outcome {
        let failed = self.jobs.iter().filter(|job| job.failure.is_some()).count();
        match failed {
            0 => Outcome::Completed,
            some if some < self.jobs.len() => Outcome::PartiallyFailed,
            _ => Outcome::Failed,
        }
    }

    /// What it adds to the totals once it has finished, from the plan alone.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::of_operation(self.outcome(), self.finishes().since(self.created));
        for job in &self.jobs {
            match &job.failure {
                None => tally.files_completed += 1,
                Some(failure) => {
                    let files = job.inputs.len() as u64;
                    tally.files_failed += files;
                    *tally.failures_by_code.entry(failure.code.clone().unwrap_or_default()).or_default() += files;
                }
            }
        }
        tally
    }
}

impl Snapshot<'_> {
    /// Keeps the entries that `key` names; an input's key names its output too when `inputs_too`.
    pub(super) fn narrow(&mut self, key: &str, inputs_too: bool) {
        self.entries.retain(|entry| entry.key == key || (inputs_too && entry.inputs.iter().any(|input| input == key)));
    }
}

impl Job {
    fn plan(inputs: Vec<String>, options: &PlanOptions, random: &mut StdRng) -> Self {
        // In whole microseconds, as `Time` counts: a part of one would make the moment of the end fall before the end.
        let DurationRange { shortest, longest } = options.duration;
        let [shortest, longest] = [shortest, longest].map(|it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX));
        let ends = Duration::from_micros(random.random_range(shortest..=longest));
        let starts = ends.mul_f64(random.random_range(0.0..=MAX_QUEUED_SHARE));
        let failure = (random.random::<f64>() < options.failure_share).then(|| Failure::draw(options, random));
        Self { inputs, starts, ends, failure }
    }

    fn state(&self, age: Duration) -> State {
        if age >= self.ends {
            if self.failure.is_some() { State::Failed } else { State::Completed }
        } else if age >= self.starts {
            State::InProgress
        } else {
            State::Queued
        }
    }

    fn entries(&self, age: Duration) -> Vec<Entry<'_>> {
        let state = self.state(age);
        if state == State::Completed {
            // The result of several inputs is named after the first of them.
            let first = self.inputs.first().map(String::as_str).unwrap_or_default();
            return vec![Entry { key: format!("{first}_result").into(), inputs: &self.inputs, state, failure: None }];
        }
        let failure = self.failure.as_ref().filter(|_| state == State::Failed);
        self.inputs
            .iter()
            .map(|input| Entry { key: input.as_str().into(), inputs: std::slice::from_ref(input), state, failure })
            .collect()
    }
}

impl Failure {
    fn draw(options: &PlanOptions, random: &mut StdRng) -> Self {
        let code = if random.random::<f64>() < options.codeless_share { None } else { draw_code(options, random) };
        let reason = code.as_deref().unwrap_or("no reason known");
        Self { message: format!("The file could not be processed: {reason}"), code }
    }
}

fn draw_code(options: &PlanOptions, random: &mut impl Rng) -> Option<String> {
    let total: u64 = options.error_codes.iter().map(|code| u64::from(code.weight)).sum();
    let mut left = random.random_range(0..total.max(1));
    for code in &options.error_codes {
        if left < u64::from(code.weight) {
            return Some(code.code.clone());
        }
        left -= u64::from(code.weight);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::options::WeightedCode;
    use crate::simulator::seed::Seed;
    use proptest::prelude::*;

    const CREATED: Time = Time::from_micros(1_700_000_000_000_000);

    fn options(failure_share: f64) -> PlanOptions {
        PlanOptions {
            duration: DurationRange { shortest: Duration::from_secs(1), longest: Duration::from_secs(20) },
            failure_share,
            ..PlanOptions::default()
        }
    }

    fn plan(action: Action, files: usize, failure_share: f64, seed: u64) -> Operation {
        let keys = (1..=files).map(|n| format!("file_key_{n}")).collect();
        Operation::plan(action, keys, String::new(), CREATED, &options(failure_share), &mut Seed::new(seed).source())
    }

    fn at_second(operation: &Operation, seconds: f64) -> Snapshot<'_> {
        operation.at(CREATED.after(Duration::from_secs_f64(seconds)))
    }

    fn any_plan() -> impl Strategy<Value = Operation> {
        (0..Action::ALL.len(), 1_usize..12, 0.0..=1.0, any::<u64>())
            .prop_map(|(action, files, failures, seed)| plan(Action::ALL[action], files, failures, seed))
    }

    #[test]
    fn a_merge_shrinks_to_one_output_when_it_completes_and_keeps_its_inputs_when_it_fails() {
        let completes = plan(Action::Merge, 3, 0.0, 1);
        assert_eq!(completes.at(CREATED).entries.len(), 3);
        let done = completes.at(completes.finishes());
        assert_eq!((done.state, done.entries.len()), (State::Completed, 1));
        assert_eq!(done.entries[0].key, "file_key_1_result");

        let fails = plan(Action::Zip, 3, 1.0, 1);
        let failed = fails.at(fails.finishes());
        assert_eq!((failed.state, failed.entries.len()), (State::Failed, 3));
        assert!(failed.entries.iter().all(|entry| entry.failure.is_some() && !entry.key.ends_with("_result")));
        assert_eq!((fails.tally().failed, fails.tally().files_failed), (1, 3));
    }

    #[test]
    fn a_narrowed_snapshot_finds_a_file_by_its_input_and_by_its_output() {
        let operation = plan(Action::Convert, 3, 0.0, 5);
        let mut by_output = operation.at(operation.finishes());
        by_output.narrow("file_key_2_result", false);
        assert_eq!(by_output.entries.len(), 1);
        let mut by_input = operation.at(operation.finishes());
        by_input.narrow("file_key_2", true);
        assert_eq!(by_input.entries, by_output.entries);
        let mut forgotten = operation.at(operation.finishes());
        forgotten.narrow("file_key_2", false);
        assert!(forgotten.entries.is_empty());
    }

    #[test]
    fn every_configured_code_is_drawn_by_its_weight_and_sometimes_none() {
        let options = PlanOptions {
            failure_share: 1.0,
            codeless_share: 0.25,
            error_codes: vec![
                WeightedCode { code: "common".into(), weight: 9 },
                WeightedCode { code: "rare".into(), weight: 1 },
            ],
            ..PlanOptions::default()
        };
        let keys = (0..4000).map(|n| n.to_string()).collect();
        let tally =
            Operation::plan(Action::Convert, keys, String::new(), CREATED, &options, &mut Seed::new(3).source())
                .tally();
        let count = |code: &str| tally.failures_by_code[code];
        assert_eq!(count("common") + count("rare") + count(""), 4000);
        assert!((2500..2900).contains(&count("common")), "{tally:?}");
        assert!((200..400).contains(&count("rare")), "{tally:?}");
        assert!((850..1150).contains(&count("")), "{tally:?}");
    }

    proptest! {
        #[test]
        fn states_never_go_back(operation in any_plan(), step in 0.05_f64..2.0) {
            let mut before = at_second(&operation, 0.0);
            for n in 1..=(22.0 / step).ceil() as u32 {
                let now = at_second(&operation, f64::from(n) * step);
                prop_assert!(now.state >= before.state, "{:?} after {:?}", now.state, before.state);
                for entry in &before.entries {
                    let later = now.entries.iter().filter(|later| later.inputs.contains(&entry.inputs[0]));
                    for later in later {
                        prop_assert!(later.state >= entry.state);
                        if entry.state.is_finished() {
                            prop_assert_eq!(entry, later);
                        }
                    }
                }
                before = now;
            }
            prop_assert!(before.state.is_finished());
        }

        #[test]
        fn a_key_changes_exactly_on_completion(operation in any_plan(), second in 0.0_f64..25.0) {
            for entry in at_second(&operation, second).entries {
                let is_input = entry.inputs.iter().any(|input| *input == entry.key);
                prop_assert_eq!(is_input, entry.state != State::Completed);
                prop_assert_eq!(entry.failure.is_some(), entry.state == State::Failed);
            }
        }

        #[test]
        fn an_operation_is_finished_when_all_its_files_are(operation in any_plan(), second in 0.0_f64..25.0) {
            let now = CREATED.after(Duration::from_secs_f64(second));
            let snapshot = operation.at(now);
            let all_finished = snapshot.entries.iter().all(|entry| entry.state.is_finished());
            prop_assert_eq!(snapshot.state.is_finished(), all_finished);
            prop_assert_eq!(snapshot.state.is_finished(), now >= operation.finishes());
        }

        #[test]
        fn the_tally_is_what_the_last_body_says(operation in any_plan()) {
            let last = operation.at(operation.finishes());
            let tally = operation.tally();
            let count = |state| last.entries.iter().filter(|entry| entry.state == state).count() as u64;
            prop_assert_eq!(tally.files_completed, count(State::Completed));
            prop_assert_eq!(tally.files_failed, count(State::Failed));
            prop_assert_eq!(tally.failures_by_code.values().sum::<u64>(), tally.files_failed);
            for (code, files) in &tally.failures_by_code {
                let named = last.entries.iter().filter_map(|entry| entry.failure);
                let named = named.filter(|failure| failure.code.as_deref().unwrap_or_default() == code);
                prop_assert_eq!(named.count() as u64, *files);
            }
            let outcome = match (last.state, tally.files_failed) {
                (State::Failed, _) => Outcome::Failed,
                (_, 0) => Outcome::Completed,
                _ => Outcome::PartiallyFailed,
            };
            prop_assert_eq!(operation.outcome(), outcome);
            prop_assert_eq!(last.partial, outcome == Outcome::PartiallyFailed);
        }

        #[test]
        fn the_same_seed_gives_the_same_plan(files in 1_usize..20, seed: u64) {
            let first = plan(Action::Convert, files, 0.5, seed);
            prop_assert_eq!(&first, &plan(Action::Convert, files, 0.5, seed));
            prop_assert_ne!(first, plan(Action::Convert, files, 0.5, seed.wrapping_add(1)));
        }
    }
}
