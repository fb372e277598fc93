//! What survives the end of the process, and what the store does about rows and databases that are not as they should be.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Exporter, FakeApi, Scrape, Setup, operation};
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::time::Time;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What `sqlite3`, the program, answers; the exporter may be running.
fn sqlite3(database: &Path, statement: &str) -> String {
    let output = Command::new("sqlite3").args(["-batch", "-bail"]).arg(database).arg(statement).output().unwrap();
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything with a `group` label that only ever rises, as it stands on `/metrics`.
fn totals(scrape: &Scrape) -> Vec<String> {
    let is_total = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        line.contains("group=")
            && ["_total", "_bucket", "_sum", "_count", "_timestamp_seconds"].iter().any(|end| name.ends_with(end))
    };
    scrape.text().lines().filter(is_total).map(str::to_owned).collect()
}

/// A failed and a completed file of a settled task, and a task that is still unfinished.
async fn some_history(api: &FakeApi, setup: &Setup) -> Exporter {
    api.answers(
        "done",
        [
            operation("in_progress", &[("a", "queued"), ("b", "queued")]),
            operation("completed", &[("out", "completed"), ("b", "failed/code")]),
        ],
    );
    api.answers("open", [operation("in_progress", &[("x", "completed"), ("y", "queued"), ("z", "failed/code")])]);
    let exporter = setup.start().await;
    exporter
        .shows(&[
            ("dragdropdo_tasks_finished_total{outcome=partially_failed}", 1.0),
            ("dragdropdo_files_finished_total{state=failed}", 2.0),
            ("dragdropdo_files_finished_total{state=completed}", 2.0),
            ("dragdropdo_file_failures_total{error_code=code}", 2.0),
        ])
        .await;
    exporter
}

#[tokio::test]
async fn totals_go_on_after_every_kind_of_end_and_never_double() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "tasks: [done, open]");
    let mut exporter = some_history(&api, &setup).await;
    let before = totals(&exporter.scrape().await);
    assert!(before.iter().any(|line| line.starts_with("dragdropdo_last_failure_timestamp_seconds")), "{before:#?}");
    for kills in [true, false, true] {
        if kills {
            exporter.kill().await;
        } else {
            let (status, log) = exporter.terminate().await;
            assert!(status.success(), "{status} {log:?}");
            assert!(log.last().unwrap().contains("stopped"), "{log:?}");
        }
        exporter = setup.start().await;
        // The first scrape after the start, before anything can have been observed again.
        let scrape = exporter.scrape().await;
        assert_eq!(totals(&scrape), before);
        assert_eq!(scrape.value("dragdropdo_files{state=queued}"), 1.0);
        api.is_asked_again("open", 3).await;
        assert_eq!(totals(&exporter.scrape().await), before);
    }
    api.answers("open", [operation("completed", &[("x", "completed"), ("y2", "completed"), ("z", "failed/code")])]);
    exporter
        .shows(&[
            ("dragdropdo_tasks_finished_total{outcome=partially_failed}", 2.0),
            ("dragdropdo_files_finished_total{state=completed}", 3.0),
            ("dragdropdo_file_failures_total{error_code=code}", 2.0),
        ])
        .await;
}

#[tokio::test]
async fn a_settled_task_of_the_list_is_shown_and_not_polled_again() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "tasks: [done, open]");
    let exporter = some_history(&api, &setup).await;
    api.is_asked_again("open", 3).await;
    let count = api.count("done");
    assert_eq!(count, 2);
    exporter.kill().await;
    let exporter = setup.start().await;
    api.is_asked_again("open", 3).await;
    assert_eq!(api.count("done"), count);
    let scrape = exporter.scrape().await;
    assert_eq!(scrape.value("dragdropdo_tasks{state=completed}"), 1.0);
    assert_eq!(scrape.value("dragdropdo_task_state{task_id=done,state=completed}"), 1.0);
}

