//! The life and death of a task: when it leaves the gauges, how long it is recognised, and when it is given up.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Exporter, FakeApi, PATIENCE, operation};
use crate::webhooks::{TOKEN, before, deliver, ended, now, register, sqlite3, taking_webhooks};
use reqwest::Method;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

const FAILED: &str = "dragdropdo_tasks_finished_total{outcome=failed}";
const FAILURES: &str = "dragdropdo_file_failures_total{error_code=code}";
const SHOWN: &str = "dragdropdo_tasks{state=failed}";

async fn forget(exporter: &Exporter, id: &str) -> u16 {
    let request = exporter.request(Method::DELETE, &format!("/api/v1/tasks/{id}")).bearer_auth(TOKEN);
    request.send().await.unwrap().status().as_u16()
}

/// The IDs of the tracked tasks.
async fn tracked(exporter: &Exporter) -> Vec<String> {
    exporter.tasks().await.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the database answers this.
async fn holds(database: &Path, statement: &str, expected: &str) {
    let held = async {
        while sqlite3(database, statement) != expected {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, held).await.is_ok();
    assert!(in_time, "{statement} is {} and never {expected}", sqlite3(database, statement));
}

#[tokio::test]
async fn a_settled_task_leaves_when_no_list_names_it_and_nothing_makes_it_count_again() {
    let api = FakeApi::start().await;
    for id in ["registered", "in_file", "in_config"] {
        api.answers(id, [operation("in_progress", &[("a", "queued")]), operation("failed", &[("a", "failed/code")])]);
    }
    let setup = taking_webhooks(&api, "{retention: 2s, tasks: [in_config], discovery: {files: ['*.json']}}");
    let lists = setup.path("list.json");
    fs::write(&lists, r#"[{"targets": ["in_file"]}]"#).unwrap();
    let exporter = setup.start().await;
    assert_eq!(register(&exporter, &json!({"id": "registered"})).await, 201);
    exporter.shows(&[(FAILED, 3.0), (FAILURES, 3.0), (SHOWN, 3.0)]).await;

    // The registered one goes, the listed ones stay.
    exporter.shows(&[(SHOWN, 2.0), ("dragdropdo_files{state=failed}", 2.0)]).await;
    assert_eq!(tracked(&exporter).await, ["in_config", "in_file"]);
    fs::write(&lists, "[]").unwrap();
    exporter.shows(&[(SHOWN, 1.0), (FAILED, 3.0), (FAILURES, 3.0)]).await;
    assert_eq!(tracked(&exporter).await, ["in_config"]);
    let scrape = exporter.scrape().await;
    assert!(scrape.all("dragdropdo_task_state{task_id=registered}").is_empty());
    assert!(scrape.all("dragdropdo_task_files{task_id=in_file}").is_empty());

    // What the API says by now is another matter, and would count.
    for id in ["registered", "in_file", "in_config"] {
        api.answers(id, [operation("completed", &[("b", "failed/code"), ("c", "completed")])]);
    }
    let asked = api.asked().len();
    for id in ["registered", "in_file"] {
        assert_eq!(deliver(&exporter, &ended(id, now())).await, 204);
        assert_eq!(register(&exporter, &json!({"id": id, "group": "another"})).await, 200);
        assert_eq!(deliver(&exporter, &ended(id, now())).await, 204);
    }
    assert_eq!(tracked(&exporter).await, ["in_config", "in_file", "registered"]);
    fs::write(&lists, r#"[{"targets": ["registered"], "labels": {"group": "another"}}]"#).unwrap();
    exporter.shows(&[("dragdropdo_discovery_tasks{source=files/0}", 1.0)]).await;
    let scrape = exporter.scrape().await;
    assert_eq!((scrape.value(FAILED), scrape.value(FAILURES)), (3.0, 3.0));
    assert_eq!(scrape.sum("dragdropdo_tasks_finished_total"), 3.0);
    assert_eq!(scrape.sum("dragdropdo_files_finished_total"), 3.0);
    assert!(scrape.all("dragdropdo_tasks{group=another}").iter().all(|tasks| *tasks == 0.0), "a task keeps its group");
    // It goes once more, and the listed one stays.
    exporter.shows(&[(SHOWN, 2.0)]).await;
    assert_eq!(tracked(&exporter).await, ["in_config", "registered"]);
    exporter.kill().await;
    let exporter = setup.start().await;
    assert_eq!(tracked(&exporter).await, ["in_config", "registered"]);
    exporter.shows(&[("dragdropdo_discovery_tasks{source=files/0}", 1.0), (FAILED, 3.0), (FAILURES, 3.0)]).await;
    assert_eq!(api.asked().len(), asked, "none is polled again");
}

#[tokio::test]
async fn a_deleted_task_that_is_registered_again_goes_on_and_counts_once() {
    let api = FakeApi::start().await;
    let half = || operation("in_progress", &[("a", "failed/code"), ("b", "completed"), ("c", "in_progress")]);
    api.answers("t", [half()]);
    let setup = taking_webhooks(&api, "{}");
    let exporter = setup.start().await;
    let submitted = before(now(), 100);
    let task = json!({"id": "t", "group": "g", "submitted_at": submitted.to_string()});
    assert_eq!(register(&exporter, &task).await, 201);
    let counted = [
        ("dragdropdo_file_failures_total{group=g,error_code=code}", 1.0),
        ("dragdropdo_files_finished_total{group=g,state=completed}", 1.0),
    ];
    exporter.shows(&counted).await;
    assert_eq!(forget(&exporter, "t").await, 204);
    assert_eq!(forget(&exporter, "t").await, 404);
    let scrape = exporter.shows(&counted).await;
    assert_eq!((scrape.sum("dragdropdo_tasks"), scrape.sum("dragdropdo_files")), (0.0, 0.0));
    assert!(tracked(&exporter).await.is_empty());
    assert_eq!(deliver(&exporter, &ended("t", now())).await, 204, "nobody tracks it");
    // It stays forgotten over a crash, and what it counted stays remembered.
    exporter.kill().await;
    let exporter = setup.start().await;
    assert!(tracked(&exporter).await.is_empty());
    api.answers("another", [operation("in_progress", &[])]);
    let asked = api.count("t");
    assert_eq!(register(&exporter, &json!({"id": "another"})).await, 201);
    api.is_asked_again("another", 3).await;
    assert_eq!(api.count("t"), asked, "it is not polled");

    assert_eq!(register(&exporter, &json!({"id": "t", "group": "other"})).await, 200);
    api.is_asked_again("t", 2).await;
    let scrape = exporter.shows(&counted).await;
    assert_eq!(scrape.value("dragdropdo_tasks{group=g,state=in_progress}"), 1.0);
    assert_eq!(scrape.value("dragdropdo_task_start_timestamp_seconds{task_id=t}"), submitted.as_secs_f64());
    assert_eq!(scrape.sum("dragdropdo_tasks_dropped_total"), 0.0);
    api.answers("t", [operation("completed", &[("a", "failed/code"), ("b", "completed"), ("c2", "completed")])]);
    exporter
        .shows(&[
            ("dragdropdo_tasks_finished_total{group=g,outcome=partially_failed}", 1.0),
            ("dragdropdo_file_failures_total{group=g,error_code=code}", 1.0),
            ("dragdropdo_files_finished_total{group=g,state=completed}", 2.0),
        ])
        .await;
}

#[tokio::test]
async fn a_record_is_forgotten_when_its_time_is_over_and_the_totals_are_not() {
    let api = FakeApi::start().await;
    api.otherwise(operation("failed", &[("a", "failed/code")]));
    api.answers("open", [operation("in_progress", &[])]);
    let setup = taking_webhooks(&api, "{retention: 0s, storage: {remember: 5s}, tasks: [listed]}");
    let database = setup.path("exporter.db");
    let exporter = setup.start().await;
    for id in ["settled", "open"] {
        assert_eq!(register(&exporter, &json!({"id": id})).await, 201);
    }
    exporter.shows(&[(FAILED, 2.0), (FAILURES, 2.0), (SHOWN, 1.0)]).await;
    assert_eq!(register(&exporter, &json!({"id": "settled"})).await, 200, "it is remembered");
    assert_eq!(forget(&exporter, "open").await, 204);
    assert_eq!(sqlite3(&database, "SELECT count(*) FROM task"), "3");
    holds(&database, "SELECT group_concat(id) FROM task", "listed").await;
    exporter.shows(&[(FAILED, 2.0), (FAILURES, 2.0)]).await;
    // Nobody knows it any more.
    assert_eq!(register(&exporter, &json!({"id": "settled"})).await, 201);
    exporter.shows(&[(FAILED, 3.0), (FAILURES, 3.0)]).await;
}

#[tokio::test]
async fn a_task_that_never_ends_is_given_up_once() {
    let api = FakeApi::start().await;
    api.otherwise(operation("in_progress", &[("a", "in_progress")]));
    let setup = taking_webhooks(&api, "{poll: {abandon_after: 3s}, tasks: [{id: listed, group: lists}]}");
    let exporter = setup.start().await;
    assert_eq!(register(&exporter, &json!({"id": "registered"})).await, 201);
    exporter.shows(&[("dragdropdo_tasks{group=lists,state=in_progress}", 1.0)]).await;
    let abandoned = |group: &str| format!("dragdropdo_tasks_dropped_total{{group={group},reason=abandoned}}");
    let given_up = [(&*abandoned("lists"), 1.0), (&*abandoned("default"), 1.0)];
    let scrape = exporter.shows(&given_up).await;
    assert_eq!((scrape.sum("dragdropdo_tasks"), scrape.sum("dragdropdo_tasks_finished_total")), (0.0, 0.0));
    assert!(scrape.all("dragdropdo_oldest_unfinished_task_start_timestamp_seconds").is_empty());
    assert!(tracked(&exporter).await.is_empty());
    assert_eq!(forget(&exporter, "listed").await, 404);
    exporter.logs("is given up unfinished: abandoned").await;
    assert_eq!(register(&exporter, &json!({"id": "registered"})).await, 200);
    assert_eq!(deliver(&exporter, &ended("registered", now())).await, 204);
    exporter.kill().await;

    // The list goes on naming it.
    let asked = api.asked().len();
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_discovery_tasks{source=static}", 1.0)]).await;
    api.answers("another", [operation("in_progress", &[])]);
    assert_eq!(register(&exporter, &json!({"id": "another"})).await, 201);
    api.is_asked_again("another", 2).await;
    assert_eq!(tracked(&exporter).await, ["another"]);
    assert_eq!(api.asked().len() - asked, api.count("another"));
    exporter.shows(&given_up).await;
}

#[tokio::test]
async fn a_reload_gives_up_no_task_before_its_first_poll_and_another_at_once() {
    let api = FakeApi::start().await;
    let running = || [operation("in_progress", &[])];
    api.answers("seen", running());
    let submitted = before(now(), 7200).to_string();
    let mut setup = taking_webhooks(&api, "{poll: {abandon_after: 3h}, api: {timeout: 300ms}, retention: 1w}");
    setup.argument("--web.enable-lifecycle");
    let exporter = setup.start().await;
    assert_eq!(register(&exporter, &json!({"id": "seen", "submitted_at": submitted})).await, 201);
    exporter.shows(&[("dragdropdo_tasks{state=in_progress}", 1.0)]).await;
    exporter.terminate().await;

    // The API says nothing now, of a task that was seen before this start, and of one that never was.
    api.answers("polled", running());
    api.otherwise(operation("in_progress", &[]).after(Duration::from_secs(3600)));
    api.answers("seen", [operation("in_progress", &[]).after(Duration::from_secs(3600))]);
    let exporter = setup.start().await;
    for id in ["unseen", "polled"] {
        assert_eq!(register(&exporter, &json!({"id": id, "group": id, "submitted_at": submitted})).await, 201);
    }
    exporter.shows(&[("dragdropdo_tasks{group=polled,state=in_progress}", 1.0)]).await;
    setup.configure("poll: {abandon_after: 1h}");
    for _ in 0..2 {
        let reloaded = exporter.request(Method::POST, "/-/reload").send().await.unwrap();
        assert_eq!(reloaded.status().as_u16(), 200);
    }
    exporter.shows(&[("dragdropdo_tasks_dropped_total{group=polled,reason=abandoned}", 1.0)]).await;
    assert_eq!(tracked(&exporter).await, ["seen", "unseen"]);

    // Their first polls show that they have ended.
    for id in ["seen", "unseen"] {
        api.answers(id, [operation("completed", &[])]);
    }
    let finished = |group: &str| format!("dragdropdo_tasks_finished_total{{group={group},outcome=completed}}");
    let scrape = exporter.shows(&[(&finished("default"), 1.0), (&finished("unseen"), 1.0)]).await;
    assert_eq!(scrape.sum("dragdropdo_tasks_dropped_total"), 1.0);
}
