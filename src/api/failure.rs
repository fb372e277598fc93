//! How a request comes out: a closed list, and what is known of a failure.

use crate::time::Time;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::error::Error;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

/// Longest `Retry-After` that is believed: one that asks for more has the same effect, and sums of times stay small.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest reason kept, in characters: it is one line of a log.
const MAX_REASON_CHARS: usize = 300;

/// How an API request came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestOutcome {
    /// A 200 whose body could be read.
    Success,
    /// Status 404.
    NotFound,
    /// Status 401 or 403.
    Unauthorized,
    /// Status 429.
    RateLimited,
    /// Any other 4xx.
    ClientError,
    /// Any 5xx.
    ServerError,
    /// The whole answer took longer than `api.timeout`.
    Timeout,
    /// No connection, or one that broke before the answer was complete: DNS, TCP, TLS, a body cut midway.
    ConnectionError,
    /// Any other answer: not JSON, without a status, too large, a redirect that is not followed.
    InvalidResponse,
}

impl RequestOutcome {
    /// Every outcome, in the order in which they are exposed.
    pub const ALL: [Self; 9] = [
        Self::Success,
        Self::NotFound,
        Self::Unauthorized,
        Self::RateLimited,
        Self::ClientError,
        Self::ServerError,
        Self::Timeout,
        Self::ConnectionError,
        Self::InvalidResponse,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::ConnectionError => "connection_error",
            Self::InvalidResponse => "invalid_response",
        }
    }

    /// The outcome that a status other than 200 decides by itself.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::NotFound,
            401 | 403 => Self::Unauthorized,
            429 => Self::RateLimited,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::InvalidResponse,
        }
    }
}

/// A request that gave no observation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// Which kind of failure it is; never [`RequestOutcome::Success`].
    pub outcome: RequestOutcome,
    /// The status, when an answer had come so far.
    pub status: Option<u16>,
    /// How long from now the server asks to be left alone, at most a day.
    pub retry_after: Option<Duration>,
    /// What happened, for the log: never a key, a download link or a part of a body.
    pub reason: String,
}

impl Failure {
    /// A failure without a status.
    pub(super) fn new(outcome: RequestOutcome, reason: impl Into<String>) -> Self {
        Self { outcome, status: None, retry_after: None, reason: reason.into() }
    }

    /// A 200 that can't be read.
    pub(super) fn unreadable(reason: impl Into<String>) -> Self {
        Self::new(RequestOutcome::InvalidResponse, reason).with_status(StatusCode::OK)
    }

    /// A request or body that the client could not carry through.
    pub(super) fn broken(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let chain = Chain::of(&error);
        Self::new(chain.outcome(), chain.reason())
    }

    /// The same failure, of an answer with this status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status: Some(status.as_u16()), ..self }
    }
}

/// How long from `now` the server asks to be left alone: RFC 9110's `Retry-After`, in seconds or as a date.
///
/// A date in the past is zero; anything else that is neither is `None`.
pub(super) fn retry_after(headers: &HeaderMap, now: Time) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().ok()?)
    } else {
        let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Time::from_micros(i64::try_from(since_epoch.as_micros()).ok()?).since(now)
    };
    Some(delay.min(MAX_RETRY_AFTER))
}

