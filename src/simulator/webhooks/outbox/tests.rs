//! Tests of when webhooks are sent, in simulated time.

use super::*;
use crate::simulator::Action;
use crate::simulator::seed::Seed;
use proptest::prelude::*;

const CREATED: Time = Time::from_micros(1_700_000_000_000_000);
const ACKNOWLEDGED: Answer = Answer::Status(204);

/// Webhooks that are sent at once and tried three times.
fn options() -> SimulatorOptions {
    let mut options = SimulatorOptions::default();
    options.webhooks.url = Some("http://127.0.0.1:9/hook".parse().unwrap());
    options.webhooks.delay = DurationRange { shortest: Duration::ZERO, longest: Duration::ZERO };
    options.webhooks.retries = 2;
    options
}

fn deliveries(options: &SimulatorOptions, operations: u64) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for number in 0..operations {
        let seed = Seed::new(5).child(number);
        let keys = vec!["a".to_owned()];
        let operation =
            Operation::plan(Action::Convert, keys, String::new(), CREATED, &options.plan, &mut seed.source());
        let operation = Arc::new(operation);
        for event in Event::all_at(&operation, operation.finishes()) {
            let mut random = seed.child(event.number()).source();
            deliveries.push(Delivery::plan(number.to_string(), operation.clone(), event, options, &mut random));
        }
    }
    deliveries
}

fn one(options: &SimulatorOptions) -> (Outbox, Time) {
    let mut outbox = Outbox::default();
    let delivery = deliveries(options, 1).remove(0);
    let at = delivery.event.at;
    outbox.add(delivery);
    (outbox, at)
}

/// Whether every delivery is in exactly one of the places where it can be.
fn adds_up(counts: &WebhookCounts) -> bool {
    let ended = counts.acknowledged + counts.given_up + counts.lost + counts.dropped;
    let answers: u64 = counts.answers.values().sum();
    counts.announced + counts.repeated == ended + counts.open
        && counts.events.values().sum::<u64>() == counts.announced
        && answers <= counts.sent
}

#[test]
fn a_webhook_is_sent_within_its_delay() {
    let mut options = options();
    options.webhooks.delay = DurationRange { shortest: Duration::from_secs(1), longest: Duration::from_secs(3) };
    let waits: Vec<f64> = deliveries(&options, 500).iter().map(|it| it.plan.wait.as_secs_f64()).collect();
    assert!(waits.iter().all(|wait| (1.0..=3.0).contains(wait)));
    assert!(waits.iter().any(|wait| *wait < 1.1) && waits.iter().any(|wait| *wait > 2.9));

    let mut outbox = Outbox::default();
    let delivery = deliveries(&options, 1).remove(0);
    let due = delivery.event.at.after(delivery.plan.wait);
    outbox.add(delivery);
    assert_eq!(outbox.next_due(), Some(due));
    assert!(outbox.take_due(Time::from_micros(due.as_micros() - 1), 9).is_empty());
    assert_eq!(outbox.take_due(due, 9).len(), 1);
    assert_eq!(outbox.next_due(), None);
}

#[test]
fn a_delivery_is_tried_again_after_doubling_times_and_then_given_up() {
    let options = options();
    let (mut outbox, mut now) = one(&options);
    for wait in [1, 2] {
        let delivery = outbox.take_due(now, 9).remove(0);
        outbox.answered(now, delivery, Answer::Status(503), &options.webhooks);
        let due = now.after(Duration::from_secs(wait));
        assert_eq!(outbox.next_due(), Some(due));
        now = due;
    }
    let delivery = outbox.take_due(now, 9).remove(0);
    outbox.answered(now, delivery, Answer::Timeout, &options.webhooks);
    assert_eq!(outbox.next_due(), None);
    let counts = outbox.counts();
    assert_eq!((counts.sent, counts.retried, counts.given_up, counts.open), (3, 2, 1, 0));
    assert_eq!(counts.answers, BTreeMap::from([("503".to_owned(), 2), ("timeout".to_owned(), 1)]));
    assert!(adds_up(&counts));
}

#[test]
fn only_2xx_acknowledges() {
    for status in [200, 202, 204, 299] {
        assert!(Answer::Status(status).acknowledges(), "{status}");
    }
    for answer in [100, 199, 300, 302, 401, 500].map(Answer::Status).into_iter().chain([Answer::Timeout, Answer::None])
    {
        assert!(!answer.acknowledges(), "{answer:?}");
    }
}

