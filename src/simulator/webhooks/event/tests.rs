//! Tests of what is announced, and of its form.

use super::*;
use crate::simulator::Action;
use crate::simulator::options::{DurationRange, PlanOptions};
use crate::simulator::seed::Seed;
use proptest::prelude::*;
use std::time::Duration;

const CREATED: Time = Time::from_micros(1_700_000_000_000_000);

fn plan(action: Action, files: usize, failure_share: f64, seed: u64) -> Operation {
    let duration = DurationRange { shortest: Duration::from_secs(1), longest: Duration::from_secs(20) };
    let options = PlanOptions { duration, failure_share, codeless_share: 0.0, ..PlanOptions::default() };
    let keys = (1..=files).map(|n| format!("file_key_{n}")).collect();
    Operation::plan(action, keys, String::new(), CREATED, &options, &mut Seed::new(seed).source())
}

fn plain() -> Form {
    Form { style: Style::default(), main_task_id: IdPlace::MainTask, camel_case_file: false }
}

/// All events of an operation, as they come one after the other.
fn events(operation: &Operation) -> Vec<Event> {
    let ends =
        std::iter::successors(operation.next_end(CREATED), |at| operation.next_end(at.after(Duration::from_micros(1))));
    ends.flat_map(|at| Event::all_at(operation, at)).collect()
}

#[test]
fn the_webhook_of_an_operation_is_as_documented() {
    let partly = |operation: &Operation| operation.tally().partially_failed == 1;
    let operation = (0..).map(|seed| plan(Action::Convert, 2, 0.5, seed)).find(partly).unwrap();
    let event = *events(&operation).last().unwrap();
    let body = event.body("main_task_1", &operation, plain());
    assert_eq!(body["type"], "operation.completed");
    assert_eq!(Time::parse(body["timestamp"].as_str().unwrap()).unwrap(), operation.finishes());
    let main_task = &body["payload"]["main_task"];
    assert_eq!(main_task["id"], "main_task_1");
    assert_eq!(main_task["status"], "completed");
    assert_eq!(main_task["count"], json!({"total": 2, "success": 1, "failed": 1}));
    let files = main_task["file_data"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| file["file_key"].is_string() && file["status"].is_string()), "{files:?}");
}

#[test]
fn an_operation_fails_when_all_its_files_fail() {
    let operation = plan(Action::Merge, 3, 1.0, 1);
    let kinds: Vec<_> = events(&operation).iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["fileTask.failed", "fileTask.failed", "fileTask.failed", "operation.failed"]);
    let body = events(&operation)[3].body("main_task_1", &operation, plain());
    assert_eq!(body["payload"]["main_task"]["status"], "failed");
    assert_eq!(body["payload"]["main_task"]["count"], json!({"total": 3, "success": 0, "failed": 3}));
}

#[test]
fn the_webhook_of_a_file_names_its_main_task_in_one_of_six_places() {
    let operation = plan(Action::Compress, 1, 0.0, 1);
    let event = events(&operation)[0];
    let mut random = Seed::new(1).source();
    let mut met = [0; 6];
    for _ in 0..600 {
        let form = Form::draw(&StyleOptions::default(), &mut random);
        let body = event.body("main_task_1", &operation, form);
        assert_eq!(body["type"], "fileTask.completed");
        let payload = &body["payload"];
        let places = [
            &payload["main_task"]["id"],
            &payload["mainTask"]["id"],
            &payload["main_task_id"],
            &payload["mainTaskId"],
            &payload["file_task"]["main_task_id"],
            &payload["fileTask"]["mainTaskId"],
        ];
        let here: Vec<usize> = (0..6).filter(|n| *places[*n] == "main_task_1").collect();
        assert_eq!(here.len(), 1, "{body}");
        met[here[0]] += 1;
        let key = [&payload["file_task"]["file_key"], &payload["fileTask"]["fileKey"]];
        assert!(key.iter().any(|key| **key == "file_key_1_result"), "{body}");
    }
    assert!(met.iter().all(|count| (60..140).contains(count)), "{met:?}");
}

#[test]
fn a_timestamp_has_six_digits_whatever_they_are() {
    for (micros, text) in [
        (1_667_507_170_344_522, "2022-11-03T20:26:10.344522Z"),
        (1_667_507_170_344_500, "2022-11-03T20:26:10.344500Z"),
        (1_667_507_170_000_000, "2022-11-03T20:26:10.000000Z"),
    ] {
        assert_eq!(six_digits(Time::from_micros(micros)), text);
    }
}

proptest! {
    #[test]
    fn every_file_and_then_the_operation_is_announced_once_at_its_end(
        action in 0..Action::ALL.len(), files in 1_usize..12, failures in 0.0..=1.0, seed: u64,
    ) {
        let operation = plan(Action::ALL[action], files, failures, seed);
        let events = events(&operation);
        let count = |kind| events.iter().filter(|event| event.kind == kind).count() as u64;
        let tally = operation.tally();
        prop_assert_eq!(count(EventType::FileCompleted), tally.files_completed);
        prop_assert_eq!(count(EventType::FileFailed), tally.files_failed);
        prop_assert_eq!(count(EventType::OperationFailed), tally.failed);
        prop_assert_eq!(count(EventType::OperationCompleted), tally.completed + tally.partially_failed);
        prop_assert!(events.is_sorted_by_key(|event| event.at));
        let last = events.last().unwrap();
        prop_assert_eq!((last.file, last.at), (None, operation.finishes()));
        let numbers: std::collections::BTreeSet<u64> = events.iter().map(|event| event.number()).collect();
        prop_assert_eq!(numbers.len(), events.len());

        let mut keys: Vec<String> = Vec::new();
        for event in &events {
            let Some(place) = event.file else { continue };
            let file = operation.ended(place).unwrap();
            keys.push(file.key.to_string());
            // The API shows the file as ended from this very moment on, and not before.
            let just_before = Time::from_micros(event.at.as_micros() - 1);
            prop_assert!(operation.at(event.at).entries.contains(&file));
            prop_assert!(!operation.at(just_before).entries.contains(&file));
        }
        let mut listed: Vec<String> =
            operation.at(operation.finishes()).entries.iter().map(|entry| entry.key.to_string()).collect();
        keys.sort();
        listed.sort();
        prop_assert_eq!(keys, listed);
    }
}
