//! The document: its head, the filter, and the part that is refreshed.

use super::facts::{Exporter, Facts, Poll, Polling};
use super::filter::{Filter, MAX_BYTES};
use super::lists::Lists;
use super::rows::{self, Context};
use super::status::{self, Level};
use super::text;
use super::{SCRIPT, STYLE};
use crate::schedule::Hold;
use crate::task::{State, TaskId};
use crate::time::Time;
use crate::view::GroupSnapshot;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::HashMap;

/// How often the page is refreshed, in seconds: often enough to watch, and each costs a request.
const REFRESH_SECONDS: u32 = 5;
/// The same without the script: the whole page is loaded anew, and whoever reads or types is interrupted.
const RELOAD_SECONDS: u32 = 60;
/// A dot in the middle of a file, in the page itself: browsers then ask for no other icon.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
                    %3Cpath d='M3 1h7l3 3v11H3z' fill='%23568'/%3E%3Ccircle cx='8' cy='9' r='3' fill='%23fff'/%3E%3C/svg%3E";

/// The whole page.
pub(super) fn document(facts: &Facts, filter: &Filter, lists: &Lists<'_>, polls: &HashMap<&TaskId, Poll>) -> Markup {
    let verdicts = status::verdicts(facts);
    let worst = verdicts.iter().map(|verdict| verdict.level).max().unwrap_or(Level::Good);
    let exporter = &facts.exporter;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (worst.mark()) " DragDropDo exporter" }
                link rel="icon" href=(ICON);
                noscript { meta http-equiv="refresh" content=(RELOAD_SECONDS); }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "DragDropDo exporter" }
                    nav aria-label="Elsewhere" {
                        a href=(exporter.telemetry_path) { "Metrics" }
                        a href="/api/v1/tasks" { "Tasks (JSON)" }
                        a href="/-/healthy" { "Health" }
                        a href="/-/ready" { "Readiness" }
                        a href="https://docs.dragdropdo.com" rel="noreferrer" { "D3 documentation" }
                    }
                    p #refresh data-seconds=(REFRESH_SECONDS) {
                        span #refreshed { "As of " (text::moment(facts.now)) }
                        label hidden { input #auto type="checkbox" checked; " refresh every " (REFRESH_SECONDS) " s" }
                    }
                }
                // A live region must be there before what it says.
                p #stale role="alert" hidden {}
                main {
                    (form(filter, &facts.overview.groups))
                    div #data data-now=(text::moment(facts.now)) {
                        div.tiles { @for verdict in &verdicts { (verdict.tile()) } }
                        (notes(filter, &facts.overview.groups))
                        (data(facts, filter, lists, polls))
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn data(facts: &Facts, filter: &Filter, lists: &Lists<'_>, polls: &HashMap<&TaskId, Poll>) -> Markup {
    let context = Context { now: facts.now, filter };
    html! {
        (context.failures(&lists.failures))
        (context.groups(&facts.overview.groups))
        (context.unfinished(&lists.unfinished, polls))
        (context.finished(&lists.finished))
        div.halves {
            (polling(&facts.polling, facts.now))
            (exporter(&facts.exporter, facts))
        }
    }
}

fn form(filter: &Filter, groups: &[GroupSnapshot]) -> Markup {
    let groups_now = groups.iter().map(|group| group.group.as_str());
    let groups_now: Vec<(&str, String)> =
        filter.unknown_group(groups).into_iter().chain(groups_now).map(|name| (name, text::visible(name))).collect();
    let states = State::ALL.map(|state| (state.as_str(), rows::word(state).to_owned()));
    let states: Vec<(&str, String)> =
        filter.unknown_state().map(|word| (word, text::visible(word))).into_iter().chain(states).collect();
    html! {
        form action="/" method="get" role="search" aria-label="Filter" {
            label { "Group " (choice("group", &groups_now, filter.group.as_deref())) }
            label { "State " (choice("state", &states, filter.state.as_deref())) }
            label.text { "Text "
                input #q type="search" name="q" value=(filter.text.as_deref().unwrap_or("")) maxlength=(MAX_BYTES)
                    placeholder="part of a task ID, file key or error code" autocomplete="off" spellcheck="false";
            }
            button type="submit" { "Filter" }
            @if !filter.is_empty() { a href="/" { "Show all" } }
        }
    }
}

/// A list to choose from, by value and what is read for it.
fn choice(name: &str, values: &[(&str, String)], chosen: Option<&str>) -> Markup {
    html! {
        select id=(name) name=(name) {
            option value="" { "all" }
            @for (value, read) in values { option value=(value) selected[chosen == Some(*value)] { (read) } }
        }
    }
}

/// What is filtered, and what is wrong with what was asked for.
fn notes(filter: &Filter, groups: &[GroupSnapshot]) -> Markup {
    html! {
        @if !filter.is_empty() {
            p.note { "Failures and tasks are filtered. The rest of the page is about all that is tracked." }
        }
        @for parameter in &filter.too_long {
            p.note.wrong { (parameter) " is longer than " (MAX_BYTES) " bytes, and no name is: nothing is found. Shorten it." }
        }
        @if let Some(group) = filter.unknown_group(groups) {
            p.note.wrong { "There is no group " (text::name(group)) ": nothing is found. Choose one of the list." }
        }
        @if let Some(state) = filter.unknown_state() {
            p.note.wrong {
                "There is no state " (text::name(state)) ": nothing is found. Choose "
                (State::ALL.map(State::as_str).join(", ")) "."
            }
        }
    }
}

fn polling(polling: &Polling, now: Time) -> Markup {
    let latest = match polling.up {
        _ if polling.polled == 0 => "nothing to poll",
        None => "none yet",
        Some(true) => "got a readable answer (dragdropdo_up 1)",
        Some(false) => "failed (dragdropdo_up 0)",
    };
    let lag = text::duration(polling.lag);
    let requests: Vec<String> = polling
        .requests
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(outcome, count)| format!("{} {outcome}", text::grouped(*count)))
        .collect();
    html! {
        section #polling {
            h2 { "Polling" }
            dl {
                dt { "Latest request" } dd { (latest) }
                dt { "Last good answer" } dd { @if let Some(at) = polling.last_answer { (text::ago(at, now)) } @else { "none since the start" } }
                dt { "Poll lag" } dd { (lag) ", the most overdue poll" }
                dt { "Polled tasks" } dd { (text::grouped(polling.polled as u64)) ", " (text::count(polling.under_way as u64, "poll", "polls")) " under way" }
                dt { "Held back" }
                dd {
                    @if polling.holds.is_empty() { "no" }
                    @for (hold, until) in &polling.holds { p { (held_back(*hold, *until, now)) } }
                }
                dt { "Failing polls" }
                dd {
                    @if polling.failing.is_empty() { "none" }
                    @for kind in &polling.failing {
                        p {
                            span.code { (kind.kind) } " of " (text::count(kind.tasks as u64, "task", "tasks")) ", first "
                            (text::ago_short(kind.since, now)) "; latest: " (text::sentence(&kind.latest))
                        }
                    }
                }
                dt { "Requests since the start" } dd { @if requests.is_empty() { "none" } @else { (requests.join(", ")) } }
                dt { "Next polls" }
                dd {
                    @if polling.next.is_empty() { "none" } @else {
                        ol { @for (id, due) in &polling.next { li { (rows::task_link(id)) " " (rows::due_in(*due, now)) } } }
                    }
                }
            }
        }
    }
}

