//! A batch is committed, then published, and then everybody who waits for it learns of it.

use super::Ledger;
use super::batch::{Batch, Moved};
use crate::schedule::Backoff;
use crate::store::{Change, Committed, Fate, StoreError, Work};
use crate::task::{ErrorCode, Event, TaskId, TaskRecord};
use crate::time::Time;
use crate::totals::Count;
use crate::transition;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The first wait before a failed commit is tried again, and the longest.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// How long after a refusal a record is tried again without anything new to say.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

impl Ledger {
    pub(super) async fn commit_and_publish(&mut self, mut batch: Batch, cancel: &CancellationToken) {
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
            let id = &draft.record.id;
            let counts = draft.events.iter().flat_map(|event| Count::of(event, id, batch.now, &mut bounded)).collect();
            let moved = draft.moves_deadline(&self.settings.policy);
            changes.push(Change { record: Arc::new(draft.record), fate: draft.fate, counts });
            told.push((draft.events, moved));
        }
        let work = Work {
            opened: Some(&batch.opened).filter(|opened| !opened.is_empty()),
            changes: &changes,
            early_webhooks: &batch.early_webhooks,
        };
        let committed = if work.is_empty() {
            Committed::default()
        } else {
            match self.commit(work, batch.now, cancel).await {
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
                    match moved {
                        Moved::Not => {}
                        Moved::New => self.expiries.note_unpolled(&change.record, &self.settings.policy, batch.now),
                        Moved::To(at) => self.expiries.set(&change.record.id, *at),
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
            for id in &batch.announced {
                schedule.bring_forward(id, at);
            }
        });
        batch.reply(&changes, refused);
    }

    /// The task keeps the record that is durable, and what came of it is tried again later.
    fn set_aside_change(&mut self, change: &Change, reason: &str, now: Time) {
        let id = &change.record.id;
        self.rooms.instruments.store_errors.inc();
        self.expiries.set(id, Some(now.after(REFUSED_AGAIN)));
        if self.rooms.view.task(id).is_none() && change.record.unlisted_since.is_none() {
            // Nobody but this list would bring it again; whoever registers a task learns of the refusal.
            self.waiting.insert(id.clone(), change.record.clone());
        }
        if self.refused.insert(id.clone()) {
            tracing::error!(
                task_id = %id, reason,
                "the store refuses the record of task {id}: it is set aside, shown as it was, and tried again later"
            );
        }
    }

    /// Begins or ends the polling of a task, as its record wants it.
    pub(super) fn poll_or_not(&self, record: &TaskRecord, fate: Fate) {
        let now = self.rooms.clock.elapsed();
        if fate == Fate::Tracked && record.settled.is_none() {
            self.rooms.schedule.change(|schedule| schedule.track(&record.id, transition::first_ask(record), now));
        } else {
            self.rooms.schedule.with(|schedule| schedule.untrack(&record.id));
        }
    }

    /// Commits, trying again until it succeeds; `None` only when it fails and the process is to end.
    async fn commit(&mut self, work: Work<'_>, now: Time, cancel: &CancellationToken) -> Option<Committed> {
        let mut failures = 0;
        loop {
            let begun = self.rooms.clock.elapsed();
            let result = self.rooms.heartbeat.during(self.rooms.store.commit(work, now)).await;
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
                let tasks = work.changes.len();
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

    /// Logs a trouble of the store when it begins, and counts it whenever it shows.
    pub(super) fn store_failed(&mut self, error: &StoreError, consequence: &str) {
        self.rooms.instruments.store_errors.inc();
        if !self.store_fails {
            self.store_fails = true;
            self.rooms.instruments.store_fails_since(Some(self.rooms.clock.wall()));
            tracing::error!(%error, "the store fails: {error}; {consequence}");
        }
    }

    pub(super) fn store_answers(&mut self) {
        if self.store_fails {
            self.store_fails = false;
            self.rooms.instruments.store_fails_since(None);
            tracing::info!("the store works again");
        }
    }
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
