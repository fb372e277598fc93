//! What can go wrong with an answer about an operation, each with its share.

use super::options::InvalidOptions;
use super::parse;
use clap::Args;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// The shares of the answers of the status routes that go wrong, from 0 (never) to 1 (always), and how.
///
/// At most one of the first ten spoils an answer, so their shares add up to at most 1. The last three
/// leave the answer valid, change what it says, and may come together.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Faults of the simulated API (SHARE: from 0, never, to 1, always)")]
pub struct FaultOptions {
    /// Answers 500.
    #[arg(long = "fault-server-error", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub server_error: f64,

    /// Answers 503 with Retry-After.
    #[arg(long = "fault-unavailable", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub unavailable: f64,

    /// Answers 404 for an operation that exists.
    #[arg(long = "fault-not-found", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub not_found: f64,

    /// Answers 403 for a key that is right.
    #[arg(long = "fault-forbidden", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub forbidden: f64,

    /// Never answers, until --hang-for is over.
    #[arg(long = "fault-hang", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub hang: f64,

    /// Stops in the middle of the body, until --hang-for is over.
    #[arg(long = "fault-stall", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub stall: f64,

    /// Closes the connection in the middle of the body.
    #[arg(long = "fault-disconnect", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub disconnect: f64,

    /// Answers 200 with something that is no status body.
    #[arg(long = "fault-garbage", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub garbage: f64,

    /// Answers 200 with the first part of the JSON text.
    #[arg(long = "fault-truncated", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub truncated: f64,

    /// Answers 200 with a valid body of at least --oversized-bytes.
    #[arg(long = "fault-oversized", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub oversized: f64,

    /// Answers with an older state of the same operation.
    #[arg(long = "fault-stale", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub stale: f64,

    /// Lists the files in another order.
    #[arg(long = "fault-shuffled", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub shuffled: f64,

    /// Leaves out some of the files, or all.
    #[arg(long = "fault-vanished", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub vanished: f64,

    /// Share of the operations that are not found for --fresh-for after their creation.
    #[arg(long = "fault-fresh-not-found", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub fresh_not_found: f64,

    /// How long a fresh operation is not found.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse::duration)]
    pub fresh_for: Duration,

    /// How long an answer hangs or stalls before its connection ends.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse::duration)]
    pub hang_for: Duration,

    /// The Retry-After of an answer 503.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse::duration)]
    pub unavailable_for: Duration,

    /// Size of an oversized body.
    #[arg(long, value_name = "SIZE", default_value = "9MiB", value_parser = parse::bytes)]
    pub oversized_bytes: u64,
}

/// What spoils an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    ServerError,
    Unavailable,
    NotFound,
    Forbidden,
    Hang,
    Stall,
    Disconnect,
    Garbage,
    Truncated,
    Oversized,
}

/// What is wrong with one answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Drawn {
    /// What spoils it.
    pub(super) fault: Option<Fault>,
    /// The share of the operation's age at which it is shown; `None` for now.
    pub(super) stale: Option<f64>,
    pub(super) shuffled: bool,
    pub(super) vanished: bool,
}

impl Fault {
    /// The word under which requests are counted.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ServerError => "server_error",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::Hang => "hang",
            Self::Stall => "stall",
            Self::Disconnect => "disconnect",
            Self::Garbage => "garbage",
            Self::Truncated => "truncated",
            Self::Oversized => "oversized",
        }
    }
}

impl Default for FaultOptions {
    /// No fault at all.
    fn default() -> Self {
        Self {
            server_error: 0.0,
            unavailable: 0.0,
            not_found: 0.0,
            forbidden: 0.0,
            hang: 0.0,
            stall: 0.0,
            disconnect: 0.0,
            garbage: 0.0,
            truncated: 0.0,
            oversized: 0.0,
            stale: 0.0,
            shuffled: 0.0,
            vanished: 0.0,
            fresh_not_found: 0.0,
            fresh_for: Duration::from_secs(2),
            hang_for: Duration::from_secs(30),
            unavailable_for: Duration::from_secs(2),
            oversized_bytes: 9 << 20,
        }
    }
}

