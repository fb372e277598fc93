//! Everything that the simulated API knows: its operations, its totals, its keys. No I/O; time comes in.

use super::body::status_body;
use super::bucket::TokenBucket;
use super::faults::{Drawn, FaultOptions};
use super::operation::{Action, Operation, Snapshot};
use super::options::{InvalidOptions, MAX_FILES, SimulatorOptions};
use super::requests::RequestLog;
use super::seed::Seed;
use super::style::Style;
use super::truth::{OperationSummary, TagTruth, Truth};
use super::webhooks::{Answer, Delivery, Event, Outbox, WebhookCounts};
use crate::time::Time;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The most operations kept at once: twice the exporter's own design target, and a bound on memory.
const MAX_OPERATIONS: usize = 200_000;
/// The most tags: ten times the groups that the exporter takes. Their totals are kept for ever.
const MAX_TAGS: usize = 1000;
/// The longest tag, in bytes.
const MAX_TAG_BYTES: usize = 256;
/// The longest file key, in bytes: twice what the exporter keeps as it is, so that its bound can be tested.
const MAX_FILE_KEY_BYTES: usize = 1024;

// What a seed below the first is for.
const PLANS: u64 = 0;
const IDS: u64 = 1;
const ANSWERS: u64 = 2;
const STRAYS: u64 = 3;
const HIDING: u64 = 4;
const WEBHOOKS: u64 = 5;

/// The smallest step of time.
const MOMENT: Duration = Duration::from_micros(1);

/// Why an operation was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No file key, or too many.
    #[error("file_keys has {0} entries: give 1 to {MAX_FILES}")]
    FileCount(usize),
    /// A file key that is empty or too long.
    #[error("a file key has {0} bytes: it has 1 to {MAX_FILE_KEY_BYTES}")]
    FileKey(usize),
    /// A tag that is too long.
    #[error("the tag in notes has {0} bytes: it has at most {MAX_TAG_BYTES}")]
    Tag(usize),
    /// One tag more than can be counted.
    #[error("there are {MAX_TAGS} different tags already: use one of them")]
    Tags,
    /// One operation more than can be kept.
    #[error("there are {MAX_OPERATIONS} operations already: wait until some have left")]
    Full,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdmitted {
    Unauthorized,
    /// With the time until it would be let in.
    RateLimited(Duration),
}

/// One request about an operation: all that chance decides about its answer.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) drawn: Drawn,
    pub(super) latency: Duration,
    pub(super) faults: FaultOptions,
    pub(super) random: StdRng,
    style: Style,
}

/// Everything that the simulated API knows.
#[derive(Debug)]
pub(super) struct World {
    options: SimulatorOptions,
    seed: Seed,
    /// By their number, in the order of their creation.
    operations: BTreeMap<u64, Record>,
    numbers: HashMap<String, u64>,
    /// Those that have not yet been counted as finished, by when the next of their files ends.
    unfinished: BTreeSet<(Time, u64)>,
    /// The others that are still kept, in the order in which they finished.
    finished: VecDeque<(Time, u64)>,
    created: u64,
    /// Requests about operations that don't exist.
    strays: u64,
    totals: TagTruth,
    tags: BTreeMap<String, TagTruth>,
    buckets: HashMap<String, TokenBucket>,
    pub(super) requests: RequestLog,
    webhooks: Outbox,
}

#[derive(Debug)]
struct Record {
    id: String,
    operation: Arc<Operation>,
    hidden_until: Time,
    /// Answers about it, so far.
    answers: u64,
}

impl World {
    pub(super) fn new(options: SimulatorOptions, now: Time) -> Result<Self, InvalidOptions> {
        options.check()?;
        let operations = options.operations;
        if operations > MAX_OPERATIONS {
            return Err(InvalidOptions(format!("--operations {operations} is more than {MAX_OPERATIONS}")));
        }
        let mut world = Self {
            seed: Seed::new(options.seed),
            options,
            operations: BTreeMap::new(),
            numbers: HashMap::new(),
            unfinished: BTreeSet::new(),
            finished: VecDeque::new(),
            created: 0,
            strays: 0,
            totals: TagTruth::default(),
            tags: BTreeMap::new(),
            buckets: HashMap::new(),
            requests: RequestLog::default(),
            webhooks: Outbox::default(),
        };
        for _ in 0..operations {
            world.submit_drawn(now, "").map_err(|refused| InvalidOptions(refused.to_string()))?;
        }
        Ok(world)
    }

    pub(super) fn options(&self) -> &SimulatorOptions {
        &self.options
    }

