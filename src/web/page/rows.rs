//! The lists of a page as tables: failures, unfinished and finished tasks, groups.

use super::facts::Poll;
use super::filter::Filter;
use super::lists::{FailureRow, List, TaskRow};
use super::status::last_failure;
use super::table::{table, table_under};
use super::text;
use crate::task::{FileRecord, Group, Outcome, State, TaskId, TaskRecord};
use crate::time::Time;
use crate::view::GroupSnapshot;
use maud::{Markup, html};
use std::collections::HashMap;
use std::time::Duration;

/// A poll that is nearer than this is now: what is told is whole seconds.
const NOTABLE: Duration = Duration::from_secs(1);

/// What the tables have in common.
pub(super) struct Context<'a> {
    pub(super) now: Time,
    pub(super) filter: &'a Filter,
}

impl Context<'_> {
    /// The newest failures.
    pub(super) fn failures(&self, list: &List<FailureRow<'_>>) -> Markup {
        let rows: Vec<Vec<Markup>> = list.rows.iter().map(|row| self.failure(row)).collect();
        let nothing = self.nothing(
            "No tracked task has a failure. The latest of tasks that have left is told with their group.",
            "No failure of a tracked task is found.",
        );
        html! {
            section #failures {
                h2 { "Newest failures" (aside(list.total, " of tracked tasks")) }
                @if rows.is_empty() { p.none { (nothing) } } @else {
                    (table("Failures of tracked tasks, newest first", "cards", &["File", "Error code", "Failed", "Task", "Group"], &rows))
                    (more(list.more(), "failure", "failures"))
                }
            }
        }
    }

    fn failure(&self, row: &FailureRow<'_>) -> Vec<Markup> {
        let file = match row.failure.file {
            Some(file) => html! {
                span.id { (text::name(file.key.as_str())) }
                @if file.state != State::Failed { " " (state(file.state)) " by now" }
            },
            None => html! { em { "the operation, which named no failed file" } },
        };
        vec![
            file,
            html! { span.code { (text::name(row.error_code())) } },
            row.failure.at.map_or_else(|| html! { "time not kept" }, |at| text::ago(at, self.now)),
            task_link(&row.task.id),
            self.group_link(&row.task.group),
        ]
    }

    /// The oldest unfinished tasks.
    pub(super) fn unfinished(&self, list: &List<TaskRow<'_>>, polls: &HashMap<&TaskId, Poll>) -> Markup {
        let rows: Vec<Vec<Markup>> = list
            .rows
            .iter()
            .map(|row| {
                let task = row.task;
                let poll = polls.get(&task.id);
                vec![
                    task_link(&task.id),
                    state(task.state),
                    task.start.map_or_else(|| html! { span.nothing { "not known yet" } }, |at| text::ago(at, self.now)),
                    files(row),
                    next_poll(poll, self.now),
                    self.last_error(task, poll),
                    self.group_link(&task.group),
                ]
            })
            .collect();
        let heads = ["Task", "State", "Started", "Files", "Next poll", "Last error", "Group"];
        html! {
            section #unfinished {
                h2 { "Unfinished tasks" (aside(list.total, ", oldest first")) }
                @if rows.is_empty() { p.none { (self.nothing("Every tracked task has finished.", "No unfinished task is found.")) } } @else {
                    (table("Unfinished tasks, oldest first", "cards", &heads, &rows))
                    (more(list.more(), "unfinished task", "unfinished tasks"))
                }
            }
        }
    }

    fn last_error(&self, task: &TaskRecord, poll: Option<&Poll>) -> Markup {
        let error = poll.and_then(|poll| poll.last_error.as_ref());
        html! {
            @if let Some(error) = error {
                span.code { (error.kind) } ": " (text::sentence(&error.what))
            } @else if let Some(since) = task.not_found_since {
                span.code { "not_found" } ": the API does not know it, first " (text::ago_short(since, self.now))
            } @else if task.first_seen.is_none() {
                span.nothing { "not yet observed" }
            } @else {
                span.nothing { "none" }
            }
        }
    }

    /// The newest finished tasks.
    pub(super) fn finished(&self, list: &List<TaskRow<'_>>) -> Markup {
        let rows: Vec<Vec<Markup>> = list
            .rows
            .iter()
            .map(|row| {
                vec![
                    task_link(&row.task.id),
                    outcome(row.task),
                    row.task.end.map_or_else(|| html! {}, |at| text::ago(at, self.now)),
                    files(row),
                    self.group_link(&row.task.group),
                ]
            })
            .collect();
        let heads = ["Task", "Outcome", "Finished", "Files", "Group"];
        html! {
            section #finished {
                h2 { "Finished tasks" (aside(list.total, " still tracked, newest first")) }
                @if rows.is_empty() { p.none { (self.nothing("No tracked task has finished.", "No finished task is found.")) } } @else {
                    (table("Finished tasks that are still tracked, newest first", "cards", &heads, &rows))
                    (more(list.more(), "finished task", "finished tasks"))
                }
            }
        }
    }

    /// Every group with its tasks and files by state.
    pub(super) fn groups(&self, groups: &[GroupSnapshot]) -> Markup {
        let rows: Vec<Vec<Markup>> = groups.iter().map(|group| self.group(group)).collect();
        let words = State::ALL.map(word);
        let labels: Vec<String> =
            ["tasks", "files"].iter().flat_map(|what| words.map(|word| format!("{what} {word}"))).collect();
        let labels: Vec<&str> = ["group"]
            .into_iter()
            .chain(labels.iter().map(String::as_str))
            .chain(["oldest unfinished", "latest failure"])
            .collect();
        let head = html! {
            tr role="row" {
                th role="columnheader" scope="col" rowspan="2" { "Group" }
                th role="columnheader" scope="colgroup" colspan="5" { "Tasks" }
                th role="columnheader" scope="colgroup" colspan="5" { "Files" }
                th role="columnheader" scope="col" rowspan="2" { "Oldest unfinished" }
                th role="columnheader" scope="col" rowspan="2" { "Latest failure" }
            }
            tr role="row" {
                @for word in words.iter().chain(&words) { th role="columnheader" scope="col" { (word) } }
            }
        };
        html! {
            section #groups {
                h2 { "Groups" (aside(groups.len(), ": tracked tasks and their files by state")) }
                @if rows.is_empty() {
                    p.none { "No task has ever been tracked. Name tasks in the configuration, or register them at /api/v1/tasks." }
                } @else {
                    (table_under("Tracked tasks and their files by group and state, now", "cards numbers", &head, &labels, &rows))
                }
            }
        }
    }

    fn group(&self, group: &GroupSnapshot) -> Vec<Markup> {
        let number = |count: u64| {
            html! { span.nothing[count == 0] { (text::grouped(count)) } }
        };
        let linked = |state: State, count: u64| {
            let list = if state.finished().is_some() { "finished" } else { "unfinished" };
            html! {
                @if count == 0 { (number(count)) } @else {
                    a href={ (self.filter.to_state(&group.group, state)) "#" (list) } { (number(count)) }
                }
            }
        };
        let tasks = State::ALL.into_iter().zip(group.tasks).map(|(state, count)| linked(state, count));
        // The failures of the group, whatever else is asked for now: a failed file may be of a completed task.
        let files = State::ALL.into_iter().zip(group.files).map(|(state, count)| {
            html! {
                @if state == State::Failed && count > 0 {
                    a href={ (Filter::default().to_group(&group.group)) "#failures" } { (number(count)) }
                } @else { (number(count)) }
            }
        });
        let oldest = group.oldest_unfinished;
        let latest = last_failure(group);
        let times = [
            html! { @if let Some(at) = oldest { (text::ago_short(at, self.now)) } @else { span.nothing { "none" } } },
            html! {
                @if let Some((at, code)) = latest {
                    (text::ago_short(at, self.now)) ", " span.code { (text::name(code.as_str())) }
                } @else { span.nothing { "none" } }
            },
        ];
        [self.group_link(&group.group)].into_iter().chain(tasks).chain(files).chain(times).collect()
    }

    /// What an empty list says: that there is nothing, or that nothing is found.
    fn nothing<'t>(&self, there_is: &'t str, is_found: &'t str) -> &'t str {
        if self.filter.is_empty() { there_is } else { is_found }
    }

    fn group_link(&self, group: &Group) -> Markup {
        html! { a href=(self.filter.to_group(group)) { (text::name(group.as_str())) } }
    }
}

