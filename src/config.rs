//! The configuration: one typed section per room, with defaults and units.

mod api;
mod discovery;
mod duration;
mod error;
mod http_auth;
mod http_source;
mod load;
mod locate;
mod metrics;
mod path;
mod poll;
mod rate;
mod size;
mod storage;
mod tasks;
mod value;
mod web;
mod web_config;
mod webhook;
mod yaml;

pub use api::{ApiConfig, KeyHeader, KeySource, RateLimit};
pub use discovery::DiscoveryConfig;
pub use error::ConfigError;
pub use http_auth::{HttpAuth, Secret};
pub use http_source::{HttpSource, IdentityFiles, SourceUrl, TlsOptions, TlsVersion};
pub use load::{load, parse};
pub use metrics::MetricsConfig;
pub use poll::PollConfig;
pub use storage::{StorageConfig, StorageUrl};
pub use tasks::StaticTask;
pub use web::{WebConfig, is_listen_address};
pub use web_config::{CIPHER_SUITES, CURVES, ClientAuth, PasswordHash, RequestRate, TlsServerConfig, WebConfigFile};
pub use webhook::WebhookConfig;

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
    /// Lists of tasks from elsewhere.
    pub discovery: DiscoveryConfig,
    /// How long a settled task stays in the gauges once no list names it.
    pub retention: Duration,
    /// The listener for scrapes and registrations.
    pub web: WebConfig,
    /// Deliveries of the API's webhooks.
    pub webhook: WebhookConfig,
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
            discovery: DiscoveryConfig::default(),
            retention: Duration::from_secs(3600),
            web: WebConfig::default(),
            webhook: WebhookConfig::default(),
            storage: StorageConfig::default(),
            metrics: MetricsConfig::default(),
        }
    }
}
