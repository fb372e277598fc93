//! What a reader must know within five seconds: whether work fails, what is unfinished, and whether the exporter can be
//! believed.

use super::facts::{Exporter, Facts, FailingKind, Polling};
use super::filter::Filter;
use super::text;
use crate::api::RequestOutcome;
use crate::schedule::Hold;
use crate::task::{ErrorCode, Group, State};
use crate::time::Time;
use crate::view::GroupSnapshot;
use maud::{Markup, html};
use std::time::Duration;

/// A failure that is no older than this is news: as long as the alert on failures fires after the last one.
const NEWS: Duration = Duration::from_secs(5 * 60);
/// A failure that is no older than this may still be of interest: somebody looks who was called a while ago.
const RECENT: Duration = Duration::from_secs(60 * 60);
/// Polls that are later than this make the page's numbers old: the alert on the lag fires from there on.
const LATE: Duration = Duration::from_secs(60);

/// How bad a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Neither good nor bad: a number.
    Plain,
    Good,
    Notice,
    Bad,
}

impl Level {
    /// The sign beside the words, so that the colour is never the only one.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "✓",
            Self::Notice => "!",
            Self::Bad => "✗",
        }
    }

    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Notice => "notice",
            Self::Bad => "bad",
        }
    }

    /// The same for those who hear the page.
    fn spoken(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "Good: ",
            Self::Notice => "Attention: ",
            Self::Bad => "Problem: ",
        }
    }
}

/// What a tile at the top of the page says.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) title: &'static str,
    pub(super) level: Level,
    pub(super) says: String,
    /// What there is to know more, a line each.
    pub(super) more: Vec<Markup>,
}

impl Verdict {
    pub(super) fn tile(&self) -> Markup {
        html! {
            div class=(format!("tile {}", self.level.class())) {
                h2 { (self.title) }
                p.says {
                    @if self.level != Level::Plain {
                        span.mark aria-hidden="true" { (self.level.mark()) }
                        span.spoken { (self.level.spoken()) }
                    }
                    (self.says)
                }
                @for line in &self.more { p.more { (line) } }
            }
        }
    }
}

/// The verdicts, in the order in which they are read.
pub(super) fn verdicts(facts: &Facts) -> [Verdict; 4] {
    [failures(facts), unfinished(facts), api(&facts.polling, facts.now), exporter(&facts.exporter, facts.now)]
}

/// The latest failure of a group, by what has been counted: it outlives its task.
pub(super) fn last_failure(group: &GroupSnapshot) -> Option<(Time, &ErrorCode)> {
    group.totals.last_failures.iter().map(|(code, at)| (*at, code)).max()
}

fn failures(facts: &Facts) -> Verdict {
    let groups = facts.overview.groups.iter();
    let latest = groups.filter_map(|group| last_failure(group).map(|(at, code)| (at, code, &group.group))).max();
    let Some((at, code, group)) = latest else {
        return Verdict {
            title: "Failures",
            level: Level::Good,
            says: "none so far".to_owned(),
            more: vec![html! { "No failure has ever been counted." }],
        };
    };
    let age = facts.now.since(at);
    let level = if age <= NEWS {
        Level::Bad
    } else if age <= RECENT {
        Level::Notice
    } else {
        Level::Good
    };
    let shown = text::count(facts.overview.counts.failures as u64, "failure", "failures");
    Verdict {
        title: "Failures",
        level,
        says: format!("latest {} ago", text::duration(age)),
        more: vec![
            html! { span.code { (text::name(code.as_str())) } " in " (group_link(group)) },
            html! { (text::moment(at)) },
            html! { a href="#failures" { (shown) " of tracked tasks" } },
        ],
    }
}

/// Of numbers by state, that of one.
pub(super) fn number_in(state: State, numbers: &[u64; State::ALL.len()]) -> u64 {
    State::ALL.into_iter().zip(numbers).filter(|(of, _)| *of == state).map(|(_, number)| number).sum()
}

fn group_link(group: &Group) -> Markup {
    html! { a href=(Filter::default().to_group(group)) { (text::name(group.as_str())) } }
}

fn unfinished(facts: &Facts) -> Verdict {
    let counts = facts.overview.counts;
    let groups = &facts.overview.groups;
    let oldest = groups.iter().filter_map(|group| Some((group.oldest_unfinished?, &group.group))).min();
    let unknown: u64 = groups.iter().map(|group| number_in(State::Unknown, &group.tasks)).sum();
    let mut more = Vec::new();
    if let Some((start, group)) = oldest {
        let age = text::duration(facts.now.since(start));
        more.push(html! { "oldest for " (age) ", in " (group_link(group)) });
    }
    if unknown > 0 {
        let unknown = text::count(unknown, "task", "tasks");
        more.push(html! { (unknown) " in state unknown: not yet observed, or not known to the API" });
    }
    more.push(html! { (text::count(counts.finished as u64, "finished task", "finished tasks")) " still tracked" });
    Verdict {
        title: "Unfinished",
        // How many are too many, and how old is too old, nobody but the reader knows.
        level: Level::Plain,
        says: text::count(counts.unfinished as u64, "task", "tasks"),
        more,
    }
}

