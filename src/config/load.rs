//! From the file to the typed sections: every key checked, the first error told with its place.

use super::api::ApiConfig;
use super::discovery::DiscoveryConfig;
use super::locate::{line_and_column, locate};
use super::metrics::MetricsConfig;
use super::poll::PollConfig;
use super::storage::StorageConfig;
use super::value::{Problem, Value};
use super::web::WebConfig;
use super::webhook::WebhookConfig;
use super::yaml::{self, Node};
use super::{Config, ConfigError, tasks};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The largest configuration file, in MiB: some 100,000 listed task IDs, and no danger to the parser.
const MAX_MIB: usize = 4;
const MAX_BYTES: usize = MAX_MIB * 1024 * 1024;

/// Reads and checks the configuration file at `path`. `env` looks up a variable of the environment.
///
/// Nothing else is opened or contacted: whether the files that it names exist is found by those who read them.
///
/// # Errors
///
/// A file that can't be read, and the first thing in it that is wrong.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let bytes = read_bytes(path, |reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
    parse(utf8(&bytes, path)?, path, env)
}

/// Checks the configuration `text` of the file at `path`, whose folder relative paths are relative to.
///
/// # Errors
///
/// The first thing in the text that is wrong, or a key in the environment that can't be used.
pub fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    if text.len() > MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), most_mib: MAX_MIB });
    }
    let root = read_tree(text, path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    read(&root, folder, env).map_err(|problem| located(&problem, text, path))
}

/// Reads a file of the configuration, bounded.
pub(super) fn read_bytes(path: &Path, unreadable: impl Fn(io::Error) -> ConfigError) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    // One byte past the limit tells a file at the limit from a larger one.
    let limit = u64::try_from(MAX_BYTES + 1).unwrap_or(u64::MAX);
    File::open(path).map_err(&unreadable)?.take(limit).read_to_end(&mut bytes).map_err(&unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), most_mib: MAX_MIB });
    }
    Ok(bytes)
}

/// What the file at `path` held, as text.
pub(super) fn utf8<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, ConfigError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
        let at = line_and_column(&before, before.len());
        wrong(path, at, "this is not UTF-8; save the file in that encoding".to_owned())
    })
}

/// The text of the file at `path`, as a tree.
pub(super) fn read_tree(text: &str, path: &Path) -> Result<Node, ConfigError> {
    yaml::read(text).map_err(|error| {
        let colon = if error.key.steps().is_empty() { "" } else { ": " };
        wrong(path, error.at, format!("{}{colon}{}", error.key, error.problem))
    })
}

