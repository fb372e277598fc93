//! Rule 1: once each.

use super::{at, failing, file, task};
use crate::task::State::{Completed, Failed, InProgress, Queued, Unknown};
use crate::task::{Event, Finished, Outcome};

#[test]
fn a_task_that_is_polled_again_after_it_finished_counts_nothing_more() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, Completed, [file("A'", Completed), failing("B", "timeout")]);
    let events = told.sees(20, Completed, [file("A'", Completed), failing("B", "timeout")]);
    assert_eq!(events, []);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
    assert_eq!(told.outcomes(), [(Outcome::PartiallyFailed, false)]);
}

#[test]
fn a_failure_shown_unfinished_again_by_a_stale_answer_is_counted_once() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    told.sees(12, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(14, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    assert_eq!(told.failures(), ["timeout"]);
}

#[test]
fn a_failure_keeps_the_moment_at_which_it_was_counted() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    told.sees(20, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(30, Completed, [failing("A", "internal_error"), file("B'", Completed)]);
    let failures: Vec<_> =
        told.record.failures().map(|failure| (failure.at, failure.file.unwrap().key.as_str())).collect();
    assert_eq!(failures, [(Some(at(10)), "A")]);
}

#[test]
fn a_completion_shown_unfinished_again_under_its_former_key_is_counted_once() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, InProgress, [file("A'", Completed), file("B", InProgress)]);
    told.sees(12, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(14, InProgress, [file("A'", Completed), file("B", InProgress)]);
    assert_eq!(told.completions(), 1);
}

#[test]
fn a_task_shown_unfinished_again_and_then_finished_is_no_second_finish() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A", InProgress)]);
    told.sees(12, InProgress, [file("A", InProgress)]);
    told.sees(14, Completed, [file("A'", Completed)]);
    assert_eq!(told.finishes().len(), 1);
    assert_eq!(told.outcomes(), [(Outcome::Completed, false)]);
}

#[test]
fn gauges_follow_the_latest_body_even_when_it_is_stale() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", Queued)]);
    told.sees(10, Completed, [file("A'", Completed), file("B", InProgress)]);
    told.sees(12, Queued, [file("A", Queued), file("B", Queued)]);
    assert_eq!(told.record.state, Queued);
    assert_eq!(told.shown(), [("A", Queued), ("B", Queued)]);
}

#[test]
fn a_file_counted_completed_that_truly_fails_later_counts_once_in_each_state() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, InProgress, [file("A", Completed), file("B", InProgress)]);
    let events = told.sees(20, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    assert!(matches!(events.as_slice(), [Event::FileFailed { latency: None, .. }]), "{events:?}");
    told.sees(30, InProgress, [file("A", Completed), file("B", InProgress)]);
    told.sees(40, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
}

#[test]
fn a_failure_that_completes_after_all_counts_once_in_each_state() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    told.sees(20, InProgress, [file("A", Completed), file("B", InProgress)]);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
    assert_eq!(told.completion_latencies(), [None]);
}

#[test]
fn a_finish_is_counted_in_the_state_that_was_seen_first() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A", InProgress)]);
    told.sees(20, Failed, [file("A", InProgress)]);
    assert_eq!(told.finishes().iter().map(|(state, _)| *state).collect::<Vec<_>>(), [Finished::Completed]);
}

#[test]
fn a_state_word_that_nobody_knows_is_unfinished() {
    let mut told = task();
    told.sees(0, Unknown, [file("A", Unknown)]);
    told.sees(10, Unknown, [file("A", Unknown)]);
    assert_eq!(told.events, []);
    assert_eq!(told.shown(), [("A", Unknown)]);
    told.sees(20, Completed, [file("A'", Completed)]);
    assert_eq!(told.completions(), 1);
}

#[test]
fn a_restart_between_two_answers_changes_nothing() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, InProgress, [file("A'", Completed), failing("B", "timeout")]);
    told.record = told.record.clone();
    told.sees(20, Completed, [failing("B", "timeout"), file("A'", Completed)]);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
}
