//! Every metric family in one place, and the formats in which they are exposed (`exposition`, with what is particular to
//! `text` and `openmetrics`).
//!
//! Three kinds: the families with a `group` label come from the published view (`domain`), those about the exporter's
//! own requests and parts from its registry (`instruments`), and a few are computed at the scrape, so that what stands
//! still shows.

mod domain;
mod exposition;
mod instruments;
mod openmetrics;
mod text;

pub use exposition::Format;
pub use instruments::{BuildInfo, ConfigLoad, Instruments, SourceReading};

use crate::view::Snapshot;
use exposition::{Bucket, Exposition, Kind, Value};
use prometheus::proto::{MetricFamily, MetricType};
use std::time::Duration;

/// What is computed at the scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polling {
    /// How late the most overdue poll is.
    pub lag: Duration,
    /// Whether there is anything to poll.
    pub is_busy: bool,
}

/// Everything on `/metrics`, in one of the formats.
pub fn render(snapshot: &Snapshot, polling: Polling, instruments: &Instruments, format: Format) -> String {
    let mut exposition = Exposition::new(format, 16 * 1024 + snapshot.tasks.len() * 1024);
    domain::render(&mut exposition, snapshot);
    render_polling(&mut exposition, polling, instruments);
    for family in instruments.gather() {
        render_gathered(&mut exposition, &family, instruments);
    }
    exposition.end()
}

fn render_polling(exposition: &mut Exposition, polling: Polling, instruments: &Instruments) {
    let mut gauge = |name, help, value: Option<f64>| {
        if let Some(value) = value {
            exposition.family(name, Kind::Gauge, help).gauge(&[], Value::Number(value));
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
fn render_gathered(exposition: &mut Exposition, family: &MetricFamily, instruments: &Instruments) {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => Kind::Gauge,
    };
    let mut written = exposition.family(family.name(), kind, family.help());
    for metric in family.get_metric() {
        let labels: Vec<(&str, &str)> = metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
        match kind {
            Kind::Counter => {
                let value = Value::Number(metric.get_counter().get_value());
                written.counter(&labels, value, instruments.created(&labels));
            }
            Kind::Gauge => written.gauge(&labels, Value::Number(metric.get_gauge().get_value())),
            Kind::Histogram => {
                let histogram = metric.get_histogram();
                let bucket = |bound, cumulative| Bucket { bound, cumulative, exemplar: None };
                let buckets = histogram.get_bucket().iter();
                let buckets = buckets
                    .map(|found| bucket(found.upper_bound(), found.cumulative_count()))
                    .filter(|bucket| bucket.bound.is_finite())
                    .chain([bucket(f64::INFINITY, histogram.get_sample_count())]);
                written.histogram(&labels, buckets, histogram.get_sample_sum(), instruments.created(&labels));
            }
        }
    }
}
