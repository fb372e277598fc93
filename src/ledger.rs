//! The single writer: takes observations and registrations from a bounded inbox, applies the rules, commits a batch, and
//! only then publishes it.
//!
//! `inbox` is the way in, `batch` holds what a batch is about to change, `codes` bounds the error codes. A batch that
//! cannot be committed is kept and tried again until it can; meanwhile nothing else is taken in, and since a task is
//! polled again only after its answer has been dealt with, a store that stands still makes polls wait (and
//! `dragdropdo_poll_lag_seconds` rise) rather than get lost.

mod batch;
mod codes;
mod commit;
mod expiries;
mod inbox;
mod wanted;
mod webhooks;

pub use inbox::{
    DeleteError, Delivered, LedgerHandle, List, ListError, Reconfiguration, RegisterError, Registered, Source, Target,
    Unavailable,
};
pub use wanted::STATIC_SOURCE;

use crate::clock::Clock;
use crate::health::Heartbeat;
use crate::metrics::Instruments;
use crate::schedule::SharedSchedule;
use crate::store::{Change, Fate, Loaded, Store, Work};
use crate::task::{Ask, ErrorCode, Group, Observation, TaskId, TaskRecord};
use crate::time::Time;
use crate::transition::{self, Policy};
use crate::view::View;
use batch::{Answer, Batch};
use codes::ErrorCodes;
use expiries::Expiries;
use inbox::Input;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wanted::Lists;

/// Inputs that go into one transaction. It makes the cost of a sync per input small long before it makes one batch slow.
const MAX_BATCH: usize = 1024;
/// How often the ledger looks for what falls due by time alone: what users configure is in seconds.
const TICK: Duration = Duration::from_secs(1);
/// How often remembered tasks are looked through for those that need not be remembered any longer.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Remembered tasks forgotten in one go, so that a transaction stays short.
const FORGET_AT_ONCE: u32 = 1000;
/// What the ledger needs of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The rules' numbers.
    pub policy: Policy,
    /// `storage.remember`: how long a task that left the gauges is remembered.
    pub remember: Duration,
    /// `metrics.known_error_codes`.
    pub known_error_codes: Vec<ErrorCode>,
    /// `metrics.max_error_codes`.
    pub max_error_codes: usize,
    /// `webhook.track_unknown`: whether a task first heard of by webhook is tracked.
    pub track_unknown: bool,
    /// The sources that list tasks. Until each has given a list, a task that was listed stays listed.
    pub sources: Vec<Source>,
}

/// What the ledger works with.
#[derive(Debug)]
pub struct Rooms {
    /// The store, opened; the ledger is its only writer.
    pub store: Store,
    /// Where it publishes.
    pub view: Arc<View>,
    /// Who it tells when a task is to be polled.
    pub schedule: Arc<SharedSchedule>,
    /// Where it counts its own troubles.
    pub instruments: Arc<Instruments>,
    /// The sign of life of its loop.
    pub heartbeat: Heartbeat,
    /// The clock.
    pub clock: Clock,
}

/// The single writer.
#[derive(Debug)]
pub struct Ledger {
    rooms: Rooms,
    settings: Settings,
    inbox: mpsc::Receiver<Input>,
    codes: ErrorCodes,
    lists: Lists,
    expiries: Expiries,
    /// Tasks whose rows cannot be read: never written, never counted.
    set_aside: HashSet<TaskId>,
    /// Tasks whose latest change the store refused.
    refused: HashSet<TaskId>,
    /// Listed tasks whose first record the store refused.
    waiting: HashMap<TaskId, Arc<TaskRecord>>,
    /// Groups of which everything exists.
    open_groups: HashSet<Group>,
    forgotten_at: Time,
    store_fails: bool,
}

impl Ledger {
    /// A ledger that goes on from what was loaded, which the view shows already; and the way into it.
    pub fn new(rooms: Rooms, settings: Settings, unreadable: Vec<(String, String)>) -> (Self, LedgerHandle) {
        let (handle, inbox) = LedgerHandle::new();
        let now = rooms.clock.wall();
        let counted = rooms.view.totals();
        let codes = counted.values().flat_map(|totals| totals.counters.keys()).filter_map(|(family, value)| {
            (*family == crate::totals::CounterFamily::FileFailures).then(|| ErrorCode::from_api(value))?
        });
        let codes = ErrorCodes::new(settings.known_error_codes.iter().cloned().chain(codes), settings.max_error_codes);
        let mut ledger = Self {
            codes,
            inbox,
            lists: Lists::default(),
            expiries: Expiries::new(now),
            set_aside: HashSet::new(),
            refused: HashSet::new(),
            waiting: HashMap::new(),
            open_groups: HashSet::new(),
            forgotten_at: now,
            store_fails: false,
            rooms,
            settings,
        };
        for (id, reason) in unreadable {
            match TaskId::new(&id) {
                Ok(id) => ledger.set_aside_row(id, &reason),
                Err(error) => tracing::error!(%error, "a stored record has an ID that is none: it is left as it is"),
            }
        }
        for record in ledger.rooms.view.tasks_that(|_| true) {
            ledger.expiries.note_unpolled(&record, &ledger.settings.policy, now);
            ledger.poll_or_not(&record, Fate::Tracked);
        }
        (ledger, handle)
    }

