//! `docs/configuration.md`, held against the program: its keys, their defaults, and what a reload takes over.

use super::{Row, assert_none, code, rows};
use crate::harness::{Exporter, FakeApi, Setup};
use dragdropdo_exporter::config::{self, Config};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Method;
use serde_yaml::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Where the configuration is explained.
pub(super) const CONFIGURATION: &str = "docs/configuration.md";

/// What a mapping must have, by its path.
const REQUIRED: [(&str, &str); 4] = [
    ("tasks[]", "id: a"),
    ("discovery.http[]", "url: 'http://h'"),
    ("discovery.http[].basic_auth", "username: u"),
    ("discovery.http[].authorization", "credentials: c"),
];

/// The configuration that has `value` at `key`, a path like `discovery.http[].url`, and what is required around it.
/// Without a value, it is the same without that key, required or not.
fn configuration(key: &str, value: Option<&str>) -> String {
    let (mut path, mut pair) = (key, value.map(|value| format!("{}: {value}", key.rsplit('.').next().unwrap())));
    while let Some((mapping, name)) = path.rsplit_once('.') {
        let required = REQUIRED.iter().filter(|(of, pair)| *of == mapping && !pair.starts_with(&format!("{name}:")));
        let pairs: Vec<&str> = required.map(|(_, pair)| *pair).chain(pair.as_deref()).collect();
        let pairs = pairs.join(", ");
        let name = mapping.rsplit('.').next().unwrap();
        pair = Some(match name.strip_suffix("[]") {
            Some(list) => format!("{list}: [{{{pairs}}}]"),
            None => format!("{name}: {{{pairs}}}"),
        });
        path = mapping;
    }
    format!("{{{}}}", pair.unwrap_or_default())
}

fn parse(text: &str) -> Result<Config, String> {
    config::parse(text, Path::new("config.yaml"), &|_| None).map_err(|error| error.to_string())
}

/// The keys that the program allows in a mapping, as it says when it refuses another; none where it takes no mapping.
fn allowed(mapping: &str) -> Vec<String> {
    let key = format!("{mapping}surprise");
    let error = parse(&configuration(&key, Some("1"))).unwrap_err();
    let refusal = format!("{}: unknown key; allowed are ", key.replace("[]", "[0]"));
    let keys = error.split_once(&refusal).map_or("", |(_, keys)| keys);
    keys.split(", ").filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// Adds the keys below a mapping, by their paths. A section is no key of its own; a list of mappings is one.
fn add_keys(mapping: &str, keys: &mut BTreeSet<String>) {
    for key in allowed(mapping) {
        let path = format!("{mapping}{key}");
        let section = format!("{path}.");
        if allowed(&section).is_empty() {
            keys.insert(path.clone());
        }
        add_keys(&section, keys);
        add_keys(&format!("{path}[]."), keys);
    }
}

/// The rows of the document's tables of keys, by key.
fn documented() -> BTreeMap<String, Row> {
    let rows = rows(CONFIGURATION, |row| row.contains_key("key"));
    rows.into_iter().map(|(_, row)| (code(&row["key"]).to_owned(), row)).collect()
}

#[test]
fn every_key_is_documented_and_there_are_no_others() {
    let mut keys = BTreeSet::new();
    add_keys("", &mut keys);
    assert!(keys.len() > 40 && keys.contains("discovery.http[].tls_config.ca_file"), "{keys:?}");
    let documented = documented();
    let mut problems = Vec::new();
    problems.extend(keys.iter().filter(|key| !documented.contains_key(*key)).map(|key| format!("{key} is missing")));
    problems.extend(documented.keys().filter(|key| !keys.contains(*key)).map(|key| format!("{key} is no key")));
    problems.extend(
        documented
            .iter()
            .filter(|(_, row)| row["value"].is_empty() || row["meaning"].is_empty())
            .map(|(key, _)| format!("{key} has no value or no meaning")),
    );
    assert_none(&problems);
}

#[test]
fn each_documented_default_is_the_programs() {
    let mut problems = Vec::new();
    for (key, row) in documented() {
        let without = parse(&configuration(&key, None)).map(|config| format!("{config:?}"));
        if row["default"] == "required" {
            problems.extend(without.is_ok().then(|| format!("{key} is not required")));
            continue;
        }
        let default = code(&row["default"]);
        let with = parse(&configuration(&key, Some(default))).map(|config| format!("{config:?}"));
        if with.is_err() || with != without {
            problems.push(format!("{key} is not {default} by default: {}", with.err().unwrap_or_default()));
        }
    }
    assert_none(&problems);
}

#[test]
fn the_example_has_the_documented_defaults() {
    let example: Value = serde_yaml::from_str(&super::read(Path::new("config.example.yaml"))).unwrap();
    let mut problems = Vec::new();
    for (key, row) in documented().iter().filter(|(key, _)| !key.contains("[]")) {
        let default: Value = serde_yaml::from_str(code(&row["default"])).unwrap();
        let found = key.split('.').try_fold(&example, |value, name| value.get(name));
        if found != Some(&default) {
            problems.push(format!("{key} is {found:?} in the example and {default:?} in {CONFIGURATION}"));
        }
    }
    assert_none(&problems);
}

/// Every key that a reload takes over, at another value than at the start. Of two that exclude each other one is in the
/// second source.
const CHANGED: &str = "
api: {base_url: 'http://127.0.0.1:9', status_path: /v1/biz/status, auth: x-d3-api-key, api_key_file: secret,
  api_key: null, timeout: 3s, rate_limit: 100/s, concurrency: 3, max_response_size: 1MiB, ca_file: cert.pem}
poll: {interval: 3s, min_interval: 1s, precision: 0.5, abandon_after: 1d}
tasks: [{id: other, group: g, submitted_at: '2026-11-23T10:00:00Z', file_keys: [f]}]
discovery:
  files: ['*.json']
  http:
    - url: https://127.0.0.1:9/
      refresh_interval: 1h
      timeout: 1s
      follow_redirects: false
      authorization: {type: Token, credentials: c}
      tls_config: {ca_file: cert.pem, cert_file: cert.pem, key_file: key.pem, insecure_skip_verify: true, min_version: TLS13}
    - {url: 'http://127.0.0.1:9/', authorization: {credentials_file: secret}}
    - {url: 'http://127.0.0.1:9/', basic_auth: {username: u, password: p}}
    - {url: 'http://127.0.0.1:9/', basic_auth: {username: u, password_file: secret}}
retention: 2h
web: {api_token_file: secret}
webhook: {secret_file: secret, track_unknown: true}
storage: {remember: 1d}
metrics: {latency_buckets: [1, 2], known_error_codes: [a], max_error_codes: 7, per_task_limit: 7}
";
/// Keys that a reload takes over as `tests/it` shows elsewhere.
const SHOWN_ELSEWHERE: [&str; 2] = ["metrics.created_samples", "web.config_file"];

/// The paths of all keys of a configuration.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let is_list_of_mappings =
        |value: &Value| value.as_sequence().is_some_and(|list| list.iter().any(Value::is_mapping));
    for (key, value) in value.as_mapping().into_iter().flatten() {
        let path = format!("{path}{}", key.as_str().unwrap());
        if is_list_of_mappings(value) {
            for entry in value.as_sequence().into_iter().flatten() {
                paths(entry, &format!("{path}[]."), found);
            }
        }
        if value.is_mapping() {
            paths(value, &format!("{path}."), found);
        } else {
            found.insert(path);
        }
    }
}

