//! Rule 4: the end, and when a latency is known well enough.

use super::{at, failing, file, seconds, task};
use crate::task::Finished;
use crate::task::State::{Completed, Failed, InProgress};

#[test]
fn the_end_is_the_receipt_of_the_first_finished_observation() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A", InProgress)]);
    told.sees(20, Completed, [file("A", InProgress)]);
    assert_eq!(told.record.end, Some(at(10)));
}

#[test]
fn a_stale_unfinished_answer_does_not_move_the_end() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A", InProgress)]);
    told.sees(20, InProgress, [file("A", InProgress)]);
    told.sees(30, Completed, [file("A'", Completed)]);
    assert_eq!(told.record.end, Some(at(10)));
    assert_eq!(told.record.last_unfinished, Some(at(0)), "up to its end");
}

#[test]
fn a_files_end_is_the_receipt_of_the_observation_that_first_showed_it_finished() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, InProgress, [file("A'", Completed), file("B", InProgress)]);
    told.sees(20, Completed, [file("A'", Completed), failing("B", "timeout")]);
    assert_eq!(told.completion_latencies(), [seconds(10)]);
    assert_eq!(told.failure_latencies(), [seconds(20)]);
}

#[test]
fn a_file_ends_no_later_than_its_task() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A", InProgress)]);
    told.sees(20, Completed, [file("A'", Completed)]);
    assert_eq!(told.completion_latencies(), [seconds(10)]);
}

#[test]
fn an_end_within_two_poll_intervals_is_known() {
    let mut told = task();
    told.sees(0, InProgress, []);
    told.sees(30, Completed, []);
    assert_eq!(told.finishes(), [(Finished::Completed, seconds(30))]);
}

#[test]
fn an_end_more_than_two_poll_intervals_and_half_the_latency_away_is_unknown() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(31, Completed, [file("A'", Completed)]);
    assert_eq!(told.finishes(), [(Finished::Completed, None)]);
    assert_eq!(told.completion_latencies(), [None]);
}

#[test]
fn an_end_within_half_the_latency_is_known() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(100, InProgress, [file("A", InProgress)]);
    told.sees(200, Failed, [failing("A", "timeout")]);
    assert_eq!(told.finishes(), [(Finished::Failed, seconds(200))]);
    assert_eq!(told.failure_latencies(), [seconds(200)]);
}

#[test]
fn an_end_just_beyond_half_the_latency_is_unknown() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(100, InProgress, [file("A", InProgress)]);
    told.sees(201, Failed, [failing("A", "timeout")]);
    assert_eq!(told.finishes(), [(Finished::Failed, None)]);
    assert_eq!(told.failure_latencies(), [None]);
}

#[test]
fn an_hour_without_polls_gives_no_hour_long_latency() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(15, InProgress, [file("A", InProgress)]);
    told.sees(3615, Completed, [file("A'", Completed)]);
    assert_eq!(told.finishes(), [(Finished::Completed, None)]);
    assert_eq!(told.completion_latencies(), [None]);
}

#[test]
fn without_an_unfinished_observation_the_end_is_uncertain_back_to_the_start() {
    let mut told = task();
    told.starts(-30);
    told.sees(0, Completed, [file("A'", Completed)]);
    assert_eq!(told.finishes(), [(Finished::Completed, seconds(30))]);
    assert_eq!(told.completion_latencies(), [seconds(30)]);
    let mut told = task();
    told.starts(-31);
    told.sees(0, Completed, [file("A'", Completed)]);
    assert_eq!(told.finishes(), [(Finished::Completed, None)]);
    assert_eq!(told.completion_latencies(), [None]);
}

#[test]
fn a_file_finished_in_the_observation_that_set_the_start_has_no_latency() {
    let mut told = task();
    told.sees(0, InProgress, [file("A'", Completed), failing("B", "timeout"), file("C", InProgress)]);
    assert_eq!(told.completion_latencies(), [None]);
    assert_eq!(told.failure_latencies(), [None]);
    told.sees(10, InProgress, [file("A'", Completed), failing("B", "timeout"), file("C'", Completed)]);
    assert_eq!(told.completion_latencies(), [None, seconds(10)]);
}

#[test]
fn a_file_that_no_list_showed_unfinished_is_uncertain_back_to_the_start() {
    let mut told = task();
    told.sees_no_list(0, InProgress);
    told.sees_no_list(45, InProgress);
    told.sees(60, Completed, [file("A'", Completed)]);
    assert_eq!(told.finishes(), [(Finished::Completed, seconds(60))]);
    assert_eq!(told.completion_latencies(), [None]);
}

#[test]
fn a_404_in_between_leaves_the_last_unfinished_observation_as_it_was() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.is_not_found(20);
    told.is_not_found(40);
    told.sees(50, Completed, [file("A'", Completed)]);
    assert_eq!(told.finishes(), [(Finished::Completed, None)]);
    assert_eq!(told.completion_latencies(), [None]);
}

#[test]
fn a_latency_runs_to_the_receipt_and_not_to_the_moment_of_counting() {
    let mut told = task();
    told.sees(0, InProgress, []);
    let observation =
        super::Observation { received: at(10), state: Completed, files: super::FilesSeen::All(Vec::new()) };
    let events = super::observe(&mut told.record, &observation, &super::POLICY, at(200));
    told.events.extend(events);
    assert_eq!(told.finishes(), [(Finished::Completed, seconds(10))]);
}
