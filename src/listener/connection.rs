//! One connection: HTTP/1, or over TLS HTTP/2 where the client asks for it, within the same bounds.

use super::failure::Failures;
use super::tls::{self, Opened, TlsSource};
use super::unread::Unread;
use super::{Busy, Place};
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The longest that a client may take to send a request's head, and that a connection may be idle: longer than the usual
/// scrape interval of 15 s, so that its connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest that a write may find no room: a client that does not read an answer is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest request head, in bytes.
const MAX_HEAD: u16 = 32 * 1024;
/// Requests at once on one HTTP/2 connection: more than Prometheus, a browser or an application that registers its tasks
/// has under way. What a client that reads no answer holds is bounded where the answers are made.
const MAX_STREAMS: u32 = 16;

/// Serves one connection to its end.
pub(super) async fn run(
    stream: TcpStream,
    router: Router,
    tls: Option<(TlsSource, Arc<Failures>)>,
    place: Arc<Place>,
    stop: CancellationToken,
) {
    let Some((tls, failures)) = tls else {
        return serve_http1(limited(stream), router, &place, &stop).await;
    };
    // Nobody is being answered yet: a handshake ends at once for whatever reason.
    let opened = tokio::select! {
        opened = tls::open(stream, &tls) => opened,
        () = place.evicted.cancelled() => return,
        () = stop.cancelled() => return,
    };
    match opened {
        Ok(Opened::Http1(stream)) => serve_http1(stream, router, &place, &stop).await,
        Ok(Opened::Http2(stream)) => serve_http2(stream, router, &place, &stop).await,
        Ok(Opened::Plain(stream)) => serve_http1(stream, tls::only_tls(), &place, &stop).await,
        Ok(Opened::Nothing) => {}
        Err(reason) => failures.tell(&reason, place.peer),
    }
}

/// The stream with a bound on every write.
pub(super) fn limited(stream: TcpStream) -> Limited {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Box::pin(stream)
}

pub(super) type Limited = std::pin::Pin<Box<TimeoutStream<TcpStream>>>;

async fn serve_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    place: &Arc<Place>,
    stop: &CancellationToken,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(usize::from(MAX_HEAD))
        .serve_connection(TokioIo::new(stream), service(router, place.clone()));
    let mut served = pin!(served);
    tokio::select! {
        // How a client ends its connection is its own affair.
        result = served.as_mut() => drop(result),
        () = place.evicted.cancelled() => {}
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await.ok();
        }
    }
}

async fn serve_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    place: &Arc<Place>,
    stop: &CancellationToken,
) {
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::from(MAX_HEAD))
        .serve_connection(TokioIo::new(stream), service(router, place.clone()));
    let mut served = pin!(served);
    tokio::select! {
        result = served.as_mut() => return drop(result),
        () = place.evicted.cancelled() => return,
        () = stop.cancelled() => {}
        () = idle(place) => {}
    }
    served.as_mut().graceful_shutdown();
    tokio::select! {
        result = served.as_mut() => drop(result),
        () = place.evicted.cancelled() => {}
        // An answer that the client does not read would hold the connection for ever.
        () = tokio::time::sleep(WRITE_TIMEOUT) => {}
    }
}

fn service(
    router: Router,
    place: Arc<Place>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future = impl Future<Output = Result<Response, Infallible>> + Send,
> {
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        // Where axum's own server puts it.
        request.extensions_mut().insert(ConnectInfo(place.peer));
        let router = router.clone();
        let busy = Busy::with(&place);
        async move {
            let (request, unread) = Unread::of(request);
            let answer = router.oneshot(request).await;
            // From here on the connection makes room like an idle one: nobody keeps a place by not sending a body.
            drop(busy);
            unread.discard().await;
            answer
        }
    })
}

/// Ends when a connection has been idle for the longest time allowed, or up to twice as long. hyper has such a bound for
/// HTTP/1 only.
async fn idle(place: &Place) {
    let mut before = place.uses();
    loop {
        tokio::time::sleep(HEAD_TIMEOUT).await;
        let uses = place.uses();
        if uses == before && uses.0 == 0 {
            return;
        }
        before = uses;
    }
}