impl FaultOptions {
    fn spoiling(&self) -> [(Fault, f64); 10] {
        [
            (Fault::ServerError, self.server_error),
            (Fault::Unavailable, self.unavailable),
            (Fault::NotFound, self.not_found),
            (Fault::Forbidden, self.forbidden),
            (Fault::Hang, self.hang),
            (Fault::Stall, self.stall),
            (Fault::Disconnect, self.disconnect),
            (Fault::Garbage, self.garbage),
            (Fault::Truncated, self.truncated),
            (Fault::Oversized, self.oversized),
        ]
    }

    /// Checks that the shares of the faults that exclude each other leave room for each.
    pub(super) fn check(&self) -> Result<(), InvalidOptions> {
        let sum: f64 = self.spoiling().iter().map(|(_, share)| share).sum();
        // Shares like 0.1 have no exact binary form: ten of them are a little more than 1.
        if sum > 1.0 + 1e-9 {
            return Err(InvalidOptions(format!(
                "the shares of the faults that spoil an answer add up to {sum}, more than 1: \
                 lower --fault-server-error, -unavailable, -not-found, -forbidden, -hang, -stall, \
                 -disconnect, -garbage, -truncated or -oversized"
            )));
        }
        Ok(())
    }

    /// Decides what is wrong with one answer.
    pub(super) fn draw(&self, random: &mut StdRng) -> Drawn {
        // Every number is drawn whether it is needed or not, so that turning one fault on moves no other.
        let mut left: f64 = random.random();
        let mut fault = None;
        for (candidate, share) in self.spoiling() {
            if left < share {
                fault = Some(candidate);
                break;
            }
            left -= share;
        }
        let (is_stale, age): (f64, f64) = random.random();
        let stale = (is_stale < self.stale).then_some(age);
        let shuffled = random.random::<f64>() < self.shuffled;
        let vanished = random.random::<f64>() < self.vanished;
        Drawn { fault, stale, shuffled, vanished }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::seed::Seed;

    fn draws(options: &FaultOptions, count: u64) -> Vec<Drawn> {
        (0..count).map(|n| options.draw(&mut Seed::new(9).child(n).source())).collect()
    }

    #[test]
    fn nothing_is_wrong_unless_asked_for() {
        let nothing = Drawn { fault: None, stale: None, shuffled: false, vanished: false };
        assert!(draws(&FaultOptions::default(), 1000).iter().all(|drawn| *drawn == nothing));
    }

    #[test]
    fn each_fault_comes_as_often_as_its_share_says() {
        let options = FaultOptions {
            server_error: 0.1,
            unavailable: 0.1,
            not_found: 0.1,
            forbidden: 0.1,
            hang: 0.1,
            stall: 0.1,
            disconnect: 0.1,
            garbage: 0.1,
            truncated: 0.1,
            oversized: 0.1,
            stale: 0.3,
            ..FaultOptions::default()
        };
        assert_eq!(options.check(), Ok(()));
        let drawn = draws(&options, 10_000);
        for (fault, _) in options.spoiling() {
            let count = drawn.iter().filter(|drawn| drawn.fault == Some(fault)).count();
            assert!((850..1150).contains(&count), "{fault:?}: {count}");
        }
        let stale = drawn.iter().filter(|drawn| drawn.stale.is_some()).count();
        assert!((2800..3200).contains(&stale), "{stale}");
    }

    #[test]
    fn a_share_of_one_spoils_every_answer() {
        let options = FaultOptions { truncated: 1.0, vanished: 1.0, ..FaultOptions::default() };
        let every = |drawn: &Drawn| drawn.fault == Some(Fault::Truncated) && drawn.vanished;
        assert!(draws(&options, 1000).iter().all(every));
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_one_fault_moves_no_other() {
        let options = FaultOptions { garbage: 0.2, shuffled: 0.5, ..FaultOptions::default() };
        assert_eq!(draws(&options, 100), draws(&options, 100));
        let more = FaultOptions { garbage: 0.7, ..options.clone() };
        let shuffled = |drawn: &[Drawn]| drawn.iter().map(|drawn| drawn.shuffled).collect::<Vec<_>>();
        assert_eq!(shuffled(&draws(&options, 100)), shuffled(&draws(&more, 100)));
    }
}