    /// Works until `cancel` is called, then deals with what is in the inbox and closes the store.
    pub async fn run(mut self, cancel: CancellationToken) {
        self.open_all_groups(&cancel).await;
        let mut inputs = Vec::with_capacity(MAX_BATCH);
        let mut tick = tokio::time::interval(TICK);
        // After a long commit one look is enough.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.rooms.heartbeat.beat();
            tokio::select! {
                received = self.inbox.recv_many(&mut inputs, MAX_BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.turn(&mut inputs, &cancel).await;
                }
                _ = tick.tick() => {
                    self.turn(&mut inputs, &cancel).await;
                    self.forget().await;
                }
                () = cancel.cancelled(), if !self.inbox.is_closed() => self.inbox.close(),
            }
        }
        self.keep_times().await;
        if let Err(error) = self.rooms.store.close().await {
            tracing::warn!(%error, "the store did not close cleanly; what was committed is durable all the same");
        }
    }

    /// A task whose row cannot be read is neither followed nor written.
    fn set_aside_row(&mut self, id: TaskId, reason: &str) {
        self.rooms.instruments.store_errors.inc();
        if self.set_aside.insert(id.clone()) {
            tracing::error!(
                task_id = %id, reason,
                "the stored record of task {id} cannot be read: it is set aside and not followed; repair or delete its row"
            );
        }
    }

    /// Every known group has everything that a group has, also what this version or configuration brings.
    async fn open_all_groups(&mut self, cancel: &CancellationToken) {
        let mut batch = Batch::new(self.rooms.clock.wall());
        for group in self.rooms.view.groups() {
            self.open_group(&mut batch, &group);
        }
        self.commit_and_publish(batch, cancel).await;
    }

    /// Writes the times of the last unfinished observations, which alone cost no write while they moved: a short stop
    /// then makes no latency unknown.
    async fn keep_times(&mut self) {
        let unsettled = |record: &TaskRecord| record.settled.is_none() && record.first_seen.is_some();
        let unsettled: Vec<Change> = self
            .rooms
            .view
            .tasks_that(unsettled)
            .into_iter()
            .map(|record| Change { record, fate: Fate::Tracked, counts: Vec::new() })
            .collect();
        let now = self.rooms.clock.wall();
        for changes in unsettled.chunks(MAX_BATCH) {
            if let Err(error) = self.rooms.store.commit(Work { changes, ..Work::default() }, now).await {
                tracing::warn!(%error, "the times of the latest polls are not kept: some latencies will be unknown");
                return;
            }
        }
    }

    /// One turn: everything that has come in and everything that has fallen due, in one batch.
    async fn turn(&mut self, inputs: &mut Vec<Input>, cancel: &CancellationToken) {
        let now = self.rooms.clock.wall();
        let mut batch = Batch::new(now);
        for input in inputs.drain(..) {
            match input {
                Input::Observed { job, observation } => self.observed(&mut batch, job, &observation),
                Input::NotFound { job, at } => self.not_found(&mut batch, job, at),
                Input::Listed { source, list, reply } => match self.listed(&mut batch, &source, list, cancel).await {
                    Ok(()) => batch.done.push(reply),
                    Err(error) => drop(reply.send(Err(error))),
                },
                Input::Register { targets, at, reply } => self.register(&mut batch, targets, at, reply).await,
                Input::Delete { id, reply } => self.delete(&mut batch, &id, reply),
                Input::Delivered { id, announced, reply } => self.delivered(&mut batch, id, announced, reply).await,
                Input::Reconfigure { change, reply } => {
                    // What the batch has counted so far belongs to the buckets there are.
                    self.commit_and_publish(std::mem::replace(&mut batch, Batch::new(now)), cancel).await;
                    // Whoever asked may have given up waiting.
                    drop(reply.send(self.reconfigure(&mut batch, *change).await));
                }
            }
        }
        self.expire(&mut batch);
        self.commit_and_publish(batch, cancel).await;
    }

    fn observed(&mut self, batch: &mut Batch, job: crate::schedule::Job, observation: &Observation) {
        let policy = &self.settings.policy;
        let had_it = match &job.ask {
            Ask::Task => true,
            Ask::File(_) => transition::answers_the_file(&observation.files),
        };
        let untouched = !batch.holds(&job.id);
        if untouched
            && self.rooms.view.touch(&job.id, |record| transition::observe_unchanged(record, observation)) == Some(true)
        {
            batch.answers.push(Answer { job, had_it, not_found: false });
            return;
        }
        let now = batch.now;
        let Some(draft) = batch.draft(&job.id, &self.rooms.view) else { return };
        let events = transition::observe(&mut draft.record, observation, policy, now);
        draft.events.extend(events);
        if draft.fate == Fate::Forgotten {
            // A list let it go in this very batch, and now it has been observed.
            draft.fate = Fate::Tracked;
        }
        batch.answers.push(Answer { job, had_it, not_found: false });
    }

    fn not_found(&mut self, batch: &mut Batch, job: crate::schedule::Job, at: Time) {
        let of_task = job.ask == Ask::Task;
        if of_task {
            let Some(draft) = batch.draft(&job.id, &self.rooms.view) else { return };
            transition::not_found(&mut draft.record, at);
        }
        batch.answers.push(Answer { job, had_it: false, not_found: of_task });
    }

    /// Takes over a changed configuration, or nothing of it.
    async fn reconfigure(&mut self, batch: &mut Batch, change: Reconfiguration) -> Result<(), String> {
        let now = batch.now;
        let reset = self.rooms.heartbeat.during(self.rooms.store.set_bounds(&change.bounds, now)).await;
        match reset {
            Ok(None) => {}
            Ok(Some(totals)) => self.rooms.view.replace_totals(totals, &change.bounds),
            Err(error) => {
                self.store_failed(&error, "the configuration stays as it is");
                return Err(error.to_string());
            }
        }
        self.codes.limit_to(change.settings.max_error_codes, &change.settings.known_error_codes);
        let before = std::mem::replace(&mut self.settings, change.settings);
        for gone in before.sources.iter().filter(|old| self.settings.sources.iter().all(|new| new.name != old.name)) {
            self.rooms.instruments.source_is_gone(&gone.name);
        }
        self.lists.move_to(&self.settings.sources);
        self.open_groups.clear();
        for group in self.rooms.view.groups() {
            self.open_group(batch, &group);
        }
        self.unlist(batch);
        // Shorter times may be over sooner than was noted.
        for record in self.rooms.view.tasks_that(|_| true) {
            self.expiries.note_anew(&record, &self.settings.policy, now);
        }
        Ok(())
    }

    fn expire(&mut self, batch: &mut Batch) {
        let (now, policy) = (batch.now, &self.settings.policy);
        for id in self.expiries.due(now) {
            if let Some(record) = self.waiting.remove(&id)
                && !batch.holds(&id)
                && self.rooms.view.task(&id).is_none()
                && self.lists.name(id.as_str())
            {
                batch.add(TaskRecord::clone(&record));
                continue;
            }
            let Some(draft) = batch.draft(&id, &self.rooms.view) else { continue };
            let events = transition::expire(&mut draft.record, policy, now);
            draft.events.extend(events);
            let leaves = transition::leaves_at(&draft.record, policy).is_some_and(|at| at <= now);
            if leaves || draft.record.dropped.is_some() {
                draft.fate = Fate::Departed(now);
            } else {
                // It has moved since it was noted.
                self.expiries.note(&draft.record, policy);
            }
        }
    }

    /// Forgets remembered tasks whose time is over, unless a list still names them.
    async fn forget(&mut self) {
        let now = self.rooms.clock.wall();
        if now.since(self.forgotten_at) < FORGET_EVERY.min(self.settings.remember.max(TICK)) {
            return;
        }
        let before = Time::from_micros(now.as_micros().saturating_sub(duration_micros(self.settings.remember)));
        let heartbeat = self.rooms.heartbeat.clone();
        let too_early = Time::from_micros(now.as_micros().saturating_sub(duration_micros(webhooks::KEEP)));
        let forgotten = heartbeat.during(async {
            self.rooms.store.forget_early_webhooks(too_early).await?;
            let old = self.rooms.store.departed_before(before, FORGET_AT_ONCE).await?;
            if old.is_empty() {
                return Ok(false);
            }
            let may_be_more = old.len() >= FORGET_AT_ONCE as usize;
            let (keep, forget): (Vec<String>, Vec<String>) = old.into_iter().partition(|id| self.lists.name(id));
            self.rooms.store.forget(&forget, &keep, now).await?;
            Ok(may_be_more)
        });
        match forgotten.await {
            Ok(false) => self.forgotten_at = now,
            // The next tick goes on.
            Ok(true) => {}
            Err(error) => {
                self.forgotten_at = now;
                self.store_failed(&error, "old records are forgotten when it answers again");
            }
        }
    }
}

/// What a loaded store makes of the view. `bounds` are those of the latency histograms, in seconds.
pub fn view_of(loaded: Loaded, bounds: &[f64]) -> (View, Vec<(String, String)>) {
    (View::new(loaded.tasks, loaded.totals, bounds), loaded.unreadable)
}

fn duration_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
