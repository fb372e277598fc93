//! Rule 2: files are matched between bodies.

use super::{failing, file, task};
use crate::task::Outcome;
use crate::task::State::{Completed, Failed, InProgress, Queued, Unknown};

#[test]
fn a_file_that_completes_under_a_new_key_is_counted_once() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", Queued)]);
    told.sees(5, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A'", Completed)]);
    assert_eq!(told.completions(), 1);
    assert_eq!(told.shown(), [("A'", Completed)]);
}

#[test]
fn a_file_that_completes_under_its_own_key_is_counted_once() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, Completed, [file("A", Completed)]);
    assert_eq!(told.completions(), 1);
}

#[test]
fn a_completed_file_that_takes_its_outputs_key_later_is_no_second_completion() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, InProgress, [file("A", Completed), file("B", InProgress)]);
    told.sees(20, InProgress, [file("A'", Completed), file("B", InProgress)]);
    assert_eq!(told.completions(), 1);
}

#[test]
fn completed_files_that_take_new_keys_while_another_is_added_count_the_other_alone() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", Completed)]);
    told.sees(10, InProgress, [file("A'", Completed), file("B'", Completed)]);
    assert_eq!(told.completions(), 2);
}

#[test]
fn an_unfinished_file_goes_before_a_completed_one_when_keys_give_way() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", Completed), file("B", InProgress)]);
    told.sees(10, Completed, [file("A'", Completed), file("B'", Completed)]);
    assert_eq!(told.completions(), 2);
}

#[test]
fn a_key_twice_in_a_body_is_two_files() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("A", InProgress)]);
    told.sees(10, Failed, [failing("A", "timeout"), failing("A", "internal_error")]);
    assert_eq!(told.failures().len(), 2);
    assert_eq!(told.shown(), [("A", Failed), ("A", Failed)]);
}

#[test]
fn twins_that_swap_places_are_told_apart_by_their_state() {
    let mut told = task();
    told.sees(0, InProgress, [failing("A", "timeout"), file("A", InProgress)]);
    told.sees(10, InProgress, [file("A", InProgress), failing("A", "timeout")]);
    assert_eq!(told.failures(), ["timeout"]);
    told.sees(20, Failed, [failing("A", "timeout"), failing("A", "timeout")]);
    assert_eq!(told.failures(), ["timeout", "timeout"]);
}

#[test]
fn twins_of_which_one_fails_and_one_completes_count_one_each() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("A", InProgress)]);
    told.sees(10, Completed, [file("A'", Completed), failing("A", "timeout")]);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
}

#[test]
fn a_twin_that_failed_is_recognised_after_a_stale_answer() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("A", InProgress)]);
    told.sees(10, InProgress, [file("A'", Completed), failing("A", "timeout")]);
    told.sees(12, InProgress, [file("A", InProgress), file("A", InProgress)]);
    told.sees(14, InProgress, [failing("A", "timeout"), file("A'", Completed)]);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
}

#[test]
fn of_two_twins_shown_unfinished_again_the_one_that_failed_fails_again() {
    let mut told = task();
    told.sees(0, InProgress, [failing("A", "timeout"), file("A", InProgress)]);
    told.sees(10, InProgress, [file("A", InProgress), file("A", Queued)]);
    told.sees(20, Completed, [file("A", Completed), failing("A", "timeout")]);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
}

#[test]
fn of_two_twins_shown_unfinished_again_the_one_that_completed_completes_again() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("A", InProgress)]);
    told.sees(10, InProgress, [file("A'", Completed), file("A", InProgress)]);
    told.sees(12, InProgress, [file("A", Unknown), file("A", InProgress)]);
    told.sees(14, Completed, [file("A'", Completed), failing("A", "timeout")]);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
}

#[test]
fn a_failure_seen_while_another_file_vanished_is_counted_once_when_both_are_back() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", Queued)]);
    told.sees(10, InProgress, [failing("B", "timeout")]);
    told.sees(20, InProgress, [file("A", Queued)]);
    told.sees(30, InProgress, [file("A", Queued), failing("B", "timeout")]);
    assert_eq!(told.failures(), ["timeout"]);
}

