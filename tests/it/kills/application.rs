//! The application: submits operations to the API and registers each with the exporter, until it has taken it.

use super::TOKEN;
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::simulator::Simulator;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use reqwest::Client;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The time between two operations: some twenty are under way at once.
const SUBMIT_EVERY: std::ops::Range<u64> = 30..120;
/// The share of operations whose submission time is told.
const TIMED: f64 = 0.5;
/// The share of operations that are registered once more, later.
const AGAIN: f64 = 0.2;
/// The longest wait before that, in milliseconds: the task may have settled, and may have left the gauges.
const AGAIN_AFTER: u64 = 8000;
/// The time before a registration is tried again.
const RETRY: Duration = Duration::from_millis(30);
/// Longer than any exporter here takes to answer, also while its store is held.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The running application.
pub(super) struct Application {
    groups: Arc<Mutex<Vec<&'static str>>>,
    stop: CancellationToken,
    submitting: JoinHandle<u64>,
}

impl Application {
    /// Begins to submit operations to `groups`, and to register them at whichever exporter lives.
    pub(super) fn start(
        simulator: Simulator,
        exporter: watch::Receiver<Option<SocketAddr>>,
        groups: &[&'static str],
        seed: u64,
    ) -> Self {
        let groups = Arc::new(Mutex::new(groups.to_vec()));
        let stop = CancellationToken::new();
        let submitting = tokio::spawn(submit(simulator, exporter, groups.clone(), seed, stop.clone()));
        Self { groups, stop, submitting }
    }

    /// From now on, submits to these groups.
    pub(super) fn submit_to(&self, groups: &[&'static str]) {
        *self.groups.lock().unwrap() = groups.to_vec();
    }

    /// Submits no more, and answers how many operations the exporter has taken, which are all.
    pub(super) async fn finish(self) -> u64 {
        self.stop.cancel();
        tokio::time::timeout(TIMEOUT, self.submitting).await.unwrap().unwrap()
    }
}

async fn submit(
    simulator: Simulator,
    exporter: watch::Receiver<Option<SocketAddr>>,
    groups: Arc<Mutex<Vec<&'static str>>>,
    seed: u64,
    stop: CancellationToken,
) -> u64 {
    let client = Client::builder().no_proxy().timeout(TIMEOUT).retry(reqwest::retry::never()).build().unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    let mut registrations = JoinSet::new();
    while !stop.is_cancelled() {
        let group = *groups.lock().unwrap().choose(&mut random).unwrap();
        let mut task = json!({ "id": simulator.submit_drawn(group).unwrap(), "group": group });
        if random.random::<f64>() < TIMED {
            task["submitted_at"] = Clock::system().wall().to_string().into();
        }
        let again = (random.random::<f64>() < AGAIN).then(|| random.random_range(0..AGAIN_AFTER));
        registrations.spawn({
            let (client, exporter, stop) = (client.clone(), exporter.clone(), stop.clone());
            async move {
                register(&client, &exporter, &task).await;
                if let Some(millis) = again {
                    let wait = tokio::time::sleep(Duration::from_millis(millis));
                    stop.run_until_cancelled(wait).await;
                    register(&client, &exporter, &task).await;
                }
            }
        });
        let wait = tokio::time::sleep(Duration::from_millis(random.random_range(SUBMIT_EVERY)));
        stop.run_until_cancelled(wait).await;
    }
    registrations.join_all().await.len() as u64
}

/// Registers a task. The answer's status alone says that it is durable.
async fn register(client: &Client, exporter: &watch::Receiver<Option<SocketAddr>>, task: &Value) {
    loop {
        let address = *exporter.borrow();
        if let Some(address) = address {
            let request = client.post(format!("http://{address}/api/v1/tasks")).bearer_auth(TOKEN).json(task);
            // No answer: it was killed, before or after it had taken the task.
            if let Ok(answer) = request.send().await {
                assert!(answer.status().is_success(), "{task} is refused: {answer:?}");
                return;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}