fn api(polling: &Polling, now: Time) -> Verdict {
    let failing: usize = polling.failing.iter().map(|kind| kind.tasks).sum();
    let hold = |wanted| polling.holds.iter().find(|(hold, _)| *hold == wanted).map(|(_, until)| *until);
    let wait = |until: Time| text::duration(until.since(now));
    let fail =
        format!("{} of {} fail", text::grouped(failing as u64), text::count(polling.polled as u64, "poll", "polls"));
    let mut more = Vec::new();
    let (level, says) = if polling.polled == 0 {
        (Level::Plain, "nothing to poll".to_owned())
    } else if let Some(until) = hold(Hold::KeyRejected) {
        more.push(html! { "One request every 30 s until a key is accepted, the next in " (wait(until)) ". Check the API key." });
        (Level::Bad, "the key is not accepted".to_owned())
    } else if let Some(until) = hold(Hold::RateLimited) {
        more.push(html! { "The API answered 429: all requests wait for another " (wait(until)) "." });
        (Level::Bad, "rate limited".to_owned())
    } else {
        match polling.up {
            None => (Level::Notice, "not asked yet".to_owned()),
            Some(false) => (Level::Bad, format!("the latest request failed; {fail}")),
            Some(true) if failing > 0 => (Level::Notice, format!("answers; {fail}")),
            Some(true) if polling.lag > LATE => (Level::Notice, "answers; polls are late".to_owned()),
            Some(true) => (Level::Good, "answers".to_owned()),
        }
    };
    // What holds everything back says most, and then what fails most.
    let holds = |kind: &FailingKind| match kind.kind {
        kind if kind == RequestOutcome::Unauthorized.as_str() => hold(Hold::KeyRejected).is_some(),
        kind if kind == RequestOutcome::RateLimited.as_str() => hold(Hold::RateLimited).is_some(),
        _ => false,
    };
    if let Some(kind) = polling.failing.iter().max_by_key(|kind| (holds(kind), kind.tasks)) {
        let since = text::duration(now.since(kind.since));
        more.push(html! { span.code { (kind.kind) } " for " (since) ": " (text::sentence(&kind.latest)) });
    }
    if polling.lag > LATE {
        more.push(html! { "The most overdue poll is " (text::duration(polling.lag)) " late: numbers are as old." });
    }
    more.push(match polling.last_answer {
        Some(at) => html! { "last good answer " (text::ago_short(at, now)) },
        None => html! { "no good answer since the exporter started" },
    });
    Verdict { title: "D3 API", level, says, more }
}

