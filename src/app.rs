//! Wires the rooms, runs them, reloads their configuration, and shuts them down within a bound.

mod prepared;
mod reloading;

use crate::access::{Access, AccessError};
use crate::api::{ClientError, KeyError, RequestOutcome};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::discovery::DiscoveryError;
use crate::health::Health;
use crate::ledger::{self, Ledger};
use crate::listener;
use crate::metrics::{BuildInfo, Instruments};
use crate::poller::{self, Poller};
use crate::reload::{ReloadHandle, ReloadRequest};
use crate::schedule::{Schedule, SharedSchedule};
use crate::service::Service;
use crate::store::{Store, StoreError};
use crate::web::{self, SecretError, SharedSettings, TokenError};
use prepared::Prepared;
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};
use reloading::Reloading;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long polls under way may go on at shutdown. With the share of the ledger, and the second or so that the log may take
/// for its last lines, it stays below the five seconds within which the process ends.
const DRAIN_POLLS: Duration = Duration::from_millis(1700);
/// How long the ledger may take to commit what it has and close the store.
const DRAIN_LEDGER: Duration = Duration::from_millis(2000);

/// What the command line says beside the configuration.
pub struct Options {
    /// The path of the metrics.
    pub telemetry_path: String,
    /// Whether `POST /-/reload` reloads.
    pub enable_lifecycle: bool,
    /// Reads the configuration again, for a reload; `None` where there is no file to read.
    pub read_again: Option<ReadAgain>,
    /// Who is told how the exporter is.
    pub service: Service,
}

/// Reads the configuration, with what the command line overrides.
pub type ReadAgain = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Why the exporter could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("cannot listen on {address}: {source}; choose another {what}")]
    Bind {
        /// The configured address.
        address: String,
        /// What configures it.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The API key could not be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The token for registrations could not be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The secret of webhooks could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The web config file, or what it names, can't be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The API's client could not be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A source of tasks could not be made.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The store could not be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read of what the configuration names did not end.
    #[error("the files that the configuration names cannot be read: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
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
        matches!(
            self,
            Self::Key(_) | Self::Token(_) | Self::Secret(_) | Self::Access(_) | Self::Client(_) | Self::Discovery(_)
        )
    }
}

/// A part of the exporter that ended by itself. It must not go on without it.
#[derive(Debug, thiserror::Error)]
#[error("the {0} has ended unexpectedly; what was committed is safe, so start the exporter again")]
pub struct Broken(&'static str);

/// The running exporter.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it listens for webhooks, when they have a listener of their own.
    pub webhook_address: Option<SocketAddr>,
    /// Whether it speaks TLS there.
    pub speaks_tls: bool,
    /// The way to reload its configuration.
    pub reload: ReloadHandle,
    reload_requests: mpsc::Receiver<ReloadRequest>,
    reloading: Reloading,
    service: Service,
    /// What the service manager shows of it while all is well.
    status: String,
    stop: CancellationToken,
    stop_ledger: CancellationToken,
    ledger: JoinHandle<()>,
    poller: JoinHandle<()>,
    web: JoinHandle<()>,
    workers: TaskTracker,
}

