//! `api`: where the D3 API is, the key for it, and the bounds of every request.

use secrecy::SecretString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// The D3 API and the key for it.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Scheme, host and optional path prefix.
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
    /// `api.api_key_file`, read again when it changes.
    File(PathBuf),
}

/// A number of requests per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per period.
    pub requests: NonZeroU32,
    /// One second, one minute or one hour.
    pub period: Duration,
}