fn exporter(exporter: &Exporter, now: Time) -> Verdict {
    let mut more = Vec::new();
    let (level, says) = if !exporter.stuck.is_empty() {
        more.push(
            html! { "The loop of the " (exporter.stuck.join(" and the ")) " stands still: restart the exporter." },
        );
        (Level::Bad, "stuck: do not believe this page")
    } else if let Some(since) = exporter.store_fails_since {
        let since = text::duration(now.since(since));
        more.push(
            html! { "For " (since) " nothing could be stored, so the numbers stand still: see the log, and the disk." },
        );
        (Level::Bad, "the store fails")
    } else if !exporter.is_ready {
        (Level::Notice, "starting")
    } else if !exporter.config.is_latest {
        more.push(html! { "The latest reload failed, as the log tells; the configuration before is in force." });
        (Level::Notice, "healthy; an older configuration")
    } else {
        (Level::Good, "healthy and ready")
    };
    if exporter.store_errors > 0 {
        let errors = text::count(exporter.store_errors, "error", "errors");
        more.push(html! { (errors) " of the store since the start: see the log" });
    }
    more.push(html! { "up for " (text::duration(now.since(exporter.started))) ", version " (exporter.build.version) });
    Verdict { title: "Exporter", level, says: says.to_owned(), more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{BuildInfo, ConfigLoad};
    use crate::totals::GroupTotals;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const NOW: Time = Time::from_micros(1_700_000_000_000_000);

    fn ago(seconds: i64) -> Time {
        Time::from_micros(NOW.as_micros() - seconds * 1_000_000)
    }

    fn facts(latest_failure: Option<Time>) -> Facts {
        let code = ErrorCode::unspecified();
        let totals = GroupTotals {
            last_failures: latest_failure.map(|at| (code, at)).into_iter().collect(),
            ..GroupTotals::default()
        };
        let group = GroupSnapshot {
            group: Group::default(),
            tasks: [0; 5],
            files: [0; 5],
            oldest_unfinished: None,
            totals: Arc::new(totals),
        };
        Facts {
            now: NOW,
            overview: crate::view::Overview { groups: vec![group], ..Default::default() },
            polling: Polling::default(),
            exporter: healthy(),
        }
    }

    fn healthy() -> Exporter {
        Exporter {
            is_ready: true,
            stuck: Vec::new(),
            config: ConfigLoad { is_latest: true, at: ago(60) },
            started: ago(60),
            sources: BTreeMap::new(),
            store_errors: 0,
            store_fails_since: None,
            per_task_limit: 100,
            telemetry_path: "/metrics".to_owned(),
            build: BuildInfo::of_this_binary(),
        }
    }

    fn polling(up: Option<bool>) -> Polling {
        Polling { up, polled: 12, last_answer: Some(ago(1)), ..Polling::default() }
    }

    fn told(verdict: &Verdict) -> (Level, &str) {
        (verdict.level, &verdict.says)
    }

    #[test]
    fn a_failure_is_bad_while_its_alert_fires_and_worth_a_notice_for_an_hour() {
        for (seconds, level) in
            [(300, Level::Bad), (301, Level::Notice), (3600, Level::Notice), (3601, Level::Good), (90_000, Level::Good)]
        {
            assert_eq!(failures(&facts(Some(ago(seconds)))).level, level, "{seconds}");
        }
        assert_eq!(told(&failures(&facts(None))), (Level::Good, "none so far"));
    }

    #[test]
    fn an_api_is_judged_by_what_keeps_it_from_answering() {
        let failing = |tasks| {
            let kind = FailingKind { kind: "timeout", tasks, since: ago(70), latest: "slow".to_owned() };
            Polling { failing: vec![kind], ..polling(Some(true)) }
        };
        for (polling, expected) in [
            (Polling::default(), (Level::Plain, "nothing to poll")),
            (polling(None), (Level::Notice, "not asked yet")),
            (polling(Some(true)), (Level::Good, "answers")),
            (failing(3), (Level::Notice, "answers; 3 of 12 polls fail")),
            (Polling { up: Some(false), ..failing(1) }, (Level::Bad, "the latest request failed; 1 of 12 polls fail")),
            (
                Polling { lag: Duration::from_secs(61), ..polling(Some(true)) },
                (Level::Notice, "answers; polls are late"),
            ),
            (Polling { holds: vec![(Hold::RateLimited, NOW)], ..polling(Some(true)) }, (Level::Bad, "rate limited")),
            (
                Polling { holds: vec![(Hold::RateLimited, NOW), (Hold::KeyRejected, NOW)], ..polling(Some(false)) },
                (Level::Bad, "the key is not accepted"),
            ),
        ] {
            assert_eq!(told(&api(&polling, NOW)), expected);
        }
        let tile = api(&failing(3), NOW).tile().into_string();
        assert!(tile.contains("timeout</span> for 1m 10s: <bdi>slow</bdi>"), "{tile}");
    }

    #[test]
    fn what_holds_everything_back_is_told_before_what_fails_most() {
        let kind = |kind, tasks| FailingKind { kind, tasks, since: ago(1), latest: kind.to_owned() };
        let failing = vec![kind("server_error", 9), kind("unauthorized", 1)];
        let polling = Polling { holds: vec![(Hold::KeyRejected, NOW)], failing, ..polling(Some(false)) };
        let tile = api(&polling, NOW).tile().into_string();
        assert!(tile.contains("unauthorized") && !tile.contains("server_error"), "{tile}");
    }

    #[test]
    fn an_exporter_is_judged_by_the_worst_that_is_known_of_it() {
        let older = ConfigLoad { is_latest: false, at: ago(60) };
        for (own, expected) in [
            (healthy(), (Level::Good, "healthy and ready")),
            (Exporter { store_errors: 1, ..healthy() }, (Level::Good, "healthy and ready")),
            (
                Exporter { store_errors: 2, store_fails_since: Some(ago(90)), is_ready: false, ..healthy() },
                (Level::Bad, "the store fails"),
            ),
            (
                Exporter { config: older, store_errors: 1, ..healthy() },
                (Level::Notice, "healthy; an older configuration"),
            ),
            (Exporter { is_ready: false, config: older, ..healthy() }, (Level::Notice, "starting")),
            (
                Exporter { stuck: vec!["poller"], is_ready: false, ..healthy() },
                (Level::Bad, "stuck: do not believe this page"),
            ),
        ] {
            assert_eq!(told(&exporter(&own, NOW)), expected);
        }
    }

    #[test]
    fn a_level_is_told_by_sign_and_word_too() {
        let tile = failures(&facts(Some(NOW))).tile().into_string();
        assert!(tile.contains("class=\"tile bad\"") && tile.contains("✗") && tile.contains("Problem: "), "{tile}");
    }
}
