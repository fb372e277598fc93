//! The configuration: the example at its defaults, and one wrong file per message.

use dragdropdo_exporter::config::{Config, ConfigError, HttpAuth, KeySource, StorageUrl, load, parse};
use secrecy::ExposeSecret as _;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

fn no_environment(_: &str) -> Option<String> {
    None
}

fn key_in_environment(name: &str) -> Option<String> {
    (name == "DRAGDROPDO_API_KEY").then(|| " d3_live_environment\n".to_owned())
}

fn parse_text(text: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("config.yaml"), &no_environment)
}

/// Every configuration under `tests/config`, each with the exact message that it must be refused with beside it.
///
/// The message is what a user sees who names the file by its path from the top of the project.
///
/// # Errors
///
/// A configuration without its message, or a message without its configuration.
fn wrong_files() -> io::Result<Vec<(PathBuf, String)>> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir("tests/config")? {
        files.insert(entry?.path().with_extension("yaml"));
    }
    let with_message = |file: PathBuf| {
        let message = file.with_extension("txt");
        let text = std::fs::read_to_string(&message)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", message.display())))?;
        Ok((file, text.trim_end_matches('\n').to_owned()))
    };
    files.into_iter().map(with_message).collect()
}

#[test]
fn each_wrong_file_is_refused_with_exactly_its_message() {
    let files = wrong_files().unwrap();
    assert!(files.len() >= 12, "only {} files", files.len());
    for (file, expected) in files {
        let found = match load(&file, &no_environment) {
            Ok(_) => panic!("{} was accepted", file.display()),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{}", file.display());
    }
}

#[test]
fn no_message_shows_a_secret() {
    for (file, expected) in wrong_files().unwrap() {
        for secret in ["d3_live", "user:", "exporter:word"] {
            assert!(!expected.contains(secret), "{}", file.display());
        }
    }
}

#[test]
fn the_example_is_the_defaults() {
    let example = load(Path::new("config.example.yaml"), &no_environment).unwrap();
    assert_eq!(format!("{example:#?}"), format!("{:#?}", Config::default()));
    assert_eq!(format!("{:#?}", parse_text("").unwrap()), format!("{:#?}", Config::default()));
}

#[test]
fn the_example_runs_with_the_key_of_the_environment() {
    let example = load(Path::new("config.example.yaml"), &key_in_environment).unwrap();
    match example.api.key {
        KeySource::Inline(key) => assert_eq!(key.expose_secret(), "d3_live_environment"),
        KeySource::File(path) => panic!("the key would come from {}", path.display()),
    }
}

#[test]
fn the_example_shows_every_key() {
    let expected = [
        "api.api_key",
        "api.api_key_file",
        "api.auth",
        "api.base_url",
        "api.ca_file",
        "api.concurrency",
        "api.max_response_size",
        "api.rate_limit",
        "api.status_path",
        "api.timeout",
        "discovery.files",
        "discovery.http",
        "metrics.created_samples",
        "metrics.known_error_codes",
        "metrics.latency_buckets",
        "metrics.max_error_codes",
        "metrics.per_task_limit",
        "poll.abandon_after",
        "poll.interval",
        "poll.min_interval",
        "poll.precision",
        "retention",
        "storage.remember",
        "storage.url",
        "tasks",
        "web.api_token_file",
        "web.config_file",
        "web.listen_address",
        "webhook.listen_address",
        "webhook.secret_file",
        "webhook.track_unknown",
    ];
    let text = std::fs::read_to_string("config.example.yaml").unwrap();
    let example: serde_yaml::Mapping = serde_yaml::from_str(&text).unwrap();
    let mut found = BTreeSet::new();
    for (name, value) in &example {
        let name = name.as_str().unwrap();
        match value.as_mapping() {
            Some(section) => found.extend(section.keys().map(|key| format!("{name}.{}", key.as_str().unwrap()))),
            None => found.extend([name.to_owned()]),
        }
    }
    assert_eq!(found, expected.map(str::to_owned).into());
}

/// The commented lines of the `example` from `first` on that are indented below its `#`, as YAML.
fn sample(example: &str, first: &str) -> String {
    let indent = first.rfind(' ').map_or(0, |blank| blank + 1);
    let lines = example.lines().skip_while(|line| *line != first);
    lines.map_while(|line| Some(format!("{}\n", line.strip_prefix(&first[..indent])?))).collect()
}

#[test]
fn the_sample_tasks_of_the_example_are_right() {
    let sample = sample(&std::fs::read_to_string("config.example.yaml").unwrap(), "#   tasks:");
    let tasks = parse_text(&sample).unwrap().tasks;
    assert_eq!(tasks.len(), 2);
    assert_eq!(tasks[0].id.as_str(), "main_task_abc123");
    assert_eq!(tasks[0].group.as_str(), "default");
    assert_eq!(tasks[1].group.as_str(), "invoices");
    assert_eq!(tasks[1].submitted_at.unwrap().to_string(), "2026-11-23T10:00:00Z");
    assert_eq!(tasks[1].file_keys[0].as_str(), "file_key_1");
}

#[test]
fn the_sample_source_of_the_example_is_right_and_shows_every_option() {
    let example = std::fs::read_to_string("config.example.yaml").unwrap();
    let sample = sample(&example, "  #   http:").replace('\n', "\n  ");
    let http = parse_text(&format!("discovery:\n  {sample}")).unwrap().discovery.http;
    assert_eq!(http.len(), 1);
    assert!(matches!(&http[0].auth, Some(HttpAuth::Header { scheme, .. }) if scheme == "Bearer"));
    assert!(http[0].tls.ca_file.is_some() && http[0].tls.identity.is_some());
    let message = parse_text("discovery: {http: [{url: 'http://h', surprise: 1}]}").unwrap_err().to_string();
    let (_, keys) = message.split_once("allowed are ").unwrap();
    for key in keys.split(", ") {
        assert!(sample.contains(key), "{key} is not shown");
    }
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let text = "api: {api_key_file: key, ca_file: /etc/ca.pem}\nweb: {api_token_file: ../token}\nwebhook: {secret_file: secret}\n";
    let config = parse(text, Path::new("/etc/exporter/config.yaml"), &no_environment).unwrap();
    assert!(matches!(&config.api.key, KeySource::File(path) if path == Path::new("/etc/exporter/key")));
    assert_eq!(config.api.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert_eq!(config.web.api_token_file.as_deref(), Some(Path::new("/etc/exporter/../token")));
    assert_eq!(config.webhook.secret_file.as_deref(), Some(Path::new("/etc/exporter/secret")));
    assert_eq!(config.storage.url, StorageUrl::Sqlite("/etc/exporter/dragdropdo-exporter.db".into()));
}

#[test]
fn a_missing_file_and_a_folder_say_how_to_name_another() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("config.yaml"), folder.path().to_owned()] {
        let message = load(&path, &no_environment).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
        assert!(message.ends_with("--config.file names another one"), "{message}");
    }
}

#[test]
fn a_file_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, "#".repeat(4 * 1024 * 1024)).unwrap();
    load(&path, &no_environment).unwrap();
    std::fs::write(&path, "#".repeat(4 * 1024 * 1024 + 1)).unwrap();
    let message = load(&path, &no_environment).unwrap_err().to_string();
    assert!(message.ends_with("is larger than 4 MiB, which is the most allowed"), "{message}");
}
