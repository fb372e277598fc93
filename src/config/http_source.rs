//! One entry of `discovery.http`, with the names that Prometheus gives these options.

use super::http_auth::{self, HttpAuth};
use super::value::{Problem, Section, Value};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a list is asked for by default, as in Prometheus.
const DEFAULT_REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// The shortest time between two requests for a list: a task's polls begin within seconds anyway.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that an answer may take by default, where the list is not asked for more often: a producer that takes
/// longer hangs.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Prometheus's options of an HTTP client that this version does not have.
const UNSUPPORTED: &[&str] = &[
    "oauth2",
    "bearer_token",
    "bearer_token_file",
    "proxy_url",
    "no_proxy",
    "proxy_from_environment",
    "proxy_connect_header",
    "enable_http2",
    "http_headers",
];
/// Prometheus's options of TLS that this version does not have.
const UNSUPPORTED_TLS: &[&str] = &["ca", "ca_ref", "cert", "cert_ref", "key", "key_ref", "server_name", "max_version"];

/// A URL that answers with a list of tasks, and how to ask it.
#[derive(Clone, Debug)]
pub struct HttpSource {
    /// The URL, without user name and password: those are in `auth`.
    pub url: SourceUrl,
    /// The time between two requests.
    pub refresh_interval: Duration,
    /// The longest that a whole answer may take; no longer than `refresh_interval`.
    pub timeout: Duration,
    /// How requests are authorized.
    pub auth: Option<HttpAuth>,
    /// How TLS is spoken.
    pub tls: TlsOptions,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
}

/// A URL that shows itself without its query, which may hold a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceUrl(reqwest::Url);

/// How TLS is spoken with a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// A PEM file with the only trust roots; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate and its private key, both PEM files.
    pub identity: Option<IdentityFiles>,
    /// Whether any certificate of the server is taken.
    pub insecure_skip_verify: bool,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
}

impl TlsOptions {
    /// Whether any file is named.
    pub const fn has_files(&self) -> bool {
        self.ca_file.is_some() || self.identity.is_some()
    }
}

/// The client's certificate and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The PEM file with the certificate and those that lead to a root.
    pub cert_file: PathBuf,
    /// The PEM file with the private key.
    pub key_file: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl SourceUrl {
    /// The whole URL, to be asked and never to be shown.
    pub fn whole(&self) -> &reqwest::Url {
        &self.0
    }
}

impl fmt::Display for SourceUrl {
    /// Scheme, host, port and path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.origin().ascii_serialization(), self.0.path())
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl HttpSource {
    /// Reads one entry; relative paths are relative to `folder`.
    pub(super) fn read(entry: &Value<'_>, folder: &Path) -> Result<Self, Problem> {
        let mut section = entry.section()?;
        let Some(value) = section.get("url") else {
            return Err(Problem::new(
                entry.path().clone(),
                "the key `url` is missing: write the URL that answers with the list there",
            ));
        };
        let (url, from_url) = url(&value)?;
        let refresh_interval = section.read("refresh_interval", DEFAULT_REFRESH_INTERVAL, |value| {
            let interval = value.duration()?;
            if interval < MIN_REFRESH_INTERVAL { Err(value.wrong("a duration of 1s or more")) } else { Ok(interval) }
        })?;
        let timeout = section.read("timeout", DEFAULT_TIMEOUT.min(refresh_interval), |value| {
            let timeout = value.positive_duration()?;
            if timeout > refresh_interval {
                let text =
                    "longer than refresh_interval, allowed is at most that long: lower it or raise refresh_interval";
                return Err(Problem::new(value.path().clone(), text));
            }
            Ok(timeout)
        })?;
        let auth = http_auth::read(&mut section, folder)?.or(from_url);
        let tls = tls(section.section("tls_config")?, folder)?;
        let follow_redirects = section.read("follow_redirects", true, Value::boolean)?;
        section.finish_without(UNSUPPORTED)?;
        Ok(Self { url, refresh_interval, timeout, auth, tls, follow_redirects })
    }
}

fn url(value: &Value<'_>) -> Result<(SourceUrl, Option<HttpAuth>), Problem> {
    // Never the text itself: wherever it goes wrong, it may hold a password or a token.
    let wrong = || value.wrong_secret("an http or https URL with its host, like https://tasks.example.com/list");
    let mut url = reqwest::Url::parse(value.text().ok_or_else(wrong)?).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong());
    }
    let auth = http_auth::take_from(&mut url).map_err(|text| Problem::new(value.path().clone(), text))?;
    url.set_fragment(None);
    Ok((SourceUrl(url), auth))
}

