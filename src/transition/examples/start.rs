//! Rule 3: the start of a task.

use super::{at, file, seconds, task};
use crate::task::Finished;
use crate::task::State::{Completed, InProgress, Queued, Unknown};

#[test]
fn a_start_that_is_known_before_the_first_observation_is_the_start() {
    let mut told = task();
    told.starts(-20);
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A'", Completed)]);
    assert_eq!(told.record.start, Some(at(-20)));
    assert_eq!(told.finishes(), [(Finished::Completed, seconds(30))]);
    assert_eq!(told.completion_latencies(), [seconds(30)]);
}

#[test]
fn without_a_known_start_the_first_unfinished_observation_is_it() {
    let mut told = task();
    told.sees(0, Queued, [file("A", Queued)]);
    told.sees(5, InProgress, [file("A", InProgress)]);
    assert_eq!(told.record.start, Some(at(0)));
}

#[test]
fn an_unknown_state_word_is_unfinished_and_starts_a_task() {
    let mut told = task();
    told.sees(0, Unknown, []);
    assert_eq!(told.record.start, Some(at(0)));
}

#[test]
fn a_404_is_no_observation_and_starts_nothing() {
    let mut told = task();
    told.is_not_found(0);
    assert_eq!((told.record.start, told.record.first_seen), (None, None));
    told.sees(30, InProgress, []);
    assert_eq!((told.record.start, told.record.first_seen), (Some(at(30)), Some(at(30))));
}

#[test]
fn a_start_is_fixed_once() {
    let mut told = task();
    told.starts(-20);
    told.starts(-60);
    told.sees(0, InProgress, []);
    told.starts(-90);
    assert_eq!(told.record.start, Some(at(-20)));
}

#[test]
fn a_start_that_an_observation_set_stays() {
    let mut told = task();
    told.sees(0, InProgress, []);
    told.starts(-60);
    assert_eq!(told.record.start, Some(at(0)));
}

#[test]
fn a_start_later_than_the_first_observation_is_taken_as_that() {
    let mut told = task();
    told.starts(100);
    told.sees(0, InProgress, [file("A", InProgress)]);
    assert_eq!(told.record.start, Some(at(0)));
    told.sees(10, Completed, [file("A'", Completed)]);
    assert_eq!(told.finishes(), [(Finished::Completed, seconds(10))]);
}

#[test]
fn a_start_learnt_after_a_task_finished_makes_no_latency_of_what_was_counted_without() {
    let mut told = task();
    told.sees(0, Completed, [file("A", InProgress)]);
    told.starts(50);
    assert!(told.record.start.is_none_or(|start| start <= at(0)), "no later than the first observation");
    told.sees(60, Completed, [file("A'", Completed)]);
    assert_eq!(told.finishes(), [(Finished::Completed, None)]);
    assert_eq!(told.completions(), 1);
}

#[test]
fn a_task_first_seen_finished_without_a_start_has_no_latency() {
    let mut told = task();
    told.sees(0, Completed, [file("A'", Completed)]);
    assert_eq!(told.record.start, None);
    assert_eq!(told.finishes(), [(Finished::Completed, None)]);
    assert_eq!(told.completion_latencies(), [None]);
}
