//! The four ways to tell the exporter of a task, each from the submission of an operation to its end.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Exporter, PATIENCE, Setup};
use crate::webhooks::{ROUTE, SECRET, TOKEN, now, register};
use axum::Router;
use axum::routing::get;
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::listener;
use dragdropdo_exporter::simulator::{DEFAULT_API_KEY, DurationRange, Simulator, SimulatorOptions};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A simulated API, whose operations take a second or two.
struct Api {
    simulator: Simulator,
    url: String,
    stop: CancellationToken,
    _stopped_at_the_end: DropGuard,
}

impl Api {
    async fn start() -> Self {
        let mut options = SimulatorOptions::default();
        options.plan.duration = DurationRange { shortest: Duration::from_secs(1), longest: Duration::from_secs(2) };
        options.plan.failure_share = 0.0;
        options.webhooks.delay = DurationRange { shortest: Duration::ZERO, longest: Duration::ZERO };
        let simulator = Simulator::new(options, Clock::system()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(simulator.clone().serve(listener, stop.clone()));
        Self { simulator, url, stop: stop.clone(), _stopped_at_the_end: stop.drop_guard() }
    }

    fn setup(&self, yaml: &str) -> Setup {
        let mut setup = Setup::at(&self.url, &format!("api: {{api_key: {DEFAULT_API_KEY}}}"));
        setup.configure(yaml);
        setup
    }

    /// Submits an operation of three files as an application does, and answers its main task ID.
    async fn submit(&self, group: &str) -> String {
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let operation = json!({
            "action": "convert", "file_keys": ["a", "b", "c"], "parameters": {"convert_to": "pdf"}, "notes": {"group": group},
        });
        let request = client.post(format!("{}/api/v1/do", self.url)).bearer_auth(DEFAULT_API_KEY).json(&operation);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["data"]["main_task_id"].as_str().unwrap().to_owned()
    }

    /// Waits until the exporter has counted what the API has done, in this group.
    async fn is_counted(&self, exporter: &Exporter, group: &str) {
        exporter
            .shows(&[
                (&format!("dragdropdo_tasks_finished_total{{group={group},outcome=completed}}"), 1.0),
                (&format!("dragdropdo_files_finished_total{{group={group},state=completed}}"), 3.0),
                (&format!("dragdropdo_tasks{{group={group},state=completed}}"), 1.0),
            ])
            .await;
        assert_eq!(self.simulator.truth().finished.completed, 1, "it has ended in truth");
    }
}

/// The only latency that the group has.
async fn latency(exporter: &Exporter, group: &str) -> f64 {
    let scrape = exporter.scrape().await;
    let of = |end: &str| {
        scrape.value(&format!("dragdropdo_task_completion_latency_seconds_{end}{{group={group},state=completed}}"))
    };
    assert_eq!(of("count"), 1.0);
    of("sum")
}

#[tokio::test]
async fn by_a_registration() {
    let api = Api::start().await;
    let setup = api.setup("web: {api_token_file: token}");
    std::fs::write(setup.path("token"), TOKEN).unwrap();
    let exporter = setup.start().await;
    let submitted_at = now().to_string();
    let id = api.submit("invoices").await;
    assert_eq!(register(&exporter, &json!({"id": id, "group": "invoices", "submitted_at": submitted_at})).await, 201);
    api.is_counted(&exporter, "invoices").await;
    assert!(latency(&exporter, "invoices").await > 0.9);
}

#[tokio::test]
async fn by_a_file() {
    let api = Api::start().await;
    let setup = api.setup("discovery: {files: ['tasks/*.yaml']}");
    std::fs::create_dir(setup.path("tasks")).unwrap();
    let exporter = setup.start().await;
    let submitted_at = now().to_string();
    let id = api.submit("invoices").await;
    let list = format!("- targets: [{id}]\n  labels: {{group: invoices, submitted_at: '{submitted_at}'}}\n");
    std::fs::write(setup.path("tasks/.new"), list).unwrap();
    std::fs::rename(setup.path("tasks/.new"), setup.path("tasks/batch.yaml")).unwrap();
    api.is_counted(&exporter, "invoices").await;
}

#[tokio::test]
async fn by_a_url() {
    let api = Api::start().await;
    let list = Arc::new(Mutex::new(json!([])));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/d3-tasks", listener.local_addr().unwrap());
    let answer = {
        let list = list.clone();
        move || async move { ([(CONTENT_TYPE, "application/json")], list.lock().unwrap().to_string()) }
    };
    let router = Router::new().route("/d3-tasks", get(answer));
    tokio::spawn(listener::serve(listener, router, api.stop.clone()));
    let setup = api.setup(&format!("discovery: {{http: [{{url: '{url}', refresh_interval: 1s}}]}}"));
    let exporter = setup.start().await;
    let submitted_at = now().to_string();
    let id = api.submit("invoices").await;
    *list.lock().unwrap() = json!([{"targets": [id], "labels": {"group": "invoices", "submitted_at": submitted_at}}]);
    api.is_counted(&exporter, "invoices").await;
}

#[tokio::test]
async fn by_webhooks_alone() {
    let api = Api::start().await;
    // No list, no registration, and no poll that would come by itself.
    let setup =
        api.setup("{webhook: {secret_file: secret, track_unknown: true}, poll: {interval: 1h, min_interval: 1h}}");
    std::fs::write(setup.path("secret"), SECRET).unwrap();
    let exporter = setup.start().await;
    api.simulator
        .change(|options| {
            options.webhooks.url = Some(format!("http://{}{ROUTE}", exporter.address()).parse().unwrap());
            options.webhooks.secret = Some(SECRET.to_owned());
        })
        .unwrap();
    api.submit("whatever").await;
    api.is_counted(&exporter, "default").await;
    exporter.shows(&[("dragdropdo_webhooks_total{event=operation.completed,outcome=accepted}", 1.0)]).await;
    exporter.shows(&[("dragdropdo_webhooks_total{event=fileTask.completed,outcome=accepted}", 3.0)]).await;
}