fn tls(mut section: Section<'_>, folder: &Path) -> Result<TlsOptions, Problem> {
    let file = |value: Option<Value<'_>>| value.and_then(Value::some).map(|value| value.file(folder)).transpose();
    let ca_file = file(section.get("ca_file"))?;
    let cert_file = file(section.get("cert_file"))?;
    let key_file = file(section.get("key_file"))?;
    let insecure_skip_verify = section.read("insecure_skip_verify", false, Value::boolean)?;
    let min_version = section.read("min_version", TlsVersion::default(), |value| match value.text() {
        Some("TLS12") => Ok(TlsVersion::Tls12),
        Some("TLS13") => Ok(TlsVersion::Tls13),
        Some(_) | None => Err(value.wrong("TLS12 or TLS13; older versions are not spoken")),
    })?;
    let identity = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Some(IdentityFiles { cert_file, key_file }),
        (None, None) => None,
        (Some(_), None) => return Err(alone(&section, "cert_file", "key_file")),
        (None, Some(_)) => return Err(alone(&section, "key_file", "cert_file")),
    };
    section.finish_without(UNSUPPORTED_TLS)?;
    Ok(TlsOptions { ca_file, identity, insecure_skip_verify, min_version })
}

fn alone(section: &Section<'_>, given: &str, missing: &str) -> Problem {
    Problem::new(section.path(given), format!("given without {missing}, allowed are both or neither; add {missing}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, parse};
    use secrecy::ExposeSecret as _;

    fn source(text: &str) -> Result<HttpSource, String> {
        let text = format!("discovery: {{http: [{text}]}}");
        let config = parse(&text, Path::new("/etc/c.yaml"), &|_| None).map_err(|error| error.to_string())?;
        Ok(config.discovery.http.into_iter().next().unwrap())
    }

    fn password(source: &HttpSource) -> (String, String) {
        match source.auth.as_ref().unwrap() {
            HttpAuth::Basic { username, password: Secret::Inline(password) } => {
                (username.clone(), password.expose_secret().to_owned())
            }
            other @ (HttpAuth::Basic { .. } | HttpAuth::Header { .. }) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_written_is_as_in_prometheus() {
        let source = source("{url: 'http://h/list'}").unwrap();
        assert_eq!((source.refresh_interval.as_secs(), source.timeout.as_secs()), (60, 30));
        assert!(source.follow_redirects && source.auth.is_none());
        assert_eq!(source.tls, TlsOptions::default());
    }

    #[test]
    fn the_timeout_follows_a_short_interval() {
        assert_eq!(source("{url: 'http://h', refresh_interval: 5s}").unwrap().timeout.as_secs(), 5);
        assert_eq!(source("{url: 'http://h', timeout: 60s}").unwrap().timeout.as_secs(), 60);
        assert!(source("{url: 'http://h', timeout: 61s}").is_err());
    }

    #[test]
    fn what_is_written_is_what_is_asked() {
        let tls =
            "{ca_file: ca.pem, cert_file: /c.pem, key_file: k.pem, insecure_skip_verify: true, min_version: TLS13}";
        let source = source(&format!(
            "{{url: 'https://h/l', follow_redirects: false, tls_config: {tls}, authorization: {{type: Token, credentials_file: t}}}}"
        ))
        .unwrap();
        assert!(!source.follow_redirects && source.tls.insecure_skip_verify);
        assert_eq!(source.tls.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
        let identity = source.tls.identity.unwrap();
        assert_eq!((identity.cert_file, identity.key_file), ("/c.pem".into(), "/etc/k.pem".into()));
        assert_eq!(source.tls.min_version, TlsVersion::Tls13);
        match source.auth.unwrap() {
            HttpAuth::Header { scheme, credentials: Secret::File(path) } => {
                assert_eq!((scheme.as_str(), path.as_path()), ("Token", Path::new("/etc/t")));
            }
            other @ (HttpAuth::Header { .. } | HttpAuth::Basic { .. }) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_user_in_the_url_is_basic_auth_unless_another_is_given() {
        let user = source("{url: 'https://us%65r:p%40ss@h:8443/l?q=1#f'}").unwrap();
        assert_eq!(password(&user), ("user".to_owned(), "p@ss".to_owned()));
        assert_eq!(user.url.whole().as_str(), "https://h:8443/l?q=1");
        let other = source("{url: 'https://user:word@h/', basic_auth: {username: me, password: mine}}").unwrap();
        assert_eq!(password(&other), ("me".to_owned(), "mine".to_owned()));
    }

    #[test]
    fn no_form_shows_a_secret() {
        let source = source("{url: 'https://user:hunter2@h/l?token=hunter2#hunter2'}").unwrap();
        assert_eq!(source.url.to_string(), "https://h/l");
        assert!(!format!("{source:?}").contains("hunter2"), "{source:?}");
        for wrong in ["ftp://h?hunter2", "//user:hunter2@h", "http://user:hunter2@", "https://us%3Aer:hunter2@h"] {
            let text = format!("discovery: {{http: [{{url: '{wrong}'}}]}}");
            let error = parse(&text, Path::new("c.yaml"), &|_| None).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_option_of_prometheus_that_is_not_there_is_called_that() {
        for key in UNSUPPORTED {
            let error = source(&format!("{{url: 'http://h', {key}: 1}}")).unwrap_err();
            assert!(error.contains(&format!("discovery.http[0].{key}: a key of Prometheus that is not supported")));
        }
        for key in UNSUPPORTED_TLS {
            let error = source(&format!("{{url: 'http://h', tls_config: {{{key}: 1}}}}")).unwrap_err();
            assert!(error.contains(&format!("tls_config.{key}: a key of Prometheus that is not supported")), "{error}");
        }
    }
}
