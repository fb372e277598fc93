//! The configuration: one typed section per room, with defaults and units.

mod api;
mod metrics;
mod poll;
mod storage;
mod tasks;
mod web;

pub use api::{ApiConfig, KeyHeader, KeySource, RateLimit};
pub use metrics::MetricsConfig;
pub use poll::PollConfig;
pub use storage::{StorageConfig, StorageUrl};
pub use tasks::StaticTask;
pub use web::WebConfig;

use std::time::Duration;

/// The whole configuration, validated.
#[derive(Clone, Debug)]
pub struct Config {
    /// The D3 API and the key for it.
    pub api: ApiConfig,
    /// How often a task is polled.
    pub poll: PollConfig,
    /// The static list of tasks.
    pub tasks: Vec<StaticTask>,
    /// How long a settled task stays in the gauges once no list names it.
    pub retention: Duration,
    /// The listener for scrapes and registrations.
    pub web: WebConfig,
    /// The durable store.
    pub storage: StorageConfig,
    /// What is exposed.
    pub metrics: MetricsConfig,
}
