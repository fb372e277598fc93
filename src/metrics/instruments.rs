//! The instruments that count from the process's start, in a registry of their own.
//!
//! The doc comment of each says what its HELP text says.

mod readings;

pub use readings::{ConfigLoad, SourceReading};

use crate::clock::Clock;
use crate::time::Time;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Request durations, in seconds: from a fast answer to the default timeout.
const REQUEST_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Commit durations, in seconds: a fast disk syncs within a millisecond, a sick one takes seconds.
const COMMIT_BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];
/// The events of webhooks that are counted by name.
const WEBHOOK_EVENTS: [&str; 5] =
    ["operation.completed", "operation.failed", "fileTask.completed", "fileTask.failed", "other"];
/// What can become of a webhook delivery.
const WEBHOOK_OUTCOMES: [&str; 4] = ["accepted", "unknown_task", "bad_signature", "malformed"];
/// The label that names a source of tasks.
const SOURCE: &str = "source";
/// Stands for a value that does not exist yet.
const ABSENT: i64 = i64::MIN;

/// What is built into the binary.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// The version in `Cargo.toml`.
    pub version: &'static str,
    /// The revision of the source, or `unknown`.
    pub revision: &'static str,
    /// The compiler's version.
    pub rustversion: &'static str,
}

impl BuildInfo {
    /// Of this binary.
    pub const fn of_this_binary() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: env!("DRAGDROPDO_EXPORTER_REVISION"),
            rustversion: env!("DRAGDROPDO_EXPORTER_RUSTVERSION"),
        }
    }
}

/// The instruments that count from the process's start.
#[derive(Debug)]
pub struct Instruments {
    registry: Registry,
    clock: Clock,
    /// Since when each source of tasks has series.
    source_starts: Mutex<BTreeMap<String, Time>>,
    /// Finished requests to the D3 API, by outcome.
    pub api_requests: IntCounterVec,
    /// Duration of every finished request to the D3 API.
    pub api_request_duration: Histogram,
    /// State words of the API that the exporter does not know.
    pub unknown_states: IntCounter,
    /// Errors of the durable store.
    pub store_errors: IntCounter,
    /// Duration of every commit to the durable store.
    pub store_commit_duration: Histogram,
    /// Tasks that each source names.
    pub discovery_tasks: IntGaugeVec,
    /// Refreshes of each source that failed.
    pub discovery_failures: IntCounterVec,
    /// Webhook deliveries, by event and outcome.
    pub webhooks: IntCounterVec,
    config_loaded: IntGauge,
    config_loaded_at: Gauge,
    up: AtomicI64,
    last_successful_poll: AtomicI64,
    store_fails_since: AtomicI64,
}

impl Instruments {
    /// All instruments, with the closed label values `outcomes` of the requests at zero.
    ///
    /// # Errors
    ///
    /// A name that is registered twice or not allowed: a mistake in this file.
    pub fn new(outcomes: &[&str], build: BuildInfo, clock: &Clock) -> Result<Self, prometheus::Error> {
        let instruments = Self {
            registry: Registry::new(),
            clock: clock.clone(),
            source_starts: Mutex::default(),
            api_requests: IntCounterVec::new(
                Opts::new(
                    "dragdropdo_api_requests_total",
                    "Finished requests to the D3 API, by outcome. success is a readable 200.",
                ),
                &["outcome"],
            )?,
            api_request_duration: Histogram::with_opts(
                HistogramOpts::new(
                    "dragdropdo_api_request_duration_seconds",
                    "Duration of every finished request to the D3 API, whatever its outcome.",
                )
                .buckets(REQUEST_BUCKETS.to_vec()),
            )?,
            unknown_states: IntCounter::new(
                "dragdropdo_unknown_states_total",
                "State words in answers of the D3 API that the exporter does not know. They count as state unknown.",
            )?,
            store_errors: IntCounter::new(
                "dragdropdo_exporter_store_errors_total",
                "Errors of the durable store: failed commits and reads, and task records that were set aside.",
            )?,
            store_commit_duration: Histogram::with_opts(
                HistogramOpts::new(
                    "dragdropdo_exporter_store_commit_duration_seconds",
                    "Duration of every commit to the durable store.",
                )
                .buckets(COMMIT_BUCKETS.to_vec()),
            )?,
            discovery_tasks: IntGaugeVec::new(
                Opts::new("dragdropdo_discovery_tasks", "Tasks that each source of tasks names now."),
                &[SOURCE],
            )?,
            discovery_failures: IntCounterVec::new(
                Opts::new(
                    "dragdropdo_discovery_failures_total",
                    "Refreshes of each source of tasks that failed; its last good list stays in force.",
                ),
                &[SOURCE],
            )?,
            webhooks: IntCounterVec::new(
                Opts::new(
                    "dragdropdo_webhooks_total",
                    "Webhook deliveries, by event and outcome. unknown_task: signed, about a task that is not tracked.",
                ),
                &["event", "outcome"],
            )?,
            config_loaded: IntGauge::new(
                "dragdropdo_exporter_config_last_reload_successful",
                "Whether the latest attempt to load the configuration succeeded.",
            )?,
            config_loaded_at: Gauge::new(
                "dragdropdo_exporter_config_last_reload_success_timestamp_seconds",
                "When the configuration was last loaded successfully, Unix time.",
            )?,
            up: AtomicI64::new(ABSENT),
            last_successful_poll: AtomicI64::new(ABSENT),
            store_fails_since: AtomicI64::new(ABSENT),
        };
        for outcome in outcomes {
            instruments.api_requests.with_label_values(&[outcome]);
        }
        instruments.register(build)?;
        Ok(instruments)
    }

