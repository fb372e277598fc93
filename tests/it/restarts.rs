//! What survives the end of the process, however it comes.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

mod store;

use crate::harness::{Exporter, FakeApi, Scrape, Setup, operation};
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::time::Time;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything with a `group` label that only ever rises, as it stands on `/metrics`.
fn totals(scrape: &Scrape) -> Vec<String> {
    let is_total = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        line.contains("group=")
            && ["_total", "_bucket", "_sum", "_count", "_last_failure_timestamp_seconds"]
                .iter()
                .any(|end| name.ends_with(end))
    };
    scrape.text().lines().filter(is_total).map(str::to_owned).collect()
}

/// The totals, none of which may be lower than it was `before`.
fn never_fell(before: BTreeMap<String, f64>, scrape: &Scrape) -> BTreeMap<String, f64> {
    let now: BTreeMap<String, f64> = totals(scrape)
        .iter()
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect();
    for (series, value) in before {
        assert!(
            now.get(&series).is_some_and(|now| *now >= value),
            "{series} was {value} and is {:?}",
            now.get(&series)
        );
    }
    now
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
async fn no_total_falls_or_doubles_when_it_is_killed_again_and_again() {
    const TASKS: usize = 50;
    let api = FakeApi::start().await;
    let tasks: Vec<String> = (0..TASKS).map(|at| format!("t{at}")).collect();
    let running = operation("in_progress", &[("a_out", "completed"), ("b", "in_progress")]);
    let mut life = vec![operation("queued", &[("a", "queued"), ("b", "queued")])];
    life.extend(vec![running; 4]);
    life.push(operation("completed", &[("a_out", "completed"), ("b", "failed/code")]));
    for task in &tasks {
        api.answers(task, life.iter().map(|answer| answer.clone().after(Duration::from_millis(20))));
    }
    let setup = Setup::new(&api, &json!({"tasks": tasks, "api": {"concurrency": 4}}).to_string());
    let settled = "dragdropdo_tasks_finished_total{outcome=partially_failed}";
    let (mut shown, mut kills) = (BTreeMap::new(), 0);
    for round in 1..=8 {
        let exporter = setup.start().await;
        let target = api.asked().len() + 20 + round;
        while api.asked().len() < target {
            let scrape = exporter.scrape().await;
            shown = never_fell(shown, &scrape);
            if scrape.get(settled) == Some(TASKS as f64) {
                break;
            }
            kills = round;
        }
        exporter.kill().await;
    }
    assert!(kills > 2, "all was done before it could be killed often");
    let scrape = setup.start().await.shows(&[(settled, TASKS as f64)]).await;
    never_fell(shown, &scrape);
    assert_eq!(scrape.value("dragdropdo_files_finished_total{state=completed}"), TASKS as f64);
    assert_eq!(scrape.value("dragdropdo_files_finished_total{state=failed}"), TASKS as f64);
    assert_eq!(scrape.value("dragdropdo_file_failures_total{error_code=code}"), TASKS as f64);
    let latencies = scrape.sum("dragdropdo_task_completion_latency_seconds_count");
    assert_eq!(latencies + scrape.value("dragdropdo_task_latency_unknown_total"), TASKS as f64);
}

#[tokio::test]
async fn a_task_that_leaves_the_list_is_followed_to_its_end_and_one_never_observed_goes_at_once() {
    let api = FakeApi::start().await;
    api.answers("seen", [operation("queued", &[("a", "queued")])]);
    api.answers("unseen", [operation("queued", &[]).after(Duration::from_secs(3600))]);
    let mut setup = Setup::new(&api, "{tasks: [seen, unseen], retention: 1s}");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_tasks{state=queued}", 1.0), ("dragdropdo_tasks{state=unknown}", 1.0)]).await;
    exporter.terminate().await;
    setup.configure("tasks: []");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_tasks{state=queued}", 1.0), ("dragdropdo_tasks{state=unknown}", 0.0)]).await;
    api.answers("seen", [operation("completed", &[("a", "completed")])]);
    let finished = ("dragdropdo_tasks_finished_total{outcome=completed}", 1.0);
    exporter.shows(&[finished, ("dragdropdo_tasks{state=completed}", 1.0)]).await;
    let scrape = exporter.shows(&[finished, ("dragdropdo_tasks{state=completed}", 0.0)]).await;
    assert_eq!(scrape.sum("dragdropdo_tasks") + scrape.sum("dragdropdo_files"), 0.0);
    assert_eq!(scrape.value("dragdropdo_discovery_tasks{source=static}"), 0.0);
    exporter.terminate().await;
    setup.configure("tasks: [seen]");
    let asked = api.count("seen");
    let exporter = setup.start().await;
    exporter.shows(&[finished, ("dragdropdo_tasks{state=completed}", 1.0)]).await;
    assert_eq!(api.count("seen"), asked, "what it did is remembered");
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
async fn an_error_code_that_comes_to_be_known_is_at_zero_in_every_group_there_is() {
    let api = FakeApi::start().await;
    api.otherwise(operation("queued", &[]));
    let mut setup = Setup::new(&api, "tasks: [{id: t1, group: old}]");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_tasks{group=old,state=queued}", 1.0)]).await;
    exporter.terminate().await;
    setup.configure("{tasks: [{id: t2, group: new}], metrics: {known_error_codes: [late]}}");
    let exporter = setup.start().await;
    for group in ["new", "old"] {
        exporter.shows(&[(&format!("dragdropdo_file_failures_total{{group={group},error_code=late}}"), 0.0)]).await;
    }
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
async fn a_backup_taken_while_the_exporter_runs_is_a_database_to_go_on_from() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "tasks: [done, open]");
    let exporter = some_history(&api, &setup).await;
    let before = totals(&exporter.scrape().await);
    let other = Setup::new(&api, "tasks: [done, open]");
    store::sqlite3(&setup.path("exporter.db"), &format!(".backup '{}'", other.path("exporter.db").display()));
    exporter.kill().await;
    assert_eq!(totals(&other.start().await.scrape().await), before);
}
