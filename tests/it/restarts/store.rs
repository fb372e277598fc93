//! Databases and rows that are not as they should be, and who else may use them.

use super::{some_history, totals};
use crate::harness::{FakeApi, Holder, Setup, operation};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What `sqlite3`, the program, answers; the exporter may be running.
pub(super) fn sqlite3(database: &Path, statement: &str) -> String {
    let output = Command::new("sqlite3").args(["-batch", "-bail"]).arg(database).arg(statement).output().unwrap();
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_database_that_somebody_holds_makes_commits_wait_and_nothing_else() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("in_progress", &[("a", "queued")])]);
    let setup = Setup::new(&api, "tasks: [t1]");
    let exporter = setup.start().await;
    let before = exporter.shows(&[("dragdropdo_files{state=queued}", 1.0)]).await;
    let holder = Holder::of(&setup.path("exporter.db"), "BEGIN IMMEDIATE");

    api.answers("t1", [operation("completed", &[("a", "completed")])]);
    exporter.logs("the store fails").await;
    let scrape = exporter.scrape().await;
    assert_eq!(totals(&scrape), totals(&before), "nothing is shown before it is durable");
    assert_eq!(scrape.value("dragdropdo_files{state=queued}"), 1.0);
    assert!(scrape.value("dragdropdo_exporter_store_errors_total") >= 1.0);
    assert_eq!(exporter.get("/-/healthy").send().await.unwrap().status().as_u16(), 200);
    holder.lets_go();
    exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=completed}", 1.0)]).await;
    exporter.logs("the store works again").await;
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
async fn totals_that_make_no_sense_are_refused_rather_than_shown() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "tasks: [done, open]");
    some_history(&api, &setup).await.terminate().await;
    let database = setup.path("exporter.db");
    for (wrong, right) in
        [("total = -1", "total = 1"), ("family = 'surprise'", "family = 'dragdropdo_file_failures_total'")]
    {
        let which = "WHERE value = 'internal_error'";
        sqlite3(&database, &format!("UPDATE counter SET {wrong} {which}"));
        let ended = setup.fails_to_start().await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("the database's totals cannot be read"), "{ended:?}");
        sqlite3(&database, &format!("UPDATE counter SET {right} {which}"));
    }
    setup.start().await;
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
