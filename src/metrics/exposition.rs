//! What is exposed, family by family: the families say what, and the format how.
//!
//! Written by the exporter itself because the `prometheus` crate's encoder takes only the crate's own collectors, of which
//! the families of the published view would have to be built anew for each scrape, and which know neither start times nor
//! exemplars.

use super::{openmetrics, text};
use crate::time::Time;
use crate::totals::Exemplar;

/// A format in which everything can be exposed. The samples have the same names, labels and values in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4.
    Text,
    /// OpenMetrics 1.0, which tells exemplars too.
    OpenMetrics {
        /// Whether it tells the start times of counters and histograms, as `_created` samples.
        created_samples: bool,
    },
}

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Count(u64),
    Number(f64),
}

/// The labels of a sample: names and values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket<'a> {
    /// Its upper bound in seconds, infinite for the last.
    pub(super) bound: f64,
    /// Observations in it and in those below.
    pub(super) cumulative: u64,
    /// The latest observation in it alone.
    pub(super) exemplar: Option<&'a Exemplar>,
}

/// A whole exposition that is being written.
pub(super) struct Exposition {
    out: String,
    format: Format,
}

impl Exposition {
    /// An empty one, with room for so many bytes.
    pub(super) fn new(format: Format, capacity: usize) -> Self {
        Self { out: String::with_capacity(capacity), format }
    }

    /// Begins a family. `name` is that of the metric: a counter's has `_total`.
    pub(super) fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &'a str) -> Family<'a> {
        Family { exposition: self, name, kind, help, is_begun: false }
    }

    /// All of it.
    pub(super) fn end(mut self) -> String {
        match self.format {
            Format::Text => {}
            Format::OpenMetrics { .. } => self.out.push_str(openmetrics::END),
        }
        self.out
    }
}

/// A family that is being written. Its head is written with its first sample: a family without samples is not shown.
pub(super) struct Family<'a> {
    exposition: &'a mut Exposition,
    name: &'a str,
    kind: Kind,
    help: &'a str,
    is_begun: bool,
}

impl Family<'_> {
    /// Writes a gauge.
    pub(super) fn gauge(&mut self, labels: Labels<'_>, value: Value) {
        self.sample("", labels, None, value, None);
    }

    /// Writes a counter, which began to count at `created`.
    pub(super) fn counter(&mut self, labels: Labels<'_>, value: Value, created: Time) {
        self.sample("", labels, None, value, None);
        self.created(labels, created);
    }

    /// Writes a histogram, which began to count at `created`. The last of its buckets is the one up to infinity.
    pub(super) fn histogram<'b>(
        &mut self,
        labels: Labels<'_>,
        buckets: impl Iterator<Item = Bucket<'b>>,
        sum: f64,
        created: Time,
    ) {
        let mut count = 0;
        for bucket in buckets {
            count = bucket.cumulative;
            self.sample("_bucket", labels, Some(bucket.bound), Value::Count(count), bucket.exemplar);
        }
        self.sample("_sum", labels, None, Value::Number(sum), None);
        self.sample("_count", labels, None, Value::Count(count), None);
        self.created(labels, created);
    }

    fn sample(&mut self, suffix: &str, labels: Labels<'_>, le: Option<f64>, value: Value, exemplar: Option<&Exemplar>) {
        let Exposition { out, format } = &mut *self.exposition;
        if !self.is_begun {
            self.is_begun = true;
            match format {
                Format::Text => text::head(out, self.name, self.kind, self.help),
                Format::OpenMetrics { .. } => openmetrics::head(out, self.name, self.kind, self.help),
            }
        }
        text::sample(out, &[self.name, suffix], labels, le, value);
        if let (Format::OpenMetrics { .. }, Some(exemplar)) = (format, exemplar) {
            openmetrics::exemplar(out, exemplar);
        }
        out.push('\n');
    }

    /// Ends the samples of a counter or histogram.
    fn created(&mut self, labels: Labels<'_>, created: Time) {
        let Exposition { out, format } = &mut *self.exposition;
        match format {
            Format::Text | Format::OpenMetrics { created_samples: false } => {}
            Format::OpenMetrics { created_samples: true } => openmetrics::created(out, self.name, labels, created),
        }
    }
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}
