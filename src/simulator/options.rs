//! What the simulated API is like: options of the command line, for people and tests alike.

use super::bucket::RateLimit;
use super::faults::FaultOptions;
use super::parse;
use super::style::StyleOptions;
use super::webhooks::WebhookOptions;
use clap::{Args, ValueEnum};
use std::num::NonZeroU32;
use std::time::Duration;

/// Where the simulated API listens unless told otherwise: the port after the exporter's own.
pub const DEFAULT_LISTEN_ADDRESS: &str = "127.0.0.1:10212";
/// The key that the simulated API accepts unless told otherwise. It opens nothing else.
pub const DEFAULT_API_KEY: &str = "d3_live_demo";
/// The most files of one operation: enough for any test, and it bounds what one request can make the simulator keep.
pub const MAX_FILES: usize = 1000;

/// The options of the simulated D3 API. A command that flattens them puts its own options first, or they come under a wrong heading.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Simulated API")]
pub struct SimulatorOptions {
    /// API key that the simulated API accepts; give it several times, or separated by commas, for several keys.
    #[arg(long = "api-key", value_name = "KEY", value_delimiter = ',', default_value = DEFAULT_API_KEY)]
    pub api_keys: Vec<String>,

    /// Operations that exist from the start; more are created by POST /api/v1/do.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub operations: usize,

    /// Requests that one key may make, per s, m or h; the whole number may come in one burst.
    #[arg(long, value_name = "N/PERIOD", default_value = "1000/m", value_parser = parse::rate_limit)]
    pub rate_limit: RateLimit,

    /// Form of the Retry-After header of an answer 429; the vendor promises none.
    #[arg(long, value_enum, default_value_t = RetryAfter::None)]
    pub retry_after: RetryAfter,

    /// Time until an answer comes.
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = parse::duration)]
    pub latency: Duration,

    /// Random time that is added to the latency, at most.
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = parse::duration)]
    pub latency_jitter: Duration,

    /// How long a finished operation can still be asked for; afterwards it is not found. The totals keep counting it.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse::duration)]
    pub keep_finished: Duration,

    /// Find a completed file by its output's key alone, and no longer by its input's.
    #[arg(long)]
    pub forget_input_keys: bool,

    /// Answer 404 when an operation has no file with the key that was asked for, in place of an empty list.
    #[arg(long)]
    pub unknown_file_not_found: bool,

    /// Seed of all chance: the same seed gives the same operations, and the same faults in the answers about each.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    // Flattened ones come last: clap puts every option after them under the last heading too.
    /// What an operation is like.
    #[command(flatten)]
    pub plan: PlanOptions,

    /// The form of the status body.
    #[command(flatten)]
    pub style: StyleOptions,

    /// What goes wrong.
    #[command(flatten)]
    pub faults: FaultOptions,

    /// How webhooks are sent.
    #[command(flatten)]
    pub webhooks: WebhookOptions,
}

/// What an operation is like.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Simulated operations")]
pub struct PlanOptions {
    /// Input files of an operation that the simulator makes up itself.
    #[arg(long, value_name = "MIN..MAX", default_value = "1..5", value_parser = parse::file_range)]
    pub files: FileRange,

    /// Time that a file takes from the creation of its operation until it ends.
    #[arg(long, value_name = "MIN..MAX", default_value = "5s..60s", value_parser = parse::duration_range)]
    pub duration: DurationRange,

    /// Share of the files that fail, from 0 to 1. A merge or zip fails as a whole.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = parse::share)]
    pub failure_share: f64,

    /// Error codes of failed files, each with an optional weight.
    #[arg(
        long,
        value_name = "CODE[=WEIGHT],...",
        value_delimiter = ',',
        default_value = "internal_error=6,invalid_input_file=3,timeout=1",
        value_parser = parse::weighted_code
    )]
    pub error_codes: Vec<WeightedCode>,

    /// Share of the failed files that come without an error code, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = parse::share)]
    pub codeless_share: f64,
}

/// The form of a `Retry-After` header.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// No header.
    None,
    /// A number of seconds.
    Seconds,
    /// An HTTP date.
    Date,
}

/// A range of numbers of files, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// The fewest, at least 1.
    pub fewest: usize,
    /// The most, at most [`MAX_FILES`].
    pub most: usize,
}

/// A range of durations, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationRange {
    /// The shortest.
    pub shortest: Duration,
    /// The longest.
    pub longest: Duration,
}

/// An error code and how often it is chosen, in relation to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedCode {
    /// The code, as the API gives it.
    pub code: String,
    /// Its weight; with 0 it is never chosen.
    pub weight: u32,
}

/// Options that contradict each other or themselves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulated API's options don't fit together: {0}")]
pub struct InvalidOptions(pub(super) String);

impl Default for PlanOptions {
    fn default() -> Self {
        let code = |code: &str, weight| WeightedCode { code: code.into(), weight };
        Self {
            files: FileRange { fewest: 1, most: 5 },
            duration: DurationRange { shortest: Duration::from_secs(5), longest: Duration::from_secs(60) },
            failure_share: 0.1,
            error_codes: vec![code("internal_error", 6), code("invalid_input_file", 3), code("timeout", 1)],
            codeless_share: 0.05,
        }
    }
}

