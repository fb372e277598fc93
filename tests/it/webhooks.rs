//! Webhooks, as D3 sends them and as anybody else might.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Answer, Exporter, FakeApi, PATIENCE, Setup, operation};
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::time::Time;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The secret with which deliveries are signed.
pub(crate) const SECRET: &str = "the-secret-of-the-dashboard";
/// The token for registrations.
pub(crate) const TOKEN: &str = "the-token-of-the-applications";
/// Where deliveries go.
pub(crate) const ROUTE: &str = "/webhooks/dragdropdo";
/// Polls that nobody waits for: what is seen sooner, a webhook brought forward.
const SELDOM: &str = "poll: {interval: 1h, min_interval: 1h}";

/// An exporter that takes webhooks and registrations.
pub(crate) fn taking_webhooks(api: &FakeApi, yaml: &str) -> Setup {
    let mut setup = Setup::new(api, "{webhook: {secret_file: secret}, web: {api_token_file: token}}");
    setup.configure(yaml);
    std::fs::write(setup.path("secret"), format!("{SECRET}\n")).unwrap();
    std::fs::write(setup.path("token"), format!("{TOKEN}\n")).unwrap();
    setup
}

/// HMAC-SHA256 in hexadecimal digits, written down from RFC 2104.
pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    let pad = |byte: u8| (0..64).map(|at| secret.as_bytes().get(at).unwrap_or(&0) ^ byte).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(body).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What D3 says when the operation `id` ended at `at`.
pub(crate) fn ended(id: &str, at: Time) -> Value {
    json!({ "type": "operation.completed", "timestamp": at.to_string(), "payload": { "main_task":
        { "id": id, "status": "completed", "count": { "total": 1, "success": 1, "failed": 0 } } } })
}

/// Delivers `body` as D3 does, and answers the status.
pub(crate) async fn deliver(exporter: &Exporter, body: &Value) -> u16 {
    send(exporter, "X-Webhook-Signature", SECRET, &body.to_string()).await.0
}

/// Registers what `body` says; the status.
pub(crate) async fn register(exporter: &Exporter, body: &Value) -> u16 {
    let request = exporter.request(Method::POST, "/api/v1/tasks").bearer_auth(TOKEN);
    request.body(body.to_string()).send().await.unwrap().status().as_u16()
}

/// What `sqlite3`, the program, answers; the exporter may be running.
pub(crate) fn sqlite3(database: &Path, statement: &str) -> String {
    let output = Command::new("sqlite3")
        .args(["-batch", "-bail", "-cmd", ".timeout 5000"])
        .arg(database)
        .arg(statement)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Now.
pub(crate) fn now() -> Time {
    Clock::system().wall()
}

/// So long before `time`.
pub(crate) fn before(time: Time, seconds: i64) -> Time {
    Time::from_micros(time.as_micros() - seconds * 1_000_000)
}

/// Delivers `body` signed with `secret` in `header`: the status, and the reason of a refusal.
async fn send(exporter: &Exporter, header: &'static str, secret: &str, body: &str) -> (u16, String) {
    let signature = signature(secret, body.as_bytes());
    answer(exporter.request(Method::POST, ROUTE).header(header, signature).body(body.to_owned())).await
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    let (status, body) = (answer.status().as_u16(), answer.text().await.unwrap());
    if status == 204 {
        return (status, body);
    }
    let refusal: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status} {body}: {error}"));
    assert_eq!(refusal.as_object().unwrap().len(), 1, "{refusal}");
    let reason = refusal["error"].as_str().unwrap().to_owned();
    assert!(!reason.contains(SECRET), "{reason}");
    (status, reason)
}

fn unfinished() -> Answer {
    operation("in_progress", &[("in", "in_progress")])
}

fn completed() -> Answer {
    operation("completed", &[("out", "completed")])
}

