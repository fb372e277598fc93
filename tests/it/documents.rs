//! What the documents say of the exporter, held against the exporter itself.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

mod command_line;
mod configuration;
mod limits;
mod queries;

use crate::harness::{FakeApi, Scrape, Setup, operation, run};
use dragdropdo_exporter::config;
use serde_yaml::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where every metric is explained.
const METRICS: &str = "docs/metrics.md";
/// The row of that document that stands for all metrics of the process.
const PROCESS: &str = "process_*";

/// What users read, by path.
fn documents() -> BTreeMap<PathBuf, String> {
    let docs = std::fs::read_dir("docs").unwrap().map(|entry| entry.unwrap().path());
    let paths = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.chain(["README.md".into()]).map(|path| (path.clone(), read(&path))).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails with the whole list, so that one run tells everything that there is to mend.
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// A row of a table: its cells by the heads of their columns.
type Row = BTreeMap<String, String>;

/// The rows of a document's tables that are meant, each with the heading that its table stands under.
fn rows(path: &str, is_meant: impl Fn(&Row) -> bool) -> Vec<(String, Row)> {
    let (mut rows, mut heading, mut columns) = (Vec::new(), String::new(), Vec::new());
    for line in read(Path::new(path)).lines() {
        if let Some(text) = line.strip_prefix('#') {
            heading = text.trim_start_matches('#').trim().to_owned();
        }
        let Some(row) = line.strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            columns.clear();
            continue;
        };
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        if columns.is_empty() {
            columns = cells;
            continue;
        }
        assert_eq!(cells.len(), columns.len(), "{path}: {line}");
        let row: Row = columns.iter().cloned().zip(cells).collect();
        if !row.values().all(|cell| cell.starts_with("---")) && is_meant(&row) {
            rows.push((heading.clone(), row));
        }
    }
    rows
}

/// What stands as code in a cell.
fn code(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|rest| rest.split('`').next()).unwrap_or_else(|| panic!("no code: {cell}"))
}

/// A family: its type, and each label with its values.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The families in the tables of the document. A label that can have any value has none here.
fn documented() -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    for (_, row) in rows(METRICS, |row| row.contains_key("metric")) {
        assert!(!row["meaning"].is_empty(), "{row:?}");
        let family = Family { kind: row["type"].clone(), labels: documented_labels(&row["labels"]) };
        assert!(families.insert(code(&row["metric"]).to_owned(), family).is_none(), "twice: {row:?}");
    }
    families
}

/// Reads "`label`, `label` (`value`, `value`)".
fn documented_labels(cell: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut labels = BTreeMap::new();
    let mut rest = cell;
    while let Some((label, after)) = rest.split_once('`').and_then(|(_, after)| after.split_once('`')) {
        let (values, after) = after.strip_prefix(" (").and_then(|after| after.split_once(')')).unwrap_or(("", after));
        let values = values.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        labels.insert(label.to_owned(), values);
        rest = after;
    }
    labels
}

/// The families of a scrape, those of the process as one.
fn exposed(scrape: &Scrape) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for (name, kind) in scrape.types().iter().filter(|(name, _)| !name.starts_with("process_")) {
        families.insert(name.clone(), Family { kind: kind.clone(), ..Family::default() });
    }
    for line in scrape.text().lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let Some(family) = family_of(name, scrape.types().keys()).and_then(|name| families.get_mut(name)) else {
            assert!(name.starts_with("process_"), "{line}");
            families.entry(PROCESS.to_owned()).or_default();
            continue;
        };
        // No value here has a quote, and the harness has read the line more strictly than this.
        for (place, label) in labels.split("\",").enumerate().filter(|(_, label)| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").unwrap_or_else(|| panic!("label {place} of {line}"));
            if label != "le" {
                let value = value.trim_end_matches("\"}").to_owned();
                family.labels.entry(label.to_owned()).or_default().insert(value);
            }
        }
    }
    families
}

/// The family that a sample of this name belongs to.
fn family_of<'a>(sample: &str, mut families: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    let is_of = |family: &str| {
        sample.strip_prefix(family).is_some_and(|suffix| ["", "_bucket", "_sum", "_count"].contains(&suffix))
    };
    families.find(|family| is_of(family)).map(String::as_str)
}

