//! Connections: bounded in number, in time and in what they may send.
//!
//! hyper's own server below axum, because `axum::serve` bounds none of these. A client that is slow to send, slow to read
//! or silent loses its connection; when all places are taken, the connection that has been idle longest makes room. An
//! answer waits until the request's body has come, so that it arrives.

mod connection;
mod failure;
mod tls;
mod unread;

pub use tls::TlsSource;

use axum::Router;
use failure::{Failures, TELL_EVERY};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at once. Prometheus keeps one; the rest is for people and applications, and fits the usual limit of 1024
/// open files beside the store and the API's connections.
const MAX_CONNECTIONS: usize = 768;
/// How long connections may go on with what they do at shutdown: a little less than polls may, which are waited for at the
/// same time.
const DRAIN: Duration = Duration::from_millis(1500);
/// The wait after a failed accept: it fails for want of open files, and some become free.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Binds the listener.
///
/// # Errors
///
/// An address that is taken, not this machine's, or not resolved.
pub async fn bind(address: &str) -> std::io::Result<TcpListener> {
    // As in Prometheus's own flags, an empty host is every address, of both families.
    match address.strip_prefix(':') {
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(error),
            // A machine without IPv6.
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
            bound => bound,
        },
        None => TcpListener::bind(address).await,
    }
}

/// Serves plain HTTP until `stop` is called; connections then end what they are doing, within a bound.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve_with(listener, router, None, stop).await;
}

/// The same over TLS, when `tls` says how.
pub async fn serve_with(listener: TcpListener, router: Router, tls: Option<TlsSource>, stop: CancellationToken) {
    // Whatever still runs when this is dropped is aborted.
    let mut connections = JoinSet::new();
    let mut places = Places::default();
    let failures = Arc::new(Failures::default());
    let mut news = tokio::time::interval(TELL_EVERY);
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            _ = news.tick() => {
                failures.forget();
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            },
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays slow");
        }
        let tls = tls.clone().map(|tls| (tls, failures.clone()));
        connections.spawn(connection::run(stream, router.clone(), tls, places.take(peer), stop.clone()));
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::debug!("connections that were still busy at shutdown are cut");
    }
}

/// The connections there are.
#[derive(Debug, Default)]
struct Places {
    all: Vec<Arc<Place>>,
    /// Counts what happens on the connections: a connection that was used later has the higher number.
    uses: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Place {
    peer: SocketAddr,
    requests: AtomicUsize,
    last_use: AtomicU64,
    uses: Arc<AtomicU64>,
    evicted: CancellationToken,
}

impl Places {
    /// A place for a new connection; when all are taken, the connection that has been idle longest makes room.
    fn take(&mut self, peer: SocketAddr) -> Arc<Place> {
        if self.all.len() >= MAX_CONNECTIONS {
            // Only this list still knows a connection that has ended.
            self.all.retain(|place| Arc::strong_count(place) > 1);
        }
        if self.all.len() >= MAX_CONNECTIONS {
            // One that is being answered goes only when all are.
            let order =
                |place: &Place| (place.requests.load(Ordering::Relaxed) > 0, place.last_use.load(Ordering::Relaxed));
            if let Some((first, _)) = self.all.iter().enumerate().min_by_key(|(_, place)| order(place)) {
                self.all.swap_remove(first).evicted.cancel();
            }
        }
        let place = Arc::new(Place {
            peer,
            requests: AtomicUsize::new(0),
            last_use: AtomicU64::new(0),
            uses: self.uses.clone(),
            evicted: CancellationToken::new(),
        });
        place.touch();
        self.all.push(place.clone());
        place
    }
}

impl Place {
    /// What it has been used for: the requests that are being answered, and a number that changes with each that was.
    fn uses(&self) -> (usize, u64) {
        (self.requests.load(Ordering::Relaxed), self.last_use.load(Ordering::Relaxed))
    }

    fn touch(&self) {
        self.last_use.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A request that is being answered.
struct Busy(Arc<Place>);

impl Busy {
    fn with(place: &Arc<Place>) -> Self {
        place.requests.fetch_add(1, Ordering::Relaxed);
        Self(place.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}