#[tokio::test]
async fn a_delivery_counts_when_either_header_signs_its_raw_body_in_any_form() {
    let api = FakeApi::start().await;
    let exporter = taking_webhooks(&api, "{}").start().await;
    // Blanks and letters of several bytes: what is signed is not what a JSON library would write.
    let body = "{ \"type\":\"operation.failed\",  \"timestamp\": \"2022-11-03T20:26:10.344522Z\",\n \
        \"payload\": {\"main_task\": {\"id\": \"t\", \"note\": \"schlüssel\"}} }";
    let hex = signature(SECRET, body.as_bytes());
    let post = || exporter.request(Method::POST, ROUTE).body(body);
    for header in ["X-Webhook-Signature", "x-d3-signature"] {
        for form in [hex.clone(), hex.to_uppercase(), format!("sha256={hex}"), format!("SHA256={}", hex.to_uppercase())]
        {
            assert_eq!(answer(post().header(header, &form)).await.0, 204, "{header}: {form}");
        }
    }
    let wrong = hex.replacen(|c: char| c.is_ascii_hexdigit(), if hex.starts_with('0') { "1" } else { "0" }, 1);
    let same_meaning: Value = serde_json::from_str(body).unwrap();
    let of_another_form = signature(SECRET, same_meaning.to_string().as_bytes());
    for request in [
        post(),
        post().header("X-Webhook-Signature", ""),
        post().header("X-Webhook-Signature", &wrong),
        post().header("X-Webhook-Signature", &hex[..63]),
        post().header("X-Webhook-Signature", of_another_form),
        post().header("X-Webhook-Signature", signature("another secret", body.as_bytes())),
        post().header("X-Webhook-Signature", signature("", body.as_bytes())),
        post().header("X-Signature", &hex),
        post().bearer_auth(TOKEN),
    ] {
        let (status, reason) = answer(request).await;
        assert_eq!(status, 401);
        assert!(reason.starts_with("the signature is missing or wrong"), "{reason}");
    }
    let scrape = exporter.scrape().await;
    let failed =
        |outcome: &str| scrape.value(&format!("dragdropdo_webhooks_total{{event=operation.failed,outcome={outcome}}}"));
    assert_eq!((failed("unknown_task"), failed("bad_signature")), (8.0, 9.0));
    assert_eq!(scrape.sum("dragdropdo_webhooks_total"), 17.0);
    let log = exporter.stops().await;
    let told = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!((told("a webhook was refused with 401"), told(SECRET)), (1, 0), "{log:?}");
}

#[tokio::test]
async fn every_delivery_is_answered_and_counted_as_what_it_is() {
    let api = FakeApi::start().await;
    api.otherwise(unfinished());
    let exporter = taking_webhooks(&api, "tasks: [known]").start().await;
    let fresh = exporter.scrape().await;
    assert_eq!(fresh.all("dragdropdo_webhooks_total").len(), 20, "all exist from the start");
    assert_eq!(fresh.sum("dragdropdo_webhooks_total"), 0.0);

    let at = "2022-11-03T20:26:10.344522Z";
    let event = |kind: &str, id: &str| json!({"type": kind, "timestamp": at, "payload": {"main_task": {"id": id}}});
    let without = |key: &str| {
        let mut event = event("operation.completed", "known");
        event.as_object_mut().unwrap().remove(key);
        event.to_string()
    };
    let no_time = json!({"type": "fileTask.failed", "timestamp": "yesterday", "payload": {"main_task_id": "known"}});
    let no_id = json!({"type": "fileTask.failed", "timestamp": at, "payload": {"file_task": {"id": "known"}}});
    let bad_id = json!({"type": "fileTask.failed", "timestamp": at, "payload": {"main_task_id": "a\nb"}});
    let other = json!({"type": "account.renamed", "whatever": [1, 2]}).to_string();
    let of_file =
        |payload: Value| json!({"type": "fileTask.completed", "timestamp": at, "payload": payload}).to_string();
    let most = 1 << 20;
    let padded = |to: usize| {
        let event = event("operation.completed", "known").to_string();
        format!("{event}{}", " ".repeat(to - event.len()))
    };
    for (body, status, expected) in [
        (event("operation.completed", "known").to_string(), 204, ""),
        (event("operation.failed", "known").to_string(), 204, ""),
        (event("operation.failed", "unknown").to_string(), 204, ""),
        (of_file(json!({"main_task": {"id": "known"}})), 204, ""),
        (of_file(json!({"mainTaskId": "known"})), 204, ""),
        (of_file(json!({"file_task": {"main_task_id": "known", "id": "unknown"}})), 204, ""),
        (of_file(json!({"fileTask": {"mainTaskId": "unknown"}})), 204, ""),
        (other, 204, ""),
        (event("operation.cancelled", "known").to_string(), 204, ""),
        (event("operation.cancelled", "unknown").to_string(), 204, ""),
        (padded(most), 204, ""),
        (padded(most + 1), 413, "the body is longer than 1048576 bytes"),
        (String::new(), 400, "the body is no JSON"),
        ("{".to_owned(), 400, "the body is no JSON"),
        ("[]".to_owned(), 400, "the event has no type"),
        (without("type"), 400, "the event has no type"),
        (without("timestamp"), 400, "the event has no timestamp in RFC 3339"),
        (without("payload"), 400, "the event names no main task"),
        (no_time.to_string(), 400, "the event has no timestamp in RFC 3339"),
        (no_id.to_string(), 400, "the event names no main task"),
        (bad_id.to_string(), 400, "the event names no main task"),
    ] {
        let shown = &body[..body.len().min(200)];
        let (found, reason) = send(&exporter, "X-Webhook-Signature", SECRET, &body).await;
        assert_eq!(found, status, "{shown}: {reason}");
        assert!(reason.starts_with(expected), "{shown}: {reason}");
    }
    let scrape = exporter.scrape().await;
    for (event, accepted, unknown_task, malformed) in [
        ("operation.completed", 2.0, 0.0, 2.0),
        ("operation.failed", 1.0, 1.0, 0.0),
        ("fileTask.completed", 3.0, 1.0, 0.0),
        ("fileTask.failed", 0.0, 0.0, 3.0),
        ("other", 2.0, 1.0, 4.0),
    ] {
        let of = |outcome: &str| scrape.value(&format!("dragdropdo_webhooks_total{{event={event},outcome={outcome}}}"));
        assert_eq!(
            (of("accepted"), of("unknown_task"), of("malformed"), of("bad_signature")),
            (accepted, unknown_task, malformed, 0.0),
            "{event}"
        );
    }
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let (status, reason) = answer(exporter.request(method, ROUTE)).await;
        assert_eq!((status, reason.ends_with("use POST")), (405, true), "{reason}");
    }
    assert_eq!(exporter.tasks().await.as_array().unwrap().len(), 1, "nothing is tracked that nobody named");
}