impl Default for SimulatorOptions {
    /// The defaults of the command line.
    fn default() -> Self {
        Self {
            api_keys: vec![DEFAULT_API_KEY.into()],
            operations: 0,
            rate_limit: RateLimit { requests: NonZeroU32::MIN.saturating_add(999), period: Duration::from_secs(60) },
            retry_after: RetryAfter::None,
            latency: Duration::from_millis(20),
            latency_jitter: Duration::from_millis(10),
            keep_finished: Duration::from_secs(3600),
            forget_input_keys: false,
            unknown_file_not_found: false,
            seed: 1,
            plan: PlanOptions::default(),
            style: StyleOptions::default(),
            faults: FaultOptions::default(),
            webhooks: WebhookOptions::default(),
        }
    }
}

impl SimulatorOptions {
    /// Checks what the parser of a single option can't see.
    pub(super) fn check(&self) -> Result<(), InvalidOptions> {
        let fail = |problem: &str| Err(InvalidOptions(problem.into()));
        let FileRange { fewest, most } = self.plan.files;
        if fewest == 0 || fewest > most || most > MAX_FILES {
            return fail(&format!("--files {fewest}..{most} must lie within 1..{MAX_FILES} and rise"));
        }
        if self.plan.duration.shortest > self.plan.duration.longest {
            return fail("the first duration of --duration is longer than the second");
        }
        if self.api_keys.iter().any(String::is_empty) || self.api_keys.is_empty() {
            return fail("--api-key is empty: give a key of at least one character");
        }
        self.faults.check()?;
        self.webhooks.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::webhooks::{SignatureForm, SignatureHeader};
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct CommandLine {
        #[command(flatten)]
        simulator: SimulatorOptions,
    }

    fn parse(arguments: &[&str]) -> Result<SimulatorOptions, String> {
        CommandLine::try_parse_from(std::iter::once(&"simulate").chain(arguments))
            .map(|line| line.simulator)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_in_code_are_those_of_the_command_line() {
        assert_eq!(parse(&[]).unwrap(), SimulatorOptions::default());
        assert_eq!(SimulatorOptions::default().check(), Ok(()));
    }

    #[test]
    fn every_option_has_a_help_text() {
        let command = <CommandLine as clap::CommandFactory>::command();
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "--{}", argument.get_id());
        }
    }

    #[test]
    fn a_full_command_line_is_understood() {
        let options = parse(&[
            "--api-key=a,b",
            "--operations=20",
            "--files=3",
            "--duration=500ms..1m30s",
            "--failure-share=0.5",
            "--error-codes=one,two=3",
            "--rate-limit=5/s",
            "--retry-after=date",
            "--latency=0",
            "--seed=42",
            "--camel-case",
            "--queued-files=null",
            "--fault-stale=1",
            "--oversized-bytes=1MiB",
            "--webhook-url=http://127.0.0.1:10211/webhooks/dragdropdo",
            "--webhook-secret=hush",
            "--webhook-signature-header=x-d3-signature",
            "--webhook-signature-form=upper-case",
            "--webhook-delay=0..2s",
            "--webhook-shuffled=0.5",
            "--webhook-tag=a",
            "--webhook-tag=b",
        ])
        .unwrap();
        assert_eq!(options.api_keys, ["a", "b"]);
        assert_eq!(options.plan.files, FileRange { fewest: 3, most: 3 });
        assert_eq!(options.plan.duration.longest, Duration::from_secs(90));
        assert_eq!(options.plan.error_codes[1], WeightedCode { code: "two".into(), weight: 3 });
        assert_eq!(options.rate_limit.period, Duration::from_secs(1));
        assert_eq!(options.faults.oversized_bytes, 1 << 20);
        assert_eq!(options.faults.shuffled, 0.0);
        let webhooks = &options.webhooks;
        assert_eq!(webhooks.url.as_ref().unwrap().path(), "/webhooks/dragdropdo");
        assert_eq!(webhooks.signature_header, SignatureHeader::D3);
        assert_eq!(webhooks.signature_form, SignatureForm::UpperCase);
        assert_eq!((webhooks.delay.longest, webhooks.shuffled), (Duration::from_secs(2), 0.5));
        assert_eq!(webhooks.tags, ["a", "b"]);
        assert_eq!(options.check(), Ok(()));
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_would_be_right() {
        let message = parse(&["--failure-share=1.5"]).unwrap_err();
        assert!(message.contains("--failure-share") && message.contains("from 0 to 1"), "{message}");
        let message = parse(&["--files=5..2"]).unwrap_err();
        assert!(message.contains("1..1000"), "{message}");
        for url in ["127.0.0.1:10211", "ftp://a/b", "http://", "/hook"] {
            let message = parse(&[&format!("--webhook-url={url}")]).unwrap_err();
            assert!(message.contains("http://127.0.0.1:10211/webhooks/dragdropdo"), "{message}");
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let mut options = SimulatorOptions::default();
        options.faults.server_error = 0.6;
        options.faults.hang = 0.6;
        assert!(options.check().unwrap_err().to_string().contains("more than 1"));
        let options = SimulatorOptions { api_keys: vec![String::new()], ..SimulatorOptions::default() };
        assert!(options.check().is_err());
    }
}
