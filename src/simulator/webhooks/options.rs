//! How webhooks are sent: options of the command line, for people and tests alike.

use crate::simulator::options::{DurationRange, InvalidOptions};
use crate::simulator::parse;
use clap::{Args, ValueEnum};
use reqwest::Url;
use std::time::Duration;

/// The longest wait before a retry: doubling must end somewhere, and a receiver that was down for a day is given the next.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// How the simulated API sends webhooks, and what goes wrong with them.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(next_help_heading = "Webhooks of the simulated API (SHARE: from 0, never, to 1, always)")]
pub struct WebhookOptions {
    /// Where webhooks are sent; without it none are.
    #[arg(long = "webhook-url", value_name = "URL", value_parser = parse::url)]
    pub url: Option<Url>,

    /// Secret with which webhooks are signed; without it they are not.
    #[arg(long = "webhook-secret", value_name = "SECRET")]
    pub secret: Option<String>,

    /// Header that carries the signature.
    #[arg(long = "webhook-signature-header", value_enum, ignore_case = true, default_value_t = SignatureHeader::Webhook)]
    pub signature_header: SignatureHeader,

    /// Form of the signature.
    #[arg(long = "webhook-signature-form", value_enum, default_value_t = SignatureForm::Hex)]
    pub signature_form: SignatureForm,

    /// Send webhooks only for operations with this tag, the text in notes; give it several times for several tags.
    #[arg(long = "webhook-tag", value_name = "TAG")]
    pub tags: Vec<String>,

    /// Time from an event until its webhook is sent.
    #[arg(long = "webhook-delay", value_name = "MIN..MAX", default_value = "50ms..500ms", value_parser = parse::duration_range)]
    pub delay: DurationRange,

    /// How long one delivery may take, from the connection to the head of the answer.
    #[arg(long = "webhook-timeout", value_name = "DURATION", default_value = "10s", value_parser = parse::duration)]
    pub timeout: Duration,

    /// How often a delivery that was not answered with 2xx is tried again.
    #[arg(long = "webhook-retries", value_name = "N", default_value_t = 5)]
    pub retries: u32,

    /// Time until the first retry; each further one takes twice as long as the one before, up to a day.
    #[arg(long = "webhook-retry-interval", value_name = "DURATION", default_value = "1s", value_parser = parse::duration)]
    pub retry_interval: Duration,

    /// Sends a webhook a second time although it was acknowledged.
    #[arg(long = "webhook-twice", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub twice: f64,

    /// Holds a webhook back for --webhook-hold-for, so that later ones overtake it.
    // Its name below would be that of a fault.
    #[arg(id = "webhook_shuffled", long = "webhook-shuffled", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub shuffled: f64,

    /// Never sends a webhook.
    #[arg(long = "webhook-lost", value_name = "SHARE", default_value_t = 0.0, value_parser = parse::share)]
    pub lost: f64,

    /// How long a webhook is held back, beside its delay.
    #[arg(long = "webhook-hold-for", value_name = "DURATION", default_value = "5s", value_parser = parse::duration)]
    pub hold_for: Duration,
}

/// The header that carries a webhook's signature.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureHeader {
    /// The documented one.
    #[value(name = "X-Webhook-Signature")]
    Webhook,
    /// That of older texts.
    #[value(name = "X-D3-Signature")]
    D3,
}

/// The form of a webhook's signature. The vendor's material leaves it open.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureForm {
    /// Hexadecimal digits in lower case.
    Hex,
    /// The same after `sha256=`.
    Prefixed,
    /// Hexadecimal digits in upper case.
    UpperCase,
}

impl SignatureHeader {
    /// The header's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "X-Webhook-Signature",
            Self::D3 => "X-D3-Signature",
        }
    }
}

impl Default for WebhookOptions {
    /// The defaults of the command line: no webhooks.
    fn default() -> Self {
        Self {
            url: None,
            secret: None,
            signature_header: SignatureHeader::Webhook,
            signature_form: SignatureForm::Hex,
            tags: Vec::new(),
            delay: DurationRange { shortest: Duration::from_millis(50), longest: Duration::from_millis(500) },
            timeout: Duration::from_secs(10),
            retries: 5,
            retry_interval: Duration::from_secs(1),
            twice: 0.0,
            shuffled: 0.0,
            lost: 0.0,
            hold_for: Duration::from_secs(5),
        }
    }
}

impl WebhookOptions {
    /// Checks what the parser of a single option can't see.
    pub(in crate::simulator) fn check(&self) -> Result<(), InvalidOptions> {
        let fail = |problem: &str| Err(InvalidOptions(problem.into()));
        if self.delay.shortest > self.delay.longest {
            return fail("the first duration of --webhook-delay is longer than the second");
        }
        if self.secret.as_deref() == Some("") {
            return fail("--webhook-secret is empty: give a secret of at least one character, or leave it out");
        }
        Ok(())
    }

    /// Whether webhooks are sent for operations with `tag`.
    pub(in crate::simulator) fn announces(&self, tag: &str) -> bool {
        self.url.is_some() && (self.tags.is_empty() || self.tags.iter().any(|wanted| wanted == tag))
    }

    /// The wait before a delivery is tried again that has failed `failures` times, or `None` once that is too often.
    pub(super) fn retry_after(&self, failures: u32) -> Option<Duration> {
        let doublings = failures.saturating_sub(1);
        let wait = self.retry_interval.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_RETRY_INTERVAL);
        (failures <= self.retries).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_until_a_day_and_end_at_the_limit() {
        let options = WebhookOptions { retries: 3, ..WebhookOptions::default() };
        let seconds = |failures| options.retry_after(failures).map(|wait| wait.as_secs());
        assert_eq!([1, 2, 3, 4].map(seconds), [Some(1), Some(2), Some(4), None]);
        let endless = WebhookOptions { retries: u32::MAX, ..WebhookOptions::default() };
        assert_eq!(endless.retry_after(u32::MAX), Some(MAX_RETRY_INTERVAL));
        let none = WebhookOptions { retries: 0, ..WebhookOptions::default() };
        assert_eq!(none.retry_after(1), None);
    }

    #[test]
    fn operations_are_announced_once_there_is_a_url_and_by_their_tag_when_tags_are_named() {
        let mut options = WebhookOptions::default();
        assert!(!options.announces("a"));
        options.url = Some("http://127.0.0.1:9/hook".parse().unwrap());
        assert!(options.announces("a") && options.announces(""));
        options.tags = vec!["a".into(), "b".into()];
        assert!(options.announces("a") && options.announces("b") && !options.announces("") && !options.announces("c"));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert_eq!(WebhookOptions::default().check(), Ok(()));
        let unsigned = WebhookOptions { secret: Some(String::new()), ..WebhookOptions::default() };
        assert!(unsigned.check().unwrap_err().to_string().contains("--webhook-secret is empty"));
        let mut falling = WebhookOptions::default();
        falling.delay.shortest = Duration::from_secs(9);
        assert!(falling.check().unwrap_err().to_string().contains("--webhook-delay"));
    }
}
