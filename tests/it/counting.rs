//! What is counted, exactly, as a scrape shows it.

use crate::harness::{FakeApi, Setup, operation};

#[tokio::test]
async fn a_file_whose_key_changes_when_it_completes_is_counted_once() {
    let api = FakeApi::start().await;
    let answers = [operation("queued", &[("in", "queued")]), operation("in_progress", &[("in", "in_progress")])];
    api.answers("t1", answers.into_iter().chain([operation("completed", &[("out", "completed")])]));
    let exporter = Setup::new(&api, "tasks: [t1]").start().await;
    exporter
        .shows(&[
            ("dragdropdo_files_finished_total{state=completed}", 1.0),
            ("dragdropdo_tasks_finished_total{outcome=completed}", 1.0),
            ("dragdropdo_files{state=completed}", 1.0),
        ])
        .await;
}
