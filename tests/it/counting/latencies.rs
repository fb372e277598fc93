//! From when to when a latency runs, and when it is not known.

use super::{follow, from_now};
use crate::harness::{FakeApi, Setup, operation};
use std::time::Duration;

#[tokio::test]
async fn what_had_finished_before_it_was_first_seen_took_an_unknown_time() {
    let (_api, exporter) = follow([operation("completed", &[("a", "completed"), ("b", "failed/x")])]).await;
    let scrape = exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=partially_failed}", 1.0)]).await;
    assert_eq!(scrape.value("dragdropdo_task_latency_unknown_total"), 1.0);
    assert_eq!(scrape.value("dragdropdo_file_latency_unknown_total"), 2.0);
    assert_eq!(scrape.sum("dragdropdo_task_completion_latency_seconds_count"), 0.0);
    assert_eq!(scrape.sum("dragdropdo_file_completion_latency_seconds_count"), 0.0);
    assert_eq!(scrape.get("dragdropdo_task_start_timestamp_seconds"), None);
}

#[tokio::test]
async fn a_latency_runs_from_the_submission_to_the_first_finished_answer() {
    let api = FakeApi::start().await;
    api.answers(
        "t1",
        [
            operation("in_progress", &[("a", "queued"), ("b", "queued")]),
            operation("completed", &[("a", "completed"), ("b", "failed/x")]),
        ],
    );
    let submitted = from_now(-100);
    let yaml = format!(
        "{{tasks: [{{id: t1, submitted_at: '{submitted}'}}], metrics: {{latency_buckets: [50, 99.5, 150.25, 1000]}}}}"
    );
    let exporter = Setup::new(&api, &yaml).start().await;
    let scrape = exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=partially_failed}", 1.0)]).await;
    for series in
        ["task_completion_latency_seconds{X,state=completed}", "file_completion_latency_seconds{X,state=failed}"]
    {
        let part = |part: &str, label: &str| {
            let series = series.replace("seconds{X,", &format!("seconds{part}{{{label}"));
            scrape.value(&format!("dragdropdo_{series}"))
        };
        assert_eq!(part("_bucket", "le=99.5,"), 0.0);
        assert_eq!(part("_bucket", "le=150.25,"), 1.0);
        assert_eq!(part("_count", ""), 1.0);
        assert!((100.0..150.0).contains(&part("_sum", "")), "{}", part("_sum", ""));
    }
    assert_eq!(scrape.sum("dragdropdo_task_completion_latency_seconds_count"), 1.0);
    assert_eq!(scrape.sum("dragdropdo_file_completion_latency_seconds_count"), 2.0);
    assert_eq!(scrape.sum("dragdropdo_task_latency_unknown_total"), 0.0);
    let start = scrape.value("dragdropdo_task_start_timestamp_seconds{task_id=t1}");
    assert!((start - submitted.as_secs_f64()).abs() < 1e-3, "{start}");
}

#[tokio::test]
async fn a_start_in_the_future_is_taken_as_the_first_answer_so_that_no_latency_is_negative() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("queued", &[]), operation("completed", &[])]);
    let yaml = format!("tasks: [{{id: t1, submitted_at: '{}'}}]", from_now(3600));
    let before = from_now(0).as_secs_f64();
    let exporter = Setup::new(&api, &yaml).start().await;
    let scrape = exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=completed}", 1.0)]).await;
    let start = scrape.value("dragdropdo_task_start_timestamp_seconds");
    assert!((before - 1.0..=from_now(0).as_secs_f64()).contains(&start), "{start}");
    assert!((0.0..60.0).contains(&scrape.value("dragdropdo_task_completion_latency_seconds_sum{state=completed}")));
}

#[tokio::test]
async fn an_exporter_that_was_down_for_most_of_a_task_knows_no_latency_of_it() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("queued", &[("a", "queued")])]);
    let setup = Setup::new(&api, "tasks: [t1]");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_files{state=queued}", 1.0)]).await;
    exporter.kill().await;
    api.answers("t1", [operation("completed", &[("a", "completed")])]);
    // The time itself is what this is about: longer than two intervals, and than the task was followed before.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let scrape = setup.start().await.shows(&[("dragdropdo_tasks_finished_total{outcome=completed}", 1.0)]).await;
    assert_eq!(scrape.value("dragdropdo_task_latency_unknown_total"), 1.0);
    assert_eq!(scrape.value("dragdropdo_file_latency_unknown_total"), 1.0);
    assert_eq!(scrape.sum("dragdropdo_task_completion_latency_seconds_count"), 0.0);
}