#[tokio::test]
async fn without_a_secret_no_delivery_is_taken() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "webhook: {track_unknown: true}").start().await;
    for secret in [SECRET, ""] {
        let (status, reason) = send(&exporter, "X-Webhook-Signature", secret, &ended("t", now()).to_string()).await;
        assert_eq!(status, 403);
        assert!(reason.contains("webhook.secret_file"), "{reason}");
    }
    exporter.logs("a webhook was refused with 403").await;
    assert_eq!(exporter.tasks().await, json!([]));
}

#[tokio::test]
async fn a_listener_of_their_own_takes_webhooks_and_nothing_else() {
    let api = FakeApi::start().await;
    api.otherwise(completed());
    let mut setup = taking_webhooks(&api, "webhook: {listen_address: '127.0.0.1:0', track_unknown: true}");
    setup.argument("--web.enable-lifecycle");
    let exporter = setup.start().await;
    let line = exporter.logs("listening for webhooks on http://").await;
    let own = line.split("listening for webhooks on ").nth(1).unwrap().split(['"', ' ']).next().unwrap().to_owned();
    let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    for path in
        ["/", "/metrics", "/api/v1/tasks", "/api/v1/tasks/t", "/-/healthy", "/-/ready", "/-/reload", "/webhooks/"]
    {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let request = client.request(method, format!("{own}{path}")).bearer_auth(TOKEN).body(r#"{"id": "t"}"#);
            let (status, reason) = answer(request).await;
            assert_eq!(status, 404, "{path}");
            assert_eq!(reason, "this listener takes webhooks alone: POST /webhooks/dragdropdo");
        }
    }
    assert_eq!(answer(client.get(format!("{own}{ROUTE}"))).await.0, 405);
    // The web listener has no such route then.
    assert_eq!(send(&exporter, "X-Webhook-Signature", SECRET, &ended("t", now()).to_string()).await.0, 404);
    assert_eq!(exporter.tasks().await, json!([]));

    let body = ended("t", now()).to_string();
    let post = || client.post(format!("{own}{ROUTE}")).body(body.clone());
    assert_eq!(answer(post()).await.0, 401);
    assert_eq!(answer(post().header("X-D3-Signature", signature(SECRET, body.as_bytes()))).await.0, 204);
    exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=completed}", 1.0)]).await;
}

