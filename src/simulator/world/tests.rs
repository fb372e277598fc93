//! Tests of everything that the simulated API knows, in simulated time.

use super::*;
use crate::simulator::bucket::RateLimit;
use crate::simulator::options::DurationRange;
use crate::simulator::style::StyleOptions;
use proptest::prelude::*;
use std::num::NonZeroU32;

const START: Time = Time::from_micros(1_700_000_000_000_000);

fn options() -> SimulatorOptions {
    let mut options = SimulatorOptions::default();
    options.plan.duration = DurationRange { shortest: Duration::from_secs(2), longest: Duration::from_secs(30) };
    options.plan.failure_share = 0.4;
    options
}

fn world(options: SimulatorOptions) -> World {
    World::new(options, START).unwrap()
}

fn second(n: u64) -> Time {
    START.after(Duration::from_secs(n))
}

fn body(world: &mut World, now: Time, id: &str) -> Option<Value> {
    let mut call = world.call(id);
    Some(world.status_body(now, id, None, &mut call)?["data"].clone())
}

fn keys(n: usize) -> Vec<String> {
    (1..=n).map(|n| format!("file_key_{n}")).collect()
}

/// The entries of a body as (key, status).
fn entries(body: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let files = body["files_data"].as_array().unwrap();
    files.iter().map(|file| (text(&file["file_key"]), text(&file["status"]))).collect()
}

#[test]
fn the_truth_is_counted_when_an_operation_finishes_and_outlives_it() {
    let mut world = world(options());
    for n in 0..50 {
        world.submit_drawn(second(0), if n % 2 == 0 { "even" } else { "odd" }).unwrap();
    }
    let before = world.truth(second(1));
    assert_eq!((before.finished.operations, before.planned.operations), (0, 50));
    let after = world.truth(second(30));
    assert_eq!(after.finished, after.planned);
    assert_eq!(after.planned, before.planned);
    assert_eq!(after.tags["even"].finished.operations, 25);
    assert_eq!(after.tags["odd"].planned, after.tags["odd"].finished);

    assert_eq!(world.operations(second(30), None, usize::MAX).len(), 50);
    let much_later = world.truth(second(2 * 3600));
    assert_eq!(much_later.finished, after.finished);
    assert!(world.operations(second(2 * 3600), None, usize::MAX).is_empty());
    assert!(world.numbers.is_empty() && world.unfinished.is_empty() && world.finished.is_empty());
}

#[test]
fn an_operation_leaves_once_it_has_been_finished_for_long() {
    let mut options = options();
    options.keep_finished = Duration::from_secs(10);
    let mut world = world(options);
    let id = world.submit(second(0), Action::Convert, keys(2), "").unwrap();
    let finishes = world.operations(second(0), None, 1)[0].finishes;
    let nearly = Time::from_micros(finishes.after(Duration::from_secs(10)).as_micros() - 1);
    assert!(body(&mut world, nearly, &id).is_some());
    assert!(body(&mut world, finishes.after(Duration::from_secs(10)), &id).is_none());
}

#[test]
fn what_is_not_an_operation_is_refused() {
    let mut world = world(options());
    let mut submit = |keys: Vec<String>, tag: &str| world.submit(second(0), Action::Convert, keys, tag);
    assert_eq!(submit(vec![], ""), Err(Refused::FileCount(0)));
    assert_eq!(submit(keys(1001), ""), Err(Refused::FileCount(1001)));
    assert_eq!(submit(vec![String::new()], ""), Err(Refused::FileKey(0)));
    assert_eq!(submit(keys(1), &"x".repeat(257)), Err(Refused::Tag(257)));
    for n in 0..MAX_TAGS {
        submit(keys(1), &n.to_string()).unwrap();
    }
    assert_eq!(submit(keys(1), "one more"), Err(Refused::Tags));
    submit(keys(1), "0").unwrap();
}

#[test]
fn each_key_has_a_bucket_of_its_own() {
    let mut options = options();
    options.api_keys = vec!["a".into(), "b".into()];
    options.rate_limit = RateLimit { requests: NonZeroU32::MIN, period: Duration::from_secs(1) };
    let mut world = world(options.clone());
    assert_eq!(world.admit(second(0), Some("a")), Ok(()));
    assert_eq!(world.admit(second(0), Some("a")), Err(NotAdmitted::RateLimited(Duration::from_secs(1))));
    assert_eq!(world.admit(second(0), Some("b")), Ok(()));
    assert_eq!(world.admit(second(0), Some("c")), Err(NotAdmitted::Unauthorized));
    assert_eq!(world.admit(second(0), None), Err(NotAdmitted::Unauthorized));
    assert_eq!(world.admit(second(1), Some("a")), Ok(()));

    options.api_keys = vec!["c".into()];
    world.set_options(second(1), options).unwrap();
    assert_eq!(world.admit(second(9), Some("a")), Err(NotAdmitted::Unauthorized));
    assert_eq!(world.admit(second(9), Some("c")), Ok(()));
    assert_eq!(world.buckets.len(), 1);
}

