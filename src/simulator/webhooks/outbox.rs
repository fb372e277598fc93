//! Webhooks on their way: when each is sent, again or no more. No I/O; time comes in.

use super::counts::WebhookCounts;
use super::event::{Event, Form};
use super::options::WebhookOptions;
use crate::simulator::operation::Operation;
use crate::simulator::options::{DurationRange, SimulatorOptions};
use crate::time::Time;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The most deliveries that wait at once: as many as 100,000 operations of one file have in all, and then
/// some hundred bytes for each. One more is dropped and counted.
const MAX_WAITING: usize = 200_000;

/// One delivery of one event.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct Delivery {
    /// The main task's ID.
    id: String,
    operation: Arc<Operation>,
    event: Event,
    plan: Plan,
    /// Requests that got no 2xx.
    failures: u32,
}

/// All that chance decides about the webhook of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    lost: bool,
    held_back: bool,
    /// From the event until it is sent.
    wait: Duration,
    /// From the acknowledgement until it is sent again, if it is.
    again_after: Option<Duration>,
    form: Form,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) enum Answer {
    Status(u16),
    Timeout,
    /// No connection, or one that broke.
    None,
}

/// The webhooks on their way.
#[derive(Debug, Default)]
pub(in crate::simulator) struct Outbox {
    /// By when they are sent, and then in the order in which they came in.
    waiting: BTreeMap<(Time, u64), Delivery>,
    came_in: u64,
    counts: WebhookCounts,
}

impl Delivery {
    /// Plans the delivery of `event`, which happened to `operation`.
    pub(in crate::simulator) fn plan(
        id: String,
        operation: Arc<Operation>,
        event: Event,
        options: &SimulatorOptions,
        random: &mut StdRng,
    ) -> Self {
        let plan = Plan::draw(options, random);
        Self { id, operation, event, plan, failures: 0 }
    }

    /// The webhook's body.
    pub(in crate::simulator) fn body(&self) -> Value {
        self.event.body(&self.id, &self.operation, self.plan.form)
    }
}

impl Plan {
    fn draw(options: &SimulatorOptions, random: &mut StdRng) -> Self {
        let SimulatorOptions { webhooks, style, .. } = options;
        // Every number is drawn whether it is needed or not, so that turning one option on moves no other.
        let [lost, held_back, twice]: [f64; 3] = random.random();
        let (delay, pause) = (draw_delay(webhooks.delay, random), draw_delay(webhooks.delay, random));
        let held_back = held_back < webhooks.shuffled;
        Self {
            lost: lost < webhooks.lost,
            held_back,
            wait: if held_back { delay + webhooks.hold_for } else { delay },
            again_after: (twice < webhooks.twice).then_some(pause),
            form: Form::draw(style, random),
        }
    }
}

fn draw_delay(range: DurationRange, random: &mut StdRng) -> Duration {
    range.shortest + range.longest.saturating_sub(range.shortest).mul_f64(random.random())
}

impl Outbox {
    /// Takes in the delivery of an event.
    pub(in crate::simulator) fn add(&mut self, delivery: Delivery) {
        let Delivery { event, plan, .. } = delivery;
        self.counts.announced += 1;
        *self.counts.events.entry(event.kind.as_str()).or_default() += 1;
        self.counts.open += 1;
        if plan.lost {
            self.counts.lost += 1;
            self.counts.open -= 1;
            return;
        }
        self.counts.held_back += u64::from(plan.held_back);
        self.put(event.at.after(plan.wait), delivery);
    }

    /// The deliveries to send now, the earliest first and at most `most`. Each is answered later.
    pub(in crate::simulator) fn take_due(&mut self, now: Time, most: usize) -> Vec<Delivery> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(entry) = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)
        {
            let delivery = entry.remove();
            self.counts.sent += 1;
            self.counts.retried += u64::from(delivery.failures > 0);
            due.push(delivery);
        }
        due
    }

    /// When the next delivery is due.
    pub(in crate::simulator) fn next_due(&self) -> Option<Time> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes back a delivery that was sent, with its answer.
    pub(in crate::simulator) fn answered(
        &mut self,
        now: Time,
        mut delivery: Delivery,
        answer: Answer,
        options: &WebhookOptions,
    ) {
        *self.counts.answers.entry(answer.word()).or_default() += 1;
        let again_after = if answer.acknowledges() {
            delivery.failures = 0;
            self.counts.acknowledged += 1;
            self.counts.open -= 1;
            let pause = delivery.plan.again_after.take().filter(|_| options.url.is_some());
            self.counts.repeated += u64::from(pause.is_some());
            self.counts.open += u64::from(pause.is_some());
            pause
        } else {
            delivery.failures = delivery.failures.saturating_add(1);
            let wait = options.retry_after(delivery.failures);
            self.counts.given_up += u64::from(wait.is_none());
            self.counts.open -= u64::from(wait.is_none());
            wait
        };
        if let Some(wait) = again_after {
            self.put(now.after(wait), delivery);
        }
        if options.url.is_none() {
            self.clear();
        }
    }

    /// Drops all that waits.
    pub(in crate::simulator) fn clear(&mut self) {
        let dropped = self.waiting.len() as u64;
        self.counts.dropped += dropped;
        self.counts.open -= dropped;
        self.waiting.clear();
    }

    pub(in crate::simulator) fn counts(&self) -> WebhookCounts {
        self.counts.clone()
    }

    fn put(&mut self, due: Time, delivery: Delivery) {
        if self.waiting.len() >= MAX_WAITING {
            self.counts.dropped += 1;
            self.counts.open -= 1;
            return;
        }
        self.waiting.insert((due, self.came_in), delivery);
        self.came_in += 1;
    }
}

impl Answer {
    fn acknowledges(self) -> bool {
        matches!(self, Self::Status(200..=299))
    }

    /// The word under which it is counted.
    fn word(self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Timeout => "timeout".to_owned(),
            Self::None => "no_answer".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