#[test]
fn an_acknowledged_delivery_may_come_a_second_time_and_no_third() {
    let mut options = options();
    options.webhooks.twice = 1.0;
    let (mut outbox, now) = one(&options);
    let first = outbox.take_due(now, 9).remove(0);
    let body = first.body();
    outbox.answered(now, first, ACKNOWLEDGED, &options.webhooks);
    let second = outbox.take_due(now, 9).remove(0);
    assert_eq!(second.body(), body);
    outbox.answered(now, second, ACKNOWLEDGED, &options.webhooks);
    assert_eq!(outbox.next_due(), None);
    let counts = outbox.counts();
    assert_eq!((counts.announced, counts.sent, counts.repeated, counts.retried), (1, 2, 1, 0));
    assert!(adds_up(&counts));
}

#[test]
fn each_share_is_as_large_as_asked_for_and_none_moves_another() {
    let mut options = options();
    options.webhooks.twice = 0.3;
    let before: Vec<Plan> = deliveries(&options, 1000).iter().map(|delivery| delivery.plan).collect();
    options.webhooks.lost = 0.1;
    options.webhooks.shuffled = 0.5;
    let after: Vec<Plan> = deliveries(&options, 1000).iter().map(|delivery| delivery.plan).collect();
    let count = |wanted: fn(&Plan) -> bool| after.iter().filter(|plan| wanted(plan)).count();
    assert_eq!(after.len(), 2000);
    assert!((150..250).contains(&count(|plan| plan.lost)));
    assert!((900..1100).contains(&count(|plan| plan.held_back)));
    assert!((500..700).contains(&count(|plan| plan.again_after.is_some())));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.again_after, before.form), (after.again_after, after.form));
        let hold = if after.held_back { options.webhooks.hold_for } else { Duration::ZERO };
        assert_eq!(before.wait + hold, after.wait);
    }
}

#[test]
fn a_lost_webhook_is_counted_and_never_sent() {
    let mut options = options();
    options.webhooks.lost = 1.0;
    let (outbox, _) = one(&options);
    assert_eq!(outbox.next_due(), None);
    let counts = outbox.counts();
    assert_eq!((counts.announced, counts.lost, counts.sent, counts.open), (1, 1, 0, 0));
}

#[test]
fn without_a_url_nothing_waits_any_more() {
    let mut options = options();
    options.webhooks.twice = 1.0;
    for answer in [ACKNOWLEDGED, Answer::None] {
        let (mut outbox, now) = one(&options);
        let delivery = outbox.take_due(now, 9).remove(0);
        let without = WebhookOptions { url: None, ..options.webhooks.clone() };
        outbox.answered(now, delivery, answer, &without);
        assert_eq!(outbox.next_due(), None);
        assert_eq!(outbox.counts().open, 0);
        assert!(adds_up(&outbox.counts()));
    }
}

#[test]
fn the_queue_is_bounded_and_what_it_has_no_room_for_is_counted() {
    let (mut outbox, now) = one(&options());
    let delivery = outbox.take_due(now, 1).remove(0);
    for _ in 0..MAX_WAITING + 3 {
        outbox.add(delivery.clone());
    }
    assert_eq!(outbox.waiting.len(), MAX_WAITING);
    assert_eq!(outbox.counts().dropped, 3);
    assert!(adds_up(&outbox.counts()));
    assert_eq!(outbox.take_due(now, 16).len(), 16);
}

proptest! {
    #[test]
    fn every_delivery_ends_once_whatever_is_answered(
        shares in [0.0..=1.0, 0.0..=1.0, 0.0..=1.0],
        answers in prop::collection::vec(0_u8..4, 0..200),
    ) {
        let mut options = options();
        [options.webhooks.twice, options.webhooks.shuffled, options.webhooks.lost] = shares;
        let mut outbox = Outbox::default();
        for delivery in deliveries(&options, 20) {
            outbox.add(delivery);
        }
        for answer in answers.into_iter().chain(std::iter::repeat(0)) {
            let Some(now) = outbox.next_due() else { break };
            let delivery = outbox.take_due(now, 1).remove(0);
            let answer = match answer {
                0 => ACKNOWLEDGED,
                1 => Answer::Status(500),
                2 => Answer::Timeout,
                _ => Answer::None,
            };
            outbox.answered(now, delivery, answer, &options.webhooks);
            prop_assert!(adds_up(&outbox.counts()), "{:?}", outbox.counts());
        }
        let counts = outbox.counts();
        prop_assert_eq!((counts.open, counts.dropped), (0, 0));
        prop_assert_eq!(counts.announced, 40);
        prop_assert_eq!(counts.sent, counts.announced - counts.lost + counts.repeated + counts.retried);
    }
}