#[tokio::test]
async fn a_webhook_brings_the_poll_forward_and_its_time_ends_the_task_where_it_can_be_right() {
    let api = FakeApi::start().await;
    let cases = ["between", "too_early", "too_late", "of_a_file", "none"];
    for case in cases {
        api.answers(case, [unfinished()]);
    }
    let exporter = taking_webhooks(&api, SELDOM).start().await;
    let submitted = before(now(), 100);
    for case in cases {
        let task = json!({"id": case, "group": case, "submitted_at": submitted.to_string()});
        assert_eq!(register(&exporter, &task).await, 201);
        exporter.shows(&[(&format!("dragdropdo_tasks{{group={case},state=in_progress}}"), 1.0)]).await;
    }
    for case in cases {
        api.answers(case, [completed()]);
    }
    let at = now();
    let of_file =
        json!({"type": "fileTask.completed", "timestamp": at.to_string(), "payload": {"main_task_id": "of_a_file"}});
    for body in [
        ended("between", at),
        // The API showed it unfinished after that.
        ended("too_early", before(at, 50)),
        // The API showed it finished before that.
        ended("too_late", before(at, -3600)),
        of_file,
    ] {
        assert_eq!(deliver(&exporter, &body).await, 204);
    }
    let count =
        |case: &str| format!("dragdropdo_task_completion_latency_seconds_count{{group={case},state=completed}}");
    let scrape = exporter
        .until("the polls come forward", |scrape| cases[..4].iter().all(|case| scrape.value(&count(case)) == 1.0))
        .await;
    let sum = |what: &str, case: &str| {
        scrape.sum(&format!("dragdropdo_{what}_completion_latency_seconds_sum{{group={case}}}"))
    };
    let exact = at.since(submitted).as_secs_f64();
    assert!((sum("task", "between") - exact).abs() < 1e-6, "{} and {exact}", sum("task", "between"));
    // A file ends no later than its task.
    assert!((sum("file", "between") - exact).abs() < 1e-6, "{} and {exact}", sum("file", "between"));
    for case in ["too_early", "too_late", "of_a_file"] {
        let latency = sum("task", case);
        assert!(latency > exact && latency < exact + PATIENCE.as_secs_f64(), "{case}: {latency} and {exact}");
    }
    assert_eq!((scrape.value(&count("none")), api.count("none")), (0.0, 1), "nobody spoke of it");
    assert_eq!(api.count("between"), 2);
}

/// Registers the task `t`, which the API shows unfinished, and waits until that has been seen; when it was submitted.
async fn running_task(exporter: &Exporter) -> Time {
    let submitted = before(now(), 100);
    assert_eq!(register(exporter, &json!({"id": "t", "submitted_at": submitted.to_string()})).await, 201);
    exporter.shows(&[("dragdropdo_tasks{state=in_progress}", 1.0)]).await;
    submitted
}

/// Waits until a task has completed: the first, and its latency is exactly this.
async fn the_one_latency_is(exporter: &Exporter, exact: Duration) {
    let count = "dragdropdo_task_completion_latency_seconds_count{state=completed}";
    let scrape = exporter.shows(&[(count, 1.0)]).await;
    let sum = scrape.value("dragdropdo_task_completion_latency_seconds_sum{state=completed}");
    assert!((sum - exact.as_secs_f64()).abs() < 1e-6, "{sum} and {exact:?}");
}

#[tokio::test]
async fn an_end_announced_again_and_again_is_the_earliest_that_can_be_right() {
    let api = FakeApi::start().await;
    api.answers("t", [unfinished()]);
    let exporter = taking_webhooks(&api, SELDOM).start().await;
    let submitted = running_task(&exporter).await;
    // It takes its time, so that all deliveries are in before the answer.
    api.answers("t", [completed().after(Duration::from_secs(2))]);
    let at = now();
    for announced in [before(at, -2), before(at, 90), at, before(at, -1), before(at, 80), at] {
        assert_eq!(deliver(&exporter, &ended("t", announced)).await, 204);
    }
    the_one_latency_is(&exporter, at.since(submitted)).await;
}