fn read(root: &Node, folder: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problem> {
    let mut section = Value::root(root).section()?;
    let api = ApiConfig::read(section.section("api")?, folder, env)?;
    let poll = PollConfig::read(section.section("poll")?)?;
    let tasks = section.read("tasks", Vec::new(), tasks::read)?;
    let discovery = DiscoveryConfig::read(section.section("discovery")?, folder)?;
    let retention = section.read("retention", Config::default().retention, Value::duration)?;
    let web = WebConfig::read(section.section("web")?, folder)?;
    let webhook = WebhookConfig::read(section.section("webhook")?, folder)?;
    let storage = StorageConfig::read(section.section("storage")?, folder)?;
    let metrics = MetricsConfig::read(section.section("metrics")?)?;
    section.finish()?;
    Ok(Config { api, poll, tasks, discovery, retention, web, webhook, storage, metrics })
}

/// The problem with its place in the text.
pub(super) fn located(problem: &Problem, text: &str, path: &Path) -> ConfigError {
    let colon = if problem.path.steps().is_empty() { "" } else { ": " };
    let mut what = format!("{}{colon}{}", problem.path, problem.text);
    if let Some(other) = &problem.other {
        let (line, _) = locate(text, other, false);
        what.push_str(&format!("; see also line {line}"));
    }
    wrong(path, locate(text, &problem.path, problem.at_key), what)
}

fn wrong(path: &Path, (line, column): (usize, usize), what: String) -> ConfigError {
    ConfigError::Wrong { path: path.to_owned(), line, column, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeySource;
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    const FILE: &str = "config.yaml";

    fn with_environment(text: &str, key: Option<&str>) -> Result<Config, String> {
        let env = |name: &str| (name == "DRAGDROPDO_API_KEY").then(|| key.map(str::to_owned)).flatten();
        parse(text, Path::new(FILE), &env).map_err(|error| error.to_string())
    }

    fn key(text: &str, environment: Option<&str>) -> String {
        match with_environment(text, environment).unwrap().api.key {
            KeySource::Inline(key) => key.expose_secret().to_owned(),
            KeySource::File(path) => format!("file {}", path.display()),
        }
    }

    #[test]
    fn the_configuration_goes_before_the_environment_and_that_before_the_default_file() {
        assert_eq!(key("api: {api_key: configured}", Some("environment")), "configured");
        assert_eq!(key("api: {api_key_file: secret}", Some("environment")), "file secret");
        assert_eq!(key("", Some(" environment\n")), "environment");
        assert_eq!(key("", Some(" ")), "file /run/secrets/dragdropdo_api_key");
        assert_eq!(key("api: {api_key: ~, api_key_file: ~}", None), "file /run/secrets/dragdropdo_api_key");
    }

    #[test]
    fn an_environment_that_no_header_can_carry_is_refused_only_where_it_counts() {
        let error = with_environment("poll: {}", Some("two words")).unwrap_err();
        assert!(
            error.starts_with("config.yaml:1:1: api.api_key: not given here, and the environment's DRAGDROPDO_API_KEY")
        );
        assert!(!error.contains("two words"));
        assert_eq!(key("api: {api_key: configured}", Some("two words")), "configured");
    }

    #[test]
    fn an_empty_section_is_its_defaults() {
        let sections = "api:\npoll:\ntasks:\ndiscovery:\nweb: ~\nwebhook:\nstorage:\nmetrics:\n";
        let config = with_environment(sections, None).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn an_unknown_key_is_refused_in_every_section() {
        for section in ["api", "poll", "discovery", "web", "webhook", "storage", "metrics"] {
            let error = with_environment(&format!("{section}:\n  surprise: 1\n"), None).unwrap_err();
            assert!(
                error.starts_with(&format!("config.yaml:2:3: {section}.surprise: unknown key; allowed are ")),
                "{error}"
            );
        }
        let error = with_environment("tasks:\n- id: a\n  surprise: 1\n", None).unwrap_err();
        assert_eq!(
            error,
            "config.yaml:3:3: tasks[0].surprise: unknown key; allowed are id, group, submitted_at, file_keys"
        );
    }

    #[test]
    fn what_is_written_is_what_is_configured() {
        let text = "
api:
  base_url: http://127.0.0.1:8080/prefix/
  status_path: /v1/biz/status/
  auth: x-d3-api-key
  timeout: 1m30s
  rate_limit: 5/s
  concurrency: 1
  max_response_size: 1KiB
poll: {interval: 20s, min_interval: 20s, precision: 1, abandon_after: 1w}
retention: 0
web: {listen_address: ':0'}
webhook: {listen_address: ':1', track_unknown: true, secret_file: secret}
storage: {url: memory, remember: 0s}
metrics: {latency_buckets: [0.5, 1], known_error_codes: [Internal_Error, internal_error, TIMEOUT], max_error_codes: 2, per_task_limit: 0, created_samples: true}
";
        let config = with_environment(text, None).unwrap();
        assert_eq!(config.api.base_url.as_str(), "http://127.0.0.1:8080/prefix");
        assert_eq!(config.api.status_path, "/v1/biz/status");
        assert_eq!(config.api.auth, crate::config::KeyHeader::XD3ApiKey);
        assert_eq!(config.api.timeout.as_secs(), 90);
        assert_eq!((config.api.rate_limit.requests.get(), config.api.rate_limit.period.as_secs()), (5, 1));
        assert_eq!((config.api.concurrency, config.api.max_response_size), (1, 1024));
        assert_eq!((config.poll.interval.as_secs(), config.poll.min_interval.as_secs()), (20, 20));
        assert_eq!(config.poll.abandon_after.as_secs(), 7 * 24 * 3600);
        assert!(config.retention.is_zero() && config.storage.remember.is_zero());
        assert_eq!(config.web.listen_address, ":0");
        assert_eq!(config.webhook.listen_address.as_deref(), Some(":1"));
        assert!(
            config.webhook.track_unknown && config.webhook.secret_file.is_some_and(|path| path == Path::new("secret"))
        );
        assert_eq!(config.storage.url, crate::config::StorageUrl::Memory);
        assert_eq!(config.metrics.latency_buckets, [0.5, 1.0]);
        let codes: Vec<&str> = config.metrics.known_error_codes.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes, ["internal_error", "timeout"]);
        assert_eq!((config.metrics.max_error_codes, config.metrics.per_task_limit), (2, 0));
        assert!(config.metrics.created_samples);
    }

    #[test]
    fn a_task_listed_twice_with_the_same_settings_is_one() {
        let text = "tasks: [a, {id: a}, {id: a, group: default}, {id: b, file_keys: [x, x]}, {id: b, file_keys: [x]}]";
        let tasks = with_environment(text, None).unwrap().tasks;
        assert_eq!(tasks.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn an_absolute_path_of_the_database_stays_absolute() {
        let config = parse("storage: {url: sqlite:///var/lib/x.db}", Path::new("/etc/config.yaml"), &|_| None).unwrap();
        assert_eq!(config.storage.url, crate::config::StorageUrl::Sqlite("/var/lib/x.db".into()));
        for url in
            ["sqlite://", "sqlite:///", "sqlite://a?mode=ro", "sqlite:a.db", "sqlite::memory:", "Memory", "mysql://h/d"]
        {
            assert!(with_environment(&format!("storage: {{url: '{url}'}}"), None).is_err(), "{url}");
        }
    }

    #[test]
    fn the_debug_form_shows_no_key() {
        let config = with_environment("api: {api_key: hunter2}", None).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    /// Lines that look like a configuration, in any order and indentation: they reach deeper than arbitrary text.
    fn nearly_a_configuration() -> impl Strategy<Value = String> {
        let word = "(api|poll|tasks|metrics|id|group|interval|api_key|base_url|latency_buckets|url|storage|web|listen_address|discovery|files|http|basic_auth|username|authorization|tls_config)";
        let value = "(15s|0|-1|1e9|~|true|'x'|\\[|\\]|\\{|\\}|&a|\\*a|!t|:10211|sqlite://x|\"|é|https://u:p@h|<<)";
        let line = format!("( |  |    |- ){{0,2}}({word}: ?)?({value} ?){{0,3}}");
        proptest::collection::vec(proptest::string::string_regex(&line).unwrap(), 0..12)
            .prop_map(|lines| lines.join("\n"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            check(&text)?;
        }

        #[test]
        fn no_mangled_configuration_makes_it_panic(text in nearly_a_configuration()) {
            check(&text)?;
        }
    }

    /// Parses, and checks that an error stands at a place within the text, or just behind it.
    fn check(text: &str) -> Result<(), TestCaseError> {
        match parse(text, Path::new(FILE), &|_| None) {
            Ok(_) => Ok(()),
            Err(ConfigError::Wrong { line, column, what, .. }) => {
                // YAML 1.1, which the parser follows, knows more line breaks than `lines` does.
                let breaks = text.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
                prop_assert!((1..=breaks + 2).contains(&line), "{}: line {}", what, line);
                prop_assert!((1..=text.chars().count() + 1).contains(&column), "{}: column {}", what, column);
                Ok(())
            }
            Err(
                error @ (ConfigError::Unreadable { .. }
                | ConfigError::UnreadableWebConfig { .. }
                | ConfigError::TooLarge { .. }),
            ) => Err(TestCaseError::fail(error.to_string())),
        }
    }
}