#[tokio::test]
async fn every_metric_is_documented_with_its_type_and_labels_and_there_are_no_others() {
    let api = FakeApi::start().await;
    api.answers("failed", [operation("queued", &[]), operation("failed", &[("a", "failed/internal_error")])]);
    api.answers("partial", [operation("completed", &[("a", "completed"), ("b", "failed/code")])]);
    api.answers("open", [operation("in_progress", &[("a", "in_progress")])]);
    let exporter = Setup::new(&api, "tasks: [failed, partial, open, {id: lost, group: other}]").start().await;
    let scrape = exporter
        .until("tasks of each kind", |scrape| {
            let sum = |selector| scrape.sum(selector);
            sum("dragdropdo_tasks_finished_total{outcome=failed}") == 1.0
                && sum("dragdropdo_tasks_finished_total{outcome=partially_failed}") == 1.0
                && sum("dragdropdo_oldest_unfinished_task_start_timestamp_seconds") > 0.0
                && sum("dragdropdo_api_requests_total{outcome=not_found}") > 0.0
        })
        .await;
    let (documented, exposed) = (documented(), exposed(&scrape));
    let mut problems = Vec::new();
    for name in documented.keys().filter(|name| !exposed.contains_key(*name)) {
        problems.push(format!("{name} is in {METRICS} and not on /metrics"));
    }
    for (name, family) in &exposed {
        let Some(told) = documented.get(name) else {
            problems.push(format!("{name} is on /metrics and not in {METRICS}"));
            continue;
        };
        if told.kind != family.kind {
            problems.push(format!("{name} is a {} and documented as a {}", family.kind, told.kind));
        }
        if !told.labels.keys().eq(family.labels.keys()) {
            let (are, told) = (family.labels.keys(), told.labels.keys());
            problems.push(format!("{name} has the labels {are:?} and is documented with {told:?}"));
        }
        for (label, told) in told.labels.iter().filter(|(_, values)| !values.is_empty()) {
            if let Some(are) = family.labels.get(label).filter(|are| *are != told) {
                problems.push(format!("{name} has {label} {are:?} and is documented with {told:?}"));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn every_metric_that_a_document_names_is_documented() {
    let families = documented();
    let mut problems = Vec::new();
    let mut mentions = 0;
    for (path, text) in documents() {
        // A slash belongs to the word, and tells a file from a metric.
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !['_', '/'].contains(&c));
        for word in words.filter(|word| word.starts_with("dragdropdo_")) {
            mentions += 1;
            if family_of(word, families.keys()).is_none() {
                problems.push(format!("{}: {word} is no metric in {METRICS}", path.display()));
            }
        }
    }
    assert!(mentions > 2 * families.len(), "only {mentions} mentions");
    assert_none(&problems);
}

#[tokio::test]
async fn every_flag_of_serve_is_mentioned() {
    let help = run(Path::new("."), &["serve", "--help"], &[]).await.stdout;
    let is_in_name = |c: char| c.is_ascii_alphanumeric() || ['-', '.'].contains(&c);
    let flags: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.trim_start().trim_start_matches("-h, ").strip_prefix("--"))
        .filter_map(|line| line.split(|c| !is_in_name(c)).next())
        .collect();
    assert!(flags.len() >= 7 && flags.contains("config.file") && flags.contains("help"), "{flags:?}");
    let documents: Vec<String> = documents().into_values().collect();
    let is_mentioned = |flag: &&str| {
        let mentions = documents.iter().flat_map(|text| text.split("--").skip(1));
        mentions.into_iter().any(|rest| rest.strip_prefix(flag).is_some_and(|rest| !rest.starts_with(is_in_name)))
    };
    let missing = flags.iter().filter(|flag| !is_mentioned(flag));
    assert_none(&missing.map(|flag| format!("--{flag} is in no document")).collect::<Vec<_>>());
}

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_in_it() {
    let mut problems = Vec::new();
    let mut links = 0;
    let others = ["CHANGELOG.md", "CONTRIBUTING.md"].map(|path| (PathBuf::from(path), read(Path::new(path))));
    for (path, text) in documents().into_iter().chain(others) {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("https://")) {
            links += 1;
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let leads = if heading.is_empty() {
                file.exists()
            } else {
                let lines = std::fs::read_to_string(file).unwrap_or_default();
                let mut headings = lines.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
                headings.any(|found| anchor(found) == heading)
            };
            if !leads {
                problems.push(format!("{}: the link to {target} leads nowhere", path.display()));
            }
        }
    }
    assert!(links >= 10, "only {links} links");
    assert_none(&problems);
}

/// The blocks of code in this language, without their indentation.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((indentation, "")) = line.split_once(&format!("```{language}")) else { continue };
        let block = lines.by_ref().take_while(|line| line.trim() != "```");
        blocks.push(block.map(|line| line.strip_prefix(indentation).unwrap_or(line)).collect::<Vec<_>>().join("\n"));
    }
    blocks
}

/// The keys of a web config file.
const WEB_CONFIG: [&str; 4] = ["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"];

/// A list is one of targets, what has `scrape_configs` is Prometheus's, and a web config file has keys of its own; the rest
/// is the exporter's configuration.
#[test]
fn every_configuration_in_a_document_is_accepted() {
    let mut problems = Vec::new();
    let mut accepted = 0;
    for (path, text) in documents() {
        for block in blocks(&text, "yaml") {
            let place = Path::new("block.yaml");
            let error = match serde_yaml::from_str(&block) {
                Ok(Value::Sequence(_)) => continue,
                Ok(value) if value.get("scrape_configs").is_some() => continue,
                Ok(value) if WEB_CONFIG.iter().any(|key| value.get(key).is_some()) => {
                    config::WebConfigFile::parse(block.as_bytes(), place).err()
                }
                // The parser says better what is wrong.
                Ok(_) | Err(_) => config::parse(&block, place, &|_| None).err(),
            };
            accepted += 1;
            problems.extend(error.map(|error| format!("{}: {error}\n{block}", path.display())));
        }
    }
    assert!(accepted >= 6, "only {accepted} configurations");
    assert_none(&problems);
}
