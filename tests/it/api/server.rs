//! A server that says exactly the bytes it is told to, and keeps what it was sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does about one request.
#[derive(Clone)]
pub(super) enum Reply {
    /// Sends these bytes and waits for the next request on the same connection.
    Whole(Vec<u8>),
    /// Sends these bytes and closes.
    Cut(Vec<u8>),
    /// Sends these bytes and resets the connection.
    Reset(Vec<u8>),
    /// Sends these bytes and then nothing, for as long as the client waits.
    Stall(Vec<u8>),
    /// Sends the first bytes once and the second ones again and again.
    Endless(Vec<u8>, Vec<u8>),
}

/// A running server; it ends with the test's runtime.
pub(super) struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    heads: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

impl Server {
    /// Starts a server that replies by the head of a request.
    pub(super) async fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (reply, shared) = (Arc::new(reply), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (reply, seen) = (Arc::clone(&reply), Arc::clone(&shared));
                tokio::spawn(async move {
                    // The client may go away at any point.
                    drop(converse(stream, &*reply, &seen).await);
                });
            }
        });
        Self { address, seen }
    }

    /// Starts a server that always gives this reply.
    pub(super) async fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of the requests so far: request line and headers.
    pub(super) fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }

    /// The paths of the requests so far, as they stood on the wire.
    pub(super) fn paths(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

async fn converse(mut stream: TcpStream, reply: &impl Fn(&str) -> Reply, seen: &Seen) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        while !buffer.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8(std::mem::take(&mut buffer)).unwrap();
        let reply = reply(&head);
        seen.heads.lock().unwrap().push(head);
        match reply {
            Reply::Whole(bytes) => stream.write_all(&bytes).await?,
            Reply::Cut(bytes) => return stream.write_all(&bytes).await,
            Reply::Reset(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.set_zero_linger();
            }
            Reply::Stall(bytes) => {
                stream.write_all(&bytes).await?;
                stream.read_u8().await?;
            }
            Reply::Endless(head, piece) => {
                stream.write_all(&head).await?;
                loop {
                    stream.write_all(&piece).await?;
                }
            }
        }
    }
}

/// An answer with a length.
pub(super) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A readable answer of the API.
pub(super) fn completed() -> Vec<u8> {
    answer("200 OK", "content-type: application/json\r\n", r#"{"operation_status":"completed"}"#)
}
