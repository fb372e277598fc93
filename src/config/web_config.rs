//! The web config file: TLS, basic auth and headers of the web listener, in the format that exporters share.
//!
//! The format is that of the Prometheus exporter-toolkit (`docs/web-configuration.md` there, and `web/tls_config.go`). A
//! file from another exporter works unchanged; what can't be honoured here is refused by its name.

mod plain;
mod tls;
mod users;

pub use tls::{CIPHER_SUITES, CURVES, ClientAuth, TlsServerConfig};
pub use users::PasswordHash;

use super::ConfigError;
use super::load::{located, read_bytes, read_tree, utf8};
use super::value::{Problem, Section, Value};
use super::yaml::Node;
use reqwest::header::{HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

/// The headers that the format lets one set, and the values that each may have; none means any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-XSS-Protection", &[]),
    ("Strict-Transport-Security", &[]),
];
/// The most requests that a rate limit may let through at once: more is no limit.
const MAX_BURST: usize = 1_000_000;

/// What a web config file says, validated.
#[derive(Clone, Debug)]
pub struct WebConfigFile {
    /// How TLS is spoken; plain HTTP without it.
    pub tls: Option<TlsServerConfig>,
    /// Whether HTTP/2 is offered over TLS.
    pub http2: bool,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who may ask, by name; everybody when it is empty.
    pub users: BTreeMap<String, PasswordHash>,
    /// How often requests may come.
    pub rate_limit: Option<RequestRate>,
}

/// How often requests may come: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// The time in which one request becomes allowed.
    pub interval: Duration,
    /// The most requests at once.
    pub burst: NonZeroU32,
}

impl Default for WebConfigFile {
    /// What an empty file means.
    fn default() -> Self {
        Self { tls: None, http2: true, headers: Vec::new(), users: BTreeMap::new(), rate_limit: None }
    }
}

impl WebConfigFile {
    /// Reads and checks the file at `path`. Nothing that it names is opened.
    ///
    /// # Errors
    ///
    /// A file that can't be read, and the first thing in it that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&Self::read_bytes(path)?, path)
    }

    /// Reads the file at `path`, whatever it says.
    ///
    /// # Errors
    ///
    /// A file that can't be read, or is far too large.
    pub fn read_bytes(path: &Path) -> Result<Vec<u8>, ConfigError> {
        read_bytes(path, |reason| ConfigError::UnreadableWebConfig { path: path.to_owned(), reason })
    }

    /// Checks what the file at `path` held; relative paths in it are relative to its folder.
    ///
    /// # Errors
    ///
    /// The first thing in it that is wrong.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, ConfigError> {
        let text = utf8(bytes, path)?;
        let root = read_tree(text, path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::read(&root, folder).map_err(|problem| located(&problem, text, path))
    }

    fn read(root: &Node, folder: &Path) -> Result<Self, Problem> {
        let mut section = Value::root(root).section()?;
        let tls = TlsServerConfig::read(section.section("tls_server_config")?, folder)?;
        let mut http = section.section("http_server_config")?;
        let http2 = http.set("http2").map_or(Ok(true), |value| plain::boolean(&value))?;
        let headers = headers(http.section("headers")?)?;
        http.finish()?;
        let users = section.read("basic_auth_users", BTreeMap::new(), users::read)?;
        let rate_limit = rate_limit(section.section("rate_limit")?)?;
        section.finish()?;
        Ok(Self { tls, http2, headers, users, rate_limit })
    }
}

fn headers(mut section: Section<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, Problem> {
    let mut headers = Vec::new();
    for (name, allowed) in HEADERS {
        let Some(value) = section.set(name) else { continue };
        // `X-XSS-Protection: 0` is a number to YAML.
        let number = || value.whole(0..=1).ok().map(|number| number.to_string());
        let text = value.text().map(str::to_owned).or_else(number).unwrap_or_default();
        // As in the toolkit, blank means unset.
        if text.is_empty() && value.text().is_some() {
            continue;
        }
        let is_allowed = allowed.is_empty() || allowed.contains(&text.as_str());
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&text)) {
            (Ok(name), Ok(text)) if is_allowed && !text.is_empty() => headers.push((name, text)),
            _ if allowed.is_empty() => return Err(value.wrong("a text that an HTTP header can carry")),
            _ => return Err(value.wrong(&allowed.join(" or "))),
        }
    }
    section.finish()?;
    Ok(headers)
}

