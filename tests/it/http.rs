//! Every route of the web listener, and clients that do not behave.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Exporter, FakeApi, PATIENCE, Setup, operation};
use reqwest::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TOKEN: &str = "the-token-of-the-applications";
const TASKS: &str = "/api/v1/tasks";

/// An exporter that takes registrations.
fn registry(api: &FakeApi, yaml: &str) -> Setup {
    let mut setup = Setup::new(api, "web: {api_token_file: token}");
    setup.configure(yaml);
    std::fs::write(setup.path("token"), format!("{TOKEN}\n")).unwrap();
    setup
}

/// An answer: its status, its headers, and its body as JSON, null when it is none.
async fn send(request: reqwest::RequestBuilder) -> (u16, HeaderMap, Value) {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.bytes().await.unwrap();
    (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Registers what `body` says; the status and the answer.
async fn register(exporter: &Exporter, body: &Value) -> (u16, Value) {
    register_raw(exporter, &body.to_string()).await
}

async fn register_raw(exporter: &Exporter, body: &str) -> (u16, Value) {
    let request = exporter.request(Method::POST, TASKS).bearer_auth(TOKEN).body(body.to_owned());
    let (status, headers, body) = send(request).await;
    assert_eq!(headers[CONTENT_TYPE], "application/json");
    (status, body)
}

/// The reason of a refusal, which is nothing else.
fn reason(body: &Value) -> &str {
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
    body["error"].as_str().unwrap()
}

/// The IDs of the tracked tasks.
async fn tracked(exporter: &Exporter) -> Vec<String> {
    exporter.tasks().await.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_route_answers_what_it_is_for() {
    let api = FakeApi::start().await;
    api.otherwise(operation("queued", &[("a", "queued")]));
    let exporter = Setup::new(&api, "tasks: [t1]").start().await;
    for (path, content_type, text) in [
        ("/", "text/html; charset=utf-8", ">1 task<"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "dragdropdo_exporter_build_info{"),
        (TASKS, "application/json", "\"t1\""),
        ("/-/healthy", "text/plain; charset=utf-8", "healthy"),
        ("/-/ready", "text/plain; charset=utf-8", "ready"),
    ] {
        let answer = exporter.get(path).send().await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()[CONTENT_TYPE]),
            (StatusCode::OK, &content_type.parse().unwrap())
        );
        let body = answer.text().await.unwrap();
        assert!(body.contains(text), "{path}: {body}");
        let head = exporter.request(Method::HEAD, path).send().await.unwrap();
        assert_eq!((head.status(), &head.headers()[CONTENT_TYPE]), (StatusCode::OK, &content_type.parse().unwrap()));
        assert!(head.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn another_path_or_method_is_refused_with_what_would_be_right() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "{}").start().await;
    for path in ["/nothing", "/metrics/", "/api/v1/task", "/-/", "/..%2fetc/passwd", "/metrics%00"] {
        let (status, headers, body) = send(exporter.get(path)).await;
        assert_eq!((status, &headers[CONTENT_TYPE]), (404, &"application/json".parse().unwrap()), "{path}");
        assert!(
            reason(&body).contains(
                "there are /metrics, /api/v1/tasks, /webhooks/dragdropdo, /-/healthy, /-/ready, /-/reload and /"
            ),
            "{body}"
        );
    }
    for (path, methods, allowed) in [
        ("/metrics", &["POST", "PUT", "DELETE", "OPTIONS", "PURGE"][..], "use GET"),
        ("/", &["POST", "PATCH"], "use GET"),
        ("/-/healthy", &["POST"], "use GET"),
        ("/-/ready", &["DELETE"], "use GET"),
        (TASKS, &["PUT", "DELETE"], "use GET or POST"),
    ] {
        for method in methods {
            let request = exporter.request(Method::from_bytes(method.as_bytes()).unwrap(), path);
            let (status, headers, body) = send(request).await;
            assert_eq!(status, 405, "{method} {path}");
            assert!(headers["allow"].to_str().unwrap().contains("GET"), "{method} {path}: {headers:?}");
            assert!(reason(&body).ends_with(allowed), "{body}");
        }
    }
}

#[tokio::test]
async fn what_is_asked_for_compressed_comes_compressed() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "tasks: [t1]").start().await;
    let client = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
    let get = async |encodings: &str| {
        let url = format!("http://{}/metrics", exporter.address());
        let answer = client.get(url).header(ACCEPT_ENCODING, encodings).send().await.unwrap();
        let encoding = answer.headers().get(CONTENT_ENCODING).cloned();
        (encoding, answer.bytes().await.unwrap())
    };
    let (encoding, zipped) = get("gzip;q=1.0, identity;q=0.5").await;
    assert_eq!(encoding.unwrap(), "gzip");
    assert!(zipped.starts_with(&[0x1f, 0x8b]));
    for encodings in ["gzip;q=0", "gzip;q=0, identity", "br"] {
        assert_eq!(get(encodings).await.0, None, "{encodings}");
    }
    let (encoding, plain) = get("identity").await;
    assert_eq!(encoding, None);
    assert!(plain.len() > 2 * zipped.len());
    // The client of this one asks for gzip and unpacks it, and the reader is strict.
    assert!(exporter.scrape().await.types().len() > 30);
}

