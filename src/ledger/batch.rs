//! What a batch is about to change, before it is committed.

use super::inbox::{DeleteError, Delivered, ListError, RegisterError, Registered, Reply, Unavailable};
use crate::schedule::{Job, Schedule};
use crate::store::{Change, EarlyWebhook, Fate};
use crate::task::{Event, TaskId, TaskRecord};
use crate::time::Time;
use crate::totals::Totals;
use crate::transition::{self, Policy};
use crate::view::View;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What a batch is about to change.
pub(super) struct Batch {
    pub(super) now: Time,
    /// Groups that come to be known, at zero.
    pub(super) opened: Totals,
    /// Polls that were answered.
    pub(super) answers: Vec<Answer>,
    /// Those who wait for a list to be tracked.
    pub(super) done: Vec<oneshot::Sender<Result<(), ListError>>>,
    /// Those who wait for a registration to be durable.
    pub(super) registrations: Vec<(Reply, Vec<Registered>)>,
    /// Webhook deliveries about tasks that are not tracked.
    pub(super) early_webhooks: Vec<EarlyWebhook>,
    /// Tasks of which a webhook spoke: their polls come forward.
    pub(super) announced: Vec<TaskId>,
    /// Those who wait for a webhook delivery to be durable.
    pub(super) deliveries: Vec<(oneshot::Sender<Result<Delivered, Unavailable>>, Delivered)>,
    /// Those who wait for a task to be forgotten.
    pub(super) deletions: Vec<oneshot::Sender<Result<(), DeleteError>>>,
    drafts: Vec<Draft>,
    places: HashMap<TaskId, usize>,
}

/// A record as the batch is about to leave it.
pub(super) struct Draft {
    before: Option<Arc<TaskRecord>>,
    pub(super) record: TaskRecord,
    pub(super) fate: Fate,
    pub(super) events: Vec<Event>,
    /// Set when the store holds a row that must change even if the record looks the same.
    pub(super) is_dirty: bool,
}

/// The moment at which time has something to do with a task.
pub(super) enum Moved {
    /// It is as it was.
    Not,
    /// The task is new to this process.
    New,
    /// It is another, or there is none any more.
    To(Option<Time>),
}

/// A poll that was answered.
pub(super) struct Answer {
    pub(super) job: Job,
    /// Whether the answer had what was asked for.
    pub(super) had_it: bool,
    /// Whether the API does not know the task.
    pub(super) not_found: bool,
}

impl Batch {
    pub(super) fn new(now: Time) -> Self {
        Self {
            now,
            opened: Totals::new(),
            answers: Vec::new(),
            done: Vec::new(),
            registrations: Vec::new(),
            early_webhooks: Vec::new(),
            announced: Vec::new(),
            deliveries: Vec::new(),
            deletions: Vec::new(),
            drafts: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Whether the batch is about to change this task.
    pub(super) fn holds(&self, id: &TaskId) -> bool {
        self.places.contains_key(id)
    }

    /// The draft of a task that the batch holds or the view tracks.
    pub(super) fn draft(&mut self, id: &TaskId, view: &View) -> Option<&mut Draft> {
        if !self.places.contains_key(id) {
            let before = view.task(id)?;
            let record = TaskRecord::clone(&before);
            self.put(Draft { before: Some(before), record, fate: Fate::Tracked, events: Vec::new(), is_dirty: false });
        }
        self.places.get(id).map(|place| &mut self.drafts[*place])
    }

    /// Adds the draft of a task that is not tracked: a new one, or one that was remembered.
    pub(super) fn add(&mut self, record: TaskRecord) -> &mut Draft {
        let place = self.put(Draft { before: None, record, fate: Fate::Tracked, events: Vec::new(), is_dirty: true });
        &mut self.drafts[place]
    }

    fn put(&mut self, draft: Draft) -> usize {
        self.places.insert(draft.record.id.clone(), self.drafts.len());
        self.drafts.push(draft);
        self.drafts.len() - 1
    }

    /// The tasks that the batch is about to change.
    pub(super) fn ids(&self) -> Vec<TaskId> {
        self.places.keys().cloned().collect()
    }

    pub(super) fn take_drafts(&mut self) -> Vec<Draft> {
        self.places.clear();
        std::mem::take(&mut self.drafts)
    }

    /// Answers those who wait, when all is durable but for the changes that the store refused.
    pub(super) fn reply(self, changes: &[Change], refused: &BTreeMap<usize, String>) {
        for (reply, registered) in self.registrations {
            let refusal = refused.iter().find_map(|(place, reason)| {
                let id = &changes[*place].record.id;
                let concerns = registered.iter().any(|task| task.id == *id);
                concerns.then(|| RegisterError::Refused { id: id.clone(), reason: reason.clone() })
            });
            // Whoever asked may have given up waiting; the registration stands all the same.
            reply.send(refusal.map_or(Ok(registered), Err)).ok();
        }
        for done in self.done {
            done.send(Ok(())).ok();
        }
        for (reply, delivered) in self.deliveries {
            reply.send(Ok(delivered)).ok();
        }
        for reply in self.deletions {
            reply.send(Ok(())).ok();
        }
    }
}

impl Draft {
    /// Whether the store has to learn of it.
    pub(super) fn is_worth_a_write(&self) -> bool {
        self.is_dirty
            || !self.events.is_empty()
            || self.fate != Fate::Tracked
            || self.before.as_ref().is_none_or(|before| transition::differ_durably(before, &self.record))
    }

    /// Whether time has something to do at another moment than before.
    pub(super) fn moves_deadline(&self, policy: &Policy) -> Moved {
        if self.fate != Fate::Tracked {
            return Moved::To(None);
        }
        let Some(before) = &self.before else { return Moved::New };
        let (was, is) = (transition::deadline(before, policy), transition::deadline(&self.record, policy));
        // The first answer tells what time alone could not.
        let first_answer = before.first_seen.is_none() && before.not_found_since.is_none();
        if was == is && !first_answer { Moved::Not } else { Moved::To(is) }
    }
}

impl Answer {
    /// Tells the schedule when the task is polled next.
    pub(super) fn reschedule(&self, record: &TaskRecord, schedule: &mut Schedule, now: Time, at: Duration) {
        let next = transition::next_ask(record, &self.job.ask, self.had_it);
        if self.not_found {
            let unknown_for = record.not_found_since.map_or(Duration::ZERO, |since| now.since(since));
            schedule.unknown(&self.job, next, unknown_for, at);
        } else {
            let age = record.start.or(record.first_seen).map_or(Duration::ZERO, |start| now.since(start));
            schedule.answered(&self.job, next, age);
        }
    }
}
