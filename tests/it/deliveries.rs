//! A hundred operations, and a thousand deliveries of their webhooks in random order, with restarts and crashes between:
//! what is counted in the end is the truth, and nothing is counted twice.
//!
//! The simulated API sends its webhooks to a receiver in the test, which keeps them as they came. Polls are an hour apart,
//! so what moves a task on is a webhook, or a start of the exporter. The environment's `DRAGDROPDO_TEST_SEED` sets the
//! seed of all chance.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Exporter, PATIENCE, Scrape, Setup, number_from_environment};
use crate::webhooks::{ROUTE, SECRET, TOKEN, register};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::listener;
use dragdropdo_exporter::simulator::{
    DEFAULT_API_KEY, DurationRange, OperationSummary, RateLimit, SignatureForm, SignatureHeader, Simulator,
    SimulatorOptions, Tally,
};
use rand::rngs::{StdRng, SysRng};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng, TryRng};
use reqwest::Client;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const OPERATIONS: usize = 100;
/// Deliveries of each operation's webhook.
const TIMES: usize = 10;
/// Ends of the exporter between the deliveries, by SIGKILL and by SIGTERM in turn.
const ENDS: usize = 6;
/// Deliveries on their way at once.
const AT_ONCE: usize = 6;
const GROUPS: [&str; 3] = ["invoices", "photos", "contracts"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_deliveries_count_the_truth_when_half_of_the_tasks_are_registered_after_them() {
    a_thousand_deliveries(Others::RegisteredLater).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_deliveries_count_the_truth_when_half_of_the_tasks_are_never_registered() {
    a_thousand_deliveries(Others::TrackedUnknown).await;
}

/// What becomes of the half of the tasks that is not registered when it is submitted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// They are registered when a good part of their webhooks has come.
    RegisteredLater,
    /// Their webhooks are all that the exporter ever hears of them.
    TrackedUnknown,
}

async fn a_thousand_deliveries(others: Others) {
    let seed = number_from_environment("DRAGDROPDO_TEST_SEED").unwrap_or_else(|| SysRng.try_next_u64().unwrap());
    let _told = Told(seed);
    let mut random = StdRng::seed_from_u64(seed);
    let stop = CancellationToken::new();
    let _stopped_at_the_end = stop.clone().drop_guard();
    let (url, received) = receiver(stop.clone()).await;
    let simulator = Simulator::new(options(seed, &url), Clock::system()).unwrap();
    let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setup = setup(&format!("http://{}", api.local_addr().unwrap()), others);
    tokio::spawn(simulator.clone().serve(api, stop));

    let mut exporter = setup.start().await;
    let registrations = submit(&simulator, others);
    for task in &registrations {
        assert_eq!(register(&exporter, task).await, 201);
    }
    all_have_ended(&simulator).await;
    let received = std::mem::take(&mut *received.lock().unwrap());
    let truth = simulator.truth();
    assert_eq!(received.iter().filter(|delivery| delivery.ends_operation).count(), OPERATIONS);
    assert_eq!(received.len() as u64, OPERATIONS as u64 + truth.planned.files_completed + truth.planned.files_failed);

    let (address, watched) = watch::channel(Some(exporter.address()));
    let mut deck: Vec<Delivery> = received.clone();
    let of_operations = || received.iter().filter(|delivery| delivery.ends_operation).cloned();
    (1..TIMES).for_each(|_| deck.extend(of_operations()));
    deck.shuffle(&mut random);
    let whole = deck.len();
    let deck = Arc::new(Mutex::new(VecDeque::from(deck)));
    let mut postmen = JoinSet::new();
    for _ in 0..AT_ONCE {
        postmen.spawn(deliver_all(deck.clone(), watched.clone()));
    }
    for end in 1..=ENDS {
        let moment = whole - whole * end / (ENDS + 1);
        has_shrunk_to(&deck, moment + random.random_range(0..20)).await;
        address.send_replace(None);
        if end % 2 == 0 {
            let (status, log) = exporter.terminate().await;
            assert!(status.success(), "{status}\n{}", log.join("\n"));
        } else {
            exporter.kill().await;
        }
        exporter = setup.start().await;
        address.send_replace(Some(exporter.address()));
        if end == ENDS / 2 && others == Others::RegisteredLater {
            for task in later(&simulator) {
                assert_eq!(register(&exporter, &task).await, 201);
            }
        }
    }
    tokio::time::timeout(PATIENCE, postmen.join_all()).await.expect("all deliveries are taken");
    everything_settles(&exporter).await;
    holds(&exporter.scrape().await, &simulator);

    // Once more all of it, when it is all over, and many tasks have left the gauges.
    let deck = Arc::new(Mutex::new(VecDeque::from(received)));
    deliver_all(deck, watched).await;
    let again: Vec<Value> = registrations.into_iter().chain(later(&simulator)).collect();
    assert_eq!(register(&exporter, &json!(again)).await, 200);
    let scrape = exporter.scrape().await;
    holds(&scrape, &simulator);
    assert_eq!(scrape.sum("dragdropdo_webhooks_total{outcome=bad_signature}"), 0.0);
    assert_eq!(scrape.sum("dragdropdo_webhooks_total{outcome=malformed}"), 0.0);
    exporter.kill().await;
    holds(&setup.start().await.scrape().await, &simulator);
}

/// Tells, when the test fails, how to do the same again.
struct Told(u64);

impl Drop for Told {
    #[expect(clippy::print_stderr, reason = "shown when the test fails, or on demand")]
    fn drop(&mut self) {
        eprintln!("DRAGDROPDO_TEST_SEED={}", self.0);
    }
}

/// Short operations, of which many fail, in every form that the API has.
fn options(seed: u64, webhooks: &str) -> SimulatorOptions {
    let millis = |shortest, longest| DurationRange {
        shortest: Duration::from_millis(shortest),
        longest: Duration::from_millis(longest),
    };
    let mut options = SimulatorOptions {
        latency: Duration::from_millis(2),
        latency_jitter: Duration::from_millis(10),
        rate_limit: RateLimit { requests: NonZeroU32::new(10_000).unwrap(), period: Duration::from_secs(1) },
        seed,
        ..SimulatorOptions::default()
    };
    options.plan.duration = millis(200, 2500);
    options.plan.failure_share = 0.3;
    options.plan.codeless_share = 0.1;
    options.style.mixed = true;
    options.webhooks.url = Some(webhooks.parse().unwrap());
    options.webhooks.secret = Some(SECRET.to_owned());
    options.webhooks.delay = millis(0, 100);
    options
}

fn setup(api: &str, others: Others) -> Setup {
    let setup = Setup::at(
        api,
        &format!(
            "
            api: {{api_key: {DEFAULT_API_KEY}}}
            poll: {{interval: 1h, min_interval: 1h}}
            # Short enough that many webhooks come when their task has left the gauges.
            retention: 500ms
            web: {{api_token_file: token}}
            webhook: {{secret_file: secret, track_unknown: {}}}
            metrics: {{per_task_limit: 5}}
            ",
            others == Others::TrackedUnknown
        ),
    );
    std::fs::write(setup.path("token"), TOKEN).unwrap();
    std::fs::write(setup.path("secret"), SECRET).unwrap();
    setup
}

/// Submits all operations; answers the registrations of those that are registered at once.
fn submit(simulator: &Simulator, others: Others) -> Vec<Value> {
    let mut registrations = Vec::new();
    for at in 0..OPERATIONS {
        let group = GROUPS[at / 2 % GROUPS.len()];
        let at_once = at % 2 == 0;
        // The tag is what the truth is told apart by. What is only heard of by webhook has the default group.
        let tag = if at_once || others == Others::RegisteredLater { group } else { "default" };
        let id = simulator.submit_drawn(tag).unwrap();
        if at_once {
            registrations.push(json!({"id": id, "group": group, "submitted_at": Clock::system().wall().to_string()}));
        }
    }
    registrations
}

/// The registrations of all tasks, with their own group and the time at which the API says that they were created.
fn later(simulator: &Simulator) -> Vec<Value> {
    let task = |operation: OperationSummary| json!({"id": operation.id, "group": operation.tag, "submitted_at": operation.created.to_string()});
    // Every second one, the newest first, is not registered yet.
    simulator.operations(None, OPERATIONS).into_iter().step_by(2).map(task).collect()
}

async fn all_have_ended(simulator: &Simulator) {
    let ended = async {
        loop {
            let (truth, webhooks) = (simulator.truth(), simulator.webhooks());
            let all = OPERATIONS as u64 + truth.planned.files_completed + truth.planned.files_failed;
            if truth.finished == truth.planned && webhooks.acknowledged == all {
                return;
            }
            // From here on in another form.
            let change = |options: &mut SimulatorOptions| {
                options.webhooks.signature_header = SignatureHeader::D3;
                options.webhooks.signature_form = SignatureForm::Prefixed;
            };
            if webhooks.acknowledged > all / 2 {
                simulator.change(change).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("all operations end, and all webhooks come");
}

/// A webhook as it came.
#[derive(Clone)]
struct Delivery {
    header: &'static str,
    signature: String,
    body: Bytes,
    ends_operation: bool,
}

type Received = Arc<Mutex<Vec<Delivery>>>;

/// Takes webhooks at the URL until `stop`, and keeps them.
async fn receiver(stop: CancellationToken) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let received = Received::default();
    let router = Router::new().route("/hook", post(receive)).with_state(received.clone());
    tokio::spawn(listener::serve(listener, router, stop));
    (url, received)
}

async fn receive(State(received): State<Received>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signed =
        ["X-Webhook-Signature", "X-D3-Signature"].into_iter().find_map(|name| Some((name, headers.get(name)?)));
    let (header, signature) = signed.expect("every webhook is signed");
    let content: Value = serde_json::from_slice(&body).unwrap();
    let ends_operation = content["type"].as_str().unwrap().starts_with("operation.");
    let signature = signature.to_str().unwrap().to_owned();
    received.lock().unwrap().push(Delivery { header, signature, body, ends_operation });
    StatusCode::NO_CONTENT
}

/// Delivers what is in the deck to whichever exporter lives, each until it is acknowledged.
async fn deliver_all(deck: Arc<Mutex<VecDeque<Delivery>>>, exporter: watch::Receiver<Option<SocketAddr>>) {
    let client = Client::builder().no_proxy().timeout(PATIENCE).retry(reqwest::retry::never()).build().unwrap();
    loop {
        let Some(delivery) = deck.lock().unwrap().pop_front() else { return };
        loop {
            let address = *exporter.borrow();
            if let Some(address) = address {
                let request = client.post(format!("http://{address}{ROUTE}"));
                let request = request.header(delivery.header, &delivery.signature).body(delivery.body.clone());
                match request.send().await.map(|answer| answer.status()) {
                    Ok(StatusCode::NO_CONTENT) => break,
                    // It ended, before or after it had taken it.
                    Ok(StatusCode::SERVICE_UNAVAILABLE) | Err(_) => {}
                    Ok(status) => panic!("{status}: {}", String::from_utf8_lossy(&delivery.body)),
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn has_shrunk_to(deck: &Mutex<VecDeque<Delivery>>, left: usize) {
    let shrunk = async {
        while deck.lock().unwrap().len() > left {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shrunk).await.expect("deliveries are taken");
}

async fn everything_settles(exporter: &Exporter) {
    exporter
        .until("all tasks settle", |scrape| scrape.sum("dragdropdo_tasks_finished_total") >= OPERATIONS as f64)
        .await;
}

/// Fails unless every group's totals are the truth.
fn holds(scrape: &Scrape, simulator: &Simulator) {
    let truth = simulator.truth();
    let mut wrong = Vec::new();
    assert_eq!(truth.planned.operations, OPERATIONS as u64);
    for (group, truth) in &truth.tags {
        is_exactly(scrape, group, &truth.planned, &mut wrong);
    }
    let all = scrape.sum("dragdropdo_tasks_finished_total");
    if all != OPERATIONS as f64 || scrape.sum("dragdropdo_tasks_dropped_total") != 0.0 {
        wrong.push(format!("{all} tasks settled"));
    }
    assert!(wrong.is_empty(), "{}\n{truth:#?}\n{}", wrong.join("\n"), scrape.text());
}

fn is_exactly(scrape: &Scrape, group: &str, truth: &Tally, wrong: &mut Vec<String>) {
    let of = |name: &str, labels: &str| format!("dragdropdo_{name}{{group={group}{labels}}}");
    let mut is = |selector: String, expected: u64| {
        let found = scrape.sum(&selector);
        if found != expected as f64 {
            wrong.push(format!("{selector} is {found}, and truly {expected}"));
        }
    };
    is(of("tasks_finished_total", ",outcome=completed"), truth.completed);
    is(of("tasks_finished_total", ",outcome=partially_failed"), truth.partially_failed);
    is(of("tasks_finished_total", ",outcome=failed"), truth.failed);
    is(of("files_finished_total", ",state=completed"), truth.files_completed);
    is(of("files_finished_total", ",state=failed"), truth.files_failed);
    is(of("file_failures_total", ""), truth.files_failed);
    let named = |code: &str| if code.is_empty() { "unspecified".to_owned() } else { code.to_owned() };
    let by_code: BTreeMap<String, u64> =
        truth.failures_by_code.iter().map(|(code, failures)| (named(code), *failures)).collect();
    for (code, failures) in &by_code {
        is(of("file_failures_total", &format!(",error_code={code}")), *failures);
    }
    for (what, finished) in [("task", truth.operations), ("file", truth.files_completed + truth.files_failed)] {
        let known = scrape.sum(&of(&format!("{what}_completion_latency_seconds_count"), ""));
        let unknown = scrape.sum(&of(&format!("{what}_latency_unknown_total"), ""));
        if known + unknown != finished as f64 {
            wrong.push(format!("{group}: {known} {what} latencies and {unknown} unknown ones, of truly {finished}"));
        }
    }
}
