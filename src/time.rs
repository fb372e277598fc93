//! Unix time as the exporter keeps it: microseconds, because the vendor's webhooks carry six digits.

use std::fmt;
use std::time::Duration;

/// A moment in Unix time, in microseconds.
///
/// An integer, so that what is stored and what is shown are the same number after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// The moment `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch, as Prometheus wants timestamps.
    #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit 53 bits until the year 2255")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The time from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This moment and `delay` later, at most the end of time.
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Reads an RFC 3339 date and time with its offset, for instance `2026-11-23T10:00:00Z`.
    ///
    /// # Errors
    ///
    /// Anything else, with a sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, NotATime> {
        text.trim()
            .parse::<jiff::Timestamp>()
            .map(|at| Self(at.as_microsecond()))
            .map_err(|_| NotATime(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => at.fmt(f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// A text that is no RFC 3339 date and time.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no date and time: write RFC 3339 with its offset, like 2026-11-23T10:00:00Z")]
pub struct NotATime(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits_survive_reading_and_writing() {
        let at = Time::parse("2022-11-03T20:26:10.344522Z").unwrap();
        assert_eq!(at.as_micros(), 1_667_507_170_344_522);
        assert_eq!(at.to_string(), "2022-11-03T20:26:10.344522Z");
        assert_eq!(Time::parse("2022-11-03T22:26:10.344522+02:00").unwrap(), at);
    }

    #[test]
    fn a_date_without_a_time_or_offset_is_refused() {
        for text in ["2022-11-03", "2022-11-03T20:26:10", "yesterday", "", "1667507170"] {
            assert!(Time::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_difference_is_never_negative() {
        let (a, b) = (Time::from_micros(1_000_000), Time::from_micros(3_500_000));
        assert_eq!(b.since(a), Duration::from_millis(2500));
        assert_eq!(a.since(b), Duration::ZERO);
    }
}
