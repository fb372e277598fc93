//! Failed handshakes, told so that the on-call engineer can act: in plain words, and each reason once in a while.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

/// How long a reason that was told is not told again: whoever can reach the port can make handshakes fail, as often as
/// they like, and a client that is set up wrongly tries at each scrape.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(300);
/// The reasons told within that time. There are about as many that a client set up wrongly can cause; more are made up.
const MAX_REASONS: usize = 16;
/// The longest reason, in characters: a certificate may hold any number of names.
const MAX_REASON: usize = 500;

/// The reasons that were told lately.
#[derive(Debug, Default)]
pub(super) struct Failures {
    told: Mutex<BTreeSet<String>>,
}

impl Failures {
    /// Tells that the handshake with `peer` failed.
    pub(super) fn tell(&self, reason: &str, peer: SocketAddr) {
        let reason: String = reason.chars().take(MAX_REASON).collect();
        if self.is_news(&reason) {
            let minutes = TELL_EVERY.as_secs() / 60;
            tracing::info!(%peer, "a TLS handshake failed: {reason} (told once in {minutes} min; level debug tells all)");
        } else {
            tracing::debug!(%peer, "a TLS handshake failed: {reason}");
        }
    }

    /// Begins a new time.
    pub(super) fn forget(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn is_news(&self, reason: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < MAX_REASONS && told.insert(reason.to_owned())
    }
}

/// What an error of a handshake means.
pub(super) fn explain(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(error) => explain_tls(error),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => "the client left in the midst of it".to_owned(),
        None => error.to_string(),
    }
}

// rustls may come to know others at any time.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enums are another's, and open")]
fn explain_tls(error: &Error) -> String {
    use AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA};
    match error {
        Error::NoCertificatesPresented => {
            "the client showed no certificate, which client_auth_type of the web config file requires".to_owned()
        }
        Error::InvalidCertificate(problem) => explain_certificate(problem),
        Error::AlertReceived(alert @ (BadCertificate | CertificateExpired | CertificateUnknown | UnknownCA)) => {
            format!(
                "the client does not take the certificate of this exporter ({alert:?}): give the client its CA, or \
                 the exporter a certificate that is valid for the name asked"
            )
        }
        Error::AlertReceived(alert) => format!("the client ended it ({alert:?})"),
        Error::PeerIncompatible(why) => format!(
            "the client and this exporter have no version, cipher suite or curve of TLS in common ({why:?}): see \
             min_version, max_version, cipher_suites and curve_preferences of the web config file"
        ),
        Error::InvalidMessage(_) => "the client speaks something other than TLS".to_owned(),
        other => other.to_string(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is another's, and open")]
fn explain_certificate(problem: &CertificateError) -> String {
    use CertificateError::{
        Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext, NotValidYet, NotValidYetContext, Other,
        UnknownIssuer,
    };
    let what = match problem {
        UnknownIssuer => "is of no CA in client_ca_file".to_owned(),
        Expired | ExpiredContext { .. } => "has expired: renew it".to_owned(),
        NotValidYet | NotValidYetContext { .. } => "is not valid yet: check the clocks of both machines".to_owned(),
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "is not meant for clients: its extended key usage lacks clientAuth".to_owned()
        }
        // rustls hands on what its library for certificates says, which knows no words but names.
        Other(other) => match other.to_string().as_str() {
            "UnsupportedCertVersion" => "is of X.509 version 1: make it anew, as version 3".to_owned(),
            "CaUsedAsEndEntity" => {
                "is the certificate of a CA: make one for the client, or put this one into client_ca_file".to_owned()
            }
            other => other.to_owned(),
        },
        other => format!("is of no use: {other}"),
    };
    format!("the certificate of the client {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_news_once_in_a_time_and_so_many_of_them() {
        let failures = Failures::default();
        for _ in 0..2 {
            assert!(failures.is_news("one") && !failures.is_news("one"));
            let news = (0..100).filter(|number| failures.is_news(&number.to_string())).count();
            assert_eq!(news, MAX_REASONS - 1);
            failures.forget();
        }
    }
}
