//! A D3 API to run against: operations that advance, fail and finish, and an API that slows down, limits and breaks.
//!
//! It serves the subcommands `simulate` and `demo` and the tests. It knows the API from its description alone and shares no
//! type with the exporter's own reading of it, or a mistake there would be made here too, and hide.
//!
//! An operation's whole life is drawn when it is created ([`Action`], its files, when each ends and how), from a seed,
//! so its state is a function of the time, and the truth about it is known before any answer tells of it:
//! [`Simulator::truth`] is what an exporter must have counted in the end.
//!
//! It also sends webhooks, while [`WebhookOptions`] name a URL for them.
//!
//! Beside the API it serves `/simulator/truth`, `/simulator/operations` (`?tag=…&limit=…`), `/simulator/requests` and
//! `/simulator/webhooks`, without a key.

mod answer;
mod body;
mod bucket;
mod faults;
mod operation;
mod options;
mod parse;
mod requests;
mod routes;
mod seed;
mod style;
mod truth;
mod webhooks;
mod world;

pub use bucket::RateLimit;
pub use faults::FaultOptions;
pub use operation::Action;
pub use options::{
    DEFAULT_API_KEY, DEFAULT_LISTEN_ADDRESS, DurationRange, FileRange, InvalidOptions, MAX_FILES, PlanOptions,
    RetryAfter, SimulatorOptions, WeightedCode,
};
pub use requests::{AnswerCount, RequestCounts};
pub use style::{PartialWord, QueuedFiles, Style, StyleOptions};
pub use truth::{OperationSummary, Outcome, TagTruth, Tally, Truth};
pub use webhooks::{SignatureForm, SignatureHeader, WebhookCounts, WebhookOptions};
pub use world::Refused;

use crate::clock::Clock;
use crate::time::Time;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use world::World;

/// A simulated D3 API. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Simulator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    /// Wall and monotonic clock at the start: from there on only the monotonic one counts, so that nothing
    /// finishes twice or never because somebody set the time.
    wall_at_start: Time,
    elapsed_at_start: Duration,
    world: Mutex<World>,
    /// Something happens sooner than whoever sends webhooks knew.
    changed: Notify,
}

impl Simulator {
    /// Makes a simulated API, with as many operations as the options ask for. It serves nothing yet.
    ///
    /// # Errors
    ///
    /// Options that contradict each other.
    pub fn new(options: SimulatorOptions, clock: Clock) -> Result<Self, InvalidOptions> {
        let (wall_at_start, elapsed_at_start) = (clock.wall(), clock.elapsed());
        let world = Mutex::new(World::new(options, wall_at_start)?);
        Ok(Self { inner: Arc::new(Inner { clock, wall_at_start, elapsed_at_start, world, changed: Notify::new() }) })
    }

    /// Creates an operation as `POST /api/v1/do` does, without a key and free of the rate limit, and gives its main task ID.
    /// `tag` is the text in `notes`, by which the truth is told apart.
    ///
    /// # Errors
    ///
    /// File keys or a tag that the API would not take, or too many operations.
    pub fn submit(&self, action: Action, file_keys: Vec<String>, tag: &str) -> Result<String, Refused> {
        let now = self.now();
        let id = self.world().submit(now, action, file_keys, tag)?;
        self.inner.changed.notify_one();
        Ok(id)
    }

    /// Creates an operation whose action and files are drawn by chance, and gives its main task ID.
    ///
    /// # Errors
    ///
    /// A tag that the API would not take, or too many operations.
    pub fn submit_drawn(&self, tag: &str) -> Result<String, Refused> {
        let now = self.now();
        let id = self.world().submit_drawn(now, tag)?;
        self.inner.changed.notify_one();
        Ok(id)
    }

    /// What has become of all operations by now, and what will.
    pub fn truth(&self) -> Truth {
        let now = self.now();
        self.world().truth(now)
    }

    /// The operations that are still kept, the newest first: at most `limit`, and only those with `tag` when there is one.
    pub fn operations(&self, tag: Option<&str>, limit: usize) -> Vec<OperationSummary> {
        let now = self.now();
        self.world().operations(now, tag, limit)
    }

    /// The requests that the API has seen.
    pub fn requests(&self) -> RequestCounts {
        self.world().requests.counts()
    }

    /// What became of the webhooks.
    pub fn webhooks(&self) -> WebhookCounts {
        let now = self.now();
        self.world().webhook_counts(now)
    }

    /// Changes what goes wrong from now on.
    ///
    /// # Errors
    ///
    /// Shares that add up to more than one; nothing changes then.
    pub fn set_faults(&self, faults: FaultOptions) -> Result<(), InvalidOptions> {
        self.change(|options| options.faults = faults)
    }

    /// Changes any options from now on. Operations that exist keep their plans, and the seed stays what it was.
    /// Webhooks on their way keep their times, and go where the options then say.
    ///
    /// # Errors
    ///
    /// Options that contradict each other; nothing changes then.
    pub fn change(&self, change: impl FnOnce(&mut SimulatorOptions)) -> Result<(), InvalidOptions> {
        let now = self.now();
        let mut world = self.world();
        let mut options = world.options().clone();
        change(&mut options);
        world.set_options(now, options)?;
        self.inner.changed.notify_one();
        Ok(())
    }

    /// Serves the API on `listener` and sends webhooks, while the options name a URL for them, until `stop` is cancelled;
    /// then finishes the answers under way, within two seconds.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let webhooks = webhooks::deliver(self.clone(), stop.clone());
        tokio::join!(crate::listener::serve(listener, routes::router(self), stop), webhooks);
    }

    fn now(&self) -> Time {
        let Inner { clock, wall_at_start, elapsed_at_start, .. } = &*self.inner;
        wall_at_start.after(clock.elapsed().saturating_sub(*elapsed_at_start))
    }

    /// When it will be `at`, for a timer.
    fn instant(&self, at: Time) -> Instant {
        let Inner { clock, wall_at_start, elapsed_at_start, .. } = &*self.inner;
        clock.instant(elapsed_at_start.saturating_add(at.since(*wall_at_start)))
    }

    /// What the API knows. Nothing waits while it holds this.
    fn world(&self) -> MutexGuard<'_, World> {
        // A panic in the middle of a change can at worst leave wrong totals, and the test that caused it has failed.
        self.inner.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request as under way until the result is dropped, also when its client leaves.
    fn arrived(&self) -> InFlight {
        let now = self.now();
        self.world().requests.arrived(now);
        InFlight(self.clone())
    }
}

/// A request under way.
#[derive(Debug)]
struct InFlight(Simulator);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.world().requests.left();
    }
}
