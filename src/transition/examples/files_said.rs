//! Rule 5: what a body says of the files, and the file endpoint.

use super::{failing, file, following, seconds, task};
use crate::task::State::{Completed, Failed, InProgress, Queued, Unknown};
use crate::task::{Finished, Outcome};

#[test]
fn a_body_without_a_list_leaves_the_last_known_files() {
    let mut told = task();
    told.sees(0, InProgress, [file("A'", Completed), file("B", InProgress)]);
    told.sees_no_list(10, InProgress);
    assert_eq!(told.shown(), [("A'", Completed), ("B", InProgress)]);
    assert_eq!(told.completions(), 1);
}

#[test]
fn an_empty_list_says_that_there_are_no_files() {
    let mut told = task();
    told.sees(0, InProgress, [file("A'", Completed), file("B", InProgress)]);
    told.sees(10, InProgress, []);
    assert_eq!(told.shown(), []);
}

#[test]
fn a_404_leaves_the_last_known_files_and_shows_the_task_unknown() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.is_not_found(10);
    assert_eq!(told.record.state, Unknown);
    assert_eq!(told.shown(), [("A", InProgress)]);
    told.sees(20, InProgress, [file("A", InProgress)]);
    assert_eq!(told.record.state, InProgress);
}

#[test]
fn a_followed_file_is_unknown_until_it_is_observed() {
    let told = following(&["A", "B"]);
    assert_eq!(told.shown(), [("A", Unknown), ("B", Unknown)]);
}

#[test]
fn the_file_endpoint_speaks_only_of_the_file_asked_for() {
    let mut told = following(&["A", "B"]);
    told.asks(0, "A", InProgress, [file("A", InProgress)]);
    told.asks(2, "B", InProgress, [file("B", Queued)]);
    told.asks(10, "A", InProgress, [failing("A", "timeout")]);
    assert_eq!(told.shown(), [("A", Failed), ("B", Queued)]);
    assert_eq!(told.failures(), ["timeout"]);
    assert_eq!(told.failure_latencies(), [seconds(10)]);
}

#[test]
fn an_empty_list_from_the_file_endpoint_says_nothing() {
    let mut told = following(&["A"]);
    told.asks(0, "A", InProgress, [file("A", InProgress)]);
    told.asks(10, "A", InProgress, []);
    assert_eq!(told.shown(), [("A", InProgress)]);
    assert_eq!(told.events, []);
}

#[test]
fn the_file_endpoint_tells_the_operations_state_too() {
    let mut told = following(&["A"]);
    told.asks(0, "A", InProgress, [file("A", InProgress)]);
    told.asks(10, "A", Failed, [failing("A", "timeout")]);
    assert_eq!(told.finishes(), [(Finished::Failed, seconds(10))]);
    assert_eq!(told.outcomes(), [(Outcome::Failed, false)]);
}

#[test]
fn a_followed_file_is_found_under_its_new_key_in_a_body_of_the_main_task() {
    let mut told = following(&["A"]);
    told.asks(0, "A", InProgress, [file("A", InProgress)]);
    told.asks(10, "A", InProgress, []);
    told.sees(12, InProgress, [file("A'", Completed), file("B", InProgress)]);
    assert_eq!(told.completions(), 1);
    assert_eq!(told.shown(), [("A'", Completed)]);
}

#[test]
fn a_followed_file_that_was_found_is_asked_for_under_its_new_key() {
    let mut told = following(&["A"]);
    told.asks(0, "A", InProgress, [file("A", InProgress)]);
    told.sees(10, InProgress, [file("A'", Completed), file("B", InProgress)]);
    told.asks(20, "A'", Completed, [file("A'", Completed)]);
    assert_eq!(told.completions(), 1);
    assert_eq!(told.outcomes(), [(Outcome::Completed, false)]);
}

#[test]
fn files_that_are_not_followed_count_nothing() {
    let mut told = following(&["A"]);
    told.sees(0, InProgress, [file("A", InProgress), failing("B", "timeout"), file("C'", Completed)]);
    told.sees(10, Completed, [file("A'", Completed), failing("B", "timeout"), file("C'", Completed)]);
    assert_eq!((told.completions(), told.failures().len()), (1, 0));
    assert_eq!(told.shown().len(), 1);
    assert_eq!(told.outcomes(), [(Outcome::Completed, false)]);
}

#[test]
fn a_followed_file_that_fails_is_found_by_its_key_in_a_body_of_the_main_task() {
    let mut told = following(&["A", "B"]);
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress), file("C", InProgress)]);
    told.sees(10, Completed, [file("C'", Completed), failing("B", "timeout"), file("A'", Completed)]);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
    assert_eq!(told.outcomes(), [(Outcome::PartiallyFailed, false)]);
}

#[test]
fn an_unfollowed_failure_takes_no_followed_files_place() {
    let mut told = following(&["A"]);
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, InProgress, [failing("B", "timeout")]);
    assert_eq!(told.failures(), [""; 0]);
    told.sees(20, Completed, [file("A'", Completed), failing("B", "timeout")]);
    assert_eq!((told.completions(), told.failures().len()), (1, 0));
}
