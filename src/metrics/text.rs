//! The text format 0.0.4. OpenMetrics writes its samples, names and numbers in the same way.

use super::exposition::{Kind, Labels, Value};
use std::fmt::Write;

/// Writes HELP and TYPE.
pub(super) fn head(out: &mut String, name: &str, kind: Kind, help: &str) {
    for (word, text) in [("HELP", help), ("TYPE", kind.as_str())] {
        out.extend(["# ", word, " ", name, " "]);
        escape(out, text, false);
        out.push('\n');
    }
}

/// Writes a sample, but for the end of its line. Its name may come in parts.
pub(super) fn sample(out: &mut String, name: &[&str], labels: Labels<'_>, le: Option<f64>, value: Value) {
    out.extend(name.iter().copied());
    let mut separator = '{';
    for (name, text) in labels {
        out.push(separator);
        separator = ',';
        label(out, name, text);
    }
    if let Some(bound) = le {
        out.push(separator);
        separator = ',';
        out.push_str("le=\"");
        number(out, bound);
        out.push('"');
    }
    if separator == ',' {
        out.push('}');
    }
    out.push(' ');
    match value {
        // Writing to a string cannot fail.
        Value::Count(count) => {
            write!(out, "{count}").ok();
        }
        Value::Number(value) => number(out, value),
    }
}

/// Writes a label.
pub(super) fn label(out: &mut String, name: &str, text: &str) {
    out.extend([name, "=\""]);
    escape(out, text, true);
    out.push('"');
}

/// Writes a number.
pub(super) fn number(out: &mut String, value: f64) {
    if value == f64::INFINITY {
        out.push_str("+Inf");
    } else if value == f64::NEG_INFINITY {
        out.push_str("-Inf");
    } else {
        // Rust writes the shortest digits that read back as the same number, and never an exponent.
        write!(out, "{value}").ok();
    }
}

/// Writes a text, with quotes escaped where they would end it.
pub(super) fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exposition::{Bucket, Exposition, Format};
    use crate::time::Time;
    use crate::totals::Exemplar;

    const START: Time = Time::from_micros(1_500_000);

    #[test]
    fn a_family_is_written_as_the_format_says() {
        let mut exposition = Exposition::new(Format::Text, 0);
        let help = "Back\\slash and\nnewline and \"quotes\".";
        let mut family = exposition.family("x_total", Kind::Counter, help);
        family.counter(&[("a", "q\"uote"), ("b", "back\\slash\nnewline")], Value::Count(u64::MAX), START);
        family.counter(&[], Value::Number(0.25), START);
        assert_eq!(
            exposition.end(),
            "# HELP x_total Back\\\\slash and\\nnewline and \"quotes\".\n# TYPE x_total counter\n\
             x_total{a=\"q\\\"uote\",b=\"back\\\\slash\\nnewline\"} 18446744073709551615\nx_total 0.25\n"
        );
    }

    #[test]
    fn a_histogram_has_cumulative_buckets_up_to_infinity_and_no_exemplars() {
        let mut exposition = Exposition::new(Format::Text, 0);
        let task_id = crate::task::TaskId::new("t").unwrap();
        let exemplar = Exemplar { task_id, latency: std::time::Duration::from_secs(1), counted: START };
        let buckets = [(1.0, 2), (2.5, 3), (f64::INFINITY, 4)];
        let buckets =
            buckets.map(|(bound, cumulative)| Bucket { bound, cumulative, exemplar: Some(&exemplar) }).into_iter();
        exposition.family("x", Kind::Histogram, "X.").histogram(&[("s", "t")], buckets, 6.5, START);
        assert_eq!(
            exposition.end(),
            "# HELP x X.\n# TYPE x histogram\nx_bucket{s=\"t\",le=\"1\"} 2\nx_bucket{s=\"t\",le=\"2.5\"} 3\n\
             x_bucket{s=\"t\",le=\"+Inf\"} 4\nx_sum{s=\"t\"} 6.5\nx_count{s=\"t\"} 4\n"
        );
    }

    #[test]
    fn a_family_without_samples_is_not_shown() {
        let mut exposition = Exposition::new(Format::Text, 0);
        exposition.family("x", Kind::Gauge, "X.");
        assert_eq!(exposition.end(), "");
    }
}
