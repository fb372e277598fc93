//! `api`: where the D3 API is, the key for it, and the bounds of every request.

use super::rate;
use super::value::{Problem, Section, Value};
use secrecy::SecretString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most requests in flight at once: no budget of a key needs more, and each holds a connection and a body.
const MAX_CONCURRENCY: usize = 1024;
/// Bounds of `max_response_size`: a status body of one file fits the smallest, and the largest fits a machine's memory once.
const RESPONSE_SIZES: std::ops::RangeInclusive<u64> = 1024..=1024 * 1024 * 1024;

/// Requests per minute by default: well below the 1000 of a usual account, which also feed the application that submits the work.
const DEFAULT_REQUESTS: NonZeroU32 = NonZeroU32::new(300).unwrap();

/// The D3 API and the key for it.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Scheme, host and optional path prefix. A prefix has no slash at its end.
    pub base_url: reqwest::Url,
    /// The path of the status routes below `base_url`, without a slash at its end.
    pub status_path: String,
    /// The header that carries the key.
    pub auth: KeyHeader,
    /// Where the key comes from.
    pub key: KeySource,
    /// The longest that a whole answer may take.
    pub timeout: Duration,
    /// The budget that all requests share.
    pub rate_limit: RateLimit,
    /// Requests in flight at once.
    pub concurrency: usize,
    /// The longest body that is read, in bytes after decompression.
    pub max_response_size: u64,
    /// A PEM file with trust roots beside the platform's.
    pub ca_file: Option<PathBuf>,
}

/// The header that carries the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeader {
    /// `Authorization: Bearer <key>`.
    Bearer,
    /// `X-D3-API-Key: <key>`, on some older accounts.
    XD3ApiKey,
}

/// Where the API key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// `api.api_key`, or the environment's `DRAGDROPDO_API_KEY`.
    Inline(SecretString),
    /// `api.api_key_file`, read again when it changes. Nothing has looked yet whether it exists: who opens it and
    /// does not find it says [`KeySource::HOW_TO_GIVE_ONE`].
    File(PathBuf),
}

impl KeySource {
    /// The variable of the environment that holds the key when the configuration names none.
    pub const VARIABLE: &'static str = "DRAGDROPDO_API_KEY";
    /// The file that is read when neither the configuration nor the environment names a key: where Docker and
    /// Kubernetes mount a secret of that name.
    pub const DEFAULT_FILE: &'static str = "/run/secrets/dragdropdo_api_key";
    /// What to tell a user who gave no key.
    pub const HOW_TO_GIVE_ONE: &'static str = "give the API key in one of three ways: put it in a file that api.api_key_file names \
         (without one, /run/secrets/dragdropdo_api_key is read), set the environment's DRAGDROPDO_API_KEY, or write it as api.api_key \
         in the configuration";
}

/// A number of requests per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per period.
    pub requests: NonZeroU32,
    /// One second, one minute or one hour.
    pub period: Duration,
}

impl Default for ApiConfig {
    #[expect(clippy::expect_used, reason = "a constant that the tests parse")]
    fn default() -> Self {
        Self {
            base_url: reqwest::Url::parse("https://api.dragdropdo.com").expect("a valid URL"),
            status_path: "/api/v1/status".to_owned(),
            auth: KeyHeader::Bearer,
            key: KeySource::File(PathBuf::from(KeySource::DEFAULT_FILE)),
            timeout: Duration::from_secs(10),
            rate_limit: RateLimit { requests: DEFAULT_REQUESTS, period: Duration::from_secs(60) },
            concurrency: 32,
            max_response_size: 8 * 1024 * 1024,
            ca_file: None,
        }
    }
}

