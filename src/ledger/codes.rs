//! Keeps the number of distinct error codes, each a series in every group, within its limit.

use crate::task::ErrorCode;
use std::collections::BTreeSet;

/// The error codes that are counted by name.
#[derive(Debug)]
pub(super) struct ErrorCodes {
    named: BTreeSet<ErrorCode>,
    limit: usize,
}

impl ErrorCodes {
    /// Those that have been counted or are configured stay, whatever the limit.
    pub(super) fn new(named: impl IntoIterator<Item = ErrorCode>, limit: usize) -> Self {
        let mut codes = Self { named: BTreeSet::new(), limit };
        codes.named.extend(named.into_iter().filter(|code| !is_reserved(code)));
        codes
    }

    /// Another limit, and other codes that are configured.
    pub(super) fn limit_to(&mut self, limit: usize, known: &[ErrorCode]) {
        self.limit = limit;
        self.named.extend(known.iter().filter(|code| !is_reserved(code)).cloned());
    }

    /// The code under which a failure is counted.
    pub(super) fn bounded(&mut self, code: &ErrorCode) -> ErrorCode {
        if is_reserved(code) || self.named.contains(code) {
            return code.clone();
        }
        if self.named.len() >= self.limit {
            return ErrorCode::other();
        }
        self.named.insert(code.clone());
        code.clone()
    }
}

/// The exporter's own codes take none of the API's places.
fn is_reserved(code: &ErrorCode) -> bool {
    [ErrorCode::UNSPECIFIED, ErrorCode::OTHER].contains(&code.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> ErrorCode {
        ErrorCode::from_api(text).unwrap()
    }

    #[test]
    fn past_the_limit_a_new_code_is_other_and_a_known_one_stays_itself() {
        let mut codes = ErrorCodes::new([code("known"), ErrorCode::other()], 2);
        assert_eq!(codes.bounded(&code("first")), code("first"));
        assert_eq!(codes.bounded(&code("second")), ErrorCode::other());
        assert_eq!(codes.bounded(&code("first")), code("first"));
        assert_eq!(codes.bounded(&code("known")), code("known"));
        assert_eq!(codes.bounded(&ErrorCode::unspecified()), ErrorCode::unspecified());
    }
}
