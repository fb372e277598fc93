//! Reads the values of the simulator's options; an error says what would be right.

use super::bucket::RateLimit;
use super::options::{DurationRange, FileRange, MAX_FILES, WeightedCode};
use reqwest::Url;
use std::num::NonZeroU32;
use std::time::Duration;

/// The longest duration taken, in milliseconds (a year): no plan's arithmetic can overflow below it.
const MAX_DURATION_MS: u64 = 365 * 24 * 3600 * 1000;
/// The most requests of a rate limit: below it, one request's share of a period is a whole microsecond.
const MAX_REQUESTS_PER_SECOND: u64 = 1_000_000;

/// A share: a number from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "give a number from 0 to 1, like 0.05".into())
}

/// A duration as Prometheus writes it: whole numbers with a unit, the largest unit first; or 0.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let error = || "give a duration up to 365d, like 500ms, 15s or 1h30m".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total_ms = 0_u64;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let (number, after) = rest.split_at(digits);
        let unit_length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(error()),
        };
        if unit_ms >= last_unit {
            return Err(error());
        }
        last_unit = unit_ms;
        let number: u64 = number.parse().map_err(|_| error())?;
        total_ms = number.checked_mul(unit_ms).and_then(|ms| ms.checked_add(total_ms)).ok_or_else(error)?;
        rest = after;
    }
    if text.is_empty() || total_ms > MAX_DURATION_MS {
        return Err(error());
    }
    Ok(Duration::from_millis(total_ms))
}

/// Two durations that rise, or one.
pub(super) fn duration_range(text: &str) -> Result<DurationRange, String> {
    let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
    let range = DurationRange { shortest: duration(shortest)?, longest: duration(longest)? };
    if range.shortest > range.longest {
        return Err("give the shorter duration first, like 5s..60s".into());
    }
    Ok(range)
}

/// Two numbers of files that rise, or one.
pub(super) fn file_range(text: &str) -> Result<FileRange, String> {
    let (fewest, most) = text.split_once("..").unwrap_or((text, text));
    match (fewest.parse(), most.parse()) {
        (Ok(fewest), Ok(most)) if 0 < fewest && fewest <= most && most <= MAX_FILES => Ok(FileRange { fewest, most }),
        _ => Err(format!("give a number or a rising range within 1..{MAX_FILES}, like 3 or 1..5")),
    }
}

/// A rate limit: requests per second, minute or hour.
pub(super) fn rate_limit(text: &str) -> Result<RateLimit, String> {
    let error = || format!("give requests per s, m or h, like 1000/m, and at most {MAX_REQUESTS_PER_SECOND}/s");
    let (requests, unit) = text.split_once('/').ok_or_else(error)?;
    let requests: NonZeroU32 = requests.parse().map_err(|_| error())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(error()),
    };
    if u64::from(requests.get()) > MAX_REQUESTS_PER_SECOND * seconds {
        return Err(error());
    }
    Ok(RateLimit { requests, period: Duration::from_secs(seconds) })
}

/// An error code with an optional weight: `code` or `code=weight`.
pub(super) fn weighted_code(text: &str) -> Result<WeightedCode, String> {
    let (code, weight) = text.rsplit_once('=').unwrap_or((text, "1"));
    match weight.parse() {
        Ok(weight) if !code.is_empty() => Ok(WeightedCode { code: code.into(), weight }),
        _ => Err("give a code, or a code and a whole number as its weight, like internal_error=6".into()),
    }
}

/// An address to send requests to.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "give a whole URL, like http://127.0.0.1:10211/webhooks/dragdropdo".into())
}

/// A number of bytes, with an optional unit.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1), ("", 1)];
    units
        .iter()
        .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))
        .and_then(|(number, bytes)| number.parse::<u64>().ok()?.checked_mul(bytes))
        .ok_or_else(|| "give a number of bytes, like 512KiB or 9MiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_prometheus() {
        for (text, ms) in
            [("0", 0), ("0s", 0), ("500ms", 500), ("15s", 15_000), ("1h30m", 5_400_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "1.5s", "-1s", "1s1m", "1m1m", "1y", "5 s", "366d", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_rise_and_may_be_one_value() {
        assert_eq!(file_range("7"), Ok(FileRange { fewest: 7, most: 7 }));
        assert_eq!(file_range("1..1000"), Ok(FileRange { fewest: 1, most: 1000 }));
        for text in ["0..3", "3..1", "1..1001", "..", "a", ""] {
            assert!(file_range(text).is_err(), "{text}");
        }
        assert!(duration_range("2s..1s").is_err());
        assert_eq!(duration_range("1s").unwrap().longest, Duration::from_secs(1));
    }

    #[test]
    fn rate_limits_have_a_period() {
        assert_eq!(rate_limit("3600/h").unwrap().period, Duration::from_secs(3600));
        for text in ["1000", "0/m", "10/d", "-1/s", "1000001/s"] {
            assert!(rate_limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn codes_may_have_weights_and_sizes_units() {
        assert_eq!(weighted_code("a=b=2"), Ok(WeightedCode { code: "a=b".into(), weight: 2 }));
        assert_eq!(weighted_code("a"), Ok(WeightedCode { code: "a".into(), weight: 1 }));
        assert!(weighted_code("=2").is_err() && weighted_code("a=x").is_err());
        assert_eq!(bytes("9MiB"), Ok(9 << 20));
        assert_eq!(bytes("12"), Ok(12));
        assert!(bytes("9MB").is_err() && bytes("").is_err() && bytes("99999999999GiB").is_err());
    }

    #[test]
    fn a_share_is_no_percentage() {
        assert_eq!(share("0.25"), Ok(0.25));
        for text in ["25%", "1.01", "-0.1", "NaN"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