impl ApiConfig {
    /// Reads the section; `env` looks up the key for when the section names none.
    pub(super) fn read(
        mut section: Section<'_>,
        folder: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Problem> {
        let default = Self::default();
        let config = Self {
            base_url: section.read("base_url", default.base_url, base_url)?,
            status_path: section.read("status_path", default.status_path, status_path)?,
            auth: section.read("auth", default.auth, auth)?,
            key: key(&mut section, folder, env)?.unwrap_or(default.key),
            timeout: section.read("timeout", default.timeout, Value::positive_duration)?,
            rate_limit: section.read("rate_limit", default.rate_limit, rate::read)?,
            concurrency: section.read("concurrency", default.concurrency, |value| value.whole(1..=MAX_CONCURRENCY))?,
            max_response_size: section.read("max_response_size", default.max_response_size, |value| {
                value.size(RESPONSE_SIZES, "1KiB to 1GiB")
            })?,
            ca_file: section.get("ca_file").and_then(Value::some).map(|value| value.file(folder)).transpose()?,
        };
        section.finish()?;
        Ok(config)
    }
}

/// The key that the section names, else the environment's.
fn key(
    section: &mut Section<'_>,
    folder: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<KeySource>, Problem> {
    let file = section.get("api_key_file").and_then(Value::some);
    let inline = section.get("api_key").and_then(Value::some);
    match (inline, file) {
        (Some(inline), Some(file)) => {
            let text = "given beside api.api_key, allowed is one of the two; remove the other";
            Err(Problem::new(file.path().clone(), text).with_other(inline.path().clone()))
        }
        (Some(inline), None) => match inline.text().and_then(sendable) {
            Some(key) => Ok(Some(KeySource::Inline(key))),
            None => Err(inline.wrong_secret(
                "the API key as a text without blanks or control characters, in quotes if it is all digits",
            )),
        },
        (None, Some(file)) => {
            // The key itself where its file should be named would end up in messages about a missing file.
            if file.text().is_some_and(|text| {
                ["d3_live_", "d3_test_"].iter().any(|start| text.starts_with(start)) && !text.contains(['/', '.'])
            }) {
                return Err(file.wrong_secret(
                    "the path of the file that holds the API key; the key itself belongs to api.api_key",
                ));
            }
            Ok(Some(KeySource::File(file.file(folder)?)))
        }
        (None, None) => environment_key(env).map_err(|text| Problem::new(section.path("api_key"), text)),
    }
}

/// The key of the environment, where it is set and not empty.
fn environment_key(env: &dyn Fn(&str) -> Option<String>) -> Result<Option<KeySource>, &'static str> {
    let Some(text) = env(KeySource::VARIABLE).filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    match sendable(&text) {
        Some(key) => Ok(Some(KeySource::Inline(key))),
        None => {
            Err("not given here, and the environment's DRAGDROPDO_API_KEY holds a blank or another character that no \
             HTTP header can carry; allowed is the API key and nothing else")
        }
    }
}

/// The key without blanks around it, if an HTTP header can carry it.
fn sendable(text: &str) -> Option<SecretString> {
    let key = text.trim();
    (!key.is_empty() && key.chars().all(|c| c.is_ascii_graphic())).then(|| SecretString::from(key))
}

fn base_url(value: &Value<'_>) -> Result<reqwest::Url, Problem> {
    let wrong = || value.wrong("a URL with scheme and host, like https://api.dragdropdo.com");
    let mut url = reqwest::Url::parse(value.text().ok_or_else(wrong)?).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            value.wrong_secret("a URL without a user name or password; the API key belongs to api.api_key_file")
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(value.wrong("a URL without `?` and `#`"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn status_path(value: &Value<'_>) -> Result<String, Problem> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\');
    match value.text() {
        Some(path) if path.starts_with('/') && path.chars().all(plain) => Ok(path.trim_end_matches('/').to_owned()),
        Some(_) | None => {
            Err(value.wrong("a path that begins with /, like /api/v1/status, without blanks, `?` and `#`"))
        }
    }
}

fn auth(value: &Value<'_>) -> Result<KeyHeader, Problem> {
    match value.text() {
        Some("bearer") => Ok(KeyHeader::Bearer),
        Some("x-d3-api-key") => Ok(KeyHeader::XD3ApiKey),
        Some(_) | None => Err(value.wrong("bearer or x-d3-api-key")),
    }
}
