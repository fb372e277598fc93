//! The simulated API over real sockets, as the vendor's clients and an operator meet it.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

mod webhooks;

use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::simulator::{
    Action, DEFAULT_API_KEY, DurationRange, FaultOptions, QueuedFiles, RateLimit, RetryAfter, Simulator,
    SimulatorOptions, Style,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than any answer here takes; a test that needs it fails.
const PATIENCE: Duration = Duration::from_secs(5);

/// A simulated API that serves until this is dropped.
struct Running {
    simulator: Simulator,
    client: Client,
    base: String,
    served: JoinHandle<()>,
    stop: DropGuard,
}

impl Running {
    async fn start(options: SimulatorOptions) -> Self {
        let simulator = Simulator::new(options, Clock::system()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let served = tokio::spawn(simulator.clone().serve(listener, stop.clone()));
        // An answer that was cut off must be seen, and not hidden by a second try.
        let client = Client::builder().no_proxy().timeout(PATIENCE).retry(reqwest::retry::never()).build().unwrap();
        Self { simulator, client, base, served, stop: stop.drop_guard() }
    }

    async fn with_faults(faults: FaultOptions) -> (Self, String) {
        let running = Self::start(SimulatorOptions { faults, ..quick() }).await;
        let id = running.simulator.submit(Action::Convert, keys(3), "").unwrap();
        (running, id)
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    async fn status(&self, id: &str) -> Response {
        self.get(&format!("/api/v1/status/{id}")).bearer_auth(DEFAULT_API_KEY).send().await.unwrap()
    }

    async fn submit(&self, body: &Value) -> Response {
        let request = self.client.post(format!("{}/api/v1/do", self.base)).bearer_auth(DEFAULT_API_KEY);
        request.json(body).send().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        self.get(path).send().await.unwrap().json().await.unwrap()
    }

    /// Polls as the vendor's clients do, until the operation has finished.
    async fn poll_until_finished(&self, id: &str) -> Value {
        for _ in 0..200 {
            let answer = self.status(id).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let body: Value = answer.json().await.unwrap();
            if ["completed", "failed"].contains(&body["data"]["operation_status"].as_str().unwrap()) {
                return body["data"].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{id} never finishes");
    }
}

/// Operations that last a fraction of a second, and answers at once.
fn quick() -> SimulatorOptions {
    let mut options =
        SimulatorOptions { latency: Duration::ZERO, latency_jitter: Duration::ZERO, ..Default::default() };
    options.plan.duration = DurationRange { shortest: Duration::from_millis(300), longest: Duration::from_millis(600) };
    options.plan.failure_share = 0.0;
    options
}

fn keys(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("file_key_{n}")).collect()
}

async fn error_of(answer: Response) -> (StatusCode, String) {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert!(!body["message"].as_str().unwrap().is_empty());
    (status, body["error"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_operation_is_submitted_and_polled_until_it_completes() {
    let api = Running::start(quick()).await;
    let submission = json!({
        "action": "convert", "file_keys": keys(3), "parameters": {"convert_to": "png"}, "notes": {"group": "images"},
    });
    let answer = api.submit(&submission).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let body: Value = answer.json().await.unwrap();
    let id = body["data"]["main_task_id"].as_str().unwrap().to_owned();

    let first: Value = api.status(&id).await.json().await.unwrap();
    assert_eq!(first["data"]["files_data"][0]["file_key"], "file_key_1");

    let last = api.poll_until_finished(&id).await;
    assert_eq!(last["operation_status"], "completed");
    for (n, file) in last["files_data"].as_array().unwrap().iter().enumerate() {
        assert_eq!(file["file_key"], format!("file_key_{}_result", n + 1));
        assert!(file["download_link"].as_str().unwrap().contains("signature="));
    }

    let truth = api.json("/simulator/truth").await;
    assert_eq!(truth["tags"]["images"]["finished"]["completed"], 1);
    assert_eq!(truth["finished"], truth["planned"]);
    assert_eq!(truth["finished"]["files_completed"], 3);
    let listed = api.json("/simulator/operations?tag=images&limit=5").await;
    assert_eq!((&listed[0]["id"], &listed[0]["outcome"]), (&json!(id), &json!("completed")));
    assert_eq!(api.json("/simulator/operations?tag=other").await, json!([]));
}

#[tokio::test]
async fn failed_files_keep_their_keys_and_the_truth_knows_their_codes() {
    let mut options = quick();
    options.plan.failure_share = 0.5;
    options.operations = 10;
    let api = Running::start(options).await;
    let mut failed = 0;
    for operation in api.simulator.operations(None, 100) {
        let last = api.poll_until_finished(&operation.id).await;
        for file in last["files_data"].as_array().unwrap() {
            let is_failed = file["status"] == "failed";
            failed += u64::from(is_failed);
            assert_eq!(is_failed, !file["file_key"].as_str().unwrap().ends_with("_result"), "{file}");
            assert_eq!(is_failed, file.get("error_message").is_some(), "{file}");
        }
    }
    let truth = api.simulator.truth();
    assert!(failed > 0);
    assert_eq!(truth.finished.operations, 10);
    assert_eq!(truth.finished.files_failed, failed);
    assert_eq!(truth.finished.failures_by_code.values().sum::<u64>(), failed);
}

#[tokio::test]
async fn a_merge_ends_with_one_entry() {
    let api = Running::start(quick()).await;
    let id = api.simulator.submit(Action::Merge, keys(4), "").unwrap();
    let first: Value = api.status(&id).await.json().await.unwrap();
    assert_eq!(first["data"]["files_data"].as_array().unwrap().len(), 4);
    let last = api.poll_until_finished(&id).await;
    assert_eq!(last["files_data"].as_array().unwrap().len(), 1);
    assert_eq!(api.simulator.truth().finished.files_completed, 1);
}

#[tokio::test]
async fn every_status_route_takes_either_key_header() {
    let api = Running::start(quick()).await;
    let id = api.simulator.submit(Action::Compress, keys(2), "").unwrap();
    for path in ["/api/v1/status", "/v1/biz/status"] {
        for (file, entries) in [("", 2), ("/file_key_2", 1)] {
            let path = format!("{path}/{id}{file}");
            let with_bearer = api.get(&path).bearer_auth(DEFAULT_API_KEY).send().await.unwrap();
            let with_header = api.get(&path).header("X-D3-API-Key", DEFAULT_API_KEY).send().await.unwrap();
            for answer in [with_bearer, with_header] {
                assert_eq!(answer.status(), StatusCode::OK, "{path}");
                let body: Value = answer.json().await.unwrap();
                assert_eq!(body["data"]["files_data"].as_array().unwrap().len(), entries, "{path}");
            }
        }
    }
    let counts = api.json("/simulator/requests").await;
    assert_eq!(counts["total"], 8);
    assert_eq!(counts["answers"].as_array().unwrap().len(), 4);
    assert_eq!(
        counts["answers"][0],
        json!({"route": "/api/v1/status/{main_task_id}", "status": 200, "fault": null, "count": 2})
    );
}

#[tokio::test]
async fn a_file_is_found_by_a_key_that_needs_encoding() {
    let api = Running::start(quick()).await;
    let id = api.simulator.submit(Action::Convert, vec!["ein/schöner schlüssel?".into()], "").unwrap();
    let path = format!("/api/v1/status/{id}/ein%2Fsch%C3%B6ner%20schl%C3%BCssel%3F");
    let body: Value = api.get(&path).bearer_auth(DEFAULT_API_KEY).send().await.unwrap().json().await.unwrap();
    assert_eq!(body["data"]["files_data"][0]["file_key"], "ein/schöner schlüssel?");
}

#[tokio::test]
async fn wrong_keys_wrong_ids_and_wrong_bodies_are_refused() {
    let api = Running::start(quick()).await;
    let id = api.simulator.submit(Action::Convert, keys(1), "").unwrap();
    let path = format!("/api/v1/status/{id}");
    let unauthorized = (StatusCode::UNAUTHORIZED, "unauthorized".to_owned());
    assert_eq!(error_of(api.get(&path).send().await.unwrap()).await, unauthorized);
    assert_eq!(error_of(api.get(&path).bearer_auth("wrong").send().await.unwrap()).await, unauthorized);

    let not_found = (StatusCode::NOT_FOUND, "not_found".to_owned());
    assert_eq!(error_of(api.status("main_task_nowhere").await).await, not_found);
    assert_eq!(error_of(api.get("/api/v2/status").send().await.unwrap()).await, not_found);

    for body in [
        json!({"action": "explode", "file_keys": ["a"]}),
        json!({"action": "convert", "file_keys": []}),
        json!({"action": "convert", "file_keys": [1]}),
        json!({"action": "convert", "file_keys": [""]}),
        json!({"action": "convert", "file_keys": vec!["a"; 1001]}),
        json!({"action": "convert", "file_keys": ["a"], "notes": 7}),
        json!({"file_keys": ["a"]}),
        json!([]),
    ] {
        let refused = error_of(api.submit(&body).await).await;
        assert_eq!(refused, (StatusCode::BAD_REQUEST, "invalid_request".to_owned()), "{body}");
    }
    assert_eq!(api.simulator.truth().planned.operations, 1);
}

#[tokio::test]
async fn a_key_that_has_used_up_its_requests_is_told_so() {
    let two_a_minute = RateLimit { requests: NonZeroU32::new(2).unwrap(), period: Duration::from_secs(60) };
    let options = SimulatorOptions { rate_limit: two_a_minute, retry_after: RetryAfter::Seconds, ..quick() };
    let api = Running::start(options).await;
    // Submitting takes from the same quota as polling.
    let answer = api.submit(&json!({"action": "lock", "file_keys": ["a"]})).await;
    let id = answer.json::<Value>().await.unwrap()["data"]["main_task_id"].as_str().unwrap().to_owned();
    assert_eq!(api.status(&id).await.status(), StatusCode::OK);

    let limited = api.status(&id).await;
    let wait: u64 = limited.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let refused = (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded".to_owned());
    assert_eq!(error_of(limited).await, refused);

    api.simulator.change(|options| options.retry_after = RetryAfter::Date).unwrap();
    let limited = api.status(&id).await;
    assert!(limited.headers()["retry-after"].to_str().unwrap().ends_with(" GMT"));
    api.simulator.change(|options| options.retry_after = RetryAfter::None).unwrap();
    let limited = api.status(&id).await;
    assert_eq!(limited.headers().get("retry-after"), None);
    assert_eq!(error_of(limited).await, refused);

    api.simulator.change(|options| options.api_keys = vec!["another".into()]).unwrap();
    assert_eq!(api.status(&id).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_form_of_the_body_follows_the_options() {
    let style =
        Style { bare: true, camel_case: true, upper_case: true, queued_files: QueuedFiles::Absent, ..Style::default() };
    let mut options = quick();
    options.style.fixed = style;
    let api = Running::start(options).await;
    let id = api.simulator.submit(Action::Convert, keys(1), "").unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let body: Value = api.status(&id).await.json().await.unwrap();
    assert_eq!(body["operationStatus"], "COMPLETED");
    assert_eq!(body["filesData"][0]["fileKey"], "file_key_1_result");
}

#[tokio::test]
async fn faults_with_a_status_of_their_own_show_it() {
    let (api, id) = Running::with_faults(FaultOptions { server_error: 1.0, ..Default::default() }).await;
    let refused = error_of(api.status(&id).await).await;
    assert_eq!(refused, (StatusCode::INTERNAL_SERVER_ERROR, "internal_error".to_owned()));

    api.simulator.set_faults(FaultOptions { unavailable: 1.0, ..Default::default() }).unwrap();
    let answer = api.status(&id).await;
    assert_eq!(answer.headers()["retry-after"], "2");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);

    api.simulator.set_faults(FaultOptions { forbidden: 1.0, ..Default::default() }).unwrap();
    assert_eq!(api.status(&id).await.status(), StatusCode::FORBIDDEN);
    api.simulator.set_faults(FaultOptions { not_found: 1.0, ..Default::default() }).unwrap();
    assert_eq!(api.status(&id).await.status(), StatusCode::NOT_FOUND);
    api.simulator.set_faults(FaultOptions::default()).unwrap();
    assert_eq!(api.status(&id).await.status(), StatusCode::OK);

    let faults: Vec<_> = api.simulator.requests().answers.iter().map(|answer| (answer.status, answer.fault)).collect();
    assert!(faults.contains(&(500, Some("server_error"))) && faults.contains(&(200, None)), "{faults:?}");
    assert!(api.simulator.set_faults(FaultOptions { hang: 0.6, stall: 0.6, ..Default::default() }).is_err());
}

#[tokio::test]
async fn bodies_that_cannot_be_read_come_with_status_200() {
    for faults in
        [FaultOptions { garbage: 1.0, ..Default::default() }, FaultOptions { truncated: 1.0, ..Default::default() }]
    {
        let (api, id) = Running::with_faults(faults).await;
        for _ in 0..20 {
            let answer = api.status(&id).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let bytes = answer.bytes().await.unwrap();
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            assert!(!body["data"]["operation_status"].is_string() && !body["operation_status"].is_string(), "{body}");
        }
    }
}

#[tokio::test]
async fn an_oversized_body_is_as_long_as_asked_for() {
    let faults = FaultOptions { oversized: 1.0, oversized_bytes: 3 << 20, ..Default::default() };
    let (api, id) = Running::with_faults(faults).await;
    let bytes = api.status(&id).await.bytes().await.unwrap();
    assert!(bytes.len() >= 3 << 20);
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(body["data"]["operation_status"].is_string());
}

#[tokio::test]
async fn a_connection_closes_in_the_middle_of_an_answer() {
    let (api, id) = Running::with_faults(FaultOptions { disconnect: 1.0, ..Default::default() }).await;
    let mut answer = api.status(&id).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let promised = answer.content_length().unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    assert!((first.len() as u64) < promised);
    assert!(!answer.chunk().await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn an_answer_hangs_before_its_head_or_stalls_after_it() {
    let hang_for = Duration::from_millis(400);
    let soon = Duration::from_millis(150);
    let (api, id) = Running::with_faults(FaultOptions { hang: 1.0, hang_for, ..Default::default() }).await;
    let path = format!("/api/v1/status/{id}");
    let ask = || api.get(&path).bearer_auth(DEFAULT_API_KEY);
    assert!(ask().timeout(soon).send().await.unwrap_err().is_timeout());
    assert_eq!(ask().send().await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);

    api.simulator.set_faults(FaultOptions { stall: 1.0, hang_for, ..Default::default() }).unwrap();
    let answer = ask().timeout(soon).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.bytes().await.unwrap_err().is_timeout());
    let after_all = ask().send().await.unwrap().bytes().await;
    assert!(!after_all.unwrap_err().is_timeout(), "its connection ends");
}

#[tokio::test]
async fn stale_vanished_and_fresh_answers_are_valid_and_wrong() {
    let mut options = quick();
    options.faults = FaultOptions {
        fresh_not_found: 1.0,
        fresh_for: Duration::from_millis(400),
        vanished: 1.0,
        ..Default::default()
    };
    let api = Running::start(options).await;
    let id = api.simulator.submit(Action::Convert, keys(3), "").unwrap();
    assert_eq!(api.status(&id).await.status(), StatusCode::NOT_FOUND);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let body: Value = api.status(&id).await.json().await.unwrap();
    assert!(body["data"]["files_data"].as_array().unwrap().len() < 3);

    api.simulator.set_faults(FaultOptions { stale: 1.0, ..Default::default() }).unwrap();
    let mut states = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let body: Value = api.status(&id).await.json().await.unwrap();
        states.insert(body["data"]["operation_status"].as_str().unwrap().to_owned());
    }
    assert!(states.contains("completed") && states.len() > 1, "{states:?}");
}

#[tokio::test]
async fn requests_in_flight_are_counted_also_when_their_client_leaves() {
    let options = SimulatorOptions { latency: Duration::from_millis(600), ..quick() };
    let api = Running::start(options).await;
    let id = api.simulator.submit(Action::Convert, keys(1), "").unwrap();
    let path = format!("/api/v1/status/{id}");
    let patient = (0..4).map(|_| api.status(&id));
    let hasty = (0..3).map(|_| api.get(&path).bearer_auth(DEFAULT_API_KEY).timeout(Duration::from_millis(300)).send());
    let (answers, gone) = tokio::join!(futures_util::future::join_all(patient), futures_util::future::join_all(hasty));
    assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
    assert!(gone.iter().all(Result::is_err));
    assert_eq!(api.simulator.requests().most_in_flight, 7);
    assert_eq!(api.simulator.requests().busiest_second, 7);

    // Were the three that left still counted, these four would make it more.
    let more = (0..4).map(|_| api.status(&id));
    futures_util::future::join_all(more).await;
    assert_eq!(api.simulator.requests().most_in_flight, 7);
}

#[tokio::test]
async fn serving_ends_within_its_bound_although_an_answer_hangs() {
    let hang_for = Duration::from_secs(600);
    let (api, id) = Running::with_faults(FaultOptions { hang: 1.0, hang_for, ..Default::default() }).await;
    let request = api.get(&format!("/api/v1/status/{id}")).bearer_auth(DEFAULT_API_KEY);
    let hanging = tokio::spawn(request.send());
    while api.simulator.requests().answers.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(api.stop);
    tokio::time::timeout(Duration::from_secs(4), api.served).await.expect("it stops").unwrap();
    assert!(!hanging.await.unwrap().unwrap_err().is_timeout());
}

#[tokio::test]
async fn serving_finishes_an_answer_under_way() {
    let options = SimulatorOptions { latency: Duration::from_millis(200), ..quick() };
    let api = Running::start(options).await;
    let id = api.simulator.submit(Action::Convert, keys(1), "").unwrap();
    let request = api.get(&format!("/api/v1/status/{id}")).bearer_auth(DEFAULT_API_KEY);
    let under_way = tokio::spawn(request.send());
    while api.simulator.requests().total == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(api.stop);
    assert_eq!(under_way.await.unwrap().unwrap().status(), StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(1), api.served).await.expect("nothing is left to wait for").unwrap();
}