#[test]
fn a_fresh_operation_may_be_unknown_for_a_while() {
    let mut options = options();
    options.faults.fresh_not_found = 1.0;
    let mut world = world(options);
    let id = world.submit(second(0), Action::Convert, keys(1), "").unwrap();
    assert!(body(&mut world, second(1), &id).is_none());
    assert!(body(&mut world, second(2), &id).is_some());
}

#[test]
fn a_stale_answer_is_an_older_state_of_the_same_operation() {
    let mut options = options();
    options.plan.failure_share = 0.0;
    options.faults.stale = 1.0;
    let mut world = world(options);
    let id = world.submit(second(0), Action::Convert, keys(1), "").unwrap();
    let states: BTreeSet<String> =
        (0..200).map(|_| body(&mut world, second(31), &id).unwrap()["operation_status"].to_string()).collect();
    assert_eq!(states.len(), 3, "queued, in progress and completed are all older states: {states:?}");
}

#[test]
fn vanished_entries_come_back_and_shuffled_ones_are_the_same() {
    let mut world = world(options());
    let id = world.submit(second(0), Action::Convert, keys(6), "").unwrap();
    let plain = entries(&body(&mut world, second(40), &id).unwrap());

    world.options.faults.vanished = 1.0;
    let fewer = entries(&body(&mut world, second(40), &id).unwrap());
    assert!(fewer.len() < plain.len() && fewer.iter().all(|entry| plain.contains(entry)));
    world.options.faults.vanished = 0.0;
    assert_eq!(entries(&body(&mut world, second(40), &id).unwrap()), plain);

    world.options.faults.shuffled = 1.0;
    let shuffled: Vec<_> = (0..10).map(|_| entries(&body(&mut world, second(40), &id).unwrap())).collect();
    assert!(shuffled.iter().any(|order| *order != plain));
    for mut order in shuffled {
        order.sort();
        let mut plain = plain.clone();
        plain.sort();
        assert_eq!(order, plain);
    }
}

#[test]
fn the_file_route_follows_the_options() {
    let mut options = options();
    options.plan.failure_share = 0.0;
    let mut world = world(options);
    let id = world.submit(second(0), Action::Convert, keys(2), "").unwrap();
    let ask = |world: &mut World, key: &str| {
        let mut call = world.call(&id);
        world.status_body(second(40), &id, Some(key), &mut call).map(|body| entries(&body["data"]))
    };
    let found = vec![("file_key_1_result".to_owned(), "completed".to_owned())];
    assert_eq!(ask(&mut world, "file_key_1"), Some(found.clone()));
    assert_eq!(ask(&mut world, "nothing"), Some(vec![]));
    world.options.forget_input_keys = true;
    assert_eq!(ask(&mut world, "file_key_1"), Some(vec![]));
    assert_eq!(ask(&mut world, "file_key_1_result"), Some(found));
    world.options.unknown_file_not_found = true;
    assert_eq!(ask(&mut world, "file_key_1"), None);
}

