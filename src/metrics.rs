//! Every metric family in one place, and the text in which they are exposed.
//!
//! Three kinds: the families with a `group` label come from the published view (`domain`), those about the exporter's
//! own requests and parts from its registry (`instruments`), and a few are computed at the scrape, so that what stands
//! still shows.

mod domain;
mod instruments;
mod text;

pub use instruments::{BuildInfo, ConfigLoad, Instruments, SourceReading};

use crate::view::Snapshot;
use prometheus::proto::{MetricFamily, MetricType};
use std::time::Duration;
use text::{Family, Kind, Value};

/// What is computed at the scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polling {
    /// How late the most overdue poll is.
    pub lag: Duration,
    /// Whether there is anything to poll.
    pub is_busy: bool,
}

/// Everything on `/metrics` in the text format 0.0.4.
pub fn render(snapshot: &Snapshot, polling: Polling, instruments: &Instruments) -> String {
    let mut out = String::with_capacity(16 * 1024 + snapshot.tasks.len() * 1024);
    domain::render(&mut out, snapshot);
    render_polling(&mut out, polling, instruments);
    for family in instruments.gather() {
        render_gathered(&mut out, &family);
    }
    out
}

fn render_polling(out: &mut String, polling: Polling, instruments: &Instruments) {
    let mut gauge = |name, help, value: Option<f64>| {
        if let Some(value) = value {
            Family::new(out, name, Kind::Gauge, help).sample(&[], Value::Number(value));
        }
    };
    gauge(
        "dragdropdo_up",
        "Whether the latest finished request to the D3 API got a readable 200; a 404 changes nothing. \
         Absent while there is nothing to poll.",
        instruments.up().filter(|_| polling.is_busy).map(|up| f64::from(u8::from(up))),
    );
    gauge(
        "dragdropdo_last_successful_poll_timestamp_seconds",
        "When the latest readable answer of the D3 API was received, Unix time.",
        instruments.last_successful_poll().map(crate::time::Time::as_secs_f64),
    );
    gauge(
        "dragdropdo_poll_lag_seconds",
        "How late the most overdue poll is; 0 when none is due. It grows while the budget is short, while all requests \
         are held back, and when the poller stands still.",
        Some(polling.lag.as_secs_f64()),
    );
}

/// A family as the `prometheus` crate gathers it.
fn render_gathered(out: &mut String, family: &MetricFamily) {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => Kind::Gauge,
    };
    let mut written = Family::new(out, family.name(), kind, family.help());
    for metric in family.get_metric() {
        let labels: Vec<(&str, &str)> = metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
        match kind {
            Kind::Counter => written.sample(&labels, Value::Number(metric.get_counter().get_value())),
            Kind::Gauge => written.sample(&labels, Value::Number(metric.get_gauge().get_value())),
            Kind::Histogram => {
                let histogram = metric.get_histogram();
                let buckets = histogram.get_bucket().iter();
                written.histogram(
                    &labels,
                    buckets
                        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
                        .filter(|(bound, _)| bound.is_finite()),
                    histogram.get_sample_count(),
                    histogram.get_sample_sum(),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