#[tokio::test]
async fn the_metrics_can_be_elsewhere() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "{}");
    setup.argument("--web.telemetry-path=/probe/d3.prom");
    let exporter = setup.start().await;
    assert_eq!(exporter.get("/probe/d3.prom").send().await.unwrap().status(), StatusCode::OK);
    let (status, _, body) = send(exporter.get("/metrics")).await;
    assert_eq!(status, 404);
    assert!(reason(&body).contains("/probe/d3.prom"), "{body}");
    assert!(exporter.get("/").send().await.unwrap().text().await.unwrap().contains("href=\"/probe/d3.prom\""));
}

#[tokio::test]
async fn registrations_need_the_token() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "{}").start().await;
    let task = json!({"id": "t1"}).to_string();
    let (status, _, body) = send(exporter.request(Method::POST, TASKS).bearer_auth(TOKEN).body(task.clone())).await;
    assert_eq!(status, 403);
    assert!(reason(&body).contains("web.api_token_file"), "{body}");

    exporter.logs("a registration was refused with 403").await;

    let exporter = registry(&api, "{}").start().await;
    let post = || exporter.request(Method::POST, TASKS).body(task.clone());
    let near = &TOKEN[..TOKEN.len() - 1];
    for (request, expected) in [
        (post(), "the bearer token is missing"),
        (post().header("authorization", TOKEN), "the bearer token is missing"),
        (post().basic_auth("user", Some(TOKEN)), "the bearer token is missing"),
        (post().bearer_auth(near), "the bearer token is wrong"),
        (post().bearer_auth(""), "the bearer token is"),
        (post().bearer_auth(format!("{TOKEN}x")), "the bearer token is wrong"),
    ] {
        let (status, headers, body) = send(request).await;
        assert_eq!((status, &headers[WWW_AUTHENTICATE]), (401, &"Bearer".parse().unwrap()), "{expected}");
        assert!(reason(&body).starts_with(expected), "{body}");
        assert!(!body.to_string().contains(near));
    }
    assert!(tracked(&exporter).await.is_empty());
    assert_eq!(send(post().header("authorization", format!("bearer {TOKEN}"))).await.0, 201);
    assert_eq!(send(exporter.request(Method::DELETE, "/api/v1/tasks/t1")).await.0, 401);
    let log = exporter.stops().await;
    let told = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    // However often.
    assert_eq!(told("a registration was refused with 401"), 2, "{log:?}");
    assert_eq!(told("a deletion was refused with 401"), 1, "{log:?}");
    assert_eq!((told("the bearer token is wrong"), told(near)), (1, 0), "{log:?}");
}