    pub(super) fn set_options(&mut self, now: Time, options: SimulatorOptions) -> Result<(), InvalidOptions> {
        options.check()?;
        // What has happened until now is announced, or not, as the options said until now.
        self.advance(now);
        if options.webhooks.url.is_none() {
            self.webhooks.clear();
        }
        if options.rate_limit != self.options.rate_limit {
            self.buckets.clear();
        }
        self.buckets.retain(|key, _| options.api_keys.contains(key));
        self.options = options;
        Ok(())
    }

    /// Creates an operation and gives its ID.
    pub(super) fn submit(
        &mut self,
        now: Time,
        action: Action,
        file_keys: Vec<String>,
        tag: &str,
    ) -> Result<String, Refused> {
        let random = self.plan_source();
        self.create(now, action, file_keys, tag, random)
    }

    /// Creates an operation whose action and files are drawn, and gives its ID.
    pub(super) fn submit_drawn(&mut self, now: Time, tag: &str) -> Result<String, Refused> {
        let mut random = self.plan_source();
        let action = Action::ALL.get(random.random_range(0..Action::ALL.len())).copied().unwrap_or(Action::Convert);
        let files = self.options.plan.files;
        let count = random.random_range(files.fewest..=files.most);
        let stem: u32 = random.random();
        let file_keys = (1..=count).map(|n| format!("file_{stem:08x}_{n}")).collect();
        self.create(now, action, file_keys, tag, random)
    }

    fn plan_source(&self) -> StdRng {
        self.seed.child(PLANS).child(self.created).source()
    }

    fn create(
        &mut self,
        now: Time,
        action: Action,
        file_keys: Vec<String>,
        tag: &str,
        mut random: StdRng,
    ) -> Result<String, Refused> {
        self.advance(now);
        self.check(&file_keys, tag)?;
        let number = self.created;
        let operation = Operation::plan(action, file_keys, tag.to_owned(), now, &self.options.plan, &mut random);
        let operation = Arc::new(operation);
        let faults = &self.options.faults;
        let hidden = self.seed.child(HIDING).child(number).source().random::<f64>() < faults.fresh_not_found;
        let hidden_until = if hidden { now.after(faults.fresh_for) } else { now };
        let id = format!("main_task_{:016x}", self.seed.child(IDS).child(number).number());

        let tally = operation.tally();
        self.totals.planned.add(&tally);
        self.tags.entry(tag.to_owned()).or_default().planned.add(&tally);
        self.unfinished.insert((operation.next_end(now).unwrap_or(now), number));
        self.numbers.insert(id.clone(), number);
        self.operations.insert(number, Record { id: id.clone(), operation, hidden_until, answers: 0 });
        self.created += 1;
        Ok(id)
    }