#[test]
fn what_other_operations_are_asked_changes_no_answer() {
    let mut options = options();
    options.style = StyleOptions { mixed: true, ..StyleOptions::default() };
    options.faults.stale = 0.5;
    options.faults.garbage = 0.5;
    let answers = |noise: usize| {
        let mut world = world(options.clone());
        let ids: Vec<String> = (0..2).map(|_| world.submit_drawn(second(0), "").unwrap()).collect();
        (0..40)
            .map(|n| {
                for _ in 0..noise {
                    world.call(&ids[1]);
                    world.call("no such task");
                }
                let mut call = world.call(&ids[0]);
                let body = world.status_body(second(n), &ids[0], None, &mut call);
                (call.drawn, call.latency, body)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(answers(0), answers(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_truth_is_what_the_last_bodies_say(seed: u64, failures in 0.0..=1.0) {
        let mut options = options();
        options.seed = seed;
        options.plan.failure_share = failures;
        let mut world = world(options);
        let ids: Vec<String> = (0..20).map(|n| world.submit_drawn(second(n), "").unwrap()).collect();
        let mut seen = super::super::truth::Tally::default();
        for id in &ids {
            let body = body(&mut world, second(60), id).unwrap();
            let files = body["files_data"].as_array().unwrap();
            let failed: Vec<_> = files.iter().filter(|file| file["status"] == "failed").collect();
            seen.operations += 1;
            seen.files_failed += failed.len() as u64;
            seen.files_completed += files.iter().filter(|file| file["status"] == "completed").count() as u64;
            match (body["operation_status"].as_str().unwrap(), failed.len()) {
                ("failed", _) => seen.failed += 1,
                ("completed", 0) => seen.completed += 1,
                ("completed", _) => seen.partially_failed += 1,
                (other, _) => prop_assert!(false, "{} is not finished", other),
            }
            for file in failed {
                let code = file["error_code"].as_str().unwrap_or_default();
                *seen.failures_by_code.entry(code.to_owned()).or_default() += 1;
            }
        }
        let truth = world.truth(second(60));
        seen.duration = truth.finished.duration;
        prop_assert_eq!(&truth.finished, &seen);
        prop_assert_eq!(&truth.planned, &seen);
    }
}

fn announcing() -> SimulatorOptions {
    let mut options = options();
    options.webhooks.url = Some("http://127.0.0.1:9/hook".parse().unwrap());
    options
}

/// The bodies of all webhooks that are sent until `until`, in their order.
fn webhooks(world: &mut World, until: Time) -> Vec<Value> {
    let mut bodies = Vec::new();
    while let Some(now) = world.next_webhook().filter(|at| *at <= until) {
        for delivery in world.take_webhooks(now, usize::MAX) {
            bodies.push(delivery.body());
            world.webhook_answered(now, delivery, Answer::Status(204));
        }
    }
    bodies
}

#[test]
fn webhooks_tell_of_every_operation_at_the_moment_at_which_it_finishes() {
    let mut options = announcing();
    // Webhooks outlive the operations of which they tell.
    options.keep_finished = Duration::ZERO;
    let mut world = world(options);
    for _ in 0..30 {
        world.submit_drawn(second(0), "").unwrap();
    }
    let planned: BTreeMap<String, Time> =
        world.operations(second(0), None, 99).into_iter().map(|operation| (operation.id, operation.finishes)).collect();
    let bodies = webhooks(&mut world, second(60));
    let finished: BTreeMap<String, Time> = bodies
        .iter()
        .filter(|body| body["type"].as_str().unwrap().starts_with("operation."))
        .map(|body| {
            let id = body["payload"]["main_task"]["id"].as_str().unwrap();
            (id.to_owned(), Time::parse(body["timestamp"].as_str().unwrap()).unwrap())
        })
        .collect();
    assert_eq!(finished, planned);

    let truth = world.truth(second(60)).finished;
    let counts = world.webhook_counts(second(60));
    assert_eq!(counts.events["operation.failed"], truth.failed);
    assert_eq!(counts.events["operation.completed"], truth.completed + truth.partially_failed);
    assert_eq!(counts.events["fileTask.completed"], truth.files_completed);
    assert_eq!(counts.events["fileTask.failed"], truth.files_failed);
    assert_eq!((counts.acknowledged, counts.open), (counts.announced, 0));
}

#[test]
fn webhooks_follow_from_the_seed_and_not_from_who_asks_between() {
    let sent = |seed, curious: bool| {
        let mut options = SimulatorOptions { seed, ..announcing() };
        options.style.mixed = true;
        options.webhooks.shuffled = 0.3;
        options.webhooks.twice = 0.3;
        options.webhooks.lost = 0.1;
        let mut world = world(options);
        for n in 0..10 {
            let id = world.submit(second(0), Action::Convert, keys(3), "").unwrap();
            if curious {
                body(&mut world, second(n % 3), &id);
            }
        }
        webhooks(&mut world, second(60))
    };
    assert_eq!(sent(1, false), sent(1, true));
    assert_ne!(sent(1, false), sent(2, false));
}

#[test]
fn webhooks_are_sent_for_what_happens_while_there_is_a_url_and_for_the_tags_named() {
    let mut world = world(options());
    let start = world.options().clone();
    world.submit(second(0), Action::Convert, keys(1), "early").unwrap();
    assert_eq!(world.next_webhook(), None);
    let with_url = SimulatorOptions { webhooks: announcing().webhooks, ..start };
    world.set_options(second(30), with_url.clone()).unwrap();
    assert_eq!(world.next_webhook(), None);

    let mut only_invoices = with_url.clone();
    only_invoices.webhooks.tags = vec!["invoices".into()];
    world.set_options(second(30), only_invoices).unwrap();
    world.submit(second(30), Action::Convert, keys(1), "photos").unwrap();
    world.submit(second(30), Action::Convert, keys(1), "invoices").unwrap();
    assert_eq!(webhooks(&mut world, second(90)).len(), 2);
    assert_eq!(world.webhook_counts(second(90)).announced, 2);

    // What waits when the URL is taken away is never sent.
    let mut held = with_url.clone();
    held.webhooks.shuffled = 1.0;
    world.set_options(second(90), held).unwrap();
    world.submit(second(90), Action::Convert, keys(1), "").unwrap();
    let mut without = with_url;
    without.webhooks.url = None;
    let finishes = world.operations(second(90), Some(""), 1)[0].finishes;
    world.set_options(finishes, without).unwrap();
    let counts = world.webhook_counts(second(200));
    assert_eq!((counts.announced, counts.dropped, counts.open), (4, 2, 0));
}
