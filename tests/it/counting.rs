//! What is counted, exactly, as a scrape shows it.

mod latencies;

use crate::harness::{Answer, Exporter, FakeApi, Setup, operation};
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::time::Time;
use serde_json::json;
use std::time::Duration;

/// An exporter of the task `t1`, about which the API says this.
async fn follow(answers: impl IntoIterator<Item = Answer>) -> (FakeApi, Exporter) {
    let api = FakeApi::start().await;
    api.answers("t1", answers);
    let exporter = Setup::new(&api, "tasks: [t1]").start().await;
    (api, exporter)
}

/// So many seconds from now, or ago.
fn from_now(seconds: i64) -> Time {
    Time::from_micros(Clock::system().wall().as_micros() + seconds * 1_000_000)
}

#[tokio::test]
async fn a_file_whose_key_changes_when_it_completes_is_counted_once() {
    let (_api, exporter) = follow([
        operation("queued", &[("in", "queued")]),
        operation("in_progress", &[("in", "in_progress")]),
        operation("completed", &[("out", "completed")]),
    ])
    .await;
    let scrape = exporter
        .shows(&[
            ("dragdropdo_files_finished_total{state=completed}", 1.0),
            ("dragdropdo_tasks_finished_total{outcome=completed}", 1.0),
            ("dragdropdo_files{state=completed}", 1.0),
            ("dragdropdo_tasks{state=completed}", 1.0),
        ])
        .await;
    assert_eq!(scrape.sum("dragdropdo_files"), 1.0);
    assert_eq!(scrape.sum("dragdropdo_tasks"), 1.0);
    assert_eq!(scrape.value("dragdropdo_files_finished_total{state=failed}"), 0.0);
}

#[tokio::test]
async fn a_file_that_fails_is_counted_once_however_often_it_is_polled_and_its_code_changes() {
    let (api, exporter) = follow([
        operation("queued", &[("a", "queued"), ("b", "queued")]),
        operation("in_progress", &[("a", "failed/internal_error"), ("b", "queued")]),
        operation("in_progress", &[("a", "failed/internal_error"), ("b", "queued")]),
        operation("in_progress", &[("b", "queued"), ("a", "failed/bad_input")]),
        operation("in_progress", &[("a", "failed/bad_input"), ("b", "in_progress")]),
    ])
    .await;
    api.has_told_all("t1").await;
    exporter
        .shows(&[
            ("dragdropdo_file_failures_total", 1.0),
            ("dragdropdo_file_failures_total{error_code=internal_error}", 1.0),
            ("dragdropdo_files_finished_total{state=failed}", 1.0),
            ("dragdropdo_tasks_finished_total{outcome=failed}", 0.0),
        ])
        .await;
    api.answers("t1", [operation("failed", &[("a", "failed/bad_input"), ("b", "failed/internal_error")])]);
    exporter
        .shows(&[
            ("dragdropdo_file_failures_total", 2.0),
            ("dragdropdo_files_finished_total{state=failed}", 2.0),
            ("dragdropdo_tasks_finished_total{outcome=failed}", 1.0),
        ])
        .await;
}

#[tokio::test]
async fn a_key_twice_in_a_body_is_two_files() {
    let (_api, exporter) = follow([
        operation("queued", &[("k", "queued"), ("k", "queued")]),
        operation("completed", &[("k", "completed"), ("k", "failed/x")]),
    ])
    .await;
    exporter
        .shows(&[
            ("dragdropdo_files_finished_total{state=completed}", 1.0),
            ("dragdropdo_files_finished_total{state=failed}", 1.0),
            ("dragdropdo_tasks_finished_total{outcome=partially_failed}", 1.0),
        ])
        .await;
}

#[tokio::test]
async fn files_that_vanish_and_come_back_are_no_new_ones() {
    let all = [("a", "failed/x"), ("b", "completed"), ("c", "queued")];
    let (api, exporter) = follow([
        operation("in_progress", &all),
        operation("in_progress", &[("c", "queued")]),
        operation("in_progress", &all),
        operation("in_progress", &all[1..]),
        operation("in_progress", &all),
    ])
    .await;
    api.has_told_all("t1").await;
    let scrape = exporter.scrape().await;
    for state in ["completed", "failed"] {
        assert_eq!(scrape.value(&format!("dragdropdo_files_finished_total{{state={state}}}")), 1.0);
        assert_eq!(scrape.value(&format!("dragdropdo_files{{state={state}}}")), 1.0);
    }
}