#[tokio::test]
async fn changed_buckets_start_the_histograms_anew_and_nothing_else() {
    let api = FakeApi::start().await;
    let submitted = Time::from_micros(Clock::system().wall().as_micros() - 1_000_000_000);
    let setup = &mut Setup::new(&api, &format!("tasks: [{{id: done, submitted_at: '{submitted}'}}, open]"));
    let exporter = some_history(&api, setup).await;
    let before = totals(&exporter.scrape().await);
    let count = "dragdropdo_task_completion_latency_seconds_count{state=completed}";
    assert_eq!(exporter.scrape().await.value(count), 1.0);
    exporter.terminate().await;
    setup.configure("metrics: {latency_buckets: [1, 2]}");
    let exporter = setup.start().await;
    let scrape = exporter.scrape().await;
    assert_eq!(scrape.value(count), 0.0);
    assert_eq!(scrape.sum("dragdropdo_file_completion_latency_seconds_sum"), 0.0);
    assert_eq!(scrape.all("dragdropdo_task_completion_latency_seconds_bucket{state=completed}").len(), 3);
    let others = |totals: &[String]| -> Vec<String> {
        totals.iter().filter(|line| !line.contains("completion_latency_seconds")).cloned().collect()
    };
    assert_eq!(others(&totals(&scrape)), others(&before));
    assert!(others(&before).len() > 10);
    api.answers("open", [operation("completed", &[])]);
    exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=partially_failed}", 2.0)]).await;
}

#[tokio::test]
async fn a_database_of_a_newer_exporter_is_refused_and_left_alone() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "{}");
    setup.start().await.terminate().await;
    let database = setup.path("exporter.db");
    sqlite3(
        &database,
        "INSERT INTO _sqlx_migrations SELECT 99, 'newer', installed_on, success, checksum, execution_time FROM _sqlx_migrations LIMIT 1",
    );
    let ended = setup.fails_to_start().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("schema version 99") && ended.stderr.contains("a newer exporter wrote it"),
        "{ended:?}"
    );
    assert_eq!(sqlite3(&database, "SELECT max(version) FROM _sqlx_migrations"), "99\n");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "{}");
    std::fs::write(setup.path("exporter.db"), "this is no database\n".repeat(100)).unwrap();
    let ended = setup.fails_to_start().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("exporter.db") && ended.stderr.contains("file is not a database"), "{ended:?}");
    assert!(std::fs::read_to_string(setup.path("exporter.db")).unwrap().starts_with("this is no database"));
}

#[tokio::test]
async fn a_second_exporter_is_kept_off_the_database_and_an_operator_is_not() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "tasks: [done, open]");
    let exporter = some_history(&api, &setup).await;
    let ended = setup.fails_to_start().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("another exporter (process "), "{ended:?}");
    assert!(ended.stderr.contains("storage.url"), "{ended:?}");

    let database = setup.path("exporter.db");
    assert_eq!(sqlite3(&database, "SELECT id, state FROM task ORDER BY id"), "done|completed\nopen|in_progress\n");
    let copy = setup.path("copy.db");
    sqlite3(&database, &format!(".backup '{}'", copy.display()));
    let failed = "SELECT total FROM counter WHERE family = 'dragdropdo_file_failures_total' AND value = 'code'";
    assert_eq!(sqlite3(&copy, failed), "2\n");
    api.answers("open", [operation("completed", &[])]);
    exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=partially_failed}", 2.0)]).await;
    exporter.terminate().await;
    setup.start().await;
}

#[tokio::test]
async fn a_backup_taken_while_the_exporter_runs_is_a_database_to_go_on_from() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "tasks: [done, open]");
    let exporter = some_history(&api, &setup).await;
    let before = totals(&exporter.scrape().await);
    let other = Setup::new(&api, "tasks: [done, open]");
    sqlite3(&setup.path("exporter.db"), &format!(".backup '{}'", other.path("exporter.db").display()));
    exporter.kill().await;
    assert_eq!(totals(&other.start().await.scrape().await), before);
}

