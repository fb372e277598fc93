//! The limits of `docs/configuration.md`: what is at one is taken, what is one beyond it is refused.

use super::configuration::CONFIGURATION;
use super::rows;
use crate::harness::{FakeApi, Setup, operation};
use crate::webhooks::{ROUTE, TOKEN, taking_webhooks};
use dragdropdo_exporter::config;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;

/// The number that the document gives for this, in bytes where it is a size.
fn limit(what: &str) -> usize {
    let rows = rows(CONFIGURATION, |row| row.get("what").is_some_and(|found| found == what));
    let [(_, row)] = &rows[..] else { panic!("{what} is in {CONFIGURATION} {} times", rows.len()) };
    let text = row["at most"].replace(',', "");
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = if rest.starts_with(" MiB") { 1024 * 1024 } else { 1 };
    digits.parse::<usize>().unwrap() * unit
}

fn is_accepted(configuration: &str) -> bool {
    config::parse(configuration, Path::new("config.yaml"), &|_| None).is_ok()
}

#[test]
fn what_a_configuration_may_hold_is_as_documented() {
    let list = |entries: usize, entry: fn(usize) -> String| (0..entries).map(entry).collect::<Vec<_>>().join(", ");
    let cases: [(&str, &dyn Fn(usize) -> String); 6] = [
        ("configuration file", &|most| "#".repeat(most)),
        ("sources in `discovery.files`, and in `discovery.http`", &|most| {
            let (files, urls) =
                (list(most, |at| format!("{at}.json")), list(most, |at| format!("{{url: 'http://h/{at}'}}")));
            format!("discovery: {{files: [{files}], http: [{urls}]}}")
        }),
        ("distinct groups, however they come", &|most| {
            format!("tasks: [{}]", list(most, |at| format!("{{id: t{at}, group: g{at}}}")))
        }),
        ("characters of a group", &|most| format!("tasks: [{{id: a, group: {}}}]", "ä".repeat(most))),
        ("bytes of a main task ID", &|most| format!("tasks: [{}]", "a".repeat(most))),
        ("bytes of a file key that you name", &|most| format!("tasks: [{{id: a, file_keys: [{}]}}]", "a".repeat(most))),
    ];
    for (what, configuration) in cases {
        let most = limit(what);
        assert!(is_accepted(&configuration(most)), "{most} {what}");
        assert!(!is_accepted(&configuration(most + 1)), "{} {what}", most + 1);
    }
}

#[tokio::test]
async fn what_a_request_may_hold_is_as_documented() {
    let api = FakeApi::start().await;
    let exporter = taking_webhooks(&api, "api: {rate_limit: 1/h}").start().await;
    let post = |path: &'static str, body: String| {
        let request = exporter.request(Method::POST, path).bearer_auth(TOKEN).body(body);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let register = |tasks: Value| post("/api/v1/tasks", tasks.to_string());
    let tasks = |most: usize| (0..most).map(|at| json!({"id": format!("t{at}")})).collect::<Value>();
    let files =
        |most: usize| json!({"id": "files", "file_keys": (0..most).map(|at| at.to_string()).collect::<Vec<_>>()});
    // `default` is one of them.
    let groups =
        |most: usize| (1..most).map(|at| json!({"id": format!("g{at}"), "group": at.to_string()})).collect::<Value>();

    let most = limit("tasks in one registration");
    assert_eq!((register(tasks(most)).await, register(tasks(most + 1)).await), (201, 400));
    let most = limit("file keys of a task that is registered");
    assert_eq!((register(files(most)).await, register(files(most + 1)).await), (201, 400));
    let most = limit("distinct groups, however they come");
    assert_eq!((register(groups(most + 1)).await, register(groups(most)).await), (409, 201));
    let most = limit("body of a request to `/api/v1/tasks`");
    let blanks = |most: usize| post("/api/v1/tasks", " ".repeat(most));
    assert_eq!((blanks(most).await, blanks(most + 1).await), (400, 413));
    let most = limit("body of a webhook");
    let blanks = |most: usize| post(ROUTE, " ".repeat(most));
    assert_eq!((blanks(most).await, blanks(most + 1).await), (401, 413));
}

#[tokio::test]
async fn what_a_list_a_key_and_an_error_code_may_hold_is_as_documented() {
    let api = FakeApi::start().await;
    let characters = limit("characters of an error code");
    let code = "c".repeat(characters);
    api.answers("t", [operation("failed", &[("f", &format!("failed/{code}c"))])]);
    let mut setup = Setup::new(
        &api,
        "{tasks: [t], api: {api_key: null, api_key_file: key}, discovery: {files: [tasks.json, bytes.json]}}",
    );
    let bytes = limit("bytes of an API key");
    std::fs::write(setup.path("key"), "k".repeat(bytes + 1)).unwrap();
    let ended = setup.fails_to_start().await;
    assert!(ended.stderr.contains(&format!("is longer than {bytes} bytes")), "{}", ended.stderr);
    std::fs::write(setup.path("key"), "k".repeat(bytes)).unwrap();
    let targets: Vec<String> = (0..=limit("tasks of one source")).map(|at| at.to_string()).collect();
    std::fs::write(setup.path("tasks.json"), json!([{"targets": targets}]).to_string()).unwrap();
    let bytes = limit("a file or answer that lists tasks");
    std::fs::write(setup.path("bytes.json"), format!("[{}]", " ".repeat(bytes - 1))).unwrap();
    setup.configure("{}");
    let exporter = setup.start().await;
    exporter
        .shows(&[
            (&format!("dragdropdo_file_failures_total{{error_code={code}}}"), 1.0),
            ("dragdropdo_discovery_failures_total{source=files/0}", 1.0),
            ("dragdropdo_discovery_failures_total{source=files/1}", 1.0),
        ])
        .await;
    for limit in [format!("{} tasks", targets.len() - 1), format!("{} MiB", bytes / 1024 / 1024)] {
        exporter.logs(&limit).await;
    }
}
