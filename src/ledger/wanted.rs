//! Tasks come and go: lists that name them, registrations, and tasks that are to be forgotten.

use super::inbox::{DeleteError, List, ListError, RegisterError, Registered, Reply, Source, Target};
use super::{Batch, Ledger};
use crate::schedule::Backoff;
use crate::store::{Fate, Recalled, StoreError};
use crate::task::{DropReason, Group, TaskId, TaskRecord};
use crate::time::Time;
use crate::totals::{Count, GroupTotals};
use crate::transition;
use std::collections::{BTreeSet, HashMap, HashSet};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Groups at most: each has some forty series, and a group is a kind of work and not a customer or a file.
const MAX_GROUPS: usize = 100;

/// The name of the source that is the configuration's own list.
pub const STATIC_SOURCE: &str = "static";

/// Which lists name which tasks.
#[derive(Debug, Default)]
pub(super) struct Lists(Vec<Named>);

/// What a source names.
#[derive(Debug)]
struct Named {
    source: Source,
    ids: HashSet<TaskId>,
    /// Whether it has given a whole list since the start.
    is_whole: bool,
}

impl Lists {
    /// Whether any list names the task.
    pub(super) fn name(&self, id: &str) -> bool {
        TaskId::new(id).is_ok_and(|id| self.contain(&id))
    }

    fn contain(&self, id: &TaskId) -> bool {
        self.0.iter().any(|named| named.ids.contains(id))
    }

