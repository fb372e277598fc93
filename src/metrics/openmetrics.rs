//! OpenMetrics 1.0, where it differs from the text format 0.0.4.
//!
//! `# UNIT` is left out: no family needs it to be understood, and no value changes with it. So is every type that the text
//! format does not have, since the samples of one would be named otherwise there.
//!
//! The specification: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use super::exposition::{Kind, Labels, Value};
use super::text;
use crate::time::Time;
use crate::totals::Exemplar;

/// What stands at the end, by which a scraper tells that nothing is missing.
pub(super) const END: &str = "# EOF\n";

/// Writes HELP, in which quotes are escaped too, and TYPE.
pub(super) fn head(out: &mut String, name: &str, kind: Kind, help: &str) {
    let name = family(name);
    out.extend(["# HELP ", name, " "]);
    text::escape(out, help, true);
    out.extend(["\n# TYPE ", name, " ", kind.as_str(), "\n"]);
}

/// Writes an exemplar behind its sample.
pub(super) fn exemplar(out: &mut String, exemplar: &Exemplar) {
    out.push_str(" # {");
    text::label(out, Exemplar::LABEL, exemplar.task_id.as_str());
    out.push_str("} ");
    // The very number that decided on the bucket: another rounding might lie beside it.
    text::number(out, exemplar.latency.as_secs_f64());
    out.push(' ');
    text::number(out, exemplar.counted.as_secs_f64());
}

/// Writes the line that says when a counter or histogram began to count.
pub(super) fn created(out: &mut String, name: &str, labels: Labels<'_>, created: Time) {
    text::sample(out, &[family(name), "_created"], labels, None, Value::Number(created.as_secs_f64()));
    out.push('\n');
}

/// The family's name: only a counter's sample ends in `_total`.
fn family(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use crate::metrics::exposition::{Bucket, Exposition, Format, Kind, Value};
    use crate::task::TaskId;
    use crate::time::Time;
    use crate::totals::Exemplar;
    use std::time::Duration;

    const START: Time = Time::from_micros(1_700_000_000_250_000);
    const WITH_CREATED: Format = Format::OpenMetrics { created_samples: true };
    const WITHOUT_CREATED: Format = Format::OpenMetrics { created_samples: false };

    fn counter(format: Format) -> String {
        let mut exposition = Exposition::new(format, 0);
        let help = "Back\\slash and\nnewline and \"quotes\".";
        let mut family = exposition.family("x_total", Kind::Counter, help);
        family.counter(&[("a", "q\"uote")], Value::Count(7), START);
        family.counter(&[], Value::Number(0.25), START);
        exposition.end()
    }

    fn histogram(format: Format) -> String {
        let mut exposition = Exposition::new(format, 0);
        let task_id = TaskId::new("back\\slash \"quotes\" ü").unwrap();
        let exemplar = Exemplar { task_id, latency: Duration::from_micros(2_400_001), counted: START };
        let buckets = [(1.0, 2, None), (2.5, 3, Some(&exemplar)), (f64::INFINITY, 4, None)];
        let buckets = buckets.map(|(bound, cumulative, exemplar)| Bucket { bound, cumulative, exemplar }).into_iter();
        exposition.family("x", Kind::Histogram, "X.").histogram(&[("s", "t")], buckets, 6.5, START);
        exposition.end()
    }

    #[test]
    fn a_counter_has_its_start_behind_each_sample_and_its_family_no_total() {
        assert_eq!(
            counter(WITH_CREATED),
            "# HELP x Back\\\\slash and\\nnewline and \\\"quotes\\\".\n# TYPE x counter\n\
             x_total{a=\"q\\\"uote\"} 7\nx_created{a=\"q\\\"uote\"} 1700000000.25\n\
             x_total 0.25\nx_created 1700000000.25\n# EOF\n"
        );
    }

    #[test]
    fn a_histogram_has_its_exemplars_and_its_start_behind_all_its_samples() {
        assert_eq!(
            histogram(WITH_CREATED),
            "# HELP x X.\n# TYPE x histogram\nx_bucket{s=\"t\",le=\"1\"} 2\n\
             x_bucket{s=\"t\",le=\"2.5\"} 3 # {task_id=\"back\\\\slash \\\"quotes\\\" ü\"} 2.400001 1700000000.25\n\
             x_bucket{s=\"t\",le=\"+Inf\"} 4\nx_sum{s=\"t\"} 6.5\nx_count{s=\"t\"} 4\n\
             x_created{s=\"t\"} 1700000000.25\n# EOF\n"
        );
    }

    #[test]
    fn starts_are_told_only_when_they_are_asked_for_and_nothing_else_changes() {
        for written in [counter, histogram] {
            let (with, without) = (written(WITH_CREATED), written(WITHOUT_CREATED));
            let kept: Vec<&str> = with.lines().filter(|line| !line.starts_with("x_created")).collect();
            assert_eq!(without.lines().collect::<Vec<_>>(), kept);
            assert!(kept.len() < with.lines().count());
        }
    }

    #[test]
    fn an_empty_exposition_still_has_its_end() {
        assert_eq!(Exposition::new(WITHOUT_CREATED, 0).end(), "# EOF\n");
    }
}
