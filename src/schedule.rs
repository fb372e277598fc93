//! Who is polled when. Pure: no I/O, no clock; chance comes from an injected source.
//!
//! Every task that is polled has one slot, and the slot with the earliest deadline goes first; so nothing is ever dropped
//! or queued up, and when the budget is short all tasks are equally late. Times are those of the monotonic clock since
//! the process's start.

mod backoff;
mod gate;
mod shared;

pub use backoff::{Backoff, MAX_BACKOFF};
pub use gate::{Gate, Hold};
pub use shared::SharedSchedule;

use crate::config::PollConfig;
use crate::task::{Ask, TaskId};
use crate::transition::Next;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// A task that the API has not known for this long is asked for once in as long.
pub const UNKNOWN_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The least time between two early polls of a task.
pub const EARLY_AGAIN: Duration = Duration::from_secs(1);

/// One poll to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The task.
    pub id: TaskId,
    /// What to ask.
    pub ask: Ask,
    /// When it was handed out.
    pub dispatched: Duration,
}

/// Why a request brought no answer about its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// 429.
    RateLimited,
    /// 401: the key is not accepted.
    KeyRejected,
    /// 403: the key is not accepted, at least not for this task.
    Forbidden,
    /// 503.
    Unavailable,
    /// Anything else.
    Other,
}

/// When a task is polled next, and why its latest poll failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// When it is due; `None` while it is being polled.
    pub due: Option<Duration>,
    /// The latest failure, until an answer comes.
    pub last_error: Option<LastError>,
}

/// Why a task's latest poll failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// The kind of failure, of a closed list.
    pub kind: &'static str,
    /// What happened.
    pub what: Box<str>,
}

/// A kind of failure, and the tasks whose latest polls failed so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// How many tasks.
    pub tasks: usize,
    /// Since when there has been at least one.
    pub since: Duration,
    /// What happened at the latest such failure.
    pub latest: Box<str>,
}

/// The schedule of all tasks that are polled.
#[derive(Debug)]
pub struct Schedule {
    poll: PollConfig,
    slots: HashMap<TaskId, Slot>,
    waiting: BTreeSet<(Duration, TaskId)>,
    /// The kinds in which tasks' latest polls failed.
    failing: BTreeMap<&'static str, Failing>,
    /// When each poll that is under way was handed out.
    out: BTreeSet<(Duration, TaskId)>,
    gate: Gate,
    random: StdRng,
}

#[derive(Debug)]
struct Slot {
    due: Duration,
    ask: Ask,
    in_flight: bool,
    failures: u32,
    last_error: Option<LastError>,
    /// When it was handed out, while it is being polled.
    dispatched: Duration,
    /// When it was last due early.
    early: Option<Duration>,
    /// Until when a 503 asked to be left alone about it.
    held_until: Duration,
    /// When it is to be polled once more, at the latest, after the poll that is under way.
    forward: Option<Duration>,
}

impl Schedule {
    /// A schedule without tasks. `random` spreads polls, so that tasks registered together do not stay together.
    pub fn new(poll: PollConfig, random: StdRng) -> Self {
        Self {
            poll,
            slots: HashMap::new(),
            waiting: BTreeSet::new(),
            failing: BTreeMap::new(),
            out: BTreeSet::new(),
            gate: Gate::default(),
            random,
        }
    }

    /// Begins to poll a task, at once; a task that is polled already goes on as it was.
    pub fn track(&mut self, id: &TaskId, ask: Ask, now: Duration) {
        if !self.slots.contains_key(id) {
            let slot = Slot {
                due: now,
                ask,
                in_flight: false,
                failures: 0,
                last_error: None,
                dispatched: now,
                early: None,
                held_until: Duration::ZERO,
                forward: None,
            };
            self.waiting.insert((now, id.clone()));
            self.slots.insert(id.clone(), slot);
        }
    }

    /// Ends the polling of a task. An answer that is under way finds no slot and is not polled again.
    pub fn untrack(&mut self, id: &TaskId) {
        if let Some(slot) = self.slots.remove(id) {
            self.waiting.remove(&(slot.due, id.clone()));
            self.out.remove(&(slot.dispatched, id.clone()));
            self.no_longer_fails(slot.last_error);
        }
    }

    /// When the next poll may be made: its deadline, or later while all requests are held back.
    pub fn next_at(&self) -> Option<Duration> {
        let (due, _) = self.waiting.first()?;
        Some(self.gate.opens_at().map_or(*due, |opens| opens.max(*due)))
    }