    /// The sources whose lists name the task.
    fn naming(&self, id: &TaskId) -> Vec<String> {
        let naming = self.0.iter().filter(|named| named.ids.contains(id));
        let mut names: Vec<String> = naming.map(|named| named.source.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Takes a list in; answers how many tasks its source names now.
    fn put(&mut self, source: &Source, list: &List) -> usize {
        let place = self.0.iter().position(|named| named.source == *source).unwrap_or_else(|| {
            self.0.push(Named { source: source.clone(), ids: HashSet::new(), is_whole: false });
            self.0.len() - 1
        });
        let named = &mut self.0[place];
        if list.is_whole {
            named.ids.clear();
            named.is_whole = true;
        }
        named.ids.extend(list.targets.iter().map(|target| target.id.clone()));
        named.ids.len()
    }

    /// Whether each of these sources has given a whole list.
    fn are_complete(&self, sources: &[Source]) -> bool {
        sources.iter().all(|source| self.0.iter().any(|named| named.is_whole && named.source == *source))
    }

    /// Keeps the lists of these sources, whatever their places were before, and forgets the others.
    pub(super) fn move_to(&mut self, sources: &[Source]) {
        let mut old = std::mem::take(&mut self.0);
        for source in sources {
            if let Some(place) = old.iter().position(|named| named.source.origin == source.origin) {
                self.0.push(Named { source: source.clone(), ..old.swap_remove(place) });
            }
        }
    }
}

/// One group too many.
pub(super) struct NoRoom(Group);

impl Ledger {
    /// A source names these tasks and no others.
    pub(super) async fn listed(
        &mut self,
        batch: &mut Batch,
        source: &Source,
        list: List,
        cancel: &CancellationToken,
    ) -> Result<(), ListError> {
        if !self.settings.sources.contains(source) {
            // It came before a reload that removed its source.
            return Ok(());
        }
        // The configuration's own list is held to the limit where it is read.
        let checked = if source.name == STATIC_SOURCE { &[] } else { &list.targets[..] };
        self.has_room_for(batch, checked.iter().map(|target| &target.group))
            .map_err(|NoRoom(group)| ListError::TooManyGroups { group, limit: MAX_GROUPS })?;
        self.rooms.instruments.source_names(&source.name, self.lists.put(source, &list));
        for target in list.targets {
            if self.set_aside.contains(&target.id) {
                continue;
            }
            let names_alone = self.lists.naming(&target.id).len() == 1;
            if let Some(draft) = batch.draft(&target.id, &self.rooms.view) {
                // The first to name a task says what its group is, as long as nothing has been counted there.
                let takes_group = names_alone && !draft.record.registered && draft.record.first_seen.is_none();
                draft.fate = Fate::Tracked;
                name_in_list(&mut draft.record, &target, takes_group);
                if takes_group {
                    self.open_group(batch, &target.group);
                }
                continue;
            }
            let Some(recalled) = self.recall_until_answered(&target.id, cancel).await else { continue };
            let mut record = match recalled.record {
                Some(record) if is_abandoned(&record) => continue,
                Some(mut record) => {
                    take_up_again(&mut record, batch.now);
                    record
                }
                None => TaskRecord::new(target.id.clone(), target.group.clone(), &target.file_keys),
            };
            self.open_group(batch, &target.group);
            let takes_group = !record.registered && record.first_seen.is_none();
            name_in_list(&mut record, &target, takes_group);
            self.apply_early(batch, &mut record, recalled.early_webhook);
            batch.add(record);
        }
        self.unlist(batch);
        Ok(())
    }

    /// Tasks that no list names any more: a task never observed goes at once, the others are followed to their end.
    ///
    /// A source that has given no list since the start may still name them.
    pub(super) fn unlist(&mut self, batch: &mut Batch) {
        if !self.lists.are_complete(&self.settings.sources) {
            return;
        }
        let now = batch.now;
        let lists = &self.lists;
        let gone = |record: &TaskRecord| record.unlisted_since.is_none() && !lists.contain(&record.id);
        let gone = self.rooms.view.tasks_that(gone).into_iter().map(|record| record.id.clone());
        let ids: Vec<TaskId> = gone.chain(batch.ids()).collect();
        for id in ids {
            if !self.lists.contain(&id)
                && let Some(draft) = batch.draft(&id, &self.rooms.view)
                && draft.record.unlisted_since.is_none()
            {
                draft.record.unlisted_since = Some(now);
                let has_been_heard_of = draft.record.first_seen.is_some() || draft.record.announced.is_some();
                if !draft.record.registered && !has_been_heard_of {
                    draft.fate = Fate::Forgotten;
                }
            }
        }
    }

    /// Registers tasks that an application names over HTTP: all of them, or none.
    pub(super) async fn register(&mut self, batch: &mut Batch, targets: Vec<Target>, at: Time, reply: Reply) {
        match self.try_register(batch, targets, at).await {
            Ok(registered) => batch.registrations.push((reply, registered)),
            // Whoever asked may have given up waiting.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    async fn try_register(
        &mut self,
        batch: &mut Batch,
        targets: Vec<Target>,
        at: Time,
    ) -> Result<Vec<Registered>, RegisterError> {
        // First everything that can be refused, so that a refusal changes nothing.
        let mut recalled = HashMap::new();
        let mut new_groups = Vec::new();
        for target in &targets {
            if self.set_aside.contains(&target.id) {
                return Err(RegisterError::SetAside(target.id.clone()));
            }
            if let Some(draft) = batch.draft(&target.id, &self.rooms.view) {
                new_groups.extend(may_move(&draft.record).then_some(&target.group));
            } else if !recalled.contains_key(&target.id) {
                let found = match self.recall(&target.id).await {
                    Ok(found) => found,
                    Err(StoreError::Unreadable { id, reason }) => {
                        self.set_aside_row(id.clone(), &reason);
                        return Err(RegisterError::SetAside(id));
                    }
                    Err(error) => {
                        self.store_failed(&error, "nothing can be registered until it answers again");
                        return Err(RegisterError::StoreUnavailable);
                    }
                };
                new_groups.extend(found.record.is_none().then_some(&target.group));
                recalled.insert(target.id.clone(), found);
            }
        }
        self.has_room_for(batch, new_groups)
            .map_err(|NoRoom(group)| RegisterError::TooManyGroups { group, limit: MAX_GROUPS })?;
        let mut registered = Vec::with_capacity(targets.len());
        for target in targets {
            let found = recalled.remove(&target.id);
            registered.push(self.register_one(batch, target, at, found));
        }
        Ok(registered)
    }

    fn register_one(&mut self, batch: &mut Batch, target: Target, at: Time, recalled: Option<Recalled>) -> Registered {
        if let Some(draft) = batch.draft(&target.id, &self.rooms.view) {
            // A task that a list let go, or somebody deleted, in this very batch stays after all.
            draft.fate = Fate::Tracked;
            let moves = may_move(&draft.record);
            if moves {
                draft.record.group = target.group.clone();
            }
            register_in(&mut draft.record, &target, at);
            let group = draft.record.group.clone();
            if moves {
                self.open_group(batch, &group);
            }
            return Registered { id: target.id, group, is_new: false };
        }
        let recalled = recalled.unwrap_or_default();
        let is_new = recalled.record.is_none();
        let mut record = match recalled.record {
            Some(record) if is_abandoned(&record) => {
                return Registered { id: target.id, group: record.group, is_new };
            }
            Some(record) => record,
            None => {
                self.open_group(batch, &target.group);
                TaskRecord::new(target.id.clone(), target.group.clone(), &target.file_keys)
            }
        };
        take_up_again(&mut record, batch.now);
        self.apply_early(batch, &mut record, recalled.early_webhook);
        register_in(&mut record, &target, at);
        let group = record.group.clone();
        batch.add(record);
        Registered { id: target.id, group, is_new }
    }

    /// Somebody wants a task forgotten. Its record goes on preventing that it is counted again.
    pub(super) fn delete(&mut self, batch: &mut Batch, id: &TaskId, reply: oneshot::Sender<Result<(), DeleteError>>) {
        let now = batch.now;
        let sources = self.lists.naming(id);
        let refusal = match batch.draft(id, &self.rooms.view).filter(|draft| draft.fate == Fate::Tracked) {
            None => DeleteError::NotTracked(id.clone()),
            Some(_) if !sources.is_empty() => DeleteError::Listed { id: id.clone(), sources },
            Some(draft) => {
                draft.record.registered = false;
                draft.fate = Fate::Departed(now);
                batch.deletions.push(reply);
                return;
            }
        };
        // Whoever asked may have given up waiting.
        reply.send(Err(refusal)).ok();
    }

    /// Whether these groups are known or may still come to be known.
    pub(super) fn has_room_for<'a>(
        &self,
        batch: &Batch,
        groups: impl IntoIterator<Item = &'a Group>,
    ) -> Result<(), NoRoom> {
        let mut known: BTreeSet<Group> = self.rooms.view.groups();
        known.extend(batch.opened.keys().cloned());
        for group in groups {
            if !known.contains(group) {
                known.insert(group.clone());
                if known.len() > MAX_GROUPS {
                    return Err(NoRoom(group.clone()));
                }
            }
        }
        Ok(())
    }

    /// Makes a group known, with everything in it at zero.
    pub(super) fn open_group(&mut self, batch: &mut Batch, group: &Group) {
        if self.open_groups.contains(group) || batch.opened.contains_key(group) {
            return;
        }
        let known = self.rooms.view.totals().remove(group);
        let mut totals = GroupTotals::default();
        for count in Count::group_at_zero(&self.settings.known_error_codes) {
            if !known.as_ref().is_some_and(|known| known.has(&count)) {
                totals.add(&count, self.rooms.store.bounds(), batch.now);
            }
        }
        if totals == GroupTotals::default() {
            self.open_groups.insert(group.clone());
        } else {
            batch.opened.insert(group.clone(), totals);
        }
    }

    pub(super) async fn recall(&mut self, id: &TaskId) -> Result<Recalled, StoreError> {
        self.rooms.heartbeat.during(self.rooms.store.recall(id)).await
    }

    /// Asks the store until it answers; `None` when the process is to end or the row cannot be read.
    async fn recall_until_answered(&mut self, id: &TaskId, cancel: &CancellationToken) -> Option<Recalled> {
        let mut failures = 0;
        loop {
            match self.recall(id).await {
                Ok(found) => return Some(found),
                Err(StoreError::Unreadable { id, reason }) => {
                    self.set_aside_row(id, &reason);
                    return None;
                }
                Err(error) => self.store_failed(&error, "listed tasks wait until it answers again"),
            }
            let wait = Backoff::new(super::commit::RETRY.0, super::commit::RETRY.1).after(failures);
            failures += 1;
            tokio::select! {
                () = self.rooms.heartbeat.during(tokio::time::sleep(wait)) => {}
                () = cancel.cancelled() => return None,
            }
        }
    }
}

fn name_in_list(record: &mut TaskRecord, target: &Target, takes_group: bool) {
    record.unlisted_since = None;
    if takes_group {
        record.group = target.group.clone();
    }
    if record.first_seen.is_none() && takes_group {
        let given = TaskRecord::new(target.id.clone(), target.group.clone(), &target.file_keys);
        record.narrowed = given.narrowed;
        record.files = given.files;
    }
    if let Some(submitted_at) = target.submitted_at {
        transition::fix_start(record, submitted_at);
    }
}

fn register_in(record: &mut TaskRecord, target: &Target, at: Time) {
    record.registered = true;
    // A task that is known to have ended before has not started when it was registered.
    let registered = Some(at).filter(|at| record.announced.is_none_or(|end| end > *at));
    if let Some(start) = target.submitted_at.or(registered) {
        transition::fix_start(record, start);
    }
}

/// Whether a registration says what the group of a task is that was known before: of one that only a webhook has spoken
/// of, and of which nothing has been counted.
fn may_move(record: &TaskRecord) -> bool {
    !record.registered && record.first_seen.is_none() && record.unlisted_since.is_some()
}

/// A task that had left the gauges is wanted again: nothing of it is counted anew.
fn take_up_again(record: &mut TaskRecord, now: Time) {
    record.dropped = None;
    record.not_found_since = None;
    record.unlisted_since = Some(now);
}

/// A task that was given up because of its age would be given up again at once.
pub(super) fn is_abandoned(record: &TaskRecord) -> bool {
    record.dropped.is_some_and(|dropped| dropped.reason == DropReason::Abandoned)
}