#[test]
fn a_failed_file_gives_its_place_to_no_completion() {
    let mut told = task();
    told.sees(0, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    told.sees(10, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(20, InProgress, [file("B'", Completed), file("C'", Completed)]);
    told.sees(30, InProgress, [failing("A", "timeout"), file("B'", Completed), file("C'", Completed)]);
    assert_eq!(told.failures(), ["timeout"]);
}

#[test]
fn a_failed_file_that_vanishes_and_comes_back_is_recognised() {
    let mut told = task();
    told.sees(0, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    told.sees(10, InProgress, [file("B", InProgress)]);
    assert_eq!(told.shown(), [("B", InProgress)]);
    told.sees(20, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    assert_eq!(told.failures(), ["timeout"]);
}

#[test]
fn a_completed_file_that_vanishes_and_comes_back_is_recognised() {
    let mut told = task();
    told.sees(0, InProgress, [file("A'", Completed), file("B", InProgress)]);
    told.sees(10, InProgress, [file("B", InProgress)]);
    told.sees(20, InProgress, [file("A'", Completed), file("B", InProgress)]);
    assert_eq!(told.completions(), 1);
}

#[test]
fn a_list_that_empties_and_fills_again_counts_nothing_twice() {
    let mut told = task();
    told.sees(0, InProgress, [file("A'", Completed), failing("B", "timeout")]);
    told.sees(10, InProgress, []);
    told.sees(20, InProgress, [file("A'", Completed), failing("B", "timeout")]);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
}

#[test]
fn a_failure_that_appears_while_another_file_vanishes_never_hides_the_others_failure() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, InProgress, [failing("B", "timeout")]);
    told.sees(20, Failed, [failing("A", "internal_error"), failing("B", "timeout")]);
    assert_eq!(told.failures(), ["timeout", "internal_error"]);
}

#[test]
fn after_flickering_a_failure_under_another_key_is_another_failure() {
    let mut told = task();
    told.sees(0, InProgress, [failing("A", "timeout")]);
    told.sees(10, InProgress, [file("A", InProgress)]);
    told.sees(20, Failed, [failing("B", "timeout")]);
    assert_eq!(told.failures(), ["timeout", "timeout"]);
}

#[test]
fn a_new_completion_takes_no_failed_files_place() {
    let mut told = task();
    told.sees(0, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    told.sees(10, Completed, [file("B'", Completed), failing("A", "timeout")]);
    assert_eq!((told.completions(), told.failures()), (1, vec!["timeout"]));
}

#[test]
fn an_error_code_that_changes_is_no_new_failure() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress)]);
    told.sees(10, InProgress, [file("A", Failed), file("B", InProgress)]);
    told.sees(20, InProgress, [failing("A", "timeout"), file("B", InProgress)]);
    told.sees(30, InProgress, [failing("A", "internal_error"), file("B", InProgress)]);
    assert_eq!(told.failures(), ["unspecified"]);
    let code = told.record.files[0].error_code().map(ToString::to_string);
    assert_eq!(code.as_deref(), Some("internal_error"), "the page shows the latest code");
}

#[test]
fn a_merge_that_shrinks_to_one_output_counts_at_most_one_completion() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress), file("C", InProgress)]);
    told.sees(10, Completed, [file("M'", Completed)]);
    assert_eq!(told.completions(), 1);
    assert_eq!(told.shown(), [("M'", Completed)]);
    assert_eq!(told.outcomes(), [(Outcome::Completed, false)], "inputs that are gone hold nothing up");
}

#[test]
fn a_shuffled_list_is_the_same_list() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress), file("B", InProgress), failing("C", "timeout")]);
    told.sees(10, InProgress, [failing("C", "timeout"), file("B'", Completed), file("A", InProgress)]);
    told.sees(20, Completed, [file("A'", Completed), failing("C", "timeout"), file("B'", Completed)]);
    assert_eq!((told.completions(), told.failures()), (2, vec!["timeout"]));
    let mut shown = told.shown();
    shown.sort_unstable();
    assert_eq!(shown, [("A'", Completed), ("B'", Completed), ("C", Failed)]);
}

#[test]
fn a_new_file_in_a_later_body_is_one_more() {
    let mut told = task();
    told.sees(0, InProgress, [file("A", InProgress)]);
    told.sees(10, InProgress, [file("A", InProgress), failing("B", "timeout")]);
    told.sees(20, Completed, [file("A'", Completed), failing("B", "timeout"), file("C'", Completed)]);
    assert_eq!((told.completions(), told.failures()), (2, vec!["timeout"]));
}

#[test]
fn a_failed_operation_that_never_named_a_failed_file_says_so_itself() {
    let mut told = task();
    told.sees(0, InProgress, []);
    told.sees(10, Failed, []);
    assert_eq!(told.outcomes(), [(Outcome::Failed, true)]);
    assert_eq!(told.failures(), [""; 0]);
}

#[test]
fn a_failed_operation_that_named_a_failed_file_once_has_no_unnamed_failure() {
    let mut told = task();
    told.sees(0, InProgress, [failing("A", "timeout")]);
    told.sees(10, Failed, []);
    assert_eq!(told.outcomes(), [(Outcome::Failed, false)]);
}
