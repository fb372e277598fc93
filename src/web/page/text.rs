//! Texts and times as a page shows them: whatever they hold, they neither hide nor reorder anything.

use crate::time::Time;
use maud::{Markup, html};
use std::fmt::Write as _;
use std::time::Duration;

/// The longest name shown whole, in characters: main task IDs and usual file keys are shorter. A longer one is cut in its
/// middle, because names are often alike at one of their ends.
const MAX_SHOWN: usize = 80;
/// What is kept of the beginning and of the end of a longer one.
const KEPT: (usize, usize) = (52, 24);

/// Within a day the time alone is one moment.
const DAY: Duration = Duration::from_hours(24);

/// A name from outside, isolated from what stands around it; the whole of one that is cut is in its title.
pub(super) fn name(text: &str) -> Markup {
    let (whole, length) = (visible(text), text.chars().count());
    if length <= MAX_SHOWN {
        return html! { bdi { (whole) } };
    }
    let head: String = text.chars().take(KEPT.0).collect();
    let tail: String = text.chars().skip(length - KEPT.1).collect();
    html! { bdi title=(whole) { (visible(&head)) "…" (visible(&tail)) } }
}

/// A sentence that may hold something from outside; what makes it has bounded its length.
pub(super) fn sentence(text: &str) -> Markup {
    html! { bdi { (visible(text)) } }
}

/// A text in which characters that cannot be seen and change what others look like are written as escapes.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Controls, and the format characters of Unicode that reorder a line or make two names look the same.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}')
}

/// How long ago a moment was, and the moment itself; its date only when it needs one.
pub(super) fn ago(at: Time, now: Time) -> Markup {
    let whole = moment(at);
    let shown = if now.since(at) < DAY { whole.split_once(' ').map_or(&*whole, |(_, time)| time) } else { &whole };
    html! { time datetime=(at) title=(whole) { (duration(now.since(at))) " ago " span.at { (shown) } } }
}

/// How long ago a moment was; the moment itself is in its title.
pub(super) fn ago_short(at: Time, now: Time) -> Markup {
    html! { time datetime=(at) title=(moment(at)) { (duration(now.since(at))) " ago" } }
}

/// A moment in UTC, to the second.
pub(super) fn moment(at: Time) -> String {
    let second = Time::from_micros(at.as_micros().div_euclid(1_000_000).saturating_mul(1_000_000));
    second.to_string().replace('T', " ").replace('Z', " UTC")
}

/// A duration by its two largest units, rounded down.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// A number with its noun: `1 task`, `12,345 tasks`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// A number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let separator = if place > 0 && (digits.len() - place).is_multiple_of(3) { "," } else { "" };
        // Writing to a string does not fail.
        write!(grouped, "{separator}{digit}").ok();
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_escaped_isolated_and_shows_what_would_reorder_it() {
        assert_eq!(
            name("<b>\"'&\u{202e}fdp\u{2066}").into_string(),
            "<bdi>&lt;b&gt;&quot;'&amp;\\u{202e}fdp\\u{2066}</bdi>"
        );
        assert_eq!(visible("a\u{200b}b\u{feff}\u{7}\u{e0041}"), "a\\u{200b}b\\u{feff}\\u{7}\\u{e0041}");
        for text in ["Ünï", "日本語", "עברית", "👩\u{200d}🚀", "می\u{200c}خواهم"] {
            assert_eq!(visible(text), text);
        }
    }

    #[test]
    fn a_long_name_is_cut_in_its_middle_and_whole_in_its_title() {
        let long = format!("{}\"{}", "ä".repeat(60), "z".repeat(60));
        let shown = name(&long).into_string();
        assert!(shown.contains(&format!("title=\"{}&quot;{}\"", "ä".repeat(60), "z".repeat(60))), "{shown}");
        assert!(shown.contains(&format!(">{}…{}<", "ä".repeat(52), "z".repeat(24))), "{shown}");
        assert!(!name(&"k".repeat(80)).into_string().contains("title"));
    }

    #[test]
    fn a_duration_is_told_by_its_two_largest_units() {
        for (seconds, told) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3599, "59m 59s"),
            (3600, "1h 0m"),
            (90_000, "1d 1h"),
            (8_640_000, "100d 0h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn a_moment_is_told_relatively_and_absolutely() {
        let at = Time::parse("2026-11-23T10:00:00.5Z").unwrap();
        let now = at.after(Duration::from_secs(75));
        assert_eq!(
            ago(at, now).into_string(),
            "<time datetime=\"2026-11-23T10:00:00.5Z\" title=\"2026-11-23 10:00:00 UTC\">1m 15s ago \
             <span class=\"at\">10:00:00 UTC</span></time>"
        );
        assert!(ago(at, at.after(DAY)).into_string().ends_with(">2026-11-23 10:00:00 UTC</span></time>"));
        assert_eq!(
            ago_short(now, at).into_string(),
            "<time datetime=\"2026-11-23T10:01:15.5Z\" title=\"2026-11-23 10:01:15 UTC\">0s ago</time>"
        );
    }

    #[test]
    fn numbers_are_read_at_a_glance() {
        for (number, told) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), told);
        }
        assert_eq!((count(1, "task", "tasks"), count(0, "task", "tasks")), ("1 task".to_owned(), "0 tasks".to_owned()));
    }
}
