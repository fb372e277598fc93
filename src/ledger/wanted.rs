//! Tasks come and go: lists that name them, and registrations.

use super::inbox::{RegisterError, Registered, Reply, Target};
use super::{Batch, Ledger};
use crate::schedule::Backoff;
use crate::store::{Fate, StoreError};
use crate::task::{DropReason, Group, TaskId, TaskRecord};
use crate::time::Time;
use crate::totals::Count;
use crate::transition;
use std::collections::{BTreeSet, HashMap, HashSet};
use tokio_util::sync::CancellationToken;

/// Groups at most: each has some forty series, and a group is a kind of work and not a customer or a file.
const MAX_GROUPS: usize = 100;

/// Which lists name which tasks.
#[derive(Debug, Default)]
pub(super) struct Lists {
    sources: HashMap<String, HashSet<TaskId>>,
}

impl Lists {
    /// Whether any list names the task.
    pub(super) fn name(&self, id: &str) -> bool {
        TaskId::new(id).is_ok_and(|id| self.sources.values().any(|ids| ids.contains(&id)))
    }
}

impl Ledger {
    /// A source names these tasks and no others.
    pub(super) async fn listed(
        &mut self,
        batch: &mut Batch,
        source: &str,
        targets: Vec<Target>,
        cancel: &CancellationToken,
    ) {
        let ids: HashSet<TaskId> = targets.iter().map(|target| target.id.clone()).collect();
        self.rooms.instruments.source_names(source, ids.len());
        self.lists.sources.insert(source.to_owned(), ids);
        for target in targets {
            if self.set_aside.contains(&target.id) {
                continue;
            }
            let now = batch.now;
            self.open_group(batch, &target.group);
            if let Some(draft) = batch.draft(&target.id, &self.rooms.view) {
                name_in_list(&mut draft.record, &target);
                continue;
            }
            let Some(remembered) = self.recall_until_answered(&target.id, cancel).await else { continue };
            match remembered {
                None => name_in_list(
                    &mut batch.add(TaskRecord::new(target.id.clone(), target.group.clone(), &target.file_keys)).record,
                    &target,
                ),
                Some(record) if is_abandoned(&record) => {}
                Some(record) => {
                    let draft = batch.add(record);
                    take_up_again(&mut draft.record, now);
                    name_in_list(&mut draft.record, &target);
                }
            }
        }
        self.unlist(batch);
    }

    /// Tasks that no list names any more: a task never observed goes at once, the others are followed to their end.
    fn unlist(&mut self, batch: &mut Batch) {
        let now = batch.now;
        for record in self.rooms.view.tasks() {
            if record.unlisted_since.is_none()
                && !self.lists.name(record.id.as_str())
                && let Some(draft) = batch.draft(&record.id, &self.rooms.view)
            {
                draft.record.unlisted_since = Some(now);
                if !draft.record.registered && draft.record.first_seen.is_none() {
                    draft.fate = Fate::Forgotten;
                }
            }
        }
    }