    fn check(&self, file_keys: &[String], tag: &str) -> Result<(), Refused> {
        if file_keys.is_empty() || file_keys.len() > MAX_FILES {
            return Err(Refused::FileCount(file_keys.len()));
        }
        if let Some(key) = file_keys.iter().find(|key| key.is_empty() || key.len() > MAX_FILE_KEY_BYTES) {
            return Err(Refused::FileKey(key.len()));
        }
        if tag.len() > MAX_TAG_BYTES {
            return Err(Refused::Tag(tag.len()));
        }
        if self.tags.len() >= MAX_TAGS && !self.tags.contains_key(tag) {
            return Err(Refused::Tags);
        }
        if self.operations.len() >= MAX_OPERATIONS {
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// Lets a request in when its key is right and has a token left.
    pub(super) fn admit(&mut self, now: Time, key: Option<&str>) -> Result<(), NotAdmitted> {
        let key = key.filter(|key| self.options.api_keys.iter().any(|known| known == key));
        let key = key.ok_or(NotAdmitted::Unauthorized)?;
        let limit = self.options.rate_limit;
        let bucket = self.buckets.entry(key.to_owned()).or_insert_with(|| TokenBucket::new(limit, now));
        bucket.take(now).map_err(NotAdmitted::RateLimited)
    }

    /// Decides by chance what the next answer about an operation will be like.
    pub(super) fn call(&mut self, id: &str) -> Call {
        let operation = self.numbers.get(id).and_then(|number| Some((*number, self.operations.get_mut(number)?)));
        let mut random = match operation {
            Some((number, record)) => {
                record.answers += 1;
                self.seed.child(ANSWERS).child(number).child(record.answers).source()
            }
            None => {
                self.strays += 1;
                self.seed.child(STRAYS).child(self.strays).source()
            }
        };
        let SimulatorOptions { latency, latency_jitter, faults, style, .. } = &self.options;
        Call {
            drawn: faults.draw(&mut random),
            latency: *latency + latency_jitter.mul_f64(random.random()),
            style: style.draw(&mut random),
            faults: faults.clone(),
            random,
        }
    }

    /// The status body of an operation, or of one file of it; `None` when there is no such thing.
    pub(super) fn status_body(&mut self, now: Time, id: &str, file: Option<&str>, call: &mut Call) -> Option<Value> {
        self.advance(now);
        let record = self.operations.get(self.numbers.get(id)?)?;
        if now < record.hidden_until {
            return None;
        }
        let created = record.operation.created;
        let shown = call.drawn.stale.map_or(now, |share| created.after(now.since(created).mul_f64(share)));
        let mut snapshot = record.operation.at(shown);
        if let Some(key) = file {
            snapshot.narrow(key, !self.options.forget_input_keys);
            if snapshot.entries.is_empty() && self.options.unknown_file_not_found {
                return None;
            }
        }
        if call.drawn.vanished {
            leave_out_some(&mut snapshot, &mut call.random);
        }
        if call.drawn.shuffled {
            snapshot.entries.shuffle(&mut call.random);
        }
        Some(status_body(&snapshot, call.style))
    }

    pub(super) fn truth(&mut self, now: Time) -> Truth {
        self.advance(now);
        let TagTruth { finished, planned } = self.totals.clone();
        Truth { now, finished, planned, tags: self.tags.clone() }
    }

    /// The operations that are still kept, the newest first.
    pub(super) fn operations(&mut self, now: Time, tag: Option<&str>, limit: usize) -> Vec<OperationSummary> {
        self.advance(now);
        let wanted = |record: &&Record| tag.is_none_or(|tag| record.operation.tag == tag);
        self.operations.values().rev().filter(wanted).take(limit).map(|record| record.summary(now)).collect()
    }

    /// Takes the webhooks to send now, at most `most`.
    pub(super) fn take_webhooks(&mut self, now: Time, most: usize) -> Vec<Delivery> {
        self.advance(now);
        self.webhooks.take_due(now, most)
    }

    /// When to look for webhooks to send again; `None` while none are sent.
    pub(super) fn next_webhook(&self) -> Option<Time> {
        self.options.webhooks.url.as_ref()?;
        let next_event = self.unfinished.first().map(|(at, _)| *at);
        next_event.into_iter().chain(self.webhooks.next_due()).min()
    }

    /// Takes back a webhook that was sent, with its answer.
    pub(super) fn webhook_answered(&mut self, now: Time, delivery: Delivery, answer: Answer) {
        self.webhooks.answered(now, delivery, answer, &self.options.webhooks);
    }

    pub(super) fn webhook_counts(&mut self, now: Time) -> WebhookCounts {
        self.advance(now);
        self.webhooks.counts()
    }

    /// Counts and announces what has happened by `now`, and forgets what finished long before.
    fn advance(&mut self, now: Time) {
        while let Some((at, number)) = self.unfinished.first().copied().filter(|(at, _)| *at <= now) {
            self.unfinished.pop_first();
            let Some(record) = self.operations.get(&number) else { continue };
            let Record { id, operation, .. } = record;
            if self.options.webhooks.announces(&operation.tag) {
                let seed = self.seed.child(WEBHOOKS).child(number);
                for event in Event::all_at(operation, at) {
                    let mut random = seed.child(event.number()).source();
                    let delivery = Delivery::plan(id.clone(), operation.clone(), event, &self.options, &mut random);
                    self.webhooks.add(delivery);
                }
            }
            if let Some(next) = operation.next_end(at.after(MOMENT)) {
                self.unfinished.insert((next, number));
                continue;
            }
            self.finished.push_back((at, number));
            let tally = operation.tally();
            self.totals.finished.add(&tally);
            self.tags.entry(operation.tag.clone()).or_default().finished.add(&tally);
        }
        let keep = self.options.keep_finished;
        while let Some((_, number)) = self.finished.front().copied().filter(|(at, _)| at.after(keep) <= now) {
            self.finished.pop_front();
            if let Some(record) = self.operations.remove(&number) {
                self.numbers.remove(&record.id);
            }
        }
    }
}

impl Record {
    fn summary(&self, now: Time) -> OperationSummary {
        let tally = self.operation.tally();
        OperationSummary {
            id: self.id.clone(),
            tag: self.operation.tag.clone(),
            action: self.operation.action.as_str(),
            created: self.operation.created,
            finishes: self.operation.finishes(),
            finished: self.operation.finishes() <= now,
            outcome: self.operation.outcome(),
            files_completed: tally.files_completed,
            files_failed: tally.files_failed,
        }
    }
}

/// Leaves out about half of the entries, and at least one.
fn leave_out_some(snapshot: &mut Snapshot<'_>, random: &mut StdRng) {
    let before = snapshot.entries.len();
    snapshot.entries.retain(|_| random.random());
    if before > 0 && snapshot.entries.len() == before {
        snapshot.entries.remove(random.random_range(0..before));
    }
}

#[cfg(test)]
mod tests;