async fn reload(exporter: &Exporter) -> (u16, String) {
    let answer = exporter.request(Method::POST, "/-/reload").send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_reload_takes_over_what_the_document_says_and_refuses_the_rest_by_name() {
    let (restart, taken): (BTreeMap<_, _>, BTreeMap<_, _>) =
        documented().into_iter().partition(|(_, row)| row["reload"] == "restart");
    let mut changed = BTreeSet::from(SHOWN_ELSEWHERE.map(str::to_owned));
    paths(&serde_yaml::from_str(CHANGED).unwrap(), "", &mut changed);
    assert!(taken.values().all(|row| row["reload"] == "yes"), "{taken:?}");
    assert_eq!(taken.into_keys().collect::<BTreeSet<_>>(), changed);

    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "{}");
    setup.argument("--web.enable-lifecycle");
    std::fs::write(setup.path("secret"), "a-secret").unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(setup.path("cert.pem"), cert.pem()).unwrap();
    std::fs::write(setup.path("key.pem"), signing_key.serialize_pem()).unwrap();
    let exporter = setup.start().await;
    let good: Value = serde_yaml::from_str(&super::read(&setup.path("config.yaml"))).unwrap();
    for key in restart.keys() {
        let other = match key.as_str() {
            "storage.url" => "memory",
            key if key.ends_with("listen_address") => "127.0.0.1:1",
            key => panic!("another value for {key} is missing here"),
        };
        let (mut config, (section, name)) = (good.clone(), key.split_once('.').unwrap());
        config[section][name] = other.into();
        std::fs::write(setup.path("config.yaml"), serde_yaml::to_string(&config).unwrap()).unwrap();
        let (status, reason) = reload(&exporter).await;
        assert_eq!(status, 500, "{key}");
        assert!(reason.contains(&format!("{key} can't change")), "{reason}");
    }
    setup.configure(CHANGED);
    assert_eq!(reload(&exporter).await, (200, "the configuration is reloaded.\n".to_owned()));
}
