//! The address of a status route: each identifier is one path segment, whatever it holds.

use super::ClientError;
use crate::config::ApiConfig;
use crate::task::{Ask, TaskId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

/// All but RFC 3986's unreserved characters: what is left needs no escaping anywhere in a URL.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The status routes below `api.base_url`.
#[derive(Debug)]
pub(super) struct StatusRoutes {
    /// Everything before the main task ID, up to and with the slash.
    prefix: Url,
}

impl StatusRoutes {
    /// Joins `api.base_url` and `api.status_path`.
    ///
    /// Only scheme, host, port and path of the base are taken: a query or credentials in it have no place in a
    /// status route.
    ///
    /// # Errors
    ///
    /// [`ClientError::BaseUrl`] when the two make no HTTP address.
    pub(super) fn new(config: &ApiConfig) -> Result<Self, ClientError> {
        let base = &config.base_url;
        let mut prefix = base.origin().ascii_serialization();
        for part in [base.path(), &config.status_path] {
            let part = part.trim_matches('/');
            if !part.is_empty() {
                prefix.push('/');
                prefix.push_str(part);
            }
        }
        prefix.push('/');
        match Url::parse(&prefix) {
            Ok(prefix) if prefix.has_host() && prefix.query().is_none() && prefix.fragment().is_none() => {
                Ok(Self { prefix })
            }
            Ok(_) | Err(_) => Err(ClientError::BaseUrl { status_path: config.status_path.clone() }),
        }
    }

    /// Scheme, host and port, beyond which the key never goes.
    pub(super) fn origin(&self) -> String {
        self.prefix.origin().ascii_serialization()
    }

    /// Whether requests go over TLS.
    pub(super) fn is_https(&self) -> bool {
        self.prefix.scheme() == "https"
    }

    /// The address that answers `ask` about the task `id`; `None` when no URL can name it.
    ///
    /// `.` and `..` are those names: client, proxy and server alike take such a segment, escaped or not, for a step
    /// in the path, and would arrive at another route. An empty file key would arrive at the main task's.
    pub(super) fn url(&self, id: &TaskId, ask: &Ask) -> Option<Url> {
        let key = match ask {
            Ask::Task => None,
            Ask::File(key) => Some(key.as_str()),
        };
        if !is_segment(id.as_str()) || !key.is_none_or(is_segment) {
            return None;
        }
        let mut text = self.prefix.as_str().to_owned();
        text.extend(utf8_percent_encode(id.as_str(), ESCAPED));
        if let Some(key) = key {
            text.push('/');
            text.extend(utf8_percent_encode(key, ESCAPED));
        }
        Url::parse(&text).ok()
    }
}

fn is_segment(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::test_config;
    use crate::task::FileKey;
    use proptest::prelude::*;

    fn routes(base: &str, status_path: &str) -> Result<StatusRoutes, ClientError> {
        StatusRoutes::new(&ApiConfig { status_path: status_path.into(), ..test_config(base) })
    }

    fn asked(id: &str, key: Option<&str>) -> Option<String> {
        let ask = key.map_or(Ask::Task, |key| Ask::File(FileKey::from_api(key)));
        let routes = routes("https://d3.example", "/api/v1/status").unwrap();
        routes.url(&TaskId::new(id).unwrap(), &ask).map(String::from)
    }

    #[test]
    fn a_task_and_a_file_have_the_documented_routes() {
        assert_eq!(asked("main_task_1", None).unwrap(), "https://d3.example/api/v1/status/main_task_1");
        assert_eq!(asked("t", Some("file-1.pdf")).unwrap(), "https://d3.example/api/v1/status/t/file-1.pdf");
    }

    #[test]
    fn a_base_with_a_port_a_path_and_stray_slashes_is_joined_once() {
        for (base, path) in [
            ("http://127.0.0.1:8080/d3", "/v1/biz/status"),
            ("http://127.0.0.1:8080/d3/", "v1/biz/status/"),
            ("http://user:secret@127.0.0.1:8080/d3/?q=1#f", "/v1/biz/status"),
        ] {
            assert_eq!(
                routes(base, path).unwrap().url(&TaskId::new("t").unwrap(), &Ask::Task).unwrap().as_str(),
                "http://127.0.0.1:8080/d3/v1/biz/status/t"
            );
        }
        assert_eq!(routes("https://[::1]", "/s").unwrap().prefix.as_str(), "https://[::1]/s/");
    }

    #[test]
    fn what_makes_no_address_is_refused() {
        for (base, path) in [("https://d3.example", "/status?id="), ("https://d3.example", "/a#b"), ("data:x", "/s")] {
            assert!(matches!(routes(base, path), Err(ClientError::BaseUrl { .. })), "{base} {path}");
        }
    }

    #[test]
    fn what_a_path_would_interpret_is_escaped() {
        for (id, escaped) in [
            ("a/b", "a%2Fb"),
            ("a\\b", "a%5Cb"),
            ("a?b#c", "a%3Fb%23c"),
            ("100%", "100%25"),
            ("%2e%2e", "%252e%252e"),
            ("../admin", "..%2Fadmin"),
            ("...", "..."),
            (" a b ", "%20a%20b%20"),
            ("a;b=c&d+e:f@g", "a%3Bb%3Dc%26d%2Be%3Af%40g"),
            ("größe", "gr%C3%B6%C3%9Fe"),
        ] {
            assert_eq!(asked(id, None).unwrap(), format!("https://d3.example/api/v1/status/{escaped}"));
            assert_eq!(asked("t", Some(id)).unwrap(), format!("https://d3.example/api/v1/status/t/{escaped}"));
        }
    }

    #[test]
    fn a_name_that_no_url_can_hold_is_not_asked_for() {
        for name in [".", ".."] {
            assert_eq!(asked(name, None), None);
            assert_eq!(asked("t", Some(name)), None);
        }
        assert_eq!(asked("t", Some("")), None);
    }

    proptest! {
        #[test]
        fn every_name_stays_one_segment(id in ".{1,40}", key in ".{0,40}") {
            let Ok(id) = TaskId::new(&id) else { return Ok(()) };
            let ask = Ask::File(FileKey::from_api(&key));
            let Some(url) = routes("https://d3.example", "/api/v1/status").unwrap().url(&id, &ask) else {
                prop_assert!(["", ".", ".."].contains(&key.as_str()) || [".", ".."].contains(&id.as_str()));
                return Ok(());
            };
            let segments: Vec<_> = url.path_segments().unwrap().collect();
            prop_assert_eq!(&segments[..3], ["api", "v1", "status"]);
            prop_assert_eq!(segments.len(), 5);
            let decoded = percent_encoding::percent_decode_str(segments[3]).decode_utf8().unwrap();
            prop_assert_eq!(&*decoded, id.as_str());
            prop_assert!(url.query().is_none() && url.fragment().is_none());
        }
    }
}
