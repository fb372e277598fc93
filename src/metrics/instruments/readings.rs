//! What people read of the instruments, beside what Prometheus scrapes.

use super::{ABSENT, Instruments};
use crate::time::Time;
use prometheus::core::Collector;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The load of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigLoad {
    /// Whether the latest try succeeded.
    pub is_latest: bool,
    /// When the configuration in force was loaded.
    pub at: Time,
}

/// What a source of tasks has given so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SourceReading {
    /// Tasks that it names.
    pub tasks: f64,
    /// Refreshes that failed since the process's start.
    pub failures: f64,
}

impl Instruments {
    /// The load of the configuration.
    pub fn config_load(&self) -> ConfigLoad {
        let since_epoch = Duration::try_from_secs_f64(self.config_loaded_at.get()).unwrap_or_default();
        ConfigLoad { is_latest: self.config_loaded.get() == 1, at: Time::from_micros(0).after(since_epoch) }
    }

    /// Since when the store fails, if it does now.
    pub fn store_failing(&self) -> Option<Time> {
        Some(self.store_fails_since.load(Ordering::Relaxed)).filter(|at| *at != ABSENT).map(Time::from_micros)
    }

    /// What each source has given so far, by its name.
    pub fn sources(&self) -> BTreeMap<String, SourceReading> {
        let mut sources: BTreeMap<String, SourceReading> = BTreeMap::new();
        let families = self.discovery_tasks.collect().into_iter().chain(self.discovery_failures.collect());
        for metric in families.flat_map(|mut family| family.take_metric()) {
            let Some(name) = metric.get_label().first().map(|label| label.value()) else { continue };
            let source = sources.entry(name.to_owned()).or_default();
            // A metric has one of the two values, and the other is 0.
            source.tasks += metric.get_gauge().get_value();
            source.failures += metric.get_counter().get_value();
        }
        sources
    }
}