#[tokio::test]
async fn a_delivery_before_the_registration_is_kept_over_a_crash_for_ten_minutes_and_applied() {
    let api = FakeApi::start().await;
    api.otherwise(completed());
    let setup = taking_webhooks(&api, "{}");
    let exporter = setup.start().await;
    let at = now();
    for id in ["kept", "too_old"] {
        assert_eq!(deliver(&exporter, &ended(id, at)).await, 204);
        // What says nothing of the end takes nothing back.
        let of_file = json!({"type": "fileTask.completed", "timestamp": before(at, 9).to_string(), "payload": {"main_task_id": id}});
        assert_eq!(deliver(&exporter, &of_file).await, 204);
    }
    let unknown = "dragdropdo_webhooks_total{event=operation.completed,outcome=unknown_task}";
    assert_eq!(exporter.scrape().await.value(unknown), 2.0);
    assert_eq!((exporter.tasks().await, api.asked().len()), (json!([]), 0), "nobody asked to track them");
    exporter.kill().await;
    let database = setup.path("exporter.db");
    let early = "SELECT task_id, announced FROM early_webhook ORDER BY task_id";
    assert_eq!(sqlite3(&database, early), format!("kept|{0}\ntoo_old|{0}", at.as_micros()));
    sqlite3(&database, "UPDATE early_webhook SET received = received - 601000000 WHERE task_id = 'too_old'");

    let exporter = setup.start().await;
    let submitted = before(at, 100).to_string();
    for id in ["kept", "too_old", "never_announced"] {
        assert_eq!(register(&exporter, &json!({"id": id, "group": id, "submitted_at": submitted})).await, 201);
    }
    // Nothing but a webhook can tell when a task ended that was never seen unfinished.
    let count = |id: &str| format!("dragdropdo_task_completion_latency_seconds_count{{group={id},state=completed}}");
    let unknown = |id: &str| format!("dragdropdo_task_latency_unknown_total{{group={id}}}");
    let scrape =
        exporter.shows(&[(&count("kept"), 1.0), (&unknown("too_old"), 1.0), (&unknown("never_announced"), 1.0)]).await;
    let sum = scrape.value("dragdropdo_task_completion_latency_seconds_sum{group=kept,state=completed}");
    assert!((sum - 100.0).abs() < 1e-6, "{sum}");
    assert_eq!((scrape.value(&unknown("kept")), scrape.value(&count("too_old"))), (0.0, 0.0));
}

#[tokio::test]
async fn with_track_unknown_a_webhook_alone_is_enough_and_a_registration_may_follow() {
    let api = FakeApi::start().await;
    api.answers("alone", [operation("completed", &[("out", "completed"), ("in", "failed/code")])]);
    let setup = taking_webhooks(&api, "webhook: {track_unknown: true}");
    let exporter = setup.start().await;
    assert_eq!(deliver(&exporter, &ended("alone", now())).await, 204);
    let scrape = exporter
        .shows(&[
            ("dragdropdo_tasks_finished_total{group=default,outcome=partially_failed}", 1.0),
            ("dragdropdo_file_failures_total{group=default,error_code=code}", 1.0),
            ("dragdropdo_files_finished_total{group=default,state=completed}", 1.0),
            ("dragdropdo_task_latency_unknown_total{group=default}", 1.0),
            ("dragdropdo_webhooks_total{event=operation.completed,outcome=accepted}", 1.0),
        ])
        .await;
    assert_eq!(scrape.sum("dragdropdo_webhooks_total"), 1.0);

    // The API does not know it yet, so nothing of it is counted: a registration says what its group is.
    assert_eq!(deliver(&exporter, &ended("later", now())).await, 204);
    assert_eq!(register(&exporter, &json!({"id": "later", "group": "invoices"})).await, 200);
    api.answers("later", [completed()]);
    exporter.shows(&[("dragdropdo_tasks_finished_total{group=invoices,outcome=completed}", 1.0)]).await;
    // It has counted: it stays where it is.
    assert_eq!(register(&exporter, &json!({"id": "later", "group": "photos"})).await, 200);
    exporter.kill().await;

    // What it tracks by itself is tracked after a crash too.
    api.answers("alone", [operation("failed", &[("out", "failed/other"), ("in", "failed/other")])]);
    let exporter = setup.start().await;
    assert_eq!(deliver(&exporter, &ended("alone", now())).await, 204);
    let scrape = exporter.scrape().await;
    let tasks = exporter.tasks().await;
    let groups: Vec<&str> = tasks.as_array().unwrap().iter().map(|task| task["group"].as_str().unwrap()).collect();
    assert_eq!(groups, ["default", "invoices"]);
    assert_eq!(
        (scrape.sum("dragdropdo_tasks_finished_total"), scrape.sum("dragdropdo_file_failures_total")),
        (2.0, 1.0)
    );
}

/// Delivers `bodies` again and again from several connections for so long; how many were taken.
async fn flood(exporter: &Exporter, bodies: &[Value], lasting: Duration) -> usize {
    let clock = Clock::system();
    let one = async |offset: usize| {
        let mut taken = 0;
        while clock.elapsed() < lasting {
            assert_eq!(deliver(exporter, &bodies[(offset + taken) % bodies.len()]).await, 204);
            taken += 1;
        }
        taken
    };
    let (a, b, c, d) = tokio::join!(one(0), one(5), one(10), one(15));
    a + b + c + d
}