/// A task's ID, which leads to the page about that task alone.
pub(super) fn task_link(id: &TaskId) -> Markup {
    html! { a.id href=(Filter::to_task(id.as_str())) { (text::name(id.as_str())) } }
}

/// When a task is polled next.
fn next_poll(poll: Option<&Poll>, now: Time) -> Markup {
    match poll {
        None => html! { span.nothing { "not polled" } },
        Some(Poll { due: None, .. }) => html! { "now" },
        Some(Poll { due: Some(due), .. }) => due_in(*due, now),
    }
}

/// How far ahead a poll is, or how late.
pub(super) fn due_in(due: Time, now: Time) -> Markup {
    html! {
        time datetime=(due) title=(text::moment(due)) {
            @if due.since(now) >= NOTABLE { "in " (text::duration(due.since(now))) }
            @else if now.since(due) >= NOTABLE { (text::duration(now.since(due))) " late" }
            @else { "now" }
        }
    }
}

fn outcome(task: &TaskRecord) -> Markup {
    match task.settled.map(|settled| settled.outcome) {
        Some(Outcome::Completed) => state(State::Completed),
        Some(Outcome::Failed) => state(State::Failed),
        Some(Outcome::PartiallyFailed) => html! { span.state.failed { (mark(State::Failed)) "partially failed" } },
        None => html! { (state(task.state)) " " span.quiet { "not yet settled" } },
    }
}

