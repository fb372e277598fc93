//! Counts what became of the webhooks, so that a receiver's own counts can be checked.

use serde::Serialize;
use std::collections::BTreeMap;

/// What became of the webhooks.
///
/// Every event that is announced has one delivery, and a second one when it is repeated. Each delivery is in the end
/// acknowledged, given up, lost or dropped, or is still open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WebhookCounts {
    /// Events announced, whether or not their webhooks ever arrive.
    pub announced: u64,
    /// Deliveries begun because an acknowledged one is sent a second time.
    pub repeated: u64,
    /// Deliveries held back, so that later ones overtake them.
    pub held_back: u64,
    /// Requests made.
    pub sent: u64,
    /// Requests made because one before got no 2xx.
    pub retried: u64,
    /// Deliveries answered with 2xx.
    pub acknowledged: u64,
    /// Deliveries that got no 2xx although they were retried as often as allowed.
    pub given_up: u64,
    /// Deliveries never sent, on purpose.
    pub lost: u64,
    /// Deliveries that the queue had no room for, or that were open when the URL was taken away.
    pub dropped: u64,
    /// Deliveries that wait for their time or for their answer now.
    pub open: u64,
    /// Events announced, by their type.
    pub events: BTreeMap<&'static str, u64>,
    /// Answers by their HTTP status; `timeout` and `no_answer` where none came.
    pub answers: BTreeMap<String, u64>,
}
