//! The example queries: each metric has one, and each asks for what there is. `tests/lib/documents.py` holds their syntax
//! against Prometheus itself.

use super::{Family, METRICS, PROCESS, assert_none, blocks, code, documented, documents, read, rows};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Labels that Prometheus adds, and the one of buckets.
const ADDED: [&str; 3] = ["job", "instance", "le"];
/// What is followed by labels in parentheses.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The queries in tables, as they stand in the metrics' document.
fn examples() -> Vec<String> {
    let rows = rows(METRICS, |row| row.contains_key("query")).into_iter();
    rows.map(|(_, row)| code(&row["query"]).to_owned()).collect()
}

/// A word of a query, and what follows it.
fn words(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_in_word = |c: char| c.is_ascii_alphanumeric() || ['_', ':'].contains(&c);
    let mut rest = query;
    std::iter::from_fn(move || {
        // A text or a range holds no words of the query.
        while let Some(c) = rest.chars().next().filter(|c| !is_in_word(*c)) {
            let skipped = match c {
                '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
                '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
                '#' => rest.find('\n').unwrap_or(rest.len()),
                c => c.len_utf8(),
            };
            rest = &rest[skipped..];
        }
        let end = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then_some((word, after.trim_start()))
    })
}

/// The family that a series of this name belongs to. A histogram has no series of its own name, and nothing else has
/// those of a histogram.
fn family_of<'a>(series: &str, families: &'a BTreeMap<String, Family>) -> Option<(&'a str, &'a Family)> {
    let process = families.get_key_value(PROCESS).filter(|_| series.starts_with("process_"));
    let plain = families.get_key_value(series).filter(|(_, family)| family.kind != "histogram");
    let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| families.get_key_value(series.strip_suffix(part)?));
    let part = part.filter(|(_, family)| family.kind == "histogram");
    process.or(plain).or(part).map(|(name, family)| (name.as_str(), family))
}

/// What is wrong with a matcher, like `state="failed"`, of a series of this family.
fn wrong_matcher(matcher: &str, family: &Family) -> Option<String> {
    let (label, rest) = matcher.split_at(matcher.find(['=', '!'])?);
    let (label, values) = (label.trim(), rest.trim_start_matches(['=', '!', '~']).trim().trim_matches('"'));
    let Some(known) = family.labels.get(label) else {
        return (!ADDED.contains(&label)).then(|| format!("there is no label {label}"));
    };
    let wrong: Vec<&str> = values.split('|').filter(|value| !known.is_empty() && !known.contains(*value)).collect();
    (!wrong.is_empty()).then(|| format!("{label} is never {wrong:?}"))
}

/// What a query asks for that there is not, and the families that it asks.
fn check(query: &str, families: &BTreeMap<String, Family>) -> (Vec<String>, BTreeSet<String>) {
    let (mut problems, mut asked) = (Vec::new(), BTreeSet::new());
    let recording = read(Path::new("prometheus/rules/recording.yml"));
    let mut labels: BTreeSet<&str> = ADDED.into();
    for (series, after) in
        words(query).filter(|(word, _)| word.starts_with("dragdropdo_") || word.starts_with("process_"))
    {
        let Some((name, family)) = family_of(series, families) else {
            problems.push(format!("there is no series {series}"));
            continue;
        };
        asked.insert(name.to_owned());
        labels.extend(family.labels.keys().map(String::as_str));
        let matchers = after.strip_prefix('{').and_then(|after| after.split('}').next()).unwrap_or_default();
        problems.extend(matchers.split(',').filter_map(|matcher| wrong_matcher(matcher, family)));
    }
    for (record, _) in words(query).filter(|(word, _)| word.starts_with("dragdropdo:")) {
        asked.insert(record.to_owned());
        if !recording.lines().any(|line| line.trim_start_matches([' ', '-']) == format!("record: {record}")) {
            problems.push(format!("nothing records {record}"));
        }
    }
    for (_, after) in words(query).filter(|(word, _)| GROUPINGS.contains(word)) {
        let grouped = after.strip_prefix('(').and_then(|after| after.split(')').next()).unwrap_or_default();
        let grouped = grouped.split(',').map(str::trim).filter(|label| !label.is_empty());
        problems.extend(
            grouped.filter(|label| !labels.contains(label)).map(|label| format!("nothing has a label {label}")),
        );
    }
    (problems, asked)
}

#[test]
fn every_metric_has_an_example_query() {
    let families = documented();
    let asked: BTreeSet<String> = examples().iter().flat_map(|query| check(query, &families).1).collect();
    let missing = families.keys().filter(|name| !asked.contains(*name));
    assert_none(&missing.map(|name| format!("{name} has no query in {METRICS}")).collect::<Vec<_>>());
}

#[test]
fn every_query_in_a_document_asks_for_what_there_is() {
    let families = documented();
    let in_blocks = documents().into_values().flat_map(|text| blocks(&text, "promql")).collect::<Vec<_>>();
    assert!(in_blocks.len() > 10, "only {in_blocks:?}");
    let mut problems = Vec::new();
    for query in examples().iter().chain(&in_blocks) {
        let (wrong, asked) = check(query, &families);
        problems.extend(wrong.into_iter().map(|wrong| format!("{wrong}: {query}")));
        problems.extend(asked.is_empty().then(|| format!("asks for no metric: {query}")));
    }
    assert_none(&problems);
}

#[test]
fn every_label_is_documented_and_there_are_no_others() {
    let families = documented();
    let mut labels: BTreeSet<&str> =
        families.values().flat_map(|family| family.labels.keys()).map(String::as_str).collect();
    labels.insert("le");
    let rows = rows(METRICS, |row| row.contains_key("label"));
    // One row may be about several labels.
    let told: BTreeSet<&str> = rows.iter().flat_map(|(_, row)| row["label"].split('`').skip(1).step_by(2)).collect();
    assert_eq!(told, labels);
}

#[test]
fn a_query_that_asks_for_what_is_not_there_is_found() {
    let families = documented();
    for query in [
        "dragdropdo_task",
        "dragdropdo_task_completion_latency_seconds",
        "dragdropdo_tasks_count",
        "dragdropdo:stuck_after_second",
        "sum(rate(dragdropdo_tasks_finished_total{state=\"failed\"}[5m]))",
        "dragdropdo_tasks{group=\"a\", state=~\"queued|done\"}",
        "sum by (reason) (dragdropdo_tasks)",
        "dragdropdo_up and on (instance, task_id) dragdropdo_poll_lag_seconds",
    ] {
        assert_eq!(check(query, &families).0.len(), 1, "{query}");
    }
    assert!(
        check("sum by (le) (dragdropdo_task_completion_latency_seconds_bucket{job=\"x\"})", &families).0.is_empty()
    );
}
