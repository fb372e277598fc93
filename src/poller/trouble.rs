//! Says in the log when trouble with the API begins and when it ends, and not once per poll.

use crate::api::{Failure, RequestOutcome};
use crate::task::TaskId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Episodes of failing requests, one per kind of failure. An episode lasts until no task's latest poll has failed so.
#[derive(Debug, Default)]
pub(super) struct Trouble(BTreeMap<RequestOutcome, Episode>);

#[derive(Debug)]
struct Episode {
    since: Duration,
    failures: u64,
}

impl Trouble {
    /// A request failed; only the first of an episode is logged.
    pub(super) fn failed(&mut self, id: &TaskId, failure: &Failure, now: Duration) {
        if let Some(episode) = self.0.get_mut(&failure.outcome) {
            episode.failures += 1;
            return;
        }
        self.0.insert(failure.outcome, Episode { since: now, failures: 1 });
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

    /// A request was answered; `failing` tells how many tasks' latest polls still stand failed in a way.
    pub(super) fn answered(&mut self, failing: impl Fn(&str) -> usize, now: Duration) {
        self.0.retain(|outcome, episode| {
            let outcome = outcome.as_str();
            let goes_on = failing(outcome) > 0;
            if !goes_on {
                let (failures, lasted_ms) = (episode.failures, now.saturating_sub(episode.since).as_millis());
                tracing::info!(outcome, failures, lasted_ms, "requests to the D3 API no longer fail with {outcome}");
            }
            goes_on
        });
    }

    /// Whether all goes well, so that there is nothing to end.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}