/// A task's files by state, and those that the reader looked for.
fn files(row: &TaskRow<'_>) -> Markup {
    let of = |state: State| row.task.present_files().filter(|file| file.state == state).count() as u64;
    let counts: Vec<(State, u64)> =
        State::ALL.map(|state| (state, of(state))).into_iter().filter(|(_, count)| *count > 0).collect();
    let file = |file: &FileRecord| html! { li { span.id { (text::name(file.key.as_str())) } " " (state(file.state)) } };
    html! {
        @if counts.is_empty() { span.nothing { "none named" } }
        @for (place, (state, count)) in counts.iter().enumerate() {
            @if place > 0 { ", " }
            span class=(format!("state {}", state.as_str())) { (mark(*state)) (text::grouped(*count)) " " (word(*state)) }
        }
        @if !row.found.rows.is_empty() {
            ul.found {
                @for found in &row.found.rows { (file(found)) }
                @if row.found.more() > 0 { li { "and " (text::count(row.found.more() as u64, "file", "files")) " more with this text" } }
            }
        }
    }
}

/// A state, by a sign, a word and a colour.
pub(super) fn state(state: State) -> Markup {
    html! { span class=(format!("state {}", state.as_str())) { (mark(state)) (word(state)) } }
}

/// A state's word, for reading.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::InProgress => "in progress",
        State::Completed => "completed",
        State::Failed => "failed",
        State::Unknown => "unknown",
    }
}

fn mark(state: State) -> Markup {
    let mark = match state {
        State::Queued => "○",
        State::InProgress => "◐",
        State::Completed => "✓",
        State::Failed => "✗",
        State::Unknown => "?",
    };
    html! { span.mark aria-hidden="true" { (mark) } }
}

fn aside(total: usize, what: &str) -> Markup {
    html! { " " span.quiet { (text::grouped(total as u64)) (what) } }
}

fn more(more: usize, one: &str, many: &str) -> Markup {
    html! {
        @if more > 0 { p.rest { (text::count(more as u64, one, many)) " more: filter to find others, or read all as " a href="/api/v1/tasks" { "JSON" } "." } }
    }
}
