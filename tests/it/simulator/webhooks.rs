//! The webhooks of the simulated API, as a receiver meets them.

use super::{PATIENCE, Running, keys, quick};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use dragdropdo_exporter::listener;
use dragdropdo_exporter::simulator::{
    Action, DurationRange, SignatureForm, SignatureHeader, Simulator, SimulatorOptions, WebhookCounts,
};
use dragdropdo_exporter::time::Time;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

const SECRET: &str = "a secret of the test";

/// A delivery as it came.
#[derive(Clone, Debug)]
struct Received {
    headers: HeaderMap,
    raw: Bytes,
    body: Value,
}

impl Received {
    fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    fn timestamp(&self) -> Time {
        Time::parse(self.body["timestamp"].as_str().unwrap()).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The main task of an operation's webhook.
    fn main_task(&self) -> Option<&str> {
        self.kind().strip_prefix("operation.").and(self.body["payload"]["main_task"]["id"].as_str())
    }
}

type Answering = Arc<dyn Fn(usize) -> Response + Send + Sync>;

/// Receives webhooks until it is dropped, and answers each as it is told, by how many came before.
struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
    _stop: DropGuard,
}

impl Receiver {
    async fn start(answer: impl Fn(usize) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let answer: Answering = Arc::new(answer);
        let router = Router::new().route("/hook", post(receive)).with_state((received.clone(), answer));
        let stop = CancellationToken::new();
        tokio::spawn(listener::serve(listener, router, stop.clone()));
        Self { url, received, _stop: stop.drop_guard() }
    }