#[tokio::test]
async fn a_flood_of_replays_costs_a_task_one_poll_a_second() {
    let api = FakeApi::start().await;
    api.otherwise(unfinished());
    let exporter = taking_webhooks(&api, &format!("{{{SELDOM}, tasks: [t, u]}}")).start().await;
    exporter.shows(&[("dragdropdo_tasks{state=in_progress}", 2.0)]).await;
    let from = api.now();
    let taken = flood(&exporter, &[ended("t", now())], Duration::from_secs(3)).await;
    let polls = api.count("t") - 1;
    let lasted = (api.now() - from).as_secs_f64();
    assert!(taken > 20 * polls, "{taken} deliveries are no flood for {polls} polls");
    assert!(polls >= 2 && polls as f64 <= lasted + 2.0, "{polls} polls in {lasted} s");
    assert_eq!(api.count("u"), 1, "the others are polled as ever");
    assert_eq!(exporter.scrape().await.sum("dragdropdo_webhooks_total"), taken as f64);
}

#[tokio::test]
async fn a_flood_about_many_tasks_stays_within_the_budget() {
    let api = FakeApi::start().await;
    api.otherwise(unfinished());
    let ids: Vec<String> = (0..40).map(|at| format!("t{at}")).collect();
    let setup = taking_webhooks(&api, &format!("{{{SELDOM}, api: {{rate_limit: 10/s}}, tasks: [{}]}}", ids.join(", ")));
    let exporter = setup.start().await;
    let bodies: Vec<Value> = ids.iter().map(|id| ended(id, now())).collect();
    let taken = flood(&exporter, &bodies, Duration::from_secs(2)).await;
    // A second's worth may come at once; the rest, the first polls of all tasks too, comes at the budget's rate.
    let (polls, lasted) = (api.asked().len(), api.now().as_secs_f64());
    assert!(polls as f64 <= 10.0 + 10.0 * lasted + 1.0, "{polls} polls in {lasted} s");
    assert!(polls > 10 && taken > 5 * polls, "{taken} deliveries, {polls} polls");
}

#[tokio::test]
async fn a_delivery_is_durable_before_it_is_acknowledged() {
    let api = FakeApi::start().await;
    api.answers("t", [unfinished(), completed().after(Duration::from_secs(3600))]);
    let setup = taking_webhooks(&api, &format!("{{{SELDOM}, api: {{timeout: 1h}}}}"));
    let database = setup.path("exporter.db");
    let exporter = setup.start().await;
    let submitted = running_task(&exporter).await;

    // While somebody else holds the database, nothing is acknowledged.
    let mut other = SqliteConnectOptions::new().filename(&database).connect().await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let unknown = ended("unknown", now());
    let mut delivery = Box::pin(deliver(&exporter, &unknown));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut delivery).await;
    assert!(early.is_err(), "answered {early:?} although nothing can have been written");
    other.execute("ROLLBACK").await.unwrap();
    other.close().await.unwrap();
    assert_eq!(delivery.await, 204);
    assert_eq!(sqlite3(&database, "SELECT task_id FROM early_webhook"), "unknown");

    // The answer is the last thing that it does in its life.
    let at = now();
    assert_eq!(deliver(&exporter, &ended("t", at)).await, 204);
    exporter.kill().await;
    assert_eq!(sqlite3(&database, "SELECT announced FROM task"), at.as_micros().to_string());
    let exporter = setup.start().await;
    assert_eq!(deliver(&exporter, &ended("another", at)).await, 204);
    exporter.kill().await;
    assert_eq!(sqlite3(&database, "SELECT count(*) FROM early_webhook WHERE task_id = 'another'"), "1");

    api.answers("t", [completed()]);
    let exporter = setup.start().await;
    the_one_latency_is(&exporter, at.since(submitted)).await;
}

#[tokio::test]
async fn a_web_listener_without_webhooks_does_not_offer_them() {
    let api = FakeApi::start().await;
    let exporter = taking_webhooks(&api, "webhook: {listen_address: '127.0.0.1:0'}").start().await;
    let (status, reason) = send(&exporter, "X-Webhook-Signature", SECRET, "{}").await;
    assert_eq!(status, 404);
    assert!(!reason.contains("/webhooks/dragdropdo,"), "{reason}");
}
