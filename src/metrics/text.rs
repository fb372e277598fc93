//! The text format 0.0.4.
//!
//! Written by the exporter itself because the `prometheus` crate's encoder takes only the crate's own collectors, of which
//! the families of the published view would have to be built anew for each scrape.

use std::fmt::Write;

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

/// A family that is being written. Its head is written with its first sample: a family without samples is not shown.
pub(super) struct Family<'a> {
    out: &'a mut String,
    name: &'a str,
    help: &'a str,
    kind: Kind,
    is_begun: bool,
}

impl<'a> Family<'a> {
    pub(super) fn new(out: &'a mut String, name: &'a str, kind: Kind, help: &'a str) -> Self {
        Self { out, name, help, kind, is_begun: false }
    }

    /// Writes a sample of a counter or gauge.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: Value) {
        self.line("", labels, None, value);
    }

    /// Writes a histogram: `buckets` are the upper bounds in seconds with the cumulative counts, without `+Inf`.
    pub(super) fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        for (bound, cumulative) in buckets {
            self.line("_bucket", labels, Some(bound), Value::Count(cumulative));
        }
        self.line("_bucket", labels, Some(f64::INFINITY), Value::Count(count));
        self.line("_sum", labels, None, Value::Number(sum));
        self.line("_count", labels, None, Value::Count(count));
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], le: Option<f64>, value: Value) {
        self.begin();
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        let mut separator = '{';
        for (name, text) in labels {
            self.out.push(separator);
            separator = ',';
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(self.out, text, true);
            self.out.push('"');
        }
        if let Some(bound) = le {
            self.out.push(separator);
            separator = ',';
            self.out.push_str("le=\"");
            number(self.out, bound);
            self.out.push('"');
        }
        if separator == ',' {
            self.out.push('}');
        }
        self.out.push(' ');
        match value {
            // Writing to a string cannot fail.
            Value::Count(count) => {
                write!(self.out, "{count}").ok();
            }
            Value::Number(value) => number(self.out, value),
        }
        self.out.push('\n');
    }

    fn begin(&mut self) {
        if self.is_begun {
            return;
        }
        self.is_begun = true;
        for (word, text) in [("HELP", self.help), ("TYPE", self.kind.as_str())] {
            self.out.push_str("# ");
            self.out.push_str(word);
            self.out.push(' ');
            self.out.push_str(self.name);
            self.out.push(' ');
            escape(self.out, text, false);
            self.out.push('\n');
        }
    }
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

fn number(out: &mut String, value: f64) {
    if value == f64::INFINITY {
        out.push_str("+Inf");
    } else if value == f64::NEG_INFINITY {
        out.push_str("-Inf");
    } else {
        // Rust writes the shortest digits that read back as the same number, and never an exponent.
        write!(out, "{value}").ok();
    }
}

fn escape(out: &mut String, text: &str, in_quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if in_quotes => out.push_str("\\\""),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_as_the_format_says() {
        let mut out = String::new();
        let mut family = Family::new(&mut out, "x_total", Kind::Counter, "Back\\slash and\nnewline and \"quotes\".");
        family.sample(&[("a", "q\"uote"), ("b", "back\\slash\nnewline")], Value::Count(u64::MAX));
        family.sample(&[], Value::Number(0.25));
        assert_eq!(
            out,
            "# HELP x_total Back\\\\slash and\\nnewline and \"quotes\".\n# TYPE x_total counter\n\
             x_total{a=\"q\\\"uote\",b=\"back\\\\slash\\nnewline\"} 18446744073709551615\nx_total 0.25\n"
        );
    }

    #[test]
    fn a_histogram_has_cumulative_buckets_up_to_infinity() {
        let mut out = String::new();
        let mut family = Family::new(&mut out, "x", Kind::Histogram, "X.");
        family.histogram(&[("s", "t")], [(1.0, 2), (2.5, 3)].into_iter(), 4, 6.5);
        assert_eq!(
            out,
            "# HELP x X.\n# TYPE x histogram\nx_bucket{s=\"t\",le=\"1\"} 2\nx_bucket{s=\"t\",le=\"2.5\"} 3\n\
             x_bucket{s=\"t\",le=\"+Inf\"} 4\nx_sum{s=\"t\"} 6.5\nx_count{s=\"t\"} 4\n"
        );
    }

    #[test]
    fn a_family_without_samples_is_not_shown() {
        let mut out = String::new();
        Family::new(&mut out, "x", Kind::Gauge, "X.");
        assert_eq!(out, "");
    }
}
