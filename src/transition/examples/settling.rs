//! When a task settles and how it came out, and when it is given up.

use super::{at, failing, file, following, task};
use crate::task::State::{Completed, Failed, InProgress, Unknown};
use crate::task::{DropReason, Event, Failure, Outcome};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

#[test]
fn a_finished_task_whose_files_are_all_finished_settles_at_once() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, Completed, [file("A'", Completed), file("B'", Completed)]);
    assert_eq!(told.outcomes(), [(Outcome::Completed, false)]);
    assert!(told.record.settled.is_some());
}

#[test]
fn a_finished_task_waits_for_its_files() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, Completed, [file("A'", Completed), file("B", InProgress)]);
    assert_eq!(told.outcomes(), []);
    told.sees(20, Completed, [file("A'", Completed), failing("B", "timeout")]);
    assert_eq!(told.outcomes(), [(Outcome::PartiallyFailed, false)]);
}

#[test]
fn five_minutes_after_it_finished_a_task_settles_whatever_its_files_say() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A", InProgress)]);
    assert_eq!(told.waits_until(10 + 5 * MINUTE - 1), []);
    assert_eq!(
        told.waits_until(10 + 5 * MINUTE),
        [Event::TaskSettled { outcome: Outcome::Completed, unnamed_failure: false }]
    );
    assert_eq!(told.waits_until(10 + 6 * MINUTE), []);
}

#[test]
fn an_operation_that_failed_without_naming_a_file_is_a_failure_from_the_moment_it_settled() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Failed, [file("A", InProgress)]);
    assert_eq!(told.record.failures().count(), 0);
    told.waits_until(10 + 5 * MINUTE);
    let failures: Vec<_> = told.record.failures().collect();
    assert_eq!(failures, [Failure { at: Some(at(10 + 5 * MINUTE)), file: None }]);
}

#[test]
fn a_finished_task_that_the_api_then_forgets_settles_all_the_same() {
    let mut told = task();
    told.record.unlisted_since = Some(at(0));
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A", InProgress)]);
    told.is_not_found(20);
    told.waits_until(2 * HOUR);
    assert_eq!(told.outcomes(), [(Outcome::Completed, false)]);
    assert_eq!(told.record.dropped, None);
}

#[test]
fn a_completed_operation_without_files_settles_in_that_very_observation() {
    for list in [true, false] {
        let mut told = task();
        if list {
            told.sees(0, Completed, [])
        } else {
            told.sees_no_list(0, Completed)
        };
        assert_eq!(told.outcomes(), [(Outcome::Completed, false)]);
    }
}

#[test]
fn a_completed_operation_without_a_list_waits_for_the_last_known_files() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees_no_list(10, Completed);
    assert_eq!(told.outcomes(), []);
}

#[test]
fn an_operation_whose_files_all_failed_failed() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, Failed, [failing("A", "timeout"), failing("B", "timeout")]);
    assert_eq!(told.outcomes(), [(Outcome::Failed, false)]);
}

#[test]
fn a_failed_file_that_vanished_since_still_makes_the_outcome_partial() {
    let mut told = task();
    told.sees(0, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    told.sees(10, Completed, [file("B'", Completed)]);
    assert_eq!(told.outcomes(), [(Outcome::PartiallyFailed, false)]);
}

#[test]
fn a_failed_operation_with_unfinished_files_waits_for_their_names() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Failed, [file("A", InProgress)]);
    assert_eq!(told.outcomes(), []);
    told.waits_until(10 + 5 * MINUTE);
    assert_eq!(told.outcomes(), [(Outcome::Failed, true)]);
}

#[test]
fn a_followed_file_never_found_holds_its_task_for_five_minutes_only() {
    let mut told = following(&["A"]);
    told.asks(0, "A", Completed, []);
    assert_eq!(told.outcomes(), []);
    told.waits_until(5 * MINUTE);
    assert_eq!(told.outcomes(), [(Outcome::Completed, false)]);
}

#[test]
fn a_task_still_unfinished_long_after_its_start_is_abandoned_once() {
    let mut told = task();
    told.starts(-HOUR);
    told.sees(0, InProgress, [file("A", InProgress)]);
    assert_eq!(told.waits_until(DAY - HOUR - 1), []);
    assert_eq!(told.waits_until(DAY - HOUR), [Event::TaskDropped(DropReason::Abandoned)]);
    assert_eq!(told.waits_until(DAY), []);
    assert!(told.record.dropped.is_some());
}

#[test]
fn a_finished_task_is_never_abandoned() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A", InProgress)]);
    told.waits_until(2 * DAY);
    assert_eq!(told.record.dropped, None);
    assert_eq!(told.outcomes().len(), 1);
}

#[test]
fn a_task_unknown_for_an_hour_that_no_list_names_is_dropped_once() {
    let mut told = task();
    told.record.unlisted_since = Some(at(-DAY));
    told.is_not_found(0);
    told.is_not_found(30 * MINUTE);
    assert_eq!(told.waits_until(HOUR - 1), []);
    assert_eq!(told.waits_until(HOUR), [Event::TaskDropped(DropReason::NotFound)]);
    assert_eq!(told.waits_until(2 * HOUR), []);
}

#[test]
fn a_task_that_a_list_names_is_never_dropped_as_not_found() {
    let mut told = task();
    told.is_not_found(0);
    assert_eq!(told.waits_until(3 * HOUR), []);
    assert_eq!(told.record.state, Unknown);
}

#[test]
fn an_answer_in_between_starts_the_hour_anew() {
    let mut told = task();
    told.record.unlisted_since = Some(at(-DAY));
    told.is_not_found(0);
    told.sees(30 * MINUTE, InProgress, []);
    told.is_not_found(40 * MINUTE);
    assert_eq!(told.waits_until(HOUR), []);
    assert_eq!(told.waits_until(100 * MINUTE), [Event::TaskDropped(DropReason::NotFound)]);
}

#[test]
fn a_task_without_a_start_is_never_abandoned() {
    let mut told = task();
    told.is_not_found(0);
    assert_eq!(told.waits_until(30 * DAY), []);
}
