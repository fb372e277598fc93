//! The client of the D3 API: asks the status of one task or file and reads the answer as an
//! [`Observation`], or says how the request failed.
//!
//! It never decides when to ask. Whatever the API, a proxy or somebody in between sends, an answer is bounded in time
//! and memory, and nothing of it but states, file keys and error codes is kept.

mod address;
mod failure;
mod key;
mod wire;

pub use failure::{Failure, RequestOutcome};
pub use key::{Key, KeyError};

use crate::clock::Clock;
use crate::config::{ApiConfig, KeyHeader};
use crate::task::{Ask, Observation, TaskId};
use address::StatusRoutes;
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Certificate, Method, Request, Response, StatusCode, redirect};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout_at;

/// Most redirects that are followed: one or two occur (a renamed route, a slash), more are a loop.
const MAX_REDIRECTS: usize = 5;

/// How long an HTTP/2 connection with requests in flight may be silent before it is pinged. Without a ping a
/// connection that a firewall forgot would swallow every request until the system gives it up, many minutes later.
const HTTP2_PING_AFTER: Duration = Duration::from_secs(10);

/// How long the answer to such a ping may take.
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of a failure's body is read and thrown away, in bytes, so that its connection can serve again: an error
/// message fits, a page of HTML mostly too, and more costs about as much as a new connection.
const MAX_DRAINED_BYTES: usize = 64 * 1024;

/// How long that may take, within `api.timeout`: its outcome is known, and a new connection rarely takes longer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

const X_D3_API_KEY: HeaderName = HeaderName::from_static("x-d3-api-key");

/// A client of the D3 API. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    http: reqwest::Client,
    routes: StatusRoutes,
    header: KeyHeader,
    key: Key,
    clock: Clock,
    timeout: Duration,
    max_response_size: u64,
}

/// A readable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub observation: Observation,
    /// The state words in it that are not known, for the log: each once, the first 16, lower-cased and at most 32
    /// characters long; `(none)` stands for a file without one.
    pub unknown_words: Vec<String>,
    /// How often a state word was not known.
    pub unknown_states: u64,
}

impl Client {
    /// Prepares a client; it connects when it is first asked.
    ///
    /// The key is shared: a change of it is in force from the next request on. Proxies come from the environment's
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    ///
    /// # Errors
    ///
    /// An address that is none, a CA file that can't be read, or no trust roots for HTTPS.
    pub fn new(config: &ApiConfig, key: Key, clock: Clock) -> Result<Self, ClientError> {
        let routes = StatusRoutes::new(config)?;
        let roots = config.ca_file.as_deref().map(read_roots).transpose()?.unwrap_or_default();
        let with_platform_roots = http_client(config, routes.origin()).tls_certs_merge(roots.clone()).build();
        let http = match with_platform_roots {
            Ok(http) => http,
            // Plain HTTP works in an image without any trust roots.
            Err(_) if !routes.is_https() => {
                http_client(config, routes.origin()).tls_certs_only(roots).build().map_err(ClientError::Http)?
            }
            Err(error) => return Err(ClientError::Http(error)),
        };
        let shared = Shared {
            http,
            routes,
            header: config.auth,
            key,
            clock,
            timeout: config.timeout,
            max_response_size: config.max_response_size,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Sends one request: asks for the status of the task `id`, or of one of its files.
    ///
    /// # Errors
    ///
    /// Everything but a readable 200. An identifier that no URL can hold (`.`, `..`, an empty file key) is not found
    /// without being asked for.
    pub async fn status(&self, id: &TaskId, ask: &Ask) -> Result<Answer, Failure> {
        let this = &*self.shared;
        let Some(url) = this.routes.url(id, ask) else {
            let reason = "not asked for: no URL can hold this name as one segment of its path";
            return Err(Failure::new(RequestOutcome::NotFound, reason));
        };
        let mut request = Request::new(Method::GET, url);
        let name = match this.header {
            KeyHeader::Bearer => AUTHORIZATION,
            KeyHeader::XD3ApiKey => X_D3_API_KEY,
        };
        request.headers_mut().insert(name, this.key.value(this.header));

        let started = this.clock.elapsed();
        let deadline = this.clock.instant(started.saturating_add(this.timeout));
        let response = match timeout_at(deadline, this.http.execute(request)).await {
            Ok(sent) => sent.map_err(Failure::broken)?,
            Err(_) => {
                let reason = format!("no answer began within {:?}", this.timeout);
                return Err(Failure::new(RequestOutcome::Timeout, reason));
            }
        };
        if response.status() != StatusCode::OK {
            return Err(this.refused(response, started).await);
        }
        let body = match timeout_at(deadline, read_body(response, this.max_response_size)).await {
            Ok(body) => body?,
            Err(_) => {
                let reason = format!("the answer was not complete within {:?}", this.timeout);
                return Err(Failure::new(RequestOutcome::Timeout, reason).with_status(StatusCode::OK));
            }
        };
        wire::read(&body, ask, this.clock.wall()).map_err(Failure::unreadable)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("routes", &self.shared.routes).finish_non_exhaustive()
    }
}

impl Shared {
    /// The failure that a status other than 200 is.
    async fn refused(&self, response: Response, started: Duration) -> Failure {
        let status = response.status();
        let failure = Failure {
            outcome: RequestOutcome::of_status(status),
            status: Some(status.as_u16()),
            retry_after: failure::retry_after(response.headers(), self.clock.wall()),
            reason: if status.is_redirection() { refused_redirect(&response) } else { format!("status {status}") },
        };
        let deadline = self.clock.elapsed().saturating_add(DRAIN_TIMEOUT).min(started.saturating_add(self.timeout));
        // Whatever becomes of the rest changes nothing: at worst the connection is not used again.
        drop(timeout_at(self.clock.instant(deadline), drain(response)).await);
        failure
    }
}

/// A client that can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base and the path make no address.
    #[error(
        "api.base_url and api.status_path ({status_path:?}) make no HTTP address: write them like https://api.dragdropdo.com and /api/v1/status"
    )]
    BaseUrl {
        /// The path of the status routes.
        status_path: String,
    },
    /// The CA file can't be read.
    #[error("cannot read api.ca_file {}: {cause}; name a PEM file, or remove the key to trust the system's roots alone", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The CA file holds no certificate.
    #[error("api.ca_file {} holds no certificate that can be read: it must be PEM, with BEGIN CERTIFICATE lines", path.display())]
    CaFileContent {
        /// The file.
        path: PathBuf,
    },
    /// There is no TLS without trust roots.
    #[error("cannot set up the HTTP client: install the system's CA certificates or name a PEM file in api.ca_file")]
    Http(#[source] reqwest::Error),
}

