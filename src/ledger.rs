//! The single writer: takes observations and registrations from a bounded inbox, applies the rules, commits a batch, and
//! only then publishes it.
//!
//! `inbox` is the way in, `batch` holds what a batch is about to change, `codes` bounds the error codes. A batch that
//! cannot be committed is kept and tried again until it can; meanwhile nothing else is taken in, and since a task is
//! polled again only after its answer has been dealt with, a store that stands still makes polls wait (and
//! `dragdropdo_poll_lag_seconds` rise) rather than get lost.

mod batch;
mod codes;
mod expiries;
mod inbox;
mod wanted;

pub use inbox::{LedgerHandle, RegisterError, Registered, Target};

use crate::clock::Clock;
use crate::health::Heartbeat;
use crate::metrics::Instruments;
use crate::schedule::{Backoff, MAX_BACKOFF, SharedSchedule};
use crate::store::{Change, Committed, Fate, Loaded, Store, StoreError};
use crate::task::{Ask, ErrorCode, Event, Observation, TaskId, TaskRecord};
use crate::time::Time;
use crate::totals::{Count, Totals};
use crate::transition::{self, Policy};
use crate::view::View;
use batch::{Answer, Batch};
use codes::ErrorCodes;
use expiries::Expiries;
use inbox::Input;
use std::collections::HashSet;
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
/// The first wait before a failed commit is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

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
            expiries: Expiries::default(),
            set_aside: HashSet::new(),
            refused: HashSet::new(),
            forgotten_at: now,
            store_fails: false,
            rooms,
            settings,
        };
        for (id, reason) in unreadable {
            ledger.rooms.instruments.store_errors.inc();
            tracing::error!(
                task_id = id,
                reason,
                "the stored record of task {id} cannot be read: it is set aside and not followed; repair or delete its row"
            );
            ledger.set_aside.extend(TaskId::new(&id));
        }
        for record in ledger.rooms.view.tasks() {
            ledger.expiries.note(&record, &ledger.settings.policy);
            ledger.poll_or_not(&record, Fate::Tracked);
        }
        (ledger, handle)
    }

    /// Works until `cancel` is called, then deals with what is in the inbox and closes the store.
    pub async fn run(mut self, cancel: CancellationToken) {
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
        if let Err(error) = self.rooms.store.close().await {
            tracing::warn!(%error, "the store did not close cleanly; what was committed is durable all the same");
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
                Input::Listed { source, targets, done } => {
                    self.listed(&mut batch, &source, targets, cancel).await;
                    batch.done.push(done);
                }
                Input::Register { targets, reply } => self.register(&mut batch, targets, reply).await,
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
        // A list that lets it go in this very batch lets go a task that has been observed.
        draft.fate = Fate::Tracked;
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

    fn expire(&mut self, batch: &mut Batch) {
        let (now, policy) = (batch.now, &self.settings.policy);
        for id in self.expiries.due(now) {
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

    async fn commit_and_publish(&mut self, mut batch: Batch, cancel: &CancellationToken) {
        let drafts = batch.take_drafts();
        let mut changes = Vec::new();
        let mut told = Vec::new();
        for draft in drafts {
            if !draft.is_worth_a_write() {
                // Only times moved that are not shown.
                self.rooms.view.touch(&draft.record.id.clone(), |record| {
                    *record = draft.record;
                    true
                });
                continue;
            }
            let mut bounded = |code: &ErrorCode| self.codes.bounded(code);
            let counts = draft.events.iter().flat_map(|event| Count::of(event, batch.now, &mut bounded)).collect();
            let moved = draft.moves_deadline(&self.settings.policy);
            changes.push(Change { record: Arc::new(draft.record), fate: draft.fate, counts });
            told.push((draft.events, moved));
        }
        let committed = if changes.is_empty() && batch.opened.is_empty() {
            Committed::default()
        } else {
            match self.commit(&batch.opened, &changes, batch.now, cancel).await {
                Some(committed) => committed,
                // Shutting down without a store: what was observed is observed again after the restart.
                None => return,
            }
        };
        hold_point();
        let refused = &committed.refused;
        let kept =
            || changes.iter().enumerate().filter(|(place, _)| !refused.contains_key(place)).map(|(_, change)| change);
        self.rooms.view.publish(kept(), &committed.added);
        for ((place, change), (events, moved)) in changes.iter().enumerate().zip(&told) {
            match refused.get(&place) {
                Some(reason) => self.set_aside_change(change, reason, batch.now),
                None => {
                    tell(change, events);
                    if *moved {
                        self.expiries.note(&change.record, &self.settings.policy);
                    }
                    self.poll_or_not(&change.record, change.fate);
                    self.refused.remove(&change.record.id);
                }
            }
        }
        let refused_ids: HashSet<&TaskId> = refused.keys().map(|place| &changes[*place].record.id).collect();
        self.rooms.schedule.change(|schedule| {
            let at = self.rooms.clock.elapsed();
            for answer in &batch.answers {
                if refused_ids.contains(&answer.job.id) {
                    schedule.put_off(&answer.job, at);
                } else if let Some(record) = self.rooms.view.task(&answer.job.id) {
                    answer.reschedule(&record, schedule, batch.now, at);
                }
            }
        });
        batch.reply(&changes, refused);
    }

    /// The task keeps the record that is durable, and what came of it is tried again later.
    fn set_aside_change(&mut self, change: &Change, reason: &str, now: Time) {
        let id = &change.record.id;
        self.rooms.instruments.store_errors.inc();
        self.expiries.note_at(now.after(MAX_BACKOFF), id);
        if self.refused.insert(id.clone()) {
            tracing::error!(
                task_id = %id, reason,
                "the store refuses the record of task {id}: it is set aside, shown as it was, and tried again with its next polls"
            );
        }
    }

    /// Begins or ends the polling of a task, as its record wants it.
    fn poll_or_not(&self, record: &TaskRecord, fate: Fate) {
        let now = self.rooms.clock.elapsed();
        if fate == Fate::Tracked && record.settled.is_none() {
            self.rooms.schedule.change(|schedule| schedule.track(&record.id, transition::first_ask(record), now));
        } else {
            self.rooms.schedule.with(|schedule| schedule.untrack(&record.id));
        }
    }

    /// Commits, trying again until it succeeds; `None` only when it fails and the process is to end.
    async fn commit(
        &mut self,
        opened: &Totals,
        changes: &[Change],
        now: Time,
        cancel: &CancellationToken,
    ) -> Option<Committed> {
        let mut failures = 0;
        loop {
            let begun = self.rooms.clock.elapsed();
            let result = self.rooms.heartbeat.during(self.rooms.store.commit(opened, changes, now)).await;
            match result {
                Ok(committed) => {
                    let took = self.rooms.clock.elapsed().saturating_sub(begun);
                    self.rooms.instruments.store_commit_duration.observe(took.as_secs_f64());
                    self.store_answers();
                    return Some(committed);
                }
                Err(error) => {
                    self.store_failed(&error, "what was observed waits, and is committed when it answers again")
                }
            }
            if cancel.is_cancelled() {
                let tasks = changes.len();
                tracing::error!(
                    tasks,
                    "ending without a store: the last changes of {tasks} tasks are not durable and will be observed again"
                );
                return None;
            }
            let wait = Backoff::new(RETRY.0, RETRY.1).after(failures);
            failures += 1;
            tokio::select! {
                () = self.rooms.heartbeat.during(tokio::time::sleep(wait)) => {}
                () = cancel.cancelled() => {}
            }
        }
    }

    /// Forgets remembered tasks whose time is over, unless a list still names them.
    async fn forget(&mut self) {
        let now = self.rooms.clock.wall();
        if now.since(self.forgotten_at) < FORGET_EVERY.min(self.settings.remember.max(TICK)) {
            return;
        }
        self.forgotten_at = now;
        let before = Time::from_micros(now.as_micros().saturating_sub(duration_micros(self.settings.remember)));
        let heartbeat = self.rooms.heartbeat.clone();
        let forgotten = heartbeat.during(async {
            let old = self.rooms.store.departed_before(before, FORGET_AT_ONCE).await?;
            if old.is_empty() {
                return Ok(());
            }
            let (keep, forget): (Vec<String>, Vec<String>) = old.into_iter().partition(|id| self.lists.name(id));
            self.rooms.store.forget(&forget, &keep, now).await
        });
        match forgotten.await {
            Ok(()) => {}
            Err(error) => self.store_failed(&error, "old records are forgotten when it answers again"),
        }
    }

    /// Logs a trouble of the store when it begins, and counts it whenever it shows.
    fn store_failed(&mut self, error: &StoreError, consequence: &str) {
        self.rooms.instruments.store_errors.inc();
        if !self.store_fails {
            self.store_fails = true;
            tracing::error!(%error, "the store fails: {error}; {consequence}");
        }
    }

    fn store_answers(&mut self) {
        if self.store_fails {
            self.store_fails = false;
            tracing::info!("the store works again");
        }
    }
}

/// What a loaded store makes of the view.
pub fn view_of(loaded: Loaded) -> (View, Vec<(String, String)>) {
    (View::new(loaded.tasks, loaded.totals), loaded.unreadable)
}

/// Between commit and publish: a test can hold the process here and kill it.
fn hold_point() {
    #[cfg(feature = "failpoints")]
    fail::fail_point!("committed");
}

/// Logs what happened to a task, once it is durable.
fn tell(change: &Change, events: &[Event]) {
    let (id, group) = (&change.record.id, &change.record.group);
    for event in events {
        match event {
            Event::TaskFinished { state, latency } => tracing::info!(
                task_id = %id, %group, state = state.as_str(), latency_ms = latency.map(|latency| latency.as_millis()),
                "task {id} finished: {}", state.as_str()
            ),
            Event::TaskSettled { outcome, unnamed_failure } => {
                let failed_files = change.record.files.iter().filter(|file| file.counted_failed()).count();
                tracing::info!(task_id = %id, %group, outcome = outcome.as_str(), failed_files, "task {id} settled: {}", outcome.as_str());
                if *unnamed_failure {
                    tracing::warn!(task_id = %id, %group, "task {id} failed, and the API names no failed file");
                }
            }
            Event::FileCompleted { .. } => tracing::debug!(task_id = %id, %group, "a file of task {id} completed"),
            Event::FileFailed { error_code, .. } => {
                tracing::warn!(task_id = %id, %group, %error_code, "a file of task {id} failed: {error_code}");
            }
            Event::TaskDropped(reason) => tracing::warn!(
                task_id = %id, %group, reason = reason.as_str(),
                "task {id} is given up unfinished: {}", reason.as_str()
            ),
        }
    }
}

fn duration_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