#[tokio::test]
async fn tasks_are_registered_one_by_one_or_as_a_list_and_again_without_harm() {
    let api = FakeApi::start().await;
    api.otherwise(operation("queued", &[("a", "queued")]));
    api.answers("t2/k", [operation("queued", &[("k", "queued")])]);
    let exporter = registry(&api, "tasks: [{id: listed, group: lists}]").start().await;
    let one = json!({"id": "t1", "group": "invoices", "submitted_at": "2026-11-23T10:00:00+01:00"});
    let told = |new: bool| json!({"id": "t1", "group": "invoices", "new": new});
    assert_eq!(register(&exporter, &one).await, (201, told(true)));
    assert_eq!(register(&exporter, &one).await, (200, told(false)));
    let other_group = json!({"id": "t1", "group": "other"});
    assert_eq!(register(&exporter, &other_group).await, (200, told(false)), "a task keeps its group");
    let listed = json!({"id": "listed", "group": "lists", "new": false});
    assert_eq!(register(&exporter, &json!({"id": "listed"})).await, (200, listed.clone()));
    let list = json!([{"id": "t1"}, {"id": "t2", "file_keys": ["k"]}, {"id": "t2"}, {"id": "listed"}]);
    let (status, body) = register(&exporter, &list).await;
    let t2 = |new: bool| json!({"id": "t2", "group": "default", "new": new});
    assert_eq!((status, body), (201, json!([told(false), t2(true), t2(false), listed])));
    assert_eq!(register(&exporter, &json!([{"id": "t2"}])).await, (200, json!([t2(false)])));
    assert_eq!(register(&exporter, &json!([])).await, (200, json!([])));

    let scrape = exporter.shows(&[("dragdropdo_tasks{group=invoices,state=queued}", 1.0)]).await;
    assert_eq!(scrape.value("dragdropdo_files_finished_total{group=invoices,state=failed}"), 0.0);
    assert!(scrape.all("dragdropdo_tasks_finished_total{group=other}").is_empty());
    let start = scrape.value("dragdropdo_task_start_timestamp_seconds{task_id=t1}");
    assert_eq!(start, 1_795_424_400.0);
    api.is_asked_again("t2/k", 1).await;
    let tasks = exporter.tasks().await;
    let t1 = tasks.as_array().unwrap().iter().find(|task| task["id"] == "t1").unwrap();
    assert_eq!(t1["start"], "2026-11-23T09:00:00Z");
    assert_eq!((&t1["registered"], &t1["listed"], &t1["state"]), (&json!(true), &json!(false), &json!("queued")));
    assert_eq!(t1["files"], json!([{"file_key": "a", "state": "queued", "error_code": null}]));
    assert!(t1["outcome"].is_null() && t1["settled"].is_null() && t1["first_observed"].is_string());
}