fn rate_limit(mut section: Section<'_>) -> Result<Option<RequestRate>, Problem> {
    let interval = section.set("interval").map_or(Ok(Duration::ZERO), |value| plain::duration(&value))?;
    // An interval of 0 turns the limit off, whatever the burst.
    let least = usize::from(!interval.is_zero());
    let burst = section.set("burst").map(|value| value.whole(least..=MAX_BURST)).transpose()?;
    let burst_path = section.path("burst");
    section.finish()?;
    if interval.is_zero() {
        return Ok(None);
    }
    match burst.and_then(|burst| u32::try_from(burst).ok()).and_then(NonZeroU32::new) {
        Some(burst) => Ok(Some(RequestRate { interval, burst })),
        None => Err(Problem::new(burst_path, "missing, write how many requests may come at once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<WebConfigFile, String> {
        WebConfigFile::parse(text.as_bytes(), Path::new("/etc/web.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_and_empty_sections_mean_plain_http_for_everybody() {
        for text in [
            "",
            "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\nrate_limit:\n",
            "{}",
            "http_server_config: {http2: ~, headers: ~}\nrate_limit: {interval: ~, burst: ~}",
            "tls_server_config: {cert_file: '', key: '', client_ca_file: '', client_auth_type: ''}",
            "tls_server_config: {cert_file: ~, client_auth_type: ~, client_allowed_sans: ~, cipher_suites: ~}",
            // As in the toolkit, how TLS would be spoken does not turn it on.
            "tls_server_config: {min_version: TLS12, prefer_server_cipher_suites: no, curve_preferences: [X25519]}",
        ] {
            assert_eq!(format!("{:?}", parse(text).unwrap()), format!("{:?}", WebConfigFile::default()), "{text}");
        }
        let blank =
            "tls_server_config: {cert_file: '', key_file: ''}\nhttp_server_config: {headers: {X-Frame-Options: ''}}";
        let blank = parse(blank).unwrap();
        assert!(blank.tls.is_none() && blank.headers.is_empty());
    }

    #[test]
    fn headers_are_those_of_the_format_with_its_values() {
        let file = parse(
            "http_server_config: {http2: false, headers: {X-Frame-Options: deny, X-XSS-Protection: 0, \
             Content-Security-Policy: \"default-src 'self'\", Strict-Transport-Security: ~}}",
        )
        .unwrap();
        let shown: Vec<(&str, &str)> =
            file.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let expected =
            [("content-security-policy", "default-src 'self'"), ("x-frame-options", "deny"), ("x-xss-protection", "0")];
        assert_eq!(shown, expected);
        assert!(!file.http2);
    }

    #[test]
    fn a_rate_limit_of_no_interval_is_none() {
        for text in ["interval: 0, burst: 5", "interval: 0s, burst: 0", "burst: 0", "interval: 0.0s"] {
            assert_eq!(parse(&format!("rate_limit: {{{text}}}")).unwrap().rate_limit, None, "{text}");
        }
        let rate = parse("rate_limit: {interval: 100ms, burst: 5}").unwrap().rate_limit.unwrap();
        assert_eq!((rate.interval, rate.burst.get()), (Duration::from_millis(100), 5));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_text_makes_it_panic(text in "((tls_server_config|http_server_config|headers|basic_auth_users|rate_limit|cert|key_file|burst|cipher_suites): ?|[ \\n{}\\[\\]x:,-]|[0-9]){0,30}") {
            drop(parse(&text));
        }
    }
}