#[tokio::test]
async fn an_absent_list_keeps_the_files_and_an_empty_one_has_none() {
    let (api, exporter) = follow([
        operation("in_progress", &[("a", "queued"), ("b", "queued")]),
        Answer::body(r#"{"operation_status":"in_progress"}"#),
        Answer::body(r#"{"operation_status":"queued","files_data":null}"#),
        Answer::body(r#"{"operation_status":"in_progress"}"#),
    ])
    .await;
    api.has_told_all("t1").await;
    assert_eq!(exporter.scrape().await.value("dragdropdo_files{state=queued}"), 2.0);
    api.answers("t1", [operation("in_progress", &[])]);
    exporter.shows(&[("dragdropdo_files{state=queued}", 0.0)]).await;
}

#[tokio::test]
async fn a_stale_answer_moves_the_gauges_and_counts_nothing_again() {
    let stale = operation("in_progress", &[("in", "in_progress"), ("b", "queued")]);
    let finished = operation("in_progress", &[("out", "completed"), ("b", "failed/x")]);
    let (api, exporter) = follow([stale.clone(), finished.clone(), stale]).await;
    api.has_told_all("t1").await;
    let counted = [
        ("dragdropdo_files_finished_total{state=completed}", 1.0),
        ("dragdropdo_files_finished_total{state=failed}", 1.0),
    ];
    exporter.shows(&counted).await;
    exporter.shows(&[("dragdropdo_files{state=in_progress}", 1.0), ("dragdropdo_files{state=completed}", 0.0)]).await;
    api.answers("t1", [finished]);
    api.has_told_all("t1").await;
    exporter.shows(&counted).await;
    exporter.shows(&[("dragdropdo_files{state=in_progress}", 0.0), ("dragdropdo_files{state=completed}", 1.0)]).await;
}

#[tokio::test]
async fn a_failed_operation_that_names_no_file_is_a_failure_without_a_file() {
    let before = from_now(0).as_secs_f64();
    let (_api, exporter) = follow([operation("queued", &[]), operation("failed", &[])]).await;
    let scrape = exporter
        .shows(&[
            ("dragdropdo_tasks_finished_total{outcome=failed}", 1.0),
            ("dragdropdo_files_finished_total{state=failed}", 0.0),
        ])
        .await;
    assert_eq!(scrape.sum("dragdropdo_file_failures_total"), 0.0);
    let at = scrape.value("dragdropdo_last_failure_timestamp_seconds{error_code=unspecified}");
    assert!((before..=from_now(0).as_secs_f64()).contains(&at), "{at}");
    assert_eq!(scrape.all("dragdropdo_last_failure_timestamp_seconds").len(), 1);
}

#[tokio::test]
async fn error_codes_are_bounded_label_values_and_their_sum_is_that_of_failed_files() {
    let long = "x".repeat(80);
    let codes = [json!(" Internal_ERROR\t"), json!("bad\u{1}co\nde"), json!(long), json!(""), json!(null)];
    let mut files: Vec<_> = codes
        .iter()
        .enumerate()
        .map(|(at, code)| json!({"file_key": format!("f{at}"), "status": "failed", "error_code": code}))
        .collect();
    files.push(json!({"file_key": "none", "status": "failed"}));
    let body = json!({"operation_status": "failed", "files_data": files}).to_string();
    let (_api, exporter) = follow([Answer::body(body)]).await;
    let scrape = exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=failed}", 1.0)]).await;
    let of = |code: &str| scrape.get(&format!("dragdropdo_file_failures_total{{error_code={code}}}"));
    assert_eq!(of("internal_error"), Some(1.0));
    assert_eq!(of("bad_co_de"), Some(1.0));
    assert_eq!(of(&long[..64]), Some(1.0));
    assert_eq!(of("unspecified"), Some(3.0));
    assert_eq!(scrape.sum("dragdropdo_file_failures_total"), 6.0);
    assert_eq!(scrape.value("dragdropdo_files_finished_total{state=failed}"), 6.0);
}

#[tokio::test]
async fn past_the_limit_new_error_codes_are_other_also_after_a_restart() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("failed", &[("1", "failed/first"), ("2", "failed/second")])]);
    let setup = &mut Setup::new(&api, "{tasks: [t1], metrics: {known_error_codes: [known], max_error_codes: 2}}");
    let exporter = setup.start().await;
    let of = |code: &str| format!("dragdropdo_file_failures_total{{error_code={code}}}");
    let (first, other, known) = (&of("first"), &of("other"), &of("known"));
    let scrape = exporter.shows(&[(first, 1.0), (other, 1.0), (known, 0.0)]).await;
    assert_eq!(scrape.all("dragdropdo_file_failures_total").len(), 3);
    exporter.kill().await;
    api.answers("t2", [operation("failed", &[("3", "failed/third"), ("1", "failed/first"), ("4", "failed/known")])]);
    setup.configure("tasks: [t1, t2]");
    let scrape = setup.start().await.shows(&[(first, 2.0), (other, 2.0), (known, 1.0)]).await;
    assert_eq!(scrape.all("dragdropdo_file_failures_total").len(), 3);
}