#[tokio::test]
async fn a_wrong_registration_is_refused_as_a_whole_and_says_what_would_be_right() {
    let api = FakeApi::start().await;
    let exporter = registry(&api, "{}").start().await;
    let good = r#"{"id": "good"}"#;
    let long_id = format!(r#"{{"id": "{}"}}"#, "x".repeat(257));
    let long_group = format!(r#"{{"id": "t", "group": "{}"}}"#, "g".repeat(65));
    let keys = json!({"id": "t", "file_keys": vec!["k"; 101]}).to_string();
    for (text, expected) in [
        ("", "the body is not as expected: EOF"),
        ("nonsense", "the body is not as expected: expected"),
        ("7", "the body is not as expected"),
        ("{}", "missing field `id`"),
        (r#"{"id": 7}"#, "id: invalid type: integer"),
        (r#"{"id": "t"} {}"#, "trailing characters"),
        (r#"{"id": "t", "grp": "g"}"#, "unknown field `grp`"),
        (r#"{"id": "t", "id": "u"}"#, "duplicate field `id`"),
        (r#"{"id": ""}"#, "id: a main task ID is empty: it has 1 to 256 bytes, and no control characters"),
        (r#"{"id": "a\nb"}"#, "id: a main task ID"),
        (&long_id, "id: a main task ID is too long: it has 1 to 256 bytes"),
        (r#"{"id": "t", "group": ""}"#, "group: a group is empty: it has 1 to 64 characters"),
        (&long_group, "group: a group is too long"),
        (r#"{"id": "t", "submitted_at": "yesterday"}"#, "submitted_at: "),
        (r#"{"id": "t", "submitted_at": "2026-11-23T10:00:00"}"#, "submitted_at: "),
        (r#"{"id": "t", "submitted_at": 1795424400}"#, "submitted_at: invalid type: integer"),
        (r#"{"id": "t", "file_keys": "k"}"#, "file_keys: invalid type: string"),
        (r#"{"id": "t", "file_keys": [""]}"#, "file_keys: a file key is empty"),
        (&keys, "file_keys: 101 keys"),
    ] {
        let (status, body) = register_raw(&exporter, text).await;
        assert_eq!(status, 400, "{text}");
        assert!(reason(&body).contains(expected), "{text}: {body}");
        if text.starts_with('{') && !text.contains("} {") {
            let (status, body) = register_raw(&exporter, &format!("[{good}, {text}]")).await;
            assert_eq!(status, 400, "{text}");
            assert!(reason(&body).contains(expected), "{text}: {body}");
            assert!(reason(&body).contains("[1]") || reason(&body).starts_with("task 1: "), "{body}");
        }
    }
    let too_many: Vec<Value> = (0..10_001).map(|at| json!({"id": format!("{at}")})).collect();
    let (status, body) = register(&exporter, &json!(too_many)).await;
    assert_eq!(status, 400);
    assert!(reason(&body).contains("send at most 10000"), "{body}");
    let (status, body) = register_raw(&exporter, &format!("{good}{}", " ".repeat(1 << 20))).await;
    assert_eq!(status, 413);
    assert!(reason(&body).contains("1048576 bytes"), "{body}");
    assert!(tracked(&exporter).await.is_empty());
}

#[tokio::test]
async fn one_group_too_many_is_refused_with_all_that_came_with_it() {
    let api = FakeApi::start().await;
    let exporter = registry(&api, "tasks: [{id: listed, group: lists}]").start().await;
    let groups: Vec<Value> = (1..100).map(|at| json!({"id": format!("t{at}"), "group": format!("g{at}")})).collect();
    assert_eq!(register(&exporter, &json!(groups)).await.0, 201);
    let (status, body) = register(&exporter, &json!({"id": "new", "group": "one more"})).await;
    assert_eq!(status, 409);
    assert!(
        reason(&body).starts_with("the group \"one more\" would be one too many, ")
            && reason(&body).contains("at most 100"),
        "{body}"
    );
    let together = json!([{"id": "new", "group": "g1"}, {"id": "newer", "group": "one more"}]);
    assert_eq!(register(&exporter, &together).await.0, 409);
    assert_eq!(tracked(&exporter).await.len(), 100);
    assert_eq!(register(&exporter, &json!({"id": "new", "group": "g1"})).await.0, 201);
    assert_eq!(register(&exporter, &json!({"id": "t5", "group": "one more"})).await.0, 200, "a task keeps its group");
    assert!(exporter.scrape().await.all("dragdropdo_tasks{group=\"one more\"}").is_empty());
}

#[tokio::test]
async fn a_registration_that_was_answered_survives_a_crash() {
    let api = FakeApi::start().await;
    // Nothing is observed before the crash, so nothing but the registration can have been written.
    api.otherwise(operation("queued", &[]).after(Duration::from_secs(3600)));
    let setup = registry(&api, "api: {timeout: 60s}");
    for round in 1..=3 {
        let exporter = setup.start().await;
        let task = json!({"id": format!("t{round}"), "group": "crash"});
        assert_eq!(register(&exporter, &task).await.0, 201);
        exporter.kill().await;
    }
    api.otherwise(operation("completed", &[("a", "completed")]));
    let exporter = setup.start().await;
    assert_eq!(tracked(&exporter).await, ["t1", "t2", "t3"]);
    exporter.shows(&[("dragdropdo_tasks_finished_total{group=crash,outcome=completed}", 3.0)]).await;
}

#[tokio::test]
async fn a_settled_task_leaves_the_gauges_after_its_retention_and_counts_once_for_ever() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("queued", &[]), operation("failed", &[("a", "failed/x")])]);
    let exporter = registry(&api, "{retention: 1s, tasks: []}").start().await;
    let task = json!({"id": "t1"});
    assert_eq!(register(&exporter, &task).await.0, 201);
    let failures = ("dragdropdo_file_failures_total{error_code=x}", 1.0);
    exporter.shows(&[("dragdropdo_tasks{state=failed}", 1.0), failures]).await;
    exporter.shows(&[("dragdropdo_tasks{state=failed}", 0.0), ("dragdropdo_files{state=failed}", 0.0), failures]).await;
    assert!(tracked(&exporter).await.is_empty());
    assert_eq!(register(&exporter, &task).await.0, 200, "it is remembered");
    let scrape = exporter.scrape().await;
    assert_eq!(scrape.value(failures.0), 1.0);
    assert_eq!(scrape.value("dragdropdo_tasks_finished_total{outcome=failed}"), 1.0);
}

#[tokio::test]
async fn clients_that_do_not_behave_hurt_no_scrape() {
    let api = FakeApi::start().await;
    let exporter = registry(&api, "tasks: [t1]").start().await;
    let connect = || TcpStream::connect(exporter.address());
    // A registration whose body never ends; the longest of all that is waited for here.
    let mut slow = connect().await.unwrap();
    slow.write_all(format!("{}{{\"id\":", head_of_registration(TOKEN, 100)).as_bytes()).await.unwrap();

    // More than there are places: those that have been idle longest make room.
    let mut idle = Vec::new();
    for at in 0..1000 {
        let mut connection = connect().await.unwrap();
        if at % 2 == 0 {
            connection.write_all(b"GET /metrics HTTP/1.1\r\nho").await.unwrap();
        }
        idle.push(connection);
        if at % 100 == 0 {
            scrape_anew(&exporter).await;
        }
    }
    for _ in 0..10 {
        scrape_anew(&exporter).await;
    }
    drop(idle);

    let mut huge = connect().await.unwrap();
    let head = format!("GET /metrics HTTP/1.1\r\nhost: x\r\nx: {}", "x".repeat(64 << 10));
    // It may be refused before all of it is sent.
    huge.write_all(head.as_bytes()).await.ok();
    assert!(answer(&mut huge).await.starts_with("HTTP/1.1 431 "));

    let mut nonsense = connect().await.unwrap();
    nonsense.write_all(b"\x16\x03\x01 this is TLS, or nothing at all\r\n\r\n").await.unwrap();
    assert!(answer(&mut nonsense).await.starts_with("HTTP/1.1 400 "));

    let mut refused = connect().await.unwrap();
    refused.write_all(head_of_registration("wrong", 100).as_bytes()).await.unwrap();
    let mut endless = connect().await.unwrap();
    endless.write_all(head_of_registration("wrong", 100 << 20).as_bytes()).await.unwrap();
    // A little more than is thrown away.
    endless.write_all(&vec![b' '; (1 << 20) + 1]).await.unwrap();
    assert!(answer(&mut endless).await.starts_with("HTTP/1.1 401 "), "an endless body");

    let too_slow = answer(&mut slow).await;
    assert!(too_slow.starts_with("HTTP/1.1 408 "), "{too_slow}");
    assert!(too_slow.contains("{\"error\":\"the body took longer than 10 s"), "{too_slow}");
    assert!(answer(&mut refused).await.starts_with("HTTP/1.1 401 "), "a body that never comes");
    scrape_anew(&exporter).await;
}

fn head_of_registration(token: &str, length: usize) -> String {
    format!("POST {TASKS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n")
}

#[tokio::test]
async fn a_refusal_waits_for_the_body_and_leaves_the_connection_in_use() {
    let api = FakeApi::start().await;
    let exporter = registry(&api, "{}").start().await;
    let mut connection = TcpStream::connect(exporter.address()).await.unwrap();
    let body = vec![b' '; 1 << 20];
    for (head, status) in [
        (head_of_registration("wrong", body.len()), 401),
        (head_of_registration("wrong", body.len()).replace(TASKS, "/webhooks/dragdropdo"), 403),
        (head_of_registration(TOKEN, body.len()).replace(TASKS, "/nothing"), 404),
        (head_of_registration(TOKEN, body.len()).replace(TASKS, "/metrics"), 405),
        (head_of_registration(TOKEN, 2 * body.len()), 413),
    ] {
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&body).await.unwrap();
        if status == 413 {
            connection.write_all(&body).await.unwrap();
        }
        let answer = answer(&mut connection).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer:?}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_refused_without() {
    let api = FakeApi::start().await;
    let exporter = registry(&api, "{}").start().await;
    for (token, begin) in [("wrong", "HTTP/1.1 401 "), (TOKEN, "HTTP/1.1 100 ")] {
        let mut connection = TcpStream::connect(exporter.address()).await.unwrap();
        let head = head_of_registration(token, 100).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
        connection.write_all(head.as_bytes()).await.unwrap();
        let answer = answer(&mut connection).await;
        assert!(answer.starts_with(begin), "{answer}");
    }
}

/// A scrape with a connection of its own.
async fn scrape_anew(exporter: &Exporter) {
    let scrape = exporter.get("/metrics").header(CONNECTION, "close").send().await.unwrap();
    assert_eq!(scrape.status(), StatusCode::OK);
    assert!(scrape.text().await.unwrap().contains("dragdropdo_poll_lag_seconds"));
}

#[tokio::test]
async fn a_client_that_keeps_coming_keeps_its_connection_while_idle_ones_make_room() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "{}").start().await;
    let mut scraper = TcpStream::connect(exporter.address()).await.unwrap();
    let mut idle = Vec::new();
    for at in 0..1000 {
        if at % 100 == 0 {
            scraper.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let answer = answer(&mut scraper).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "after {at} idle connections: {answer:?}");
        }
        idle.push(TcpStream::connect(exporter.address()).await.unwrap());
    }
}

/// What comes until the connection ends, or an answer is there.
async fn answer(connection: &mut TcpStream) -> String {
    let mut buffer = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, connection.read(&mut buffer)).await.unwrap();
    // A connection that is reset has said nothing.
    String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]).into_owned()
}