fn held_back(hold: Hold, until: Time, now: Time) -> Markup {
    let wait = text::duration(until.since(now));
    match hold {
        Hold::RateLimited => html! { "429: the key's quota is used up. All requests wait, for another " (wait) "." },
        Hold::KeyRejected => html! {
            "401 or 403: the key is not accepted. One request every 30 s until one succeeds, the next in " (wait) "."
        },
    }
}

fn exporter(exporter: &Exporter, facts: &Facts) -> Markup {
    let (now, counts) = (facts.now, facts.overview.counts);
    let tracked = counts.unfinished + counts.finished;
    let covered = tracked.min(exporter.per_task_limit);
    html! {
        section #exporter {
            h2 { "Exporter" }
            dl {
                dt { "Health" }
                dd { @if exporter.stuck.is_empty() { "healthy" } @else { "the loop of the " (exporter.stuck.join(" and the ")) " stands still" } }
                dt { "Readiness" } dd { @if exporter.is_ready { "ready" } @else { "starting: the store is loaded, the first tasks are not yet tracked" } }
                dt { "Configuration" }
                dd {
                    @if exporter.config.is_latest { "loaded " } @else { "the latest reload failed; in force is that loaded " }
                    (text::ago(exporter.config.at, now))
                }
                dt { "Running since" } dd { (text::ago(exporter.started, now)) }
                dt { "Version" } dd { (exporter.build.version) ", revision " (exporter.build.revision) ", " (exporter.build.rustversion) }
                dt { "Sources of tasks" }
                dd {
                    @if exporter.sources.is_empty() { "none has given a list" }
                    @for (name, source) in &exporter.sources {
                        p {
                            (text::name(name)) ": " (source.tasks) " tasks"
                            @if source.failures > 0.0 { ", " (source.failures) " failed refreshes since the start" }
                        }
                    }
                }
                dt { "Errors of the store" } dd { (exporter.store_errors) " since the start" }
                dt { "Metrics by task" }
                dd {
                    "of " (text::grouped(covered as u64)) " of " (text::count(tracked as u64, "task", "tasks")) ", "
                    (text::grouped((tracked - covered) as u64)) " hidden by metrics.per_task_limit"
                }
                dt { "Documents" }
                dd { "docs/metrics.md says what each number means, docs/runbook.md what to do at each alert. They come with the exporter." }
            }
        }
    }
}
