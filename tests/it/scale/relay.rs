//! Stands between the exporter and the API, passes everything on, and notes which task was asked for when.

use dragdropdo_exporter::clock::Clock;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// The relay; it ends when it is dropped, with all its connections.
pub(super) struct Relay {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(Duration, String)>>>,
    relaying: AbortHandle,
}

impl Relay {
    /// Begins to pass on what comes to `api`.
    pub(super) async fn start(api: SocketAddr, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::default());
        let relaying = tokio::spawn(accept(listener, api, clock, asked.clone())).abort_handle();
        Self { address, asked, relaying }
    }

    /// Its address, as `api.base_url` takes it.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in order: when it came, and the task that it asked for.
    pub(super) fn asked(&self) -> Vec<(Duration, String)> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until each of these tasks has been asked for so many times in all.
    pub(super) async fn until_each_is_asked(&self, ids: &[String], times: usize, in_time: Duration) {
        let short = || {
            let asked = self.asked.lock().unwrap();
            let mut counts: HashMap<&str, usize> = HashMap::new();
            for (_, id) in asked.iter() {
                *counts.entry(id).or_default() += 1;
            }
            ids.iter().filter(|id| counts.get(id.as_str()).is_none_or(|count| *count < times)).count()
        };
        let all = async {
            while short() > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let in_time = tokio::time::timeout(in_time, all).await.is_ok();
        assert!(in_time, "{} of {} tasks were not asked for {times} times", short(), ids.len());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

async fn accept(listener: TcpListener, api: SocketAddr, clock: Clock, asked: Arc<Mutex<Vec<(Duration, String)>>>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let client = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let (clock, asked) = (clock.clone(), asked.clone());
        // Either side may end the connection.
        connections.spawn(async move { pass_on(client, api, &clock, &asked).await.ok() });
    }
}

async fn pass_on(
    client: TcpStream,
    api: SocketAddr,
    clock: &Clock,
    asked: &Mutex<Vec<(Duration, String)>>,
) -> std::io::Result<()> {
    let (mut client_reads, mut client_writes) = client.into_split();
    let (mut api_reads, mut api_writes) = TcpStream::connect(api).await?.into_split();
    let requests = async {
        let mut head = Vec::new();
        loop {
            let from = head.len();
            if client_reads.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
            api_writes.write_all(&head[from..]).await?;
            // The requests have no body: whatever ends with an empty line is one.
            while let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") {
                let id = task_asked_for(&head[..end]);
                asked.lock().unwrap().push((clock.elapsed(), id));
                head.drain(..end + 4);
            }
        }
    };
    // When one side ends, so does the other: a client must learn at once that the API has closed an idle connection.
    tokio::select! {
        result = requests => result,
        result = tokio::io::copy(&mut api_reads, &mut client_writes) => result.map(drop),
    }
}

/// The last part of the path.
fn task_asked_for(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}
