//! Carries the schedule out within the budget and the concurrency. It does not interpret what is answered.
//!
//! One loop hands out what is due and then sleeps until the next deadline; each poll runs in a worker that goes on with
//! whatever else is due before it ends, so that many polls that fall due together cost one waking and not one each. A
//! task is due again only when the ledger has dealt with its answer.

mod budget;
mod trouble;

use crate::api::{Client, Failure, RequestOutcome};
use crate::clock::Clock;
use crate::config::RateLimit;
use crate::health::{BEAT_EVERY, Heartbeat};
use crate::ledger::LedgerHandle;
use crate::metrics::Instruments;
use crate::schedule::{Job, LastError, Setback, SharedSchedule};
use crate::task::Ask;
use budget::Budget;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trouble::Trouble;

/// The shortest sleep between two rounds: polls that fall due within it go out together, at most this late.
const ROUND: Duration = Duration::from_millis(10);
/// State words that are logged, each once; an API that makes up a new word for each answer must not fill the memory.
const MAX_TOLD_WORDS: usize = 100;

/// What the poller works with.
#[derive(Debug)]
pub struct Rooms {
    /// Who is polled when.
    pub schedule: Arc<SharedSchedule>,
    /// Where the answers go.
    pub ledger: LedgerHandle,
    /// Where requests are counted.
    pub instruments: Arc<Instruments>,
    /// The sign of life of its loop.
    pub heartbeat: Heartbeat,
    /// The clock.
    pub clock: Clock,
}

/// The poller.
pub struct Poller {
    shared: Arc<Shared>,
}

/// With what the poller asks, and how much.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The client of the API.
    pub client: Client,
    /// The budget that all requests share.
    pub limit: RateLimit,
    /// Requests in flight at once.
    pub concurrency: usize,
}

/// The terms in force; they may change while the poller runs.
#[derive(Clone, Debug)]
pub struct SharedTerms {
    terms: Arc<RwLock<Arc<InForce>>>,
    clock: Clock,
}

#[derive(Debug)]
struct InForce {
    terms: Terms,
    /// It outlives a change of other terms: each new budget would begin with a burst.
    budget: Arc<Budget>,
}

impl SharedTerms {
    fn new(terms: Terms, clock: Clock) -> Self {
        let budget = Arc::new(Budget::new(terms.limit, clock.clone()));
        Self { terms: Arc::new(RwLock::new(Arc::new(InForce { terms, budget }))), clock }
    }

    /// Puts others in force, from the next request on.
    pub fn set(&self, terms: Terms) {
        let mut in_force = self.terms.write().unwrap_or_else(PoisonError::into_inner);
        let budget = if terms.limit == in_force.terms.limit {
            in_force.budget.clone()
        } else {
            Arc::new(Budget::new(terms.limit, self.clock.clone()))
        };
        *in_force = Arc::new(InForce { terms, budget });
    }

