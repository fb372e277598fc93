//! The begin of a connection over TLS: a handshake that is bounded in time, and a word for those who speak plain HTTP.

use super::connection::{Limited, limited};
use super::failure::explain;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

/// The longest that a handshake may take: two round trips and a signature, with time to spare for a bad line.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Says how TLS is spoken with the next connection: certificates change while the listener serves.
pub type TlsSource = Arc<dyn Fn() -> Option<Arc<ServerConfig>> + Send + Sync>;

/// What a client turned out to speak.
pub(super) enum Opened {
    /// HTTP/1 over TLS.
    Http1(Box<TlsStream<Limited>>),
    /// HTTP/2 over TLS.
    Http2(Box<TlsStream<Limited>>),
    /// Nothing at all.
    Nothing,
    /// Plain HTTP.
    Plain(Limited),
}

/// Takes the handshake. An error says why it failed.
pub(super) async fn open(stream: TcpStream, tls: &TlsSource) -> Result<Opened, String> {
    let config = tls().ok_or_else(|| "TLS is off".to_owned())?;
    let handshake = async {
        let mut first = [0];
        // Probes of the port close it at once, or reset it.
        if !stream.peek(&mut first).await.is_ok_and(|length| length > 0) {
            return Ok(Opened::Nothing);
        }
        // A TLS record begins with its type, 22; a request with its method.
        if first[0].is_ascii_uppercase() {
            return Ok(Opened::Plain(limited(stream)));
        }
        let stream = TlsAcceptor::from(config).accept(limited(stream)).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = Box::new(stream);
        Ok(if is_http2 { Opened::Http2(stream) } else { Opened::Http1(stream) })
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(result) => result.map_err(|error: std::io::Error| explain(&error)),
        Err(_) => Err(format!("it took longer than {} s", HANDSHAKE_TIMEOUT.as_secs())),
    }
}

/// Answers plain HTTP where only TLS is spoken: whoever forgot the `s` reads why.
pub(super) fn only_tls() -> Router {
    Router::new().fallback(|| async {
        let body = r#"{"error":"this listener speaks TLS alone: ask with https:// in place of http://"}"#;
        (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/json")], body)
    })
}