/// An error and its sources, outermost first. [`io::Error`] hides the error that it wraps from `source`.
struct Chain<'a>(Vec<&'a (dyn Error + 'static)>);

impl<'a> Chain<'a> {
    fn of(error: &'a (dyn Error + 'static)) -> Self {
        let mut errors = vec![error];
        let mut next = inner(error);
        while let Some(error) = next {
            errors.push(error);
            next = inner(error);
        }
        Self(errors)
    }

    /// Tells an answer that came and makes no sense from a connection that did not carry one.
    fn outcome(&self) -> RequestOutcome {
        let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        if self.find::<io::Error>().any(timed_out) || self.find::<hyper::Error>().any(hyper::Error::is_timeout) {
            return RequestOutcome::Timeout;
        }
        // hyper's word for a broken chunk header, which is no failure of the connection.
        let malformed = |error: &io::Error| error.kind() == io::ErrorKind::InvalidInput;
        match self.find::<hyper::Error>().next() {
            Some(hyper) if hyper.is_parse() || self.find().any(malformed) => RequestOutcome::InvalidResponse,
            Some(_) => RequestOutcome::ConnectionError,
            // The request was not sent, or the body arrived and its decompression failed.
            None if self.find::<reqwest::Error>().any(reqwest::Error::is_decode) => RequestOutcome::InvalidResponse,
            None => RequestOutcome::ConnectionError,
        }
    }

    /// The messages, outermost first, each once.
    fn reason(&self) -> String {
        let mut messages: Vec<String> = Vec::new();
        for error in &self.0 {
            let message = error.to_string();
            if !messages.last().is_some_and(|last| last.contains(&message)) {
                messages.push(message);
            }
        }
        let text = messages.join(": ");
        text.chars().map(|c| if c.is_control() { '_' } else { c }).take(MAX_REASON_CHARS).collect()
    }

    fn find<T: Error + 'static>(&self) -> impl Iterator<Item = &'a T> {
        self.0.iter().filter_map(|error| error.downcast_ref())
    }
}

fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn asked(value: &[u8]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_bytes(value).unwrap());
        retry_after(&headers, Time::parse("2026-11-23T10:00:00Z").unwrap())
    }

    #[test]
    fn label_values_are_distinct_and_lower_case_words() {
        let values: std::collections::BTreeSet<_> =
            RequestOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(values.len(), RequestOutcome::ALL.len());
        assert!(values.iter().all(|value| value.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())));
    }

    #[test]
    fn every_status_has_its_outcome() {
        for (statuses, outcome) in [
            (&[404][..], RequestOutcome::NotFound),
            (&[401, 403], RequestOutcome::Unauthorized),
            (&[429], RequestOutcome::RateLimited),
            (&[400, 402, 405, 408, 410, 422, 451, 499], RequestOutcome::ClientError),
            (&[500, 502, 503, 504, 599], RequestOutcome::ServerError),
            (&[101, 201, 202, 204, 206, 300, 301, 304, 308, 600, 999], RequestOutcome::InvalidResponse),
        ] {
            for &status in statuses {
                assert_eq!(RequestOutcome::of_status(StatusCode::from_u16(status).unwrap()), outcome, "{status}");
            }
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        assert_eq!(asked(b"0"), Some(Duration::ZERO));
        assert_eq!(asked(b" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(asked(b"Mon, 23 Nov 2026 10:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(asked(b"Monday, 23-Nov-26 10:00:30 GMT"), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_retry_after_in_the_past_is_zero_and_a_huge_one_a_day() {
        assert_eq!(asked(b"Mon, 23 Nov 2026 09:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(asked(b"18446744073709551615"), Some(MAX_RETRY_AFTER));
        assert_eq!(asked(b"Fri, 31 Dec 9999 23:59:59 GMT"), Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn a_retry_after_that_is_neither_is_ignored() {
        for nonsense in [
            &b""[..],
            b"soon",
            b"-1",
            b"+1",
            b"1.5",
            b"1e3",
            b"99999999999999999999",
            b"2026-11-23",
            b"\xff",
            b"Mon, 23",
        ] {
            assert_eq!(asked(nonsense), None, "{nonsense:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Time::from_micros(0)), None);
    }

    #[test]
    fn a_wrapped_error_is_found_and_said_once() {
        let cause = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, "bad\nheader"));
        let chain = Chain::of(&cause);
        assert_eq!(chain.reason(), "bad_header");
        assert!(chain.find::<io::Error>().any(|error| error.kind() == io::ErrorKind::InvalidData));
    }
}
