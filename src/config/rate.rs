//! A budget of requests: `5/s`, `300/m` or `1000/h`.

use super::RateLimit;
use super::value::{Problem, Value};
use std::num::NonZeroU32;
use std::time::Duration;

/// Reads a budget.
pub(super) fn read(value: &Value<'_>) -> Result<RateLimit, Problem> {
    value
        .text()
        .and_then(parse)
        .ok_or_else(|| value.wrong("a number of requests per second, minute or hour like 5/s, 300/m or 1000/h"))
}

fn parse(text: &str) -> Option<RateLimit> {
    let (number, unit) = text.split_once('/')?;
    // `parse` alone would take a sign too.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let requests = number.parse::<NonZeroU32>().ok().filter(|_| digits)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    Some(RateLimit { requests, period: Duration::from_secs(seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_number_of_requests_per_period() {
        for (text, requests, seconds) in [("5/s", 5, 1), ("300/m", 300, 60), ("1000/h", 1000, 3600)] {
            let expected =
                RateLimit { requests: NonZeroU32::new(requests).unwrap(), period: Duration::from_secs(seconds) };
            assert_eq!(parse(text), Some(expected));
        }
    }

    #[test]
    fn anything_else_is_no_budget() {
        for text in ["", "300", "0/m", "-1/m", "+1/m", "1.5/s", "300/d", "300 / m", "/m", "300/", "4294967296/h"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
