//! A source that is asked over HTTP, in the format of Prometheus's http_sd.

use super::client::{ClientError, SourceClient};
use super::credentials::{self, CredentialsError};
use super::format::{self, FormatError, List, MAX_BYTES, MAX_TARGETS, Notation, bounded};
use crate::config::HttpSource;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{RequestBuilder, Response, StatusCode};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Tells the producer how often it is asked, as Prometheus does.
const REFRESH_INTERVAL_HEADER: &str = "x-prometheus-refresh-interval-seconds";
/// The longest reason, in characters: it is one line of a log.
const MAX_REASON_CHARS: usize = 300;

/// A source that is asked over HTTP.
#[derive(Debug)]
pub(super) struct Fetcher {
    source: Arc<HttpSource>,
    client: SourceClient,
}

/// Why a list did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// There are no credentials to send.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A TLS file is not what it was.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer took too long.
    #[error("the answer was not complete within {0:?}; the source's timeout allows more, up to its refresh_interval")]
    Timeout(Duration),
    /// No connection, or one that broke.
    #[error("{0}")]
    Connection(String),
    /// It is not 200.
    #[error("status {0}; it must be 200")]
    Status(StatusCode),
    /// A redirect that is not followed.
    #[error("status {status}: a redirect to {to}, which is not followed; write the final address as url")]
    Redirect { status: StatusCode, to: String },
    /// It does not say that it is JSON.
    #[error("the Content-Type is {0}; it must be application/json")]
    ContentType(String),
    /// It is no list.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Fetcher {
    /// A source to ask.
    pub(super) fn new(source: HttpSource) -> Result<Self, ClientError> {
        let client = SourceClient::new(&source)?;
        Ok(Self { source: Arc::new(source), client })
    }

    /// How it is configured.
    pub(super) fn source(&self) -> &HttpSource {
        &self.source
    }

    /// What tells it from every other: the whole URL, which is not shown.
    pub(super) fn origin(&self) -> &str {
        self.source.url.whole().as_str()
    }

    /// Asks for the list.
    pub(super) async fn fetch(&mut self) -> Result<List, FetchError> {
        let most = self.source.timeout;
        let body = timeout(most, self.ask()).await.map_err(|_| FetchError::Timeout(most))??;
        // Reading a long list would keep others waiting.
        match spawn_blocking(move || format::read(&body, Notation::Json, MAX_TARGETS)).await {
            Ok(list) => Ok(list?),
            Err(error) => Err(FetchError::Connection(format!("the answer was not read: {error}"))),
        }
    }

    async fn ask(&mut self) -> Result<Vec<u8>, FetchError> {
        let (source, client) = (Arc::clone(&self.source), self.client.clone());
        // It reads files, which may be on a file system that hangs.
        let prepared = spawn_blocking(move || prepare(&source, client)).await;
        let (client, request) =
            prepared.map_err(|error| FetchError::Connection(format!("nothing was asked: {error}")))??;
        self.client = client;
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        if status.is_redirection()
            && let Some(to) = target(&response)
        {
            return Err(FetchError::Redirect { status, to });
        }
        if status != StatusCode::OK {
            return Err(FetchError::Status(status));
        }
        content_type(response.headers())?;
        read(response).await
    }
}

fn prepare(source: &HttpSource, client: SourceClient) -> Result<(SourceClient, RequestBuilder), FetchError> {
    let client = client.refreshed(source)?;
    let request = client
        .http
        .get(source.url.whole().clone())
        .header(ACCEPT, "application/json")
        .header(REFRESH_INTERVAL_HEADER, source.refresh_interval.as_secs_f64().to_string());
    let request = match &source.auth {
        Some(auth) => credentials::authorize(request, auth)?,
        None => request,
    };
    Ok((client, request))
}

async fn read(mut response: Response) -> Result<Vec<u8>, FetchError> {
    if response.content_length().is_some_and(|length| length > MAX_BYTES as u64) {
        return Err(FormatError::TooLong.into());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(FormatError::TooLong.into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn content_type(headers: &HeaderMap) -> Result<(), FetchError> {
    let text = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let media_type = text.as_deref().map(|text| text.split(';').next().unwrap_or_default().trim());
    if media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let shown = text.map_or("missing".to_owned(), |text| format!("{:?}", bounded(&text, MAX_REASON_CHARS)));
    Err(FetchError::ContentType(shown))
}

/// The origin that a redirect leads to; the rest of the address may hold a secret.
fn target(response: &Response) -> Option<String> {
    let to = response.url().join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    Some(bounded(&to.origin().ascii_serialization(), MAX_REASON_CHARS))
}

/// What a request failed of: the messages from the outermost inwards, each once, and never the URL.
fn broken(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut inner = error.source();
    while let Some(error) = inner {
        let message = error.to_string();
        if !reason.contains(&message) {
            reason.push_str(": ");
            reason.push_str(&message);
        }
        inner = error.source();
    }
    FetchError::Connection(bounded(&reason, MAX_REASON_CHARS))
}

#[cfg(test)]
mod tests;