#[tokio::test]
async fn a_row_that_the_store_refuses_is_set_aside_and_the_others_go_on() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "tasks: [bad, good]");
    for task in ["bad", "good"] {
        api.answers(task, [operation("in_progress", &[("a", "queued")])]);
    }
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_tasks{state=in_progress}", 2.0)]).await;
    let database = setup.path("exporter.db");
    sqlite3(
        &database,
        "CREATE TRIGGER refuse BEFORE UPDATE ON task WHEN new.id = 'bad' BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    );
    for task in ["bad", "good"] {
        api.answers(task, [operation("completed", &[("a", "completed")])]);
    }
    let scrape = exporter
        .shows(&[
            ("dragdropdo_tasks_finished_total{outcome=completed}", 1.0),
            ("dragdropdo_task_state{task_id=good,state=completed}", 1.0),
            ("dragdropdo_task_state{task_id=bad,state=in_progress}", 1.0),
            ("dragdropdo_files_finished_total{state=completed}", 1.0),
        ])
        .await;
    assert!(scrape.sum("dragdropdo_task_completion_latency_seconds_count") <= 1.0);
    let errors = "dragdropdo_exporter_store_errors_total";
    exporter.until("a store error", |scrape| scrape.value(errors) >= 1.0).await;
    exporter.logs("not this one").await;
    api.is_asked_again("bad", 2).await;
    let told = exporter.log().iter().filter(|line| line.contains("not this one")).count();
    assert_eq!(told, 1, "it is told once and not with every poll");
    assert_eq!(sqlite3(&database, "SELECT state FROM task WHERE id = 'bad'"), "in_progress\n");

    sqlite3(&database, "DROP TRIGGER refuse");
    exporter
        .shows(&[
            ("dragdropdo_tasks_finished_total{outcome=completed}", 2.0),
            ("dragdropdo_files_finished_total{state=completed}", 2.0),
        ])
        .await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_set_aside_at_the_start_and_left_as_it_is() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "tasks: [done, open]");
    some_history(&api, &setup).await.terminate().await;
    let database = setup.path("exporter.db");
    sqlite3(&database, "UPDATE task SET files = '[{' WHERE id = 'open'");
    let asked = api.count("open");
    let exporter = setup.start().await;
    let line = exporter.logs("cannot be read").await;
    assert!(line.contains("open") && line.contains("level=error"), "{line}");
    let scrape = exporter.scrape().await;
    assert_eq!(scrape.value("dragdropdo_exporter_store_errors_total"), 1.0);
    assert_eq!(scrape.value("dragdropdo_tasks{state=completed}"), 1.0);
    assert_eq!(scrape.sum("dragdropdo_tasks"), 1.0);
    assert_eq!(scrape.value("dragdropdo_files_finished_total{state=failed}"), 2.0, "what it counted stays counted");
    exporter.terminate().await;
    assert_eq!(api.count("open"), asked);
    assert_eq!(sqlite3(&database, "SELECT files FROM task WHERE id = 'open'"), "[{\n");
}

#[tokio::test]
async fn an_exporter_without_a_database_keeps_nothing() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "{tasks: [done, open], storage: {url: memory}}");
    let exporter = some_history(&api, &setup).await;
    exporter.terminate().await;
    let files: Vec<_> = std::fs::read_dir(setup.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["config.yaml"]);
    api.otherwise(operation("queued", &[]).after(Duration::from_secs(3600)));
    api.answers("done", [operation("queued", &[])]);
    api.answers("open", [operation("queued", &[])]);
    let scrape = setup.start().await.shows(&[("dragdropdo_tasks{state=queued}", 2.0)]).await;
    assert_eq!(scrape.sum("dragdropdo_files_finished_total") + scrape.sum("dragdropdo_tasks_finished_total"), 0.0);
}
