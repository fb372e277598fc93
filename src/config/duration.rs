//! Durations as Prometheus writes them: `1h30m`, `15s`, `500ms`.

use std::time::Duration;

/// What an error says of the form.
pub(super) const ALLOWED: &str =
    "a duration like 15s, 1h30m or 500ms (units y, w, d, h, m, s, ms: the larger before the smaller, each once)";

/// The units, largest first, in milliseconds; a year has 365 days, as in Prometheus.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration, in milliseconds: a century is surely a mistake, and any moment plus it is still a moment.
const MAX_MILLIS: u64 = 100 * UNITS[0].1;

/// Reads a duration; `None` when the text is none or over a hundred years.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        // Searching onwards from the unit before is what makes each appear once, and in order.
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        rest = after;
    }
    (!text.is_empty() && total <= MAX_MILLIS).then(|| Duration::from_millis(total))
}

/// Writes a duration, in whole milliseconds, in the form that [`parse`] reads.
pub(super) fn show(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in UNITS {
        // 8d is clearer than 1w1d: weeks and years only where nothing is left over.
        if rest >= millis && (rest.is_multiple_of(millis) || millis <= UNITS[2].1) {
            text.push_str(&format!("{}{unit}", rest / millis));
            rest %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_duration_is_read_as_prometheus_reads_it() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("15s", 15_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1m500ms", 60_500),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
            ("1y", 31_536_000_000),
            ("100y", MAX_MILLIS),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in [
            "",
            "15",
            "s",
            "1.5h",
            "-1s",
            "+1s",
            "1 s",
            " 1s",
            "1s ",
            "30m1h",
            "1m1m",
            "1S",
            "1min",
            "1µs",
            "100y1ms",
            "99999999999999999999s",
            "9999999999999999y",
            "00",
            "1h30",
            "∞",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_duration_is_shown_in_few_units() {
        for text in ["15s", "1h30m", "500ms", "1w", "8d", "1y", "366d", "2s500ms", "0s"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_shown_reads_back_the_same(millis in 0..=MAX_MILLIS) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&show(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9ywdhms.µ ]{0,24}") {
            let _duration = parse(&text);
        }
    }
}
