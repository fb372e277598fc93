//! Unix time as the exporter keeps it: microseconds, because the vendor's webhooks carry six digits.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// A moment in Unix time, in microseconds.
///
/// An integer, so that what is stored and what is shown are the same number after a restart. It is never zero inside, so
/// that an `Option<Time>` takes 8 bytes and not 16: a record has many times that may be missing, and each file one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(NonZeroU64);

/// What the epoch is inside: half of all numbers, so that the order is that of the microseconds. Zero would be 292,000
/// years before.
const EPOCH: u64 = 1 << 63;

impl Time {
    /// The moment `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        match NonZeroU64::new(micros.cast_unsigned() ^ EPOCH) {
            Some(inside) => Self(inside),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        (self.0.get() ^ EPOCH).cast_signed()
    }

    /// Seconds since the Unix epoch, as Prometheus wants timestamps.
    #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit 53 bits until the year 2255")]
    pub fn as_secs_f64(self) -> f64 {
        self.as_micros() as f64 / 1e6
    }

    /// The time from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.as_micros().saturating_sub(earlier.as_micros())).unwrap_or(0))
    }

    /// This moment and `delay` later, at most the end of time.
    pub fn after(self, delay: Duration) -> Self {
        Self::from_micros(self.as_micros().saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Reads an RFC 3339 date and time with its offset, for instance `2026-11-23T10:00:00Z`.
    ///
    /// # Errors
    ///
    /// Anything else, with a sentence that says what is allowed.
    pub fn parse(text: &str) -> Result<Self, NotATime> {
        text.trim()
            .parse::<jiff::Timestamp>()
            .map(|at| Self::from_micros(at.as_microsecond()))
            .map_err(|_| NotATime(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.as_micros()) {
            Ok(at) => at.fmt(f),
            Err(_) => write!(f, "{}us", self.as_micros()),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Time").field(&self.as_micros()).finish()
    }
}

/// A text that is no RFC 3339 date and time.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no date and time: write RFC 3339 with its offset, like 2026-11-23T10:00:00Z")]
pub struct NotATime(String);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_that_may_be_missing_takes_no_more_room_than_one_that_is_there() {
        assert_eq!(size_of::<Option<Time>>(), size_of::<i64>());
    }

    proptest! {
        #[test]
        fn the_microseconds_come_back_and_give_the_order(a in i64::MIN + 1.., b in i64::MIN + 1..) {
            let (first, second) = (Time::from_micros(a), Time::from_micros(b));
            prop_assert_eq!((first.as_micros(), second.as_micros()), (a, b));
            prop_assert_eq!(first.cmp(&second), a.cmp(&b));
        }
    }

    #[test]
    fn the_earliest_time_is_as_early_as_can_be() {
        assert_eq!(Time::from_micros(i64::MIN), Time::from_micros(i64::MIN + 1));
        assert!(Time::from_micros(i64::MIN) < Time::from_micros(i64::MIN + 2));
    }

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