fn http_client(config: &ApiConfig, origin: String) -> reqwest::ClientBuilder {
    // `Client::status` sets one deadline for redirects, headers and body, so reqwest gets no timeout of its own.
    reqwest::Client::builder()
        .user_agent(concat!("dragdropdo-exporter/", env!("CARGO_PKG_VERSION")))
        .default_headers(HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]))
        .referer(false)
        .redirect(redirect::Policy::custom(move |attempt| {
            // The first of `previous` is the request itself.
            if attempt.url().origin().ascii_serialization() == origin && attempt.previous().len() <= MAX_REDIRECTS {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }))
        .pool_max_idle_per_host(config.concurrency)
        .http2_keep_alive_interval(HTTP2_PING_AFTER)
        .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT)
}

/// Reads the trust roots of `api.ca_file`.
///
/// # Errors
///
/// A file that cannot be read, or holds no certificate.
pub fn read_roots(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let pem = std::fs::read(path).map_err(|cause| ClientError::CaFile { path: path.into(), cause })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        Ok(_) | Err(_) => Err(ClientError::CaFileContent { path: path.into() }),
    }
}

/// Reads a body of at most `limit` bytes, as they are after decompression.
async fn read_body(mut response: Response, limit: u64) -> Result<Bytes, Failure> {
    let status = response.status();
    let too_large =
        || Failure::unreadable(format!("the body has more than {limit} bytes, the limit of api.max_response_size"));
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut chunks = async || response.chunk().await.map_err(|error| Failure::broken(error).with_status(status));
    // Most bodies come as one chunk, which then needs no copy.
    let first = chunks().await?.unwrap_or_default();
    let Some(second) = chunks().await? else {
        return if first.len() as u64 > limit { Err(too_large()) } else { Ok(first) };
    };
    let mut body = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
        next = chunks().await?;
    }
    Ok(body.freeze())
}

/// Reads the rest of an answer and forgets it, up to a bound.
async fn drain(mut response: Response) {
    let mut left = MAX_DRAINED_BYTES;
    while let Ok(Some(chunk)) = response.chunk().await {
        let Some(rest) = left.checked_sub(chunk.len()) else { return };
        left = rest;
    }
}

/// Says where a redirect that was not followed leads, but no more of it than its origin.
fn refused_redirect(response: &Response) -> String {
    let status = response.status();
    let Some(location) = response.headers().get(LOCATION) else {
        return format!("status {status}");
    };
    let target = location.to_str().ok().and_then(|location| response.url().join(location).ok());
    match target.map(|target| target.origin()) {
        Some(origin) if origin == response.url().origin() => {
            format!("status {status}: more than {MAX_REDIRECTS} redirects")
        }
        Some(origin) => {
            let origin: String = origin.ascii_serialization().chars().take(255).collect();
            format!("status {status}: not redirected to another origin, {origin}; check api.base_url")
        }
        None => format!("status {status}: redirected to no readable address"),
    }
}

/// A configuration for tests.
#[cfg(test)]
fn test_config(base_url: &str) -> ApiConfig {
    use crate::config::{KeySource, RateLimit};
    use std::num::NonZeroU32;
    ApiConfig {
        base_url: base_url.parse().unwrap(),
        status_path: "/api/v1/status".into(),
        auth: KeyHeader::Bearer,
        key: KeySource::Inline("d3_test".into()),
        timeout: Duration::from_secs(10),
        rate_limit: RateLimit { requests: NonZeroU32::MIN, period: Duration::from_secs(1) },
        concurrency: 1,
        max_response_size: 8 << 20,
        ca_file: None,
    }
}