#[tokio::test]
async fn everything_of_a_group_exists_at_zero_before_anything_has_happened() {
    let api = FakeApi::start().await;
    api.otherwise(operation("queued", &[]).after(Duration::from_secs(3600)));
    let yaml = "{tasks: [{id: t1, group: invoices}], metrics: {known_error_codes: [a, B]}}";
    let scrape = Setup::new(&api, yaml).start().await.shows(&[("dragdropdo_tasks{state=unknown}", 1.0)]).await;
    for (family, label, values) in [
        ("dragdropdo_tasks_finished_total", "outcome", &["completed", "partially_failed", "failed"][..]),
        ("dragdropdo_files_finished_total", "state", &["completed", "failed"]),
        ("dragdropdo_file_failures_total", "error_code", &["a", "b"]),
        ("dragdropdo_task_completion_latency_seconds_count", "state", &["completed", "failed"]),
        ("dragdropdo_file_completion_latency_seconds_count", "state", &["completed", "failed"]),
        ("dragdropdo_tasks_dropped_total", "reason", &["not_found", "abandoned"]),
        ("dragdropdo_files", "state", &["queued", "in_progress", "completed", "failed", "unknown"]),
    ] {
        for value in values {
            assert_eq!(scrape.value(&format!("{family}{{group=invoices,{label}={value}}}")), 0.0);
        }
        assert_eq!(scrape.all(family).len(), values.len(), "{family}");
    }
    for family in ["dragdropdo_task_latency_unknown_total", "dragdropdo_file_latency_unknown_total"] {
        assert_eq!(scrape.all(family), [0.0]);
    }
    assert_eq!(scrape.all("dragdropdo_tasks").len(), 5);
    assert_eq!(scrape.all("dragdropdo_last_failure_timestamp_seconds").len(), 0);
    assert_eq!(scrape.all("dragdropdo_oldest_unfinished_task_start_timestamp_seconds").len(), 0);
}

#[tokio::test]
async fn a_state_word_that_nobody_knows_is_unknown_unfinished_and_logged_once() {
    let (api, exporter) = follow([
        operation("paused", &[("a", "frozen"), ("b", "frozen")]),
        operation("paused", &[("a", "frozen"), ("b", "frozen")]),
    ])
    .await;
    api.has_told_all("t1").await;
    let scrape =
        exporter.shows(&[("dragdropdo_tasks{state=unknown}", 1.0), ("dragdropdo_files{state=unknown}", 2.0)]).await;
    assert!(scrape.value("dragdropdo_unknown_states_total") >= 6.0);
    assert!(scrape.get("dragdropdo_task_start_timestamp_seconds").is_some());
    for word in ["paused", "frozen"] {
        assert_eq!(exporter.log().iter().filter(|line| line.contains(word)).count(), 1, "{word}");
    }
    api.answers("t1", [operation("completed", &[("a", "completed"), ("b", "completed")])]);
    exporter.shows(&[("dragdropdo_files_finished_total{state=completed}", 2.0)]).await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_changes_nothing_but_its_own_counter() {
    let api = FakeApi::start().await;
    let texts = [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"operation_status":7}"#,
        r#"{"files_data":[]}"#,
        r#"{"operation_status":"failed""#,
    ];
    let mut bodies: Vec<Answer> = texts.map(Answer::body).into();
    bodies.push(operation("failed", &[(&"k".repeat(2048), "failed/x")]));
    let count = bodies.len();
    for (at, body) in bodies.into_iter().enumerate() {
        api.answers(&format!("t{at}"), [operation("in_progress", &[("a", "queued")]), body]);
    }
    let tasks: Vec<String> = (0..count).map(|at| format!("t{at}")).collect();
    let yaml = json!({ "tasks": tasks, "api": {"max_response_size": "1KiB"} }).to_string();
    let exporter = Setup::new(&api, &yaml).start().await;
    for task in tasks {
        api.has_told_all(&task).await;
    }
    let scrape = exporter.scrape().await;
    assert!(scrape.value("dragdropdo_api_requests_total{outcome=invalid_response}") >= count as f64);
    assert_eq!(scrape.value("dragdropdo_api_requests_total{outcome=success}"), count as f64);
    assert_eq!(scrape.value("dragdropdo_files{state=queued}"), count as f64);
    assert_eq!(scrape.value("dragdropdo_tasks{state=in_progress}"), count as f64);
    assert_eq!(scrape.sum("dragdropdo_files_finished_total") + scrape.sum("dragdropdo_tasks_finished_total"), 0.0);
}