    /// Hands out the poll with the earliest deadline, if it is due and no hold is on.
    pub fn take(&mut self, now: Duration) -> Option<Job> {
        if self.next_at().is_none_or(|at| at > now) {
            return None;
        }
        let (_, id) = self.waiting.pop_first()?;
        let slot = self.slots.get_mut(&id)?;
        slot.in_flight = true;
        slot.dispatched = now;
        self.out.insert((now, id.clone()));
        self.gate.dispatched(now);
        Some(Job { ask: slot.ask.clone(), id, dispatched: now })
    }

    /// A readable answer came, and the ledger has dealt with it. `age` is the task's at the answer.
    pub fn answered(&mut self, job: &Job, next: Next, age: Duration) {
        let wait = self.wait(age);
        let due = |slot: &Slot| if next.at_once { slot.due } else { job.dispatched + wait };
        self.put_back(&job.id, next.ask, due, |slot| slot.failures = 0);
    }

    /// The API answered 404 for the task, which it has not known for `unknown_for`.
    pub fn unknown(&mut self, job: &Job, next: Next, unknown_for: Duration, now: Duration) {
        let failures = self.slots.get(&job.id).map_or(0, |slot| slot.failures);
        let wait = if unknown_for >= UNKNOWN_INTERVAL { UNKNOWN_INTERVAL } else { self.backoff(failures) };
        let due = |slot: &Slot| if next.at_once { slot.due } else { now + wait };
        self.put_back(&job.id, next.ask, due, |slot| slot.failures = slot.failures.saturating_add(1));
    }

    /// The request failed.
    pub fn failed(
        &mut self,
        job: &Job,
        setback: Setback,
        retry_after: Option<Duration>,
        error: LastError,
        now: Duration,
    ) {
        self.gate.set_back(job, setback, retry_after, now);
        let failures = self.slots.get(&job.id).map_or(0, |slot| slot.failures);
        let wait = self.backoff(failures);
        let retry_after = retry_after.filter(|_| setback == Setback::Unavailable).unwrap_or_default().min(MAX_BACKOFF);
        if let Some(slot) = self.slots.get_mut(&job.id) {
            slot.held_until = now + retry_after;
        }
        let due = |slot: &Slot| match setback {
            // All requests are held back. Then others are tried before it, or a single task could keep the hold up.
            Setback::RateLimited | Setback::KeyRejected => slot.due.max(now),
            Setback::Forbidden | Setback::Unavailable | Setback::Other => now + wait.max(retry_after),
        };
        // A file that cannot be asked for must not hide the task's others.
        self.put_back(&job.id, Ask::Task, due, |slot| {
            if !matches!(setback, Setback::RateLimited | Setback::KeyRejected) {
                slot.failures = slot.failures.saturating_add(1);
            }
        });
        let Some(slot) = self.slots.get_mut(&job.id) else { return };
        let first = || Failing { tasks: 0, since: now, latest: error.what.clone() };
        let failing = self.failing.entry(error.kind).or_insert_with(first);
        failing.tasks += 1;
        failing.latest.clone_from(&error.what);
        // After the new one is noted, or a task that fails again would begin anew.
        let before = slot.last_error.replace(error);
        self.no_longer_fails(before);
    }

    /// A request got a readable answer: whatever held requests back is over, and its task is well.
    pub fn succeeded(&mut self, job: &Job) {
        self.gate.succeeded(job);
        self.clear_error(&job.id);
    }

    /// The API answered that it does not know the task: it is not failing.
    pub fn not_found(&mut self, job: &Job) {
        self.gate.not_found(job);
        self.clear_error(&job.id);
    }

    /// Other numbers of the configuration. They hold from each task's next poll on, which is no later than a new, shorter
    /// interval allows.
    pub fn set_poll(&mut self, poll: PollConfig, now: Duration) {
        self.poll = poll;
        let latest = now + self.poll.interval;
        for (id, slot) in self.slots.iter_mut().filter(|(_, slot)| !slot.in_flight && slot.failures == 0) {
            if slot.due > latest {
                self.waiting.remove(&(slot.due, id.clone()));
                slot.due = latest;
                self.waiting.insert((latest, id.clone()));
            }
        }
    }

    /// The key has changed: it deserves a try at full speed.
    pub fn key_changed(&mut self, now: Duration) {
        self.gate.key_changed(now);
    }

    /// The poll could not be dealt with: the task's turn comes again after a backoff.
    pub fn put_off(&mut self, job: &Job, now: Duration) {
        let wait = self.backoff(self.slots.get(&job.id).map_or(0, |slot| slot.failures));
        let ask = job.ask.clone();
        self.put_back(&job.id, ask, |_| now + wait, |slot| slot.failures = slot.failures.saturating_add(1));
    }

