//! The configuration: one typed section per room, with defaults and units.

mod api;
mod duration;
mod error;
mod load;
mod locate;
mod metrics;
mod path;
mod poll;
mod rate;
mod size;
mod storage;
mod tasks;
mod unsupported;
mod value;
mod web;
mod yaml;

pub use api::{ApiConfig, KeyHeader, KeySource, RateLimit};
pub use error::ConfigError;
pub use load::{load, parse};
pub use metrics::MetricsConfig;
pub use poll::PollConfig;
pub use storage::{StorageConfig, StorageUrl};
pub use tasks::StaticTask;
pub use web::{WebConfig, is_listen_address};

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

impl Default for Config {
    /// What an empty file means.
    fn default() -> Self {
        Self {
            api: ApiConfig::default(),
            poll: PollConfig::default(),
            tasks: Vec::new(),
            retention: Duration::from_secs(3600),
            web: WebConfig::default(),
            storage: StorageConfig::default(),
            metrics: MetricsConfig::default(),
        }
    }
}
