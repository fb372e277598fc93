//! A reader of OpenMetrics that takes apart what the text format does not have, and leaves the rest to the strict reader
//! of that format.

use crate::harness::{Exporter, Scrape};
use std::collections::BTreeMap;

/// What a client that knows both formats sends.
pub(super) const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

/// What `/metrics` showed in OpenMetrics.
pub(super) struct OpenMetrics {
    /// The same in the text format.
    pub(super) scrape: Scrape,
    /// The `_created` samples: from the line of the sample before, without its value and `_total`, `_count`, to the time.
    pub(super) created: BTreeMap<String, f64>,
    /// The exemplars: from the sample, without its value, to what stands behind the `#`.
    pub(super) exemplars: BTreeMap<String, Exemplar>,
}

/// An exemplar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exemplar {
    /// With its escapes.
    pub(super) task_id: String,
    pub(super) latency: f64,
    pub(super) counted: f64,
}

/// Scrapes OpenMetrics.
pub(super) async fn scrape(exporter: &Exporter) -> OpenMetrics {
    let answer = exporter.get("/metrics").header("accept", ACCEPT).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    OpenMetrics::parse(&answer.text().await.unwrap())
}

impl OpenMetrics {
    fn parse(text: &str) -> Self {
        let (mut as_text, mut created, mut exemplars) = (String::new(), BTreeMap::new(), BTreeMap::new());
        let (mut help, mut before, mut is_ended) = ("", "", false);
        for line in text.lines() {
            assert!(!is_ended, "behind the end: {line}");
            if line == "# EOF" {
                is_ended = true;
            } else if let Some(line) = line.strip_prefix("# HELP ") {
                help = line;
            } else if let Some(line) = line.strip_prefix("# TYPE ") {
                let ((name, kind), (helped, help)) = (line.split_once(' ').unwrap(), help.split_once(' ').unwrap());
                assert_eq!(helped, name, "the TYPE of another family than its HELP");
                assert!(!help.replace("\\\"", "").contains('"'), "a quote that is not escaped: {help}");
                let total = if kind == "counter" { "_total" } else { "" };
                let help = help.replace("\\\"", "\"");
                as_text.push_str(&format!("# HELP {name}{total} {help}\n# TYPE {name}{total} {kind}\n"));
            } else if let Some((series, value)) =
                line.rsplit_once(' ').filter(|(series, _)| series.contains("_created"))
            {
                // It stands right behind the samples that it is about.
                let same = |suffix| series.replacen("_created", suffix, 1);
                let (before, _) = before.rsplit_once(' ').unwrap();
                assert!([same("_total"), same("_count")].contains(&before.to_owned()), "{line} behind {before}");
                assert!(created.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{line}");
                continue;
            } else if let Some((sample, exemplar)) = line.split_once(" # ") {
                let (series, _) = sample.rsplit_once(' ').unwrap();
                exemplars.insert(series.to_owned(), Exemplar::parse(exemplar).unwrap());
                as_text.push_str(&format!("{sample}\n"));
            } else {
                as_text.push_str(&format!("{line}\n"));
            }
            before = line;
        }
        assert!(is_ended, "it has no end");
        Self { scrape: Scrape::parse(&as_text).unwrap(), created, exemplars }
    }

    /// The start times of the series with this in their lines.
    pub(super) fn created_of(&self, what: &str) -> BTreeMap<String, f64> {
        let found = self.created.iter().filter(|(series, _)| series.contains(what));
        found.map(|(series, at)| (series.clone(), *at)).collect()
    }
}

impl Exemplar {
    fn parse(text: &str) -> Option<Self> {
        let (task_id, rest) = text.strip_prefix("{task_id=\"")?.split_once("\"} ")?;
        let (latency, counted) = rest.split_once(' ')?;
        Some(Self { task_id: task_id.to_owned(), latency: latency.parse().ok()?, counted: counted.parse().ok()? })
    }
}