    /// Registers tasks that an application names over HTTP: all of them, or none.
    pub(super) async fn register(&mut self, batch: &mut Batch, targets: Vec<Target>, reply: Reply) {
        match self.try_register(batch, targets).await {
            Ok(registered) => batch.registrations.push((reply, registered)),
            // Whoever asked may have given up waiting.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    async fn try_register(
        &mut self,
        batch: &mut Batch,
        targets: Vec<Target>,
    ) -> Result<Vec<Registered>, RegisterError> {
        // First everything that can be refused, so that a refusal changes nothing.
        let mut remembered = HashMap::new();
        let mut groups: BTreeSet<Group> = self.rooms.view.groups();
        groups.extend(batch.opened.keys().cloned());
        for target in &targets {
            if self.set_aside.contains(&target.id) {
                return Err(RegisterError::SetAside(target.id.clone()));
            }
            if batch.draft(&target.id, &self.rooms.view).is_some() || remembered.contains_key(&target.id) {
                continue;
            }
            let found = match self.recall(&target.id).await {
                Ok(found) => found,
                Err(error) => {
                    self.store_failed(&error, "nothing can be registered until it answers again");
                    return Err(RegisterError::StoreUnavailable);
                }
            };
            if found.is_none() && groups.insert(target.group.clone()) && groups.len() > MAX_GROUPS {
                return Err(RegisterError::TooManyGroups { group: target.group.clone(), limit: MAX_GROUPS });
            }
            remembered.insert(target.id.clone(), found);
        }
        let now = batch.now;
        let mut registered = Vec::with_capacity(targets.len());
        for target in targets {
            let found = remembered.remove(&target.id).flatten();
            let known = found.is_some() || batch.draft(&target.id, &self.rooms.view).is_some();
            let group = match found {
                Some(record) if is_abandoned(&record) => record.group,
                Some(record) => {
                    let draft = batch.add(record);
                    take_up_again(&mut draft.record, now);
                    register_in(&mut draft.record, &target, now);
                    draft.record.group.clone()
                }
                None => {
                    if !known {
                        self.open_group(batch, &target.group);
                        let new = TaskRecord::new(target.id.clone(), target.group.clone(), &target.file_keys);
                        batch.add(new).record.unlisted_since = Some(now);
                    }
                    let Some(draft) = batch.draft(&target.id, &self.rooms.view) else { continue };
                    // A task that a list let go unobserved in this very batch stays after all.
                    draft.fate = Fate::Tracked;
                    register_in(&mut draft.record, &target, now);
                    draft.record.group.clone()
                }
            };
            registered.push(Registered { id: target.id, group, is_new: !known });
        }
        Ok(registered)
    }

    /// Makes a group known, with everything in it at zero.
    fn open_group(&mut self, batch: &mut Batch, group: &Group) {
        if batch.opened.contains_key(group) {
            return;
        }
        let known = self.rooms.view.totals().remove(group);
        let mut totals = crate::totals::GroupTotals::default();
        let bounds = self.rooms.store.bounds();
        for count in Count::group_at_zero(&self.settings.known_error_codes) {
            let exists = known.as_ref().is_some_and(|known| known.has(&count));
            if !exists {
                totals.add(&count, bounds, batch.now);
            }
        }
        if totals != crate::totals::GroupTotals::default() {
            batch.opened.insert(group.clone(), totals);
        }
    }

    async fn recall(&mut self, id: &TaskId) -> Result<Option<TaskRecord>, StoreError> {
        self.rooms.heartbeat.during(self.rooms.store.recall(id)).await
    }

    /// Asks the store until it answers; `None` when the process is to end or the row cannot be read.
    async fn recall_until_answered(&mut self, id: &TaskId, cancel: &CancellationToken) -> Option<Option<TaskRecord>> {
        let mut failures = 0;
        loop {
            match self.recall(id).await {
                Ok(found) => return Some(found),
                Err(StoreError::Database(sqlx::Error::Decode(reason))) => {
                    self.rooms.instruments.store_errors.inc();
                    tracing::error!(task_id = %id, %reason, "the stored record of task {id} cannot be read: it is set aside and not followed; repair or delete its row");
                    self.set_aside.insert(id.clone());
                    return None;
                }
                Err(error) => self.store_failed(&error, "listed tasks wait until it answers again"),
            }
            let wait = Backoff::new(super::RETRY.0, super::RETRY.1).after(failures);
            failures += 1;
            tokio::select! {
                () = self.rooms.heartbeat.during(tokio::time::sleep(wait)) => {}
                () = cancel.cancelled() => return None,
            }
        }
    }
}

fn name_in_list(record: &mut TaskRecord, target: &Target) {
    record.unlisted_since = None;
    record.group = target.group.clone();
    if record.first_seen.is_none() {
        let given = TaskRecord::new(target.id.clone(), target.group.clone(), &target.file_keys);
        record.narrowed = given.narrowed;
        record.files = given.files;
    }
    if let Some(submitted_at) = target.submitted_at {
        transition::fix_start(record, submitted_at);
    }
}

fn register_in(record: &mut TaskRecord, target: &Target, now: Time) {
    record.registered = true;
    transition::fix_start(record, target.submitted_at.unwrap_or(now));
}

/// A task that had left the gauges is wanted again: nothing of it is counted anew.
fn take_up_again(record: &mut TaskRecord, now: Time) {
    record.dropped = None;
    record.not_found_since = None;
    record.unlisted_since = Some(now);
}

/// A task that was given up because of its age would be given up again at once.
fn is_abandoned(record: &TaskRecord) -> bool {
    record.dropped.is_some_and(|dropped| dropped.reason == DropReason::Abandoned)
}
