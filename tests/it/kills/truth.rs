//! Holds the totals of a scrape against what the simulator planned.

use super::{EXACT, THINNED};
use crate::harness::Scrape;
use dragdropdo_exporter::simulator::{Tally, Truth};
use std::collections::BTreeMap;

/// Fails unless every group's totals are the truth, or within the bounds where files vanished.
pub(super) fn holds(scrape: &Scrape, truth: &Truth) {
    let none = Tally::default();
    let planned = |group: &str| truth.tags.get(group).map_or(&none, |tag| &tag.planned);
    let mut wrong = Vec::new();
    for group in EXACT {
        exact(scrape, group, planned(group), &mut wrong);
    }
    within_bounds(scrape, planned(THINNED), &mut wrong);
    assert!(wrong.is_empty(), "{}\n{truth:#?}\n{}", wrong.join("\n"), scrape.text());
}

fn exact(scrape: &Scrape, group: &str, planned: &Tally, wrong: &mut Vec<String>) {
    let mut is = |selector: &str, expected: u64| {
        let found = scrape.sum(selector);
        if found != expected as f64 {
            wrong.push(format!("{selector} is {found}, and truly {expected}"));
        }
    };
    let of = |name: &str, labels: &str| format!("dragdropdo_{name}{{group={group}{labels}}}");
    is(&of("tasks_finished_total", ",outcome=completed"), planned.completed);
    is(&of("tasks_finished_total", ",outcome=partially_failed"), planned.partially_failed);
    is(&of("tasks_finished_total", ",outcome=failed"), planned.failed);
    is(&of("tasks_dropped_total", ""), 0);
    is(&of("files_finished_total", ",state=completed"), planned.files_completed);
    is(&of("files_finished_total", ",state=failed"), planned.files_failed);
    is(&of("file_failures_total", ""), planned.files_failed);
    for (code, failures) in by_code(planned) {
        is(&of("file_failures_total", &format!(",error_code={code}")), failures);
    }
    let stamped = scrape.all(&of("last_failure_timestamp_seconds", "")).len();
    if stamped != planned.failures_by_code.len() {
        wrong.push(format!("{group} has {stamped} timestamps of last failures"));
    }
    for (what, finished) in [("task", planned.operations), ("file", planned.files_completed + planned.files_failed)] {
        let known = scrape.sum(&of(&format!("{what}_completion_latency_seconds_count"), ""));
        let unknown = scrape.sum(&of(&format!("{what}_latency_unknown_total"), ""));
        if known + unknown != finished as f64 {
            wrong.push(format!("{group}: {known} {what} latencies and {unknown} unknown ones, of truly {finished}"));
        }
    }
}

/// A file that vanished from every answer that showed its end was not counted; none was counted twice.
fn within_bounds(scrape: &Scrape, planned: &Tally, wrong: &mut Vec<String>) {
    let of = |name: &str, labels: &str| format!("dragdropdo_{name}{{group={THINNED}{labels}}}");
    let (tasks, failed) = (of("tasks_finished_total", ""), of("tasks_finished_total", ",outcome=failed"));
    let mut at_most: Vec<(String, u64)> = vec![
        (tasks.clone(), planned.operations),
        (failed.clone(), planned.failed),
        (of("files_finished_total", ",state=completed"), planned.files_completed),
        (of("files_finished_total", ",state=failed"), planned.files_failed),
    ];
    for (code, failures) in by_code(planned) {
        at_most.push((of("file_failures_total", &format!(",error_code={code}")), failures));
    }
    for (selector, most) in at_most {
        let found = scrape.sum(&selector);
        let exact = selector == tasks || selector == failed;
        if found > most as f64 || (exact && found < most as f64) {
            wrong.push(format!("{selector} is {found}, and truly {most}"));
        }
    }
}

/// Failures by the code under which the exporter counts them.
fn by_code(planned: &Tally) -> BTreeMap<&str, u64> {
    let named = |code: &str| code.is_empty().then_some("unspecified");
    planned.failures_by_code.iter().map(|(code, failures)| (named(code).unwrap_or(code), *failures)).collect()
}