    fn get(&self) -> Arc<InForce> {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Shared {
    rooms: Rooms,
    terms: SharedTerms,
    trouble: Mutex<Trouble>,
    told_words: Mutex<HashSet<String>>,
    in_flight: AtomicUsize,
    stop: CancellationToken,
}

/// What is to be done now.
enum Turn {
    Poll(Job),
    /// Nothing before this moment of the monotonic clock, or before something changes.
    Wait(Option<Duration>),
}

impl Poller {
    /// A poller that keeps to `terms`, until `stop` is called.
    pub fn new(rooms: Rooms, terms: Terms, stop: CancellationToken) -> Self {
        let shared = Shared {
            terms: SharedTerms::new(terms, rooms.clock.clone()),
            rooms,
            trouble: Mutex::default(),
            told_words: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            stop,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The terms in force, to change them.
    pub fn terms(&self) -> SharedTerms {
        self.shared.terms.clone()
    }

    /// Polls until it is to stop; the polls that are under way then go on to their end in `workers`.
    pub async fn run(self, workers: TaskTracker) {
        let clock = self.shared.rooms.clock.clone();
        loop {
            self.shared.rooms.heartbeat.beat();
            let wake = self.hand_out(&workers);
            let now = clock.elapsed();
            let wake = wake.unwrap_or(now + BEAT_EVERY).clamp(now + ROUND, now + BEAT_EVERY);
            tokio::select! {
                () = self.shared.stop.cancelled() => return,
                () = tokio::time::sleep_until(clock.instant(wake)) => {}
                () = self.shared.rooms.schedule.changed() => tokio::time::sleep(ROUND).await,
            }
        }
    }

    /// Starts workers for what is due; answers when there is more to do.
    fn hand_out(&self, workers: &TaskTracker) -> Option<Duration> {
        let concurrency = self.shared.terms.get().terms.concurrency;
        while self.shared.in_flight.load(Ordering::Acquire) < concurrency {
            match self.shared.next() {
                Turn::Wait(until) => return until,
                Turn::Poll(job) => {
                    self.shared.in_flight.fetch_add(1, Ordering::AcqRel);
                    workers.spawn(Shared::work(self.shared.clone(), job));
                }
            }
        }
        None
    }
}

impl Shared {
    async fn work(self: Arc<Self>, first: Job) {
        let mut job = first;
        loop {
            self.poll(job).await;
            match self.next() {
                Turn::Poll(next) => job = next,
                Turn::Wait(_) => break,
            }
        }
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) >= self.terms.get().terms.concurrency {
            // The loop had stopped for want of a free place.
            self.rooms.schedule.ring();
        }
    }

    fn next(&self) -> Turn {
        if self.stop.is_cancelled() {
            return Turn::Wait(None);
        }
        self.rooms.schedule.with(|schedule| {
            let now = self.rooms.clock.elapsed();
            match schedule.next_at() {
                Some(at) if at <= now => match self.terms.get().budget.take() {
                    Ok(()) => schedule.take(now).map_or(Turn::Wait(None), Turn::Poll),
                    Err(wait) => Turn::Wait(Some(now + wait)),
                },
                at => Turn::Wait(at),
            }
        })
    }

    async fn poll(&self, job: Job) {
        let begun = self.rooms.clock.elapsed();
        let client = self.terms.get().terms.client.clone();
        let result = client.status(&job.id, &job.ask).await;
        let now = self.rooms.clock.elapsed();
        let outcome = result.as_ref().map_or_else(|failure| failure.outcome, |_| RequestOutcome::Success);
        // A name that no URL can hold is not found without a request.
        let was_sent = !matches!(&result, Err(Failure { outcome: RequestOutcome::NotFound, status: None, .. }));
        if was_sent {
            self.rooms.instruments.request_finished(outcome.as_str(), now.saturating_sub(begun));
        }
        match result {
            Ok(answer) => {
                self.rooms.instruments.set_up(true);
                self.rooms.instruments.polled(answer.observation.received);
                self.rooms.instruments.unknown_states.inc_by(answer.unknown_states);
                self.tell_unknown_words(&job, &answer.unknown_words);
                self.rooms.schedule.change(|schedule| schedule.succeeded(&job));
                self.recovered(now);
                self.rooms.ledger.observed(job, answer.observation).await;
            }
            Err(failure) if failure.outcome == RequestOutcome::NotFound => {
                if job.ask == Ask::Task {
                    tracing::debug!(task_id = %job.id, "the D3 API does not know task {}", job.id);
                }
                self.rooms.schedule.with(|schedule| schedule.not_found(&job));
                self.recovered(now);
                self.rooms.ledger.not_found(job, self.rooms.clock.wall()).await;
            }
            Err(failure) => self.failed(&job, &failure, now),
        }
    }

    fn failed(&self, job: &Job, failure: &Failure, now: Duration) {
        self.rooms.instruments.set_up(false);
        let setback = match failure.status {
            Some(429) => Setback::RateLimited,
            Some(401) => Setback::KeyRejected,
            Some(403) => Setback::Forbidden,
            Some(503) => Setback::Unavailable,
            Some(_) | None => Setback::Other,
        };
        let error = LastError { kind: failure.outcome.as_str(), what: failure.to_string().into() };
        // Held over both, or a success in between would end an episode that the schedule does not know of yet.
        let mut trouble = self.trouble();
        trouble.failed(&job.id, failure, now);
        self.rooms.schedule.change(|schedule| schedule.failed(job, setback, failure.retry_after, error, now));
    }

    fn recovered(&self, now: Duration) {
        let mut trouble = self.trouble();
        if !trouble.is_over() {
            self.rooms.schedule.with(|schedule| trouble.answered(|kind| schedule.failing(kind), now));
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        // Nothing under the lock can panic halfway through a change.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_unknown_words(&self, job: &Job, words: &[String]) {
        let mut told = self.told_words.lock().unwrap_or_else(PoisonError::into_inner);
        for word in words {
            if told.len() < MAX_TOLD_WORDS && told.insert(word.clone()) {
                tracing::warn!(
                    word, task_id = %job.id,
                    "the D3 API answers with the state word {word:?}, which this exporter does not know: it counts as unknown"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