    async fn willing() -> Self {
        Self::start(|_| StatusCode::NO_CONTENT.into_response()).await
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn receive(
    State((received, answer)): State<(Arc<Mutex<Vec<Received>>>, Answering)>,
    headers: HeaderMap,
    raw: Bytes,
) -> Response {
    let body = serde_json::from_slice(&raw).unwrap();
    let mut received = received.lock().unwrap();
    received.push(Received { headers, raw, body });
    answer(received.len() - 1)
}

/// Operations that end soon and webhooks that come at once, to `receiver`.
fn announcing(receiver: &Receiver) -> SimulatorOptions {
    let mut options = quick();
    options.plan.duration = DurationRange { shortest: Duration::from_millis(20), longest: Duration::from_millis(200) };
    options.webhooks.url = Some(receiver.url.parse().unwrap());
    options.webhooks.delay = DurationRange { shortest: Duration::ZERO, longest: Duration::ZERO };
    options.webhooks.retry_interval = Duration::from_millis(10);
    options
}

/// Waits until all operations have ended and all their webhooks have too, `wanted` of them as `count` says; and for a moment
/// more, in which none may follow.
async fn until(simulator: &Simulator, wanted: u64, count: impl Fn(&WebhookCounts) -> u64) -> WebhookCounts {
    let reached = async {
        loop {
            let (truth, counts) = (simulator.truth(), simulator.webhooks());
            if truth.finished == truth.planned && counts.open == 0 && count(&counts) >= wanted {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        simulator.webhooks()
    };
    let counts = tokio::time::timeout(PATIENCE, reached).await;
    counts.unwrap_or_else(|_| panic!("it stays at {:?}", simulator.webhooks()))
}

/// HMAC-SHA256 in hexadecimal digits, written down from RFC 2104.
fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    let pad = |byte: u8| (0..64).map(|n| key.get(n).unwrap_or(&0) ^ byte).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn every_event_is_announced_at_the_moment_of_the_plan() {
    let receiver = Receiver::willing().await;
    let mut options = announcing(&receiver);
    options.plan.failure_share = 0.4;
    let api = Running::start(options).await;
    for _ in 0..20 {
        api.simulator.submit_drawn("").unwrap();
    }
    let counts = until(&api.simulator, 20, |counts| counts.announced).await;
    let truth = api.simulator.truth();
    let received = receiver.received();
    let of = |kind: &str| received.iter().filter(|webhook| webhook.kind() == kind).count() as u64;
    assert_eq!(of("operation.completed"), truth.finished.completed + truth.finished.partially_failed);
    assert_eq!(of("operation.failed"), truth.finished.failed);
    assert_eq!(of("fileTask.completed"), truth.finished.files_completed);
    assert_eq!(of("fileTask.failed"), truth.finished.files_failed);

    let finished: BTreeMap<_, _> =
        received.iter().filter_map(|webhook| Some((webhook.main_task()?.to_owned(), webhook.timestamp()))).collect();
    let planned = api.simulator.operations(None, 99);
    assert_eq!(finished, planned.into_iter().map(|operation| (operation.id, operation.finishes)).collect());
    for webhook in &received {
        assert_eq!(webhook.header("content-type"), Some("application/json"));
        assert_eq!(webhook.body["timestamp"].as_str().unwrap().len(), "2022-11-03T20:26:10.344522Z".len());
        // Nobody asked for a signature.
        assert_eq!((webhook.header("X-Webhook-Signature"), webhook.header("X-D3-Signature")), (None, None));
    }

    let total = received.len() as u64;
    assert_eq!((counts.announced, counts.sent, counts.acknowledged), (total, total, total));
    let shown = api.json("/simulator/webhooks").await;
    assert_eq!(shown["sent"], total);
    assert_eq!(shown["answers"], json!({"204": total}));
    assert_eq!(shown["events"]["fileTask.completed"], truth.finished.files_completed);
}

#[tokio::test]
async fn the_raw_body_is_signed_in_either_header_and_every_form() {
    let receiver = Receiver::willing().await;
    let mut options = announcing(&receiver);
    options.webhooks.secret = Some(SECRET.into());
    let api = Running::start(options).await;
    let in_form = |form, hex: String| match form {
        SignatureForm::Hex => hex,
        SignatureForm::Prefixed => format!("sha256={hex}"),
        SignatureForm::UpperCase => hex.to_uppercase(),
    };
    let headers = [SignatureHeader::Webhook, SignatureHeader::D3];
    let mut sent = 0;
    for header in headers {
        for form in [SignatureForm::Hex, SignatureForm::Prefixed, SignatureForm::UpperCase] {
            api.simulator
                .change(|options| {
                    options.webhooks.signature_header = header;
                    options.webhooks.signature_form = form;
                })
                .unwrap();
            // With letters that have more than one byte each.
            api.simulator.submit(Action::Convert, vec!["schlüssel".into()], "").unwrap();
            until(&api.simulator, sent as u64 + 2, |counts| counts.acknowledged).await;
            for webhook in receiver.received().split_off(sent) {
                let signature = in_form(form, hmac_sha256(SECRET.as_bytes(), &webhook.raw));
                assert_eq!(webhook.header(header.name()), Some(&*signature), "{form:?}");
                for other in headers.iter().filter(|other| **other != header) {
                    assert_eq!(webhook.header(other.name()), None);
                }
            }
            sent += 2;
        }
    }
    assert_eq!(receiver.received().len(), sent);
}

#[tokio::test]
async fn a_webhook_is_retried_until_it_is_acknowledged() {
    let answers = |before| match before {
        0 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        1 => StatusCode::UNAUTHORIZED.into_response(),
        // Not followed: a signature belongs to its receiver.
        2 => Redirect::permanent("/hook").into_response(),
        _ => StatusCode::ACCEPTED.into_response(),
    };
    let receiver = Receiver::start(answers).await;
    let mut options = announcing(&receiver);
    options.webhooks.secret = Some(SECRET.into());
    options.webhooks.tags = vec!["wanted".into()];
    let api = Running::start(options).await;
    api.simulator.submit(Action::Zip, keys(2), "wanted").unwrap();
    let counts = until(&api.simulator, 2, |counts| counts.acknowledged).await;
    assert_eq!((counts.announced, counts.sent, counts.retried), (2, 5, 3));
    assert_eq!((counts.acknowledged, counts.given_up, counts.repeated), (2, 0, 0));
    let by_status = [("202", 2), ("308", 1), ("401", 1), ("500", 1)];
    assert_eq!(counts.answers, by_status.map(|(status, count)| (status.to_owned(), count)).into());

    // A retry is the same webhook, byte for byte.
    let received = receiver.received();
    let bodies: BTreeSet<&[u8]> = received.iter().map(|webhook| webhook.raw.as_ref()).collect();
    let signatures: BTreeSet<_> = received.iter().map(|webhook| webhook.header("X-Webhook-Signature")).collect();
    assert_eq!((received.len(), bodies.len(), signatures.len()), (5, 2, 2));
}

#[tokio::test]
async fn a_webhook_that_is_never_acknowledged_is_given_up_at_the_limit() {
    let receiver = Receiver::start(|_| StatusCode::SERVICE_UNAVAILABLE.into_response()).await;
    let mut options = announcing(&receiver);
    options.webhooks.retries = 3;
    let api = Running::start(options).await;
    api.simulator.submit(Action::Convert, keys(1), "").unwrap();
    let counts = until(&api.simulator, 2, |counts| counts.given_up).await;
    assert_eq!((counts.sent, counts.retried, counts.acknowledged, counts.given_up), (8, 6, 0, 2));
    assert_eq!(receiver.received().len(), 8);
}

#[tokio::test]
async fn a_receiver_that_is_silent_or_gone_is_told_apart() {
    // Accepts connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = |listener: &TcpListener| format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let (silent_url, gone_url) = (url(&silent), url(&gone));
    drop(gone);

    let receiver = Receiver::willing().await;
    let mut options = announcing(&receiver);
    options.webhooks.url = Some(silent_url);
    options.webhooks.timeout = Duration::from_millis(100);
    options.webhooks.retries = 0;
    let api = Running::start(options).await;
    api.simulator.submit(Action::Convert, keys(1), "").unwrap();
    let counts = until(&api.simulator, 2, |counts| counts.given_up).await;
    assert_eq!(counts.answers, BTreeMap::from([("timeout".to_owned(), 2)]));

    api.simulator.change(|options| options.webhooks.url = Some(gone_url)).unwrap();
    api.simulator.submit(Action::Convert, keys(1), "").unwrap();
    let counts = until(&api.simulator, 4, |counts| counts.given_up).await;
    assert_eq!(counts.answers["no_answer"], 2);
}

#[tokio::test]
async fn webhooks_come_twice_out_of_order_or_never_as_often_as_asked_for() {
    let receiver = Receiver::willing().await;
    let mut options = announcing(&receiver);
    options.webhooks.twice = 0.3;
    options.webhooks.shuffled = 0.3;
    options.webhooks.lost = 0.2;
    options.webhooks.hold_for = Duration::from_millis(150);
    let api = Running::start(options).await;
    for _ in 0..100 {
        api.simulator.submit(Action::Convert, keys(1), "").unwrap();
    }
    let counts = until(&api.simulator, 200, |counts| counts.announced).await;
    assert!((20..60).contains(&counts.lost), "{counts:?}");
    assert!((30..90).contains(&counts.held_back), "{counts:?}");
    assert!((30..70).contains(&counts.repeated), "{counts:?}");
    assert_eq!((counts.retried, counts.given_up, counts.dropped), (0, 0, 0));

    let received = receiver.received();
    let mut times: BTreeMap<Bytes, u64> = BTreeMap::new();
    for webhook in &received {
        *times.entry(webhook.raw.clone()).or_default() += 1;
    }
    assert_eq!(times.len() as u64, 200 - counts.lost);
    assert_eq!(times.values().filter(|times| **times == 2).count() as u64, counts.repeated);
    assert!(times.values().all(|times| *times <= 2));
    let overtaken = received.windows(2).filter(|pair| pair[1].timestamp() < pair[0].timestamp()).count();
    assert!(overtaken > 10, "{overtaken}");
}

#[tokio::test]
async fn only_the_tags_named_are_announced_and_the_url_may_come_later() {
    let receiver = Receiver::willing().await;
    let mut options = announcing(&receiver);
    let url = options.webhooks.url.take();
    options.webhooks.tags = vec!["invoices".into()];
    let api = Running::start(options).await;
    // Too early: there is no URL yet when it ends.
    api.simulator.submit(Action::Convert, keys(1), "invoices").unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    api.simulator.change(|options| options.webhooks.url = url).unwrap();
    let wanted = api.simulator.submit(Action::Convert, keys(1), "invoices").unwrap();
    api.simulator.submit(Action::Convert, keys(1), "photos").unwrap();
    api.simulator.submit(Action::Convert, keys(1), "").unwrap();
    let counts = until(&api.simulator, 2, |counts| counts.acknowledged).await;
    assert_eq!((counts.announced, counts.sent), (2, 2));
    let named: Vec<String> =
        receiver.received().iter().filter_map(|webhook| Some(webhook.main_task()?.to_owned())).collect();
    assert_eq!(named, [wanted]);
}

#[tokio::test]
async fn few_requests_are_under_way_at_once_and_none_outlives_the_simulator() {
    // Accepts connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = Receiver::willing().await;
    let mut options = announcing(&receiver);
    options.webhooks.url = Some(format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap());
    let api = Running::start(options).await;
    for _ in 0..30 {
        api.simulator.submit(Action::Convert, keys(1), "").unwrap();
    }
    let all_ended = async {
        while api.simulator.webhooks().announced < 60 || api.simulator.webhooks().sent < 16 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Time for one more, were there a place for it.
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    tokio::time::timeout(PATIENCE, all_ended).await.unwrap();
    let counts = api.simulator.webhooks();
    assert_eq!((counts.announced, counts.sent, counts.open), (60, 16, 60));
    drop(api.stop);
    tokio::time::timeout(Duration::from_secs(1), api.served).await.expect("it stops").unwrap();
}
