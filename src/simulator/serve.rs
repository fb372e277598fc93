//! Serves the routes over HTTP until told to stop.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The most connections at once; further ones wait in the listener's backlog. Far above the exporter's own concurrency.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send a request's head: it bounds what an idle connection costs.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long answers under way may take once the server is told to stop: enough for every one that does not hang.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after a connection that could not be accepted: what is short then, like file descriptors, needs time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until `stop` is cancelled, then finishes the answers under way, within two seconds.
pub(super) async fn serve(router: Router, listener: TcpListener, stop: CancellationToken) {
    let mut server = Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    server.http2().timer(TokioTimer::new());
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Whatever is still running when this is dropped, is aborted.
    let mut connections = JoinSet::new();

    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((socket, place)) = accepted else { continue };
        let connection = server.serve_connection(TokioIo::new(socket), TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection.into_owned());
        connections.spawn(async move {
            if let Err(error) = connection.await {
                // Clients that leave early and answers cut off on purpose end here.
                tracing::debug!(%error, "a connection to the simulated API ended");
            }
            drop(place);
        });
    }

    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::debug!("the simulated API stopped with answers under way");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, _)) => {
            // Without it, the second piece of an answer waits for the client's acknowledgement of the first.
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%error, "a connection of the simulated API stays slow");
            }
            Some((socket, place))
        }
        Err(error) => {
            tracing::debug!(%error, "the simulated API could not accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