    /// Brings a task's next poll forward to now: a webhook spoke of it. It overtakes nobody that is due already.
    ///
    /// The same task comes forward again only [`EARLY_AGAIN`] later, so that deliveries repeated without end cost little;
    /// one that comes while the task is being polled makes it polled once more, since that answer may be older.
    pub fn bring_forward(&mut self, id: &TaskId, now: Duration) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let at = slot.early.map_or(now, |early| now.max(early + EARLY_AGAIN)).max(slot.held_until);
        if slot.in_flight {
            slot.forward = Some(at);
        } else if at < slot.due {
            self.waiting.remove(&(slot.due, id.clone()));
            slot.due = at;
            slot.early = Some(at);
            self.waiting.insert((at, id.clone()));
        }
    }

    /// How many tasks' latest polls failed in this way.
    pub fn failing(&self, kind: &str) -> usize {
        self.failing.get(kind).map_or(0, |failing| failing.tasks)
    }

    /// The kinds in which tasks' latest polls failed.
    pub fn failing_kinds(&self) -> impl Iterator<Item = (&'static str, &Failing)> {
        self.failing.iter().map(|(kind, failing)| (*kind, failing))
    }

    /// What holds all requests back at `now`, and until when.
    pub fn holds(&self, now: Duration) -> impl Iterator<Item = (Hold, Duration)> {
        self.gate.holds(now)
    }

    /// The polls that come next, in their order, with when each is due, or when what holds all of them back ends.
    pub fn next_polls(&self) -> impl Iterator<Item = (Duration, &TaskId)> {
        let opens = self.gate.opens_at().unwrap_or_default();
        self.waiting.iter().map(move |(due, id)| (opens.max(*due), id))
    }

    /// How many polls are under way.
    pub fn under_way(&self) -> usize {
        self.out.len()
    }

    /// How many tasks are polled.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is nothing to poll.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How late the most overdue poll is; zero when none is due.
    ///
    /// A poll that is under way is late too when it has not been dealt with by the time that the next would be due at the
    /// latest: the store may stand still.
    pub fn lag(&self, now: Duration) -> Duration {
        let waiting = self.waiting.first().map(|(due, _)| *due);
        let out = self.out.first().map(|(dispatched, _)| *dispatched + self.poll.interval);
        let due = waiting.into_iter().chain(out).min();
        due.map_or(Duration::ZERO, |due| now.saturating_sub(due))
    }

    /// When a task is polled next, and why its latest poll failed; `None` for a task that is not polled.
    pub fn standing(&self, id: &TaskId) -> Option<Standing> {
        let slot = self.slots.get(id)?;
        let due = slot.due.max(self.gate.opens_at().unwrap_or_default());
        Some(Standing { due: (!slot.in_flight).then_some(due), last_error: slot.last_error.clone() })
    }

    /// The share `precision` of the age, no sooner than `min_interval` and no later than `interval`.
    fn wait(&mut self, age: Duration) -> Duration {
        let share = age.mul_f64(self.poll.precision).min(self.poll.interval);
        backoff::jittered(share, &mut self.random).max(self.poll.min_interval)
    }

    fn backoff(&mut self, failures: u32) -> Duration {
        let backoff = Backoff::new(self.poll.min_interval, MAX_BACKOFF.max(self.poll.min_interval));
        backoff::jittered(backoff.after(failures), &mut self.random)
    }

    fn clear_error(&mut self, id: &TaskId) {
        let error = self.slots.get_mut(id).and_then(|slot| slot.last_error.take());
        self.no_longer_fails(error);
    }

    fn no_longer_fails(&mut self, error: Option<LastError>) {
        let Some(kind) = error.map(|error| error.kind) else { return };
        if let Some(failing) = self.failing.get_mut(kind) {
            failing.tasks -= 1;
            if failing.tasks == 0 {
                self.failing.remove(kind);
            }
        }
    }

    fn put_back(&mut self, id: &TaskId, ask: Ask, due: impl FnOnce(&Slot) -> Duration, change: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.slots.get_mut(id).filter(|slot| slot.in_flight) else { return };
        self.out.remove(&(slot.dispatched, id.clone()));
        slot.due = due(slot);
        // The answer may have asked to be left alone for longer than was known when the webhook came.
        let forward = slot.forward.take().map(|at| at.max(slot.held_until));
        if let Some(at) = forward.filter(|at| *at < slot.due) {
            slot.due = at;
            slot.early = Some(at);
        }
        slot.ask = ask;
        slot.in_flight = false;
        change(slot);
        self.waiting.insert((slot.due, id.clone()));
    }
}

#[cfg(test)]
mod tests;
