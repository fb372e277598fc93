//! The simulated API in a process of its own, so that its work is not the exporter's or the test's.

use crate::harness::{PATIENCE, binary};
use reqwest::Client;
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

/// The running simulator; it is killed when it is dropped.
pub(super) struct Simulated {
    address: SocketAddr,
    client: Client,
    _child: Child,
}

impl Simulated {
    /// Starts it with so many operations, none of which ends.
    pub(super) async fn start(operations: u64) -> Self {
        let mut child = binary()
            .args(["simulate", "--listen-address=127.0.0.1:0", "--rate-limit=100000/s", "--duration=10d"])
            .args(["--latency=10ms", "--latency-jitter=10ms", "--files=1..5"])
            .arg(format!("--operations={operations}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        tokio::time::timeout(PATIENCE, stdout.read_line(&mut line)).await.unwrap().unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { address, client, _child: child }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The IDs of at most so many operations.
    pub(super) async fn operations(&self, limit: u64) -> Vec<String> {
        let operations = self.get(&format!("/simulator/operations?limit={limit}")).await;
        operations.as_array().unwrap().iter().map(|operation| operation["id"].as_str().unwrap().to_owned()).collect()
    }

    /// How many status requests it has answered with 200.
    pub(super) async fn answered(&self) -> u64 {
        let requests = self.get("/simulator/requests").await;
        let ok = |answer: &&Value| answer["status"] == 200;
        requests["answers"].as_array().unwrap().iter().filter(ok).map(|answer| answer["count"].as_u64().unwrap()).sum()
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap().json().await.unwrap()
    }
}
