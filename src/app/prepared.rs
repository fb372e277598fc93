//! What a configuration makes of the rooms, made ready before anything is put in force: all that can be wrong shows here.

use super::StartError;
use crate::access::Loaded;
use crate::api::{Client, Key};
use crate::clock::Clock;
use crate::config::{Config, StaticTask};
use crate::discovery::Discovery;
use crate::ledger::{List, STATIC_SOURCE, Settings, Source, Target};
use crate::poller::Terms;
use crate::transition::Policy;
use crate::web::{self, ApiToken, WebhookSecret};

/// What a configuration makes of the rooms.
pub(super) struct Prepared {
    pub(super) key: Key,
    pub(super) discovery: Discovery,
    client: Client,
    api_token: Option<ApiToken>,
    webhook_secret: Option<WebhookSecret>,
}

impl Prepared {
    /// Reads everything that the configuration names; who may connect and ask is put in force apart from the rest.
    pub(super) async fn new(config: &Config, clock: &Clock) -> Result<(Self, Loaded), StartError> {
        let (config, clock) = (config.clone(), clock.clone());
        // A file may be a pipe that nobody writes to, or lie on a disk that hangs: neither keeps anything from ending.
        tokio::task::spawn_blocking(move || Self::read(&config, &clock)).await?
    }

    fn read(config: &Config, clock: &Clock) -> Result<(Self, Loaded), StartError> {
        let key = Key::open(&config.api.key)?;
        let prepared = Self {
            api_token: config.web.api_token_file.as_deref().map(ApiToken::open).transpose()?,
            webhook_secret: config.webhook.secret_file.as_deref().map(WebhookSecret::open).transpose()?,
            client: Client::new(&config.api, key.clone(), clock.clone())?,
            discovery: Discovery::new(&config.discovery)?,
            key,
        };
        Ok((prepared, Loaded::open(config.web.config_file.as_deref())?))
    }

    pub(super) fn ledger_settings(&self, config: &Config) -> Settings {
        let sources = [static_source()].into_iter().chain(self.discovery.sources());
        Settings {
            policy: Policy {
                poll_interval: config.poll.interval,
                abandon_after: config.poll.abandon_after,
                retention: config.retention,
            },
            remember: config.storage.remember,
            known_error_codes: config.metrics.known_error_codes.clone(),
            max_error_codes: config.metrics.max_error_codes,
            track_unknown: config.webhook.track_unknown,
            sources: sources.collect(),
        }
    }

    pub(super) fn web_settings(&self, config: &Config) -> web::Settings {
        web::Settings {
            per_task_limit: config.metrics.per_task_limit,
            created_samples: config.metrics.created_samples,
            api_token: self.api_token.clone(),
            webhook_secret: self.webhook_secret.clone(),
        }
    }

    pub(super) fn terms(&self, config: &Config) -> Terms {
        Terms { client: self.client.clone(), limit: config.api.rate_limit, concurrency: config.api.concurrency }
    }
}

/// The source that is the configuration's own list.
pub(super) fn static_source() -> Source {
    Source { name: STATIC_SOURCE.to_owned(), origin: STATIC_SOURCE.to_owned() }
}

/// The tasks of the configuration.
pub(super) fn static_list(config: &Config) -> List {
    List { targets: config.tasks.iter().cloned().map(Target::from).collect(), is_whole: true }
}

impl From<StaticTask> for Target {
    fn from(task: StaticTask) -> Self {
        Self { id: task.id, group: task.group, submitted_at: task.submitted_at, file_keys: task.file_keys }
    }
}
