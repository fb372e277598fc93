//! Booleans and durations as other exporters read them: more forms than the exporter's own configuration takes.

use crate::config::duration as prometheus;
use crate::config::value::{Problem, Value};
use std::time::Duration;

/// What an error says of a duration's form.
const DURATION: &str = "a duration like 15s, 1h30m or 500ms (units h, m, s, ms, us, ns)";
/// The units of Go's `time.ParseDuration`, in nanoseconds; both signs for micro are in use.
const UNITS: [(&str, u64); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("\u{b5}s", 1000),
    ("\u{3bc}s", 1000),
    ("ns", 1),
];
/// The longest duration that Go has, in nanoseconds.
const MAX_NANOS: u64 = i64::MAX.unsigned_abs();
/// The digits of a fraction that count: those after them are less than a nanosecond, even of an hour.
const FRACTION_DIGITS: usize = 13;

/// A boolean of YAML 1.1, the version that other exporters read.
pub(super) fn boolean(value: &Value<'_>) -> Result<bool, Problem> {
    match value.text() {
        Some("y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON") => Ok(true),
        Some("n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF") => Ok(false),
        Some(_) | None => value.boolean(),
    }
}

/// A duration as Go writes it, which is what the format has, or as Prometheus does.
pub(super) fn duration(value: &Value<'_>) -> Result<Duration, Problem> {
    match value.text() {
        Some(text) => parse(text).or_else(|| prometheus::parse(text)).ok_or_else(|| value.wrong(DURATION)),
        None => value.duration(),
    }
}

/// Reads a duration of Go; `None` when the text is none, is negative or too long.
fn parse(text: &str) -> Option<Duration> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(multiply(number, *nanos)?)?;
        rest = after;
    }
    (!text.is_empty() && total <= MAX_NANOS).then(|| Duration::from_nanos(total))
}

/// A decimal number, like `1.5` or `.5`, times a unit; what is less than one is cut off.
fn multiply(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let digits = fraction.bytes().take(FRACTION_DIGITS).map(|digit| u128::from(digit - b'0'));
    let (parts, of) = digits.fold((0, 1), |(parts, of), digit| (parts * 10 + digit, of * 10));
    whole.checked_mul(unit)?.checked_add(u64::try_from(parts * u128::from(unit) / of).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WebConfigFile;
    use proptest::prelude::*;
    use std::path::Path;

    #[test]
    fn a_duration_is_read_as_go_reads_it() {
        for (text, nanos) in [
            ("0s", 0),
            ("0.5s", 500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("500us", 500_000),
            ("500\u{b5}s", 500_000),
            ("500\u{3bc}s", 500_000),
            ("1ns", 1),
            ("0.9ns", 0),
            ("1m1h1m", 3_720_000_000_000),
            ("1.00000000000000000000000009s", 1_000_000_000),
            ("2562047h47m16.854775807s", MAX_NANOS),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "s", ".s", "1..s", "1.2.3s", "-1s", "1", "1 s", "1x", "2562048h", "99999999999999999999s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn booleans_are_those_of_yaml_1_1_in_this_file() {
        for (text, expected) in
            [("on", true), ("Yes", true), ("y", true), ("true", true), ("off", false), ("NO", false)]
        {
            let file = format!("http_server_config: {{http2: {text}}}");
            assert_eq!(WebConfigFile::parse(file.as_bytes(), Path::new("web.yaml")).unwrap().http2, expected, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_text_makes_it_panic(text in "[0-9.hmsnu\u{b5} -]{0,24}") {
            let _duration = parse(&text);
        }
    }
}