#[tokio::test]
async fn every_form_of_the_body_says_the_same() {
    let api = FakeApi::start().await;
    let last = json!({"operation_status": "completed", "files_data": [
        {"file_key": "out", "status": "completed"}, {"file_key": "b", "status": "failed", "error_code": "code"}]});
    let forms = [
        ("bare", last.clone()),
        ("envelope", json!({"success": true, "data": last})),
        (
            "camel",
            json!({"data": {"operationStatus": "COMPLETED", "filesData": [
            {"fileKey": "out", "status": "COMPLETED"}, {"fileKey": "b", "status": "FAILED", "errorCode": "CODE"}]}}),
        ),
        (
            "partially",
            json!({"operation_status": "Partially Completed", "files_data": [{"file_key": "out", "status": "Completed"},
            {"file_key": "b", "status": "failed", "error_code": "code", "surprise": [{}]}], "surprise": 1}),
        ),
    ];
    let first = json!({"data": {"operationStatus": "RUNNING", "filesData": [
        {"fileKey": "in", "status": "running"}, {"file_key": "b", "status": "QUEUED"}]}});
    let mut tasks = Vec::new();
    for (name, _) in &forms {
        api.answers(name, [Answer::body(first.to_string())]);
        tasks.push(json!({"id": name, "group": name}));
    }
    let exporter = Setup::new(&api, &json!({ "tasks": tasks }).to_string()).start().await;
    for (name, body) in forms {
        let of = |series: &str, label: &str| format!("dragdropdo_{series}{{group={name},{label}}}");
        let (running, queued) = (of("files", "state=in_progress"), of("files", "state=queued"));
        exporter.shows(&[(&of("tasks", "state=in_progress"), 1.0), (&running, 1.0), (&queued, 1.0)]).await;
        api.answers(name, [Answer::body(body.to_string())]);
        exporter
            .shows(&[
                (&of("tasks_finished_total", "outcome=partially_failed"), 1.0),
                (&of("files_finished_total", "state=completed"), 1.0),
                (&of("file_failures_total", "error_code=code"), 1.0),
            ])
            .await;
    }
}

#[tokio::test]
async fn a_narrowed_task_is_followed_by_its_file_and_found_again_under_the_new_key() {
    let api = FakeApi::start().await;
    api.answers(
        "t1/in",
        [
            operation("queued", &[("in", "queued")]),
            operation("in_progress", &[("in", "in_progress")]),
            Answer::status(404),
        ],
    );
    api.answers("t1", [operation("in_progress", &[("other", "failed/x"), ("in_result", "completed")])]);
    api.answers("t1/in_result", [operation("in_progress", &[("in_result", "completed")])]);
    let exporter = Setup::new(&api, "tasks: [{id: t1, file_keys: [in]}]").start().await;
    let scrape = exporter
        .shows(&[
            ("dragdropdo_files_finished_total{state=completed}", 1.0),
            ("dragdropdo_files{state=completed}", 1.0),
            ("dragdropdo_tasks{state=in_progress}", 1.0),
        ])
        .await;
    assert_eq!(scrape.sum("dragdropdo_files"), 1.0);
    assert_eq!(scrape.value("dragdropdo_files_finished_total{state=failed}"), 0.0, "it was not asked for");
    let asked: Vec<String> = api.asked().into_iter().map(|asked| asked.what).collect();
    assert_eq!(asked[..4], ["t1/in", "t1/in", "t1/in", "t1"]);
    api.answers("t1/in_result", [operation("completed", &[("in_result", "completed")])]);
    exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=completed}", 1.0)]).await;
    assert_eq!(api.count("t1"), 1);
}

