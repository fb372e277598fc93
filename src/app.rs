//! Wires the rooms, runs them, and shuts them down within a bound.

use crate::api::{Client, ClientError, Key, KeyError, RequestOutcome};
use crate::clock::Clock;
use crate::config::Config;
use crate::health::Health;
use crate::ledger::{self, Ledger, Target};
use crate::listener;
use crate::metrics::{BuildInfo, Instruments};
use crate::poller::{self, Poller};
use crate::schedule::{Schedule, SharedSchedule};
use crate::store::{Store, StoreError};
use crate::transition::Policy;
use crate::web::{self, ApiToken, TokenError};
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The name of the source of the tasks in the configuration.
const STATIC_SOURCE: &str = "static";
/// How long polls under way may go on at shutdown. With the ledger's share it stays below the five seconds within which
/// the process ends.
const DRAIN_POLLS: Duration = Duration::from_millis(2000);
/// How long the ledger may take to commit what it has and close the store.
const DRAIN_LEDGER: Duration = Duration::from_millis(2500);

/// What the command line says beside the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The path of the metrics.
    pub telemetry_path: String,
}

/// Why the exporter could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener could not be bound.
    #[error("cannot listen on {address}: {source}; choose another web.listen_address or --web.listen-address")]
    Bind {
        /// The configured address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The API key could not be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The token for registrations could not be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The API's client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The store could not be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The instruments could not be made.
    #[error("the metrics cannot be set up: {0}")]
    Instruments(#[from] prometheus::Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] rand::rngs::SysError),
}

impl StartError {
    /// Whether what the configuration names is wrong, rather than the machine.
    pub fn is_about_configuration(&self) -> bool {
        matches!(self, Self::Key(_) | Self::Token(_) | Self::Client(_))
    }
}

/// A part of the exporter that ended by itself. It must not go on without it.
#[derive(Debug, thiserror::Error)]
#[error("the {0} has ended unexpectedly; what was committed is safe, so start the exporter again")]
pub struct Broken(&'static str);

/// The running exporter.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    stop: CancellationToken,
    stop_ledger: CancellationToken,
    ledger: JoinHandle<()>,
    poller: JoinHandle<()>,
    web: JoinHandle<()>,
    workers: TaskTracker,
}

/// Starts the exporter: first the listener, then what can be wrong in the configuration, then the store, then the rest.
///
/// # Errors
///
/// Whatever keeps it from starting; nothing runs then.
pub async fn start(config: Config, options: Options, clock: Clock) -> Result<Running, StartError> {
    let listener = bind(&config.web.listen_address).await?;
    let key = Key::open(&config.api.key)?;
    let api_token = config.web.api_token_file.as_deref().map(ApiToken::open).transpose()?;
    let client = Client::new(&config.api, key.clone(), clock.clone())?;
    let mut store = Store::open(&config.storage.url, &config.metrics.latency_buckets).await?;
    let (view, unreadable) = ledger::view_of(store.load(clock.wall()).await?);
    let outcomes = RequestOutcome::ALL.map(RequestOutcome::as_str);
    let instruments = Arc::new(Instruments::new(&outcomes, BuildInfo::of_this_binary(), &clock)?);
    let random = StdRng::try_from_rng(&mut SysRng)?;
    let schedule = Arc::new(SharedSchedule::new(Schedule::new(config.poll.clone(), random)));
    let (view, health) = (Arc::new(view), Health::new(&clock));

    let stop = CancellationToken::new();
    let stop_ledger = CancellationToken::new();
    let (ledger, handle) = Ledger::new(
        ledger::Rooms {
            store,
            view: view.clone(),
            schedule: schedule.clone(),
            instruments: instruments.clone(),
            heartbeat: health.ledger.clone(),
            clock: clock.clone(),
        },
        ledger::Settings {
            policy: Policy {
                poll_interval: config.poll.interval,
                abandon_after: config.poll.abandon_after,
                retention: config.retention,
            },
            remember: config.storage.remember,
            known_error_codes: config.metrics.known_error_codes.clone(),
            max_error_codes: config.metrics.max_error_codes,
        },
        unreadable,
    );
    let poller = Poller::new(
        poller::Rooms {
            schedule: schedule.clone(),
            ledger: handle.clone(),
            instruments: instruments.clone(),
            heartbeat: health.poller.clone(),
            clock: clock.clone(),
        },
        client,
        key.changes(),
        config.api.rate_limit,
        config.api.concurrency,
        stop.clone(),
    );
    let router = web::router(
        web::Rooms { view, schedule, ledger: handle.clone(), instruments, health: health.clone(), clock },
        web::Settings {
            telemetry_path: options.telemetry_path,
            latency_buckets: config.metrics.latency_buckets.clone().into(),
            per_task_limit: config.metrics.per_task_limit,
            api_token,
        },
    );

    let address = listener.local_addr().map_err(|source| bind_error(&config.web.listen_address, source))?;
    let ledger = tokio::spawn(ledger.run(stop_ledger.clone()));
    let web = tokio::spawn(listener::serve(listener, router, stop.clone()));
    let workers = TaskTracker::new();
    workers.spawn(key.watch(stop.clone()));
    let poller = tokio::spawn({
        let (workers, health) = (workers.clone(), health.clone());
        let targets: Vec<Target> = config.tasks.into_iter().map(Target::from).collect();
        async move {
            health.poller.during(handle.listed(STATIC_SOURCE, targets)).await;
            drop(handle);
            health.set_ready();
            poller.run(workers).await;
        }
    });
    Ok(Running { address, stop, stop_ledger, ledger, poller, web, workers })
}

async fn bind(address: &str) -> Result<TcpListener, StartError> {
    listener::bind(address).await.map_err(|source| bind_error(address, source))
}

fn bind_error(address: &str, source: std::io::Error) -> StartError {
    StartError::Bind { address: address.to_owned(), source }
}

impl Running {
    /// Runs until `until` ends, then shuts down within five seconds: polls under way are committed, connections end.
    ///
    /// # Errors
    ///
    /// A part that ended by itself.
    pub async fn run(mut self, until: impl Future<Output = ()>) -> Result<(), Broken> {
        let broken = tokio::select! {
            () = until => None,
            _ = &mut self.ledger => Some(Broken("ledger")),
            _ = &mut self.poller => Some(Broken("poller")),
            _ = &mut self.web => Some(Broken("web server")),
        };
        self.stop.cancel();
        self.workers.close();
        if tokio::time::timeout(DRAIN_POLLS, self.workers.wait()).await.is_err() {
            tracing::info!(
                "polls that were still under way at shutdown are cut; they are made again after the restart"
            );
        }
        self.stop_ledger.cancel();
        if let Some(broken) = broken {
            return Err(broken);
        }
        if tokio::time::timeout(DRAIN_LEDGER, &mut self.ledger).await.is_err() {
            tracing::warn!("the store was still busy at shutdown; what was committed is safe");
        }
        Ok(())
    }
}

impl From<crate::config::StaticTask> for Target {
    fn from(task: crate::config::StaticTask) -> Self {
        Self { id: task.id, group: task.group, submitted_at: task.submitted_at, file_keys: task.file_keys }
    }
}