    fn register(&self, build: BuildInfo) -> Result<(), prometheus::Error> {
        let build_info = IntGaugeVec::new(
            Opts::new("dragdropdo_exporter_build_info", "What the exporter was built from; always 1."),
            &["version", "revision", "rustversion"],
        )?;
        build_info.with_label_values(&[build.version, build.revision, build.rustversion]).set(1);
        self.config_loaded(Some(self.clock.wall()));
        for event in WEBHOOK_EVENTS {
            for outcome in WEBHOOK_OUTCOMES {
                self.webhooks.with_label_values(&[event, outcome]);
            }
        }
        let collectors: [Box<dyn Collector>; 12] = [
            Box::new(self.api_requests.clone()),
            Box::new(self.api_request_duration.clone()),
            Box::new(self.unknown_states.clone()),
            Box::new(self.store_errors.clone()),
            Box::new(self.store_commit_duration.clone()),
            Box::new(self.discovery_tasks.clone()),
            Box::new(self.discovery_failures.clone()),
            Box::new(build_info),
            Box::new(self.config_loaded.clone()),
            Box::new(self.config_loaded_at.clone()),
            Box::new(self.webhooks.clone()),
            Box::new(prometheus::process_collector::ProcessCollector::for_self()),
        ];
        collectors.into_iter().try_for_each(|collector| self.registry.register(collector))
    }

    /// A source is configured: its metrics exist.
    pub fn source_exists(&self, source: &str) {
        self.source_starts().entry(source.to_owned()).or_insert_with(|| self.clock.wall());
        self.discovery_tasks.with_label_values(&[source]);
        self.discovery_failures.with_label_values(&[source]);
    }

    /// A source names this many tasks.
    pub fn source_names(&self, source: &str, tasks: usize) {
        self.source_exists(source);
        self.discovery_tasks.with_label_values(&[source]).set(i64::try_from(tasks).unwrap_or(i64::MAX));
    }

    /// A refresh of a source failed.
    pub fn source_failed(&self, source: &str) {
        self.source_exists(source);
        self.discovery_failures.with_label_values(&[source]).inc();
    }

    /// A source is no longer configured.
    pub fn source_is_gone(&self, source: &str) {
        self.source_starts().remove(source);
        for removed in [
            self.discovery_tasks.remove_label_values(&[source]),
            self.discovery_failures.remove_label_values(&[source]),
        ] {
            if let Err(error) = removed {
                tracing::debug!(%error, source, "a source had no series");
            }
        }
    }

    /// A webhook delivery was dealt with.
    pub fn webhook(&self, event: &str, outcome: &str) {
        self.webhooks.with_label_values(&[event, outcome]).inc();
    }

    /// The configuration was loaded at this time, or could not be.
    pub fn config_loaded(&self, at: Option<Time>) {
        self.config_loaded.set(i64::from(at.is_some()));
        if let Some(at) = at {
            self.config_loaded_at.set(at.as_secs_f64());
        }
    }

    /// A request to the API finished.
    pub fn request_finished(&self, outcome: &str, took: Duration) {
        self.api_requests.with_label_values(&[outcome]).inc();
        self.api_request_duration.observe(took.as_secs_f64());
    }

    /// The latest request got a readable 200, or failed.
    pub fn set_up(&self, up: bool) {
        self.up.store(i64::from(up), Ordering::Relaxed);
    }

    /// The store has begun to fail at this time, or works again.
    pub fn store_fails_since(&self, since: Option<Time>) {
        self.store_fails_since.store(since.map_or(ABSENT, Time::as_micros), Ordering::Relaxed);
    }

    /// An observation was received.
    pub fn polled(&self, at: Time) {
        self.last_successful_poll.fetch_max(at.as_micros(), Ordering::Relaxed);
    }

    /// Whether the latest request succeeded; `None` before the first.
    pub fn up(&self) -> Option<bool> {
        Some(self.up.load(Ordering::Relaxed)).filter(|up| *up != ABSENT).map(|up| up == 1)
    }

    /// When the latest observation was received; `None` before the first.
    pub fn last_successful_poll(&self) -> Option<Time> {
        Some(self.last_successful_poll.load(Ordering::Relaxed)).filter(|at| *at != ABSENT).map(Time::from_micros)
    }

    /// What the registry holds now.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// When a series of the registry began to count: with the process, or with its source.
    pub fn created(&self, labels: &[(&str, &str)]) -> Time {
        let source = labels.iter().find(|(name, _)| *name == SOURCE).map(|(_, source)| *source);
        source.and_then(|source| self.source_starts().get(source).copied()).unwrap_or(self.clock.started())
    }

    fn source_starts(&self) -> MutexGuard<'_, BTreeMap<String, Time>> {
        // Nothing under the lock can panic halfway through a change.
        self.source_starts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
