//! What an exporter may meet: a database that somebody holds, a pipe that nobody writes to, a peer that never finishes.

use super::{LOOK, PATIENCE};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// `sqlite3` with a database in its hands; it lets go when it is told to or dropped.
pub(crate) struct Holder(Child);

impl Holder {
    /// Takes the database by these statements, like `BEGIN IMMEDIATE`.
    pub(crate) fn of(database: &Path, statements: &str) -> Self {
        let mut sqlite3 = Command::new("sqlite3");
        sqlite3.args(["-batch", "-bail"]).arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Self(sqlite3.spawn().unwrap());
        // It reads on for as long as its input is open.
        writeln!(holder.0.stdin.as_mut().unwrap(), "{statements}; SELECT 'held';").unwrap();
        let mut lines = BufReader::new(holder.0.stdout.as_mut().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "held"), "{statements}: {} is not held", database.display());
        holder
    }

    /// Lets go of it, and undoes what was begun.
    pub(crate) fn lets_go(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A named pipe in place of a file; a writer that writes nothing as soon as somebody reads it.
pub(crate) async fn is_read_as_a_pipe(path: &Path) -> pipe::Sender {
    let read = async {
        loop {
            match pipe::OpenOptions::new().open_sender(path) {
                Ok(writer) => return writer,
                // Nobody has opened it to read.
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    read.unwrap_or_else(|_| panic!("nobody reads {}", path.display()))
}

/// Puts a named pipe where a file was or may be.
pub(crate) fn make_pipe(path: &Path) {
    // There may be no such file.
    std::fs::remove_file(path).ok();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A pipe that holds all that it can, at this path, for as long as the answer is kept: whoever writes to it waits.
pub(crate) fn make_full_pipe(path: &Path) -> (pipe::Receiver, pipe::Sender) {
    make_pipe(path);
    let reader = pipe::OpenOptions::new().open_receiver(path).unwrap();
    let writer = pipe::OpenOptions::new().open_sender(path).unwrap();
    // Byte by byte at the end, so that no short line fits.
    for chunk in [&[b'.'; 4096][..], b"."] {
        while writer.try_write(chunk).is_ok() {}
    }
    (reader, writer)
}

/// How a peer fails to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// It reads, and says nothing.
    Silent,
    /// It sends the head of an answer and then blank after blank.
    Trickling,
}

/// A server that takes every connection and finishes no answer; it ends when it is dropped.
pub(crate) struct Stubborn {
    url: String,
    requests: watch::Receiver<usize>,
    serving: AbortHandle,
}

impl Stubborn {
    /// Starts one.
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (count, requests) = watch::channel(0);
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let stream = listener.accept().await.unwrap().0;
                connections.spawn(serve(stream, manner, count.clone()));
            }
        });
        Self { url, requests, serving: serving.abort_handle() }
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits until a request has come.
    pub(crate) async fn is_asked(&mut self) {
        let asked = tokio::time::timeout(PATIENCE, self.requests.wait_for(|requests| *requests > 0)).await;
        asked.unwrap_or_else(|_| panic!("{} is not asked", self.url)).unwrap();
    }
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, count: watch::Sender<usize>) {
    let mut request = [0; 4096];
    if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
        count.send_modify(|requests| *requests += 1);
    }
    if let Manner::Trickling = manner {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
        let mut sent = stream.write_all(head.as_bytes()).await;
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            sent = stream.write_all(b" ").await;
        }
    }
    // Until the other end gives up.
    while stream.read(&mut request).await.is_ok_and(|length| length > 0) {}
}