/// Starts the exporter: first the listeners, then what can be wrong in the configuration, then the store, then the rest.
///
/// # Errors
///
/// Whatever keeps it from starting; nothing runs then.
pub async fn start(config: Config, options: Options, clock: Clock) -> Result<Running, StartError> {
    let listener = bind(&config.web.listen_address, "web.listen_address or --web.listen-address").await?;
    let webhook_listener = match &config.webhook.listen_address {
        Some(address) => Some(bind(address, "webhook.listen_address").await?),
        None => None,
    };
    options.service.starting();
    let (prepared, access) = Prepared::new(&config, &clock).await?;
    let access = Access::new(access, clock.clone())?;
    let mut store = Store::open(&config.storage.url, &config.metrics.latency_buckets).await?;
    let (view, unreadable) = ledger::view_of(store.load(clock.wall()).await?, &config.metrics.latency_buckets);
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
        prepared.ledger_settings(&config),
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
        prepared.terms(&config),
        stop.clone(),
    );
    let settings = SharedSettings::new(prepared.web_settings(&config));
    let (reload, reload_requests) = ReloadHandle::new();
    let rooms = web::Rooms {
        view,
        schedule: schedule.clone(),
        ledger: handle.clone(),
        instruments: instruments.clone(),
        access: access.clone(),
        health: health.clone(),
        clock: clock.clone(),
    };
    let layout = web::Layout {
        telemetry_path: options.telemetry_path,
        takes_webhooks: webhook_listener.is_none(),
        reload: options.enable_lifecycle.then(|| reload.clone()),
    };
    let router = web::router(rooms.clone(), settings.clone(), layout);

    let address = local_address(&listener, &config.web.listen_address)?;
    let webhook_address = match (&webhook_listener, &config.webhook.listen_address) {
        (Some(listener), Some(address)) => Some(local_address(listener, address)?),
        _ => None,
    };
    let workers = TaskTracker::new();
    let ledger = tokio::spawn(ledger.run(stop_ledger.clone()));
    let web = tokio::spawn(listener::serve_with(listener, router, access.web_tls(), stop.clone()));
    if let Some(listener) = webhook_listener {
        let router = web::webhook_router(rooms, settings.clone());
        workers.spawn(listener::serve_with(listener, router, access.webhook_tls(), stop.clone()));
    }
    let mut reloading = Reloading {
        read_again: options.read_again,
        access: access.clone(),
        terms: poller.terms(),
        settings,
        schedule,
        ledger: handle,
        instruments,
        clock,
        workers: workers.clone(),
        stop: stop.clone(),
        generation: stop.child_token(),
        config,
    };
    let status = format!("listening on {address}");
    tokio::spawn(options.service.clone().follow(health.clone(), status.clone()));
    let first_sweep = reloading.begin(prepared);
    let poller = tokio::spawn({
        let workers = workers.clone();
        async move {
            health.poller.during(first_sweep).await;
            health.set_ready();
            poller.run(workers).await;
        }
    });
    Ok(Running {
        address,
        webhook_address,
        speaks_tls: access.speaks_tls(),
        reload,
        reload_requests,
        reloading,
        service: options.service,
        status,
        stop,
        stop_ledger,
        ledger,
        poller,
        web,
        workers,
    })
}

async fn bind(address: &str, what: &'static str) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Bind { address: address.to_owned(), what, source };
    listener::bind(address).await.map_err(failed)
}

fn local_address(listener: &TcpListener, address: &str) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Bind { address: address.to_owned(), what: "address", source };
    listener.local_addr().map_err(failed)
}

impl Running {
    /// Runs until `until` ends, then shuts down within five seconds: polls under way are committed, connections end.
    ///
    /// # Errors
    ///
    /// A part that ended by itself.
    pub async fn run(mut self, until: impl Future<Output = ()>) -> Result<(), Broken> {
        tokio::pin!(until);
        let broken = loop {
            tokio::select! {
                () = &mut until => break None,
                _ = &mut self.ledger => break Some(Broken("ledger")),
                _ = &mut self.poller => break Some(Broken("poller")),
                _ = &mut self.web => break Some(Broken("web server")),
                Some(request) = self.reload_requests.recv() => {
                    self.service.reloading();
                    // A reload may wait for the store; it keeps nothing from ending.
                    let result = tokio::select! {
                        result = self.reloading.reload() => result,
                        () = &mut until => break None,
                        _ = &mut self.ledger => break Some(Broken("ledger")),
                        _ = &mut self.poller => break Some(Broken("poller")),
                        _ = &mut self.web => break Some(Broken("web server")),
                    };
                    self.service.reloaded(&result, &self.status);
                    // Whoever asked may have given up waiting.
                    request.send(result).ok();
                }
            }
        };
        self.service.stopping();
        self.stop.cancel();
        self.workers.close();
        let web = &mut self.web;
        let ends_web = broken.is_none();
        let drained = async {
            self.workers.wait().await;
            if ends_web {
                web.await.ok();
            }
        };
        if tokio::time::timeout(DRAIN_POLLS, drained).await.is_err() {
            tracing::info!(
                "what was still under way at shutdown is cut: polls are made again after the restart, and clients can ask again"
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
