//! Signed webhooks: a task's end announced, and its poll brought forward. What counts is what the API then answers.

use super::inbox::{Delivered, Unavailable};
use super::wanted::is_abandoned;
use super::{Batch, Ledger};
use crate::store::{EarlyWebhook, StoreError};
use crate::task::{Group, TaskId, TaskRecord};
use crate::time::Time;
use crate::transition;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a delivery about a task that is not tracked is kept: an application registers its tasks within seconds.
pub(super) const KEEP: Duration = Duration::from_secs(10 * 60);

impl Ledger {
    /// A signed webhook speaks of a task, and perhaps of its end.
    pub(super) async fn delivered(
        &mut self,
        batch: &mut Batch,
        id: TaskId,
        announced: Option<Time>,
        reply: oneshot::Sender<Result<Delivered, Unavailable>>,
    ) {
        if batch.draft(&id, &self.rooms.view).is_none() && self.settings.track_unknown {
            match self.recall(&id).await {
                Ok(recalled) if recalled.record.is_none() && !self.set_aside.contains(&id) => self.track(batch, &id),
                Ok(_) => {}
                Err(StoreError::Unreadable { id, reason }) => self.set_aside_row(id, &reason),
                Err(error) => {
                    self.store_failed(&error, "webhooks are refused until it answers again");
                    // Whoever asked may have given up waiting.
                    reply.send(Err(Unavailable)).ok();
                    return;
                }
            }
        }
        let delivered = match batch.draft(&id, &self.rooms.view) {
            Some(draft) => {
                if let Some(at) = announced {
                    transition::announce(&mut draft.record, at);
                }
                batch.announced.push(id);
                Delivered::Accepted
            }
            None => {
                batch.early_webhooks.push(EarlyWebhook { id, announced, received: batch.now });
                Delivered::UnknownTask
            }
        };
        batch.deliveries.push((reply, delivered));
    }

    /// Tracks a task that was first heard of by webhook, unless its group would be one too many.
    fn track(&mut self, batch: &mut Batch, id: &TaskId) {
        let group = Group::default();
        if self.has_room_for(batch, [&group]).is_err() {
            return;
        }
        self.open_group(batch, &group);
        let mut record = TaskRecord::new(id.clone(), group, &[]);
        record.unlisted_since = Some(batch.now);
        batch.add(record);
    }

    /// Applies a delivery that came before its task was known.
    pub(super) fn apply_early(&self, batch: &Batch, record: &mut TaskRecord, kept: Option<EarlyWebhook>) {
        let in_batch = batch.early_webhooks.iter().rev().find(|webhook| webhook.id == record.id);
        let is_recent = |webhook: &&EarlyWebhook| batch.now.since(webhook.received) <= KEEP;
        let webhooks = [in_batch, kept.as_ref()].into_iter().flatten().filter(is_recent);
        if !is_abandoned(record) {
            webhooks.filter_map(|webhook| webhook.announced).for_each(|at| transition::announce(record, at));
        }
    }
}
