//! Reloading the configuration: all of it, or nothing.

use super::ReadAgain;
use super::prepared::{Prepared, static_list, static_source};
use crate::access::Access;
use crate::clock::Clock;
use crate::config::Config;
use crate::ledger::{LedgerHandle, Reconfiguration, STATIC_SOURCE};
use crate::metrics::Instruments;
use crate::poller::SharedTerms;
use crate::schedule::SharedSchedule;
use crate::web::SharedSettings;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a reload may read its files: another one may be waiting, and must not wait for ever.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What a reload reads, and where it puts what it read.
pub(super) struct Reloading {
    pub(super) read_again: Option<ReadAgain>,
    pub(super) config: Config,
    pub(super) access: Access,
    pub(super) terms: SharedTerms,
    pub(super) settings: SharedSettings,
    pub(super) schedule: Arc<SharedSchedule>,
    pub(super) ledger: LedgerHandle,
    pub(super) instruments: Arc<Instruments>,
    pub(super) clock: Clock,
    pub(super) workers: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Ends what one configuration set going: watching its key, following its sources.
    pub(super) generation: CancellationToken,
}

impl Reloading {
    /// Sets going what the configuration asks for beside the loops. The answer ends when the static list is tracked.
    pub(super) fn begin(&mut self, prepared: Prepared) -> impl Future<Output = ()> + Send + 'static {
        let generation = self.generation.clone();
        let mut changes = prepared.key.changes();
        let schedule = self.schedule.clone();
        let key_clock = self.clock.clone();
        let bell = async move {
            while changes.changed().await.is_ok() {
                schedule.change(|schedule| schedule.key_changed(key_clock.elapsed()));
            }
        };
        self.workers.spawn(generation.clone().run_until_cancelled_owned(bell));
        self.workers.spawn(prepared.key.watch(generation.clone()));
        self.workers.spawn(self.access.clone().watch(generation.clone()));
        let (ledger, instruments) = (self.ledger.clone(), self.instruments.clone());
        let list = static_list(&self.config);
        let (clock, workers, discovery) = (self.clock.clone(), self.workers.clone(), prepared.discovery);
        async move {
            if let Err(error) = ledger.listed(&static_source(), list).await {
                instruments.source_failed(STATIC_SOURCE);
                tracing::error!(%error, "the tasks of the configuration are not followed: {error}");
            }
            workers.spawn(discovery.run(ledger, instruments, clock, generation));
        }
    }

    /// Reloads. The answer says why it failed; nothing has changed then.
    pub(super) async fn reload(&mut self) -> Result<(), String> {
        let result = self.try_reload().await;
        match &result {
            Ok(()) => {
                self.instruments.config_loaded(Some(self.clock.wall()));
                tracing::info!("the configuration is reloaded");
            }
            Err(error) => {
                self.instruments.config_loaded(None);
                tracing::error!(%error, "the configuration is not reloaded, and stays as it was: {error}");
            }
        }
        result
    }

    async fn try_reload(&mut self) -> Result<(), String> {
        let Some(read_again) = self.read_again.clone() else {
            return Err("there is no configuration file to read again".to_owned());
        };
        let read = async {
            // A file of megabytes takes its time to be refused.
            let read = tokio::task::spawn_blocking(move || read_again()).await;
            let config = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            check_unchangeable(&self.config, &config)?;
            let prepared = Prepared::new(&config, &self.clock).await.map_err(|error| error.to_string())?;
            Ok::<_, String>((config, prepared))
        };
        let read = tokio::time::timeout(READ_TIMEOUT, read).await;
        let (config, (prepared, access)) = read.map_err(|_| {
            let seconds = READ_TIMEOUT.as_secs();
            format!("reading the configuration and the files that it names has not ended within {seconds} s: see whether one is a pipe, or its disk hangs")
        })??;
        self.access.check(&access)?;
        let change = Reconfiguration {
            settings: prepared.ledger_settings(&config),
            bounds: config.metrics.latency_buckets.clone(),
        };
        // The last step that can fail; it changes the store, and the rest follows.
        self.ledger.reconfigure(change).await?;
        self.terms.set(prepared.terms(&config));
        let now = self.clock.elapsed();
        self.schedule.change(|schedule| {
            schedule.set_poll(config.poll.clone(), now);
            // It may be another, and deserves a try at full speed in any case.
            schedule.key_changed(now);
        });
        self.settings.set(prepared.web_settings(&config));
        self.config = config;
        std::mem::replace(&mut self.generation, self.stop.child_token()).cancel();
        // Those who watched the files until now can't overtake this.
        self.access.replace(access, || false);
        let listed = self.begin(prepared);
        listed.await;
        Ok(())
    }
}

/// What is bound or opened at the start stays as it is until the next.
fn check_unchangeable(old: &Config, new: &Config) -> Result<(), String> {
    let changed = [
        ("web.listen_address", old.web.listen_address != new.web.listen_address),
        ("webhook.listen_address", old.webhook.listen_address != new.webhook.listen_address),
        ("storage.url", old.storage.url != new.storage.url),
    ];
    let changed: Vec<&str> = changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!("{} can't change while the exporter runs: restart it, or undo the change", changed.join(" and ")))
}
