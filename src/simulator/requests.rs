//! Counts the requests that the simulated API has seen, so that a client's budget can be checked.

use crate::time::Time;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The window of [`RequestCounts::busiest_second`].
const SECOND: Duration = Duration::from_secs(1);
/// The most arrivals kept to find the busiest second: more in one second than two cores can serve.
const MAX_RECENT: usize = 100_000;

/// The requests that the API's own routes have seen. Those to `/simulator/…` are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    /// All requests.
    pub total: u64,
    /// The most requests within any one second.
    pub busiest_second: u64,
    /// The most requests at once that waited for the head of their answer.
    pub most_in_flight: u64,
    /// The requests by route, status and fault.
    pub answers: Vec<AnswerCount>,
}

/// The requests that were answered in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnswerCount {
    /// The route, with its parameters in braces.
    pub route: String,
    /// The HTTP status of the answer; 504 for one that hangs.
    pub status: u16,
    /// The fault that spoilt the answer, if one did.
    pub fault: Option<&'static str>,
    /// How many.
    pub count: u64,
}

/// Counts requests as they come and go.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestLog {
    answers: BTreeMap<(String, u16, Option<&'static str>), u64>,
    recent: VecDeque<Time>,
    total: u64,
    busiest_second: usize,
    in_flight: u64,
    most_in_flight: u64,
}

impl RequestLog {
    pub(super) fn arrived(&mut self, now: Time) {
        self.total += 1;
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        while self.recent.len() >= MAX_RECENT || self.recent.front().is_some_and(|at| now.since(*at) >= SECOND) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.busiest_second = self.busiest_second.max(self.recent.len());
    }

    pub(super) fn answered(&mut self, route: &str, status: u16, fault: Option<&'static str>) {
        *self.answers.entry((route.to_owned(), status, fault)).or_default() += 1;
    }

    pub(super) fn left(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(super) fn counts(&self) -> RequestCounts {
        let answer = |((route, status, fault), count): (&(String, u16, Option<&'static str>), &u64)| AnswerCount {
            route: route.clone(),
            status: *status,
            fault: *fault,
            count: *count,
        };
        RequestCounts {
            total: self.total,
            busiest_second: self.busiest_second as u64,
            most_in_flight: self.most_in_flight,
            answers: self.answers.iter().map(answer).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_and_the_most_in_flight_are_remembered() {
        let start = Time::from_micros(0);
        let mut log = RequestLog::default();
        for ms in [0, 100, 999, 1000, 5000] {
            log.arrived(start.after(Duration::from_millis(ms)));
            if ms == 999 {
                log.left();
                log.left();
            }
        }
        log.answered("/a", 200, None);
        log.answered("/a", 200, None);
        log.answered("/a", 500, Some("server_error"));
        let counts = log.counts();
        assert_eq!((counts.total, counts.busiest_second, counts.most_in_flight), (5, 3, 3));
        let answers: Vec<_> = counts.answers.iter().map(|answer| (answer.status, answer.count)).collect();
        assert_eq!(answers, [(200, 2), (500, 1)]);
    }
}
