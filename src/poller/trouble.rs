//! Says in the log when trouble with the API begins and when it ends, and not once per poll.

use crate::api::{Failure, RequestOutcome};
use crate::task::TaskId;
use std::collections::BTreeSet;
use std::time::Duration;

/// An episode of failing requests: it lasts until no task's latest poll has failed.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    since: Option<Duration>,
    failures: u64,
    /// The kinds of failure that have been logged in this episode.
    told: BTreeSet<RequestOutcome>,
}

impl Trouble {
    /// A request failed; each kind of failure is logged once in an episode.
    pub(super) fn failed(&mut self, id: &TaskId, failure: &Failure, now: Duration) {
        self.since.get_or_insert(now);
        self.failures += 1;
        if self.told.insert(failure.outcome) {
            let outcome = failure.outcome.as_str();
            let advice = match failure.outcome {
                RequestOutcome::Unauthorized => "; check the API key: a new one is picked up when its file changes",
                RequestOutcome::RateLimited => "; polling waits, and api.rate_limit may be too high",
                RequestOutcome::Success
                | RequestOutcome::NotFound
                | RequestOutcome::ClientError
                | RequestOutcome::ServerError
                | RequestOutcome::Timeout
                | RequestOutcome::ConnectionError
                | RequestOutcome::InvalidResponse => "",
            };
            tracing::warn!(
                outcome, task_id = %id, status = failure.status,
                "requests to the D3 API fail: {outcome}: {failure}{advice}"
            );
        }
    }

    /// A request succeeded, and so many tasks' latest polls still stand failed.
    pub(super) fn succeeded(&mut self, still_failing: usize, now: Duration) {
        if still_failing > 0 {
            return;
        }
        if let Some(since) = self.since.take() {
            let (failures, lasted_ms) = (self.failures, now.saturating_sub(since).as_millis());
            tracing::info!(failures, lasted_ms, "requests to the D3 API succeed again, after {failures} failures");
            *self = Self::default();
        }
    }
}