#[tokio::test]
async fn an_empty_list_about_one_file_says_nothing_and_asks_for_the_task() {
    let api = FakeApi::start().await;
    api.answers("t1/in", [operation("queued", &[("in", "queued")]), operation("queued", &[])]);
    api.answers("t1", [operation("queued", &[("in", "queued"), ("other", "queued")])]);
    let exporter = Setup::new(&api, "tasks: [{id: t1, file_keys: [in]}]").start().await;
    api.is_asked_again("t1", 2).await;
    let scrape = exporter.shows(&[("dragdropdo_files{state=queued}", 1.0)]).await;
    assert_eq!(scrape.sum("dragdropdo_files"), 1.0);
}

#[tokio::test]
async fn a_task_unfinished_for_too_long_is_given_up_and_no_longer_polled() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("queued", &[("a", "queued")])]);
    let exporter = Setup::new(&api, "{tasks: [t1], poll: {abandon_after: 500ms}}").start().await;
    let scrape = exporter.shows(&[("dragdropdo_tasks_dropped_total{reason=abandoned}", 1.0)]).await;
    assert_eq!(scrape.sum("dragdropdo_tasks") + scrape.sum("dragdropdo_files"), 0.0);
    assert_eq!(scrape.sum("dragdropdo_tasks_finished_total"), 0.0);
}

#[tokio::test]
async fn a_task_submitted_long_ago_is_asked_for_before_it_is_given_up() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("completed", &[("a", "completed")])]);
    let yaml = format!("{{tasks: [{{id: t1, submitted_at: '{}'}}], poll: {{abandon_after: 1h}}}}", from_now(-7200));
    let exporter = Setup::new(&api, &yaml).start().await;
    let scrape = exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=completed}", 1.0)]).await;
    assert_eq!(scrape.sum("dragdropdo_tasks_dropped_total"), 0.0);
}

#[tokio::test]
async fn tasks_are_shown_by_themselves_up_to_the_limit_unfinished_ones_first() {
    let api = FakeApi::start().await;
    api.answers("done", [operation("completed", &[])]);
    api.answers("old", [operation("queued", &[("a", "queued"), ("b", "completed")])]);
    api.answers("young", [operation("in_progress", &[])]);
    let submitted = from_now(-1000);
    let yaml = format!(
        "{{tasks: [done, young, {{id: old, group: g, submitted_at: '{submitted}'}}], metrics: {{per_task_limit: 2}}}}"
    );
    let exporter = Setup::new(&api, &yaml).start().await;
    let scrape = exporter
        .shows(&[
            ("dragdropdo_task_state{group=g,task_id=old,state=queued}", 1.0),
            ("dragdropdo_task_state{group=default,task_id=young,state=in_progress}", 1.0),
            ("dragdropdo_task_files{task_id=old,state=completed}", 1.0),
            ("dragdropdo_exporter_hidden_tasks", 1.0),
        ])
        .await;
    assert_eq!((scrape.sum("dragdropdo_task_state"), scrape.all("dragdropdo_task_state").len()), (2.0, 10));
    let oldest = scrape.value("dragdropdo_oldest_unfinished_task_start_timestamp_seconds{group=g}");
    assert!((oldest - submitted.as_secs_f64()).abs() < 1e-3, "{oldest}");
}

#[tokio::test]
async fn a_task_id_is_one_segment_of_the_path_whatever_it_holds() {
    let api = FakeApi::start().await;
    api.answers("a%2F..%2F%3Fb%20%C3%A9%25%22%5C", [operation("queued", &[])]);
    let exporter = Setup::new(&api, r#"tasks: ["a/../?b é%\"\\"]"#).start().await;
    let scrape = exporter.shows(&[("dragdropdo_tasks{state=queued}", 1.0)]).await;
    assert_eq!(scrape.value(r#"dragdropdo_task_state{task_id=a/../?b é%"\,state=queued}"#), 1.0);
}
