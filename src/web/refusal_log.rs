//! What the log says of refused changes and webhooks: an application seldom tells anybody that it was refused.
//!
//! Each kind of refusal is told once, and again only after a request of that sort was let through. Whoever has no
//! credentials can't fill the log so; and where good and bad clients alternate, it is told once in a while.

use super::refusal::Refusal;
use axum::http::Method;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The least time between two lines about the same, on a monotonic clock.
const QUIET: Duration = Duration::from_secs(60);

/// A sort of request whose refusals are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    /// `POST /api/v1/tasks`.
    Registration,
    /// `DELETE /api/v1/tasks/{id}`.
    Deletion,
    /// `POST /webhooks/dragdropdo`.
    Webhook,
}

impl Sort {
    /// The sort of a request that changes the tracked tasks.
    pub(super) fn of_change(method: &Method) -> Self {
        if *method == Method::DELETE { Self::Deletion } else { Self::Registration }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Deletion => "deletion",
            Self::Webhook => "webhook",
        }
    }
}

/// Which refusals were told.
///
/// A kind is known by its text. Those that come here are of credentials and of what is not configured: few, and made of
/// nothing that a client sent.
#[derive(Debug, Default)]
pub(super) struct RefusalLog(Mutex<BTreeMap<(Sort, String), Told>>);

#[derive(Debug)]
struct Told {
    at: Duration,
    was_good_since: bool,
}

impl RefusalLog {
    /// Tells that a request was refused, unless that is known.
    pub(super) fn refused(&self, sort: Sort, refusal: &Refusal, now: Duration) {
        if self.is_news(sort, refusal.error(), now) {
            let (sort, status, reason) = (sort.as_str(), refusal.status().as_u16(), refusal.error());
            tracing::warn!(
                status,
                reason,
                "a {sort} was refused with {status}, and the next ones like it are not told: {reason}"
            );
        }
    }

    /// A request of this sort was let through: the next refusal is news.
    pub(super) fn let_through(&self, sort: Sort) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, told) in told.iter_mut().filter(|((of, _), _)| *of == sort) {
            told.was_good_since = true;
        }
    }

    fn is_news(&self, sort: Sort, reason: &str, now: Duration) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = (sort, reason.to_owned());
        if told.get(&kind).is_some_and(|last| !last.was_good_since || now < last.at.saturating_add(QUIET)) {
            return false;
        }
        told.insert(kind, Told { at: now, was_good_since: false });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_again_only_after_a_good_request_and_a_while() {
        let log = RefusalLog::default();
        let is_news = |sort, reason, seconds| log.is_news(sort, reason, Duration::from_secs(seconds));
        assert!(is_news(Sort::Registration, "wrong", 0));
        assert!(!is_news(Sort::Registration, "wrong", 1000));
        assert!(is_news(Sort::Registration, "missing", 1000), "another kind");
        assert!(is_news(Sort::Deletion, "wrong", 1000), "another sort");
        log.let_through(Sort::Registration);
        assert!(is_news(Sort::Registration, "wrong", 1001));
        assert!(!is_news(Sort::Registration, "wrong", 1002));
        log.let_through(Sort::Registration);
        assert!(!is_news(Sort::Registration, "wrong", 1060), "told a moment ago");
        assert!(is_news(Sort::Registration, "wrong", 1061));
        assert!(!is_news(Sort::Deletion, "wrong", 1061), "no deletion was let through");
    }
}
