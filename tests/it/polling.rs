//! When the API is asked: within its budget, evenly, and as its answers say.

use crate::harness::{Answer, Asked, FakeApi, Setup, operation};
use serde_json::json;
use std::time::Duration;

fn queued() -> Answer {
    operation("queued", &[("a", "queued")])
}

/// So many tasks, `t0` to `tN`, and the configuration that lists them.
fn tasks(count: usize) -> (Vec<String>, serde_json::Value) {
    let tasks: Vec<String> = (0..count).map(|at| format!("t{at}")).collect();
    let yaml = json!({ "tasks": tasks });
    (tasks, yaml)
}

/// The requests that came within `window` from the first one after `from` on.
fn within(asked: &[Asked], from: Duration, window: Duration) -> Vec<&Asked> {
    let asked = asked.iter().filter(|asked| asked.at >= from);
    let mut first = None;
    asked.take_while(|asked| asked.at < *first.get_or_insert(asked.at) + window).collect()
}

/// Waits until the API has lived that long.
async fn until(api: &FakeApi, at: Duration) {
    tokio::time::sleep(at.saturating_sub(api.now())).await;
}

#[tokio::test]
async fn the_budget_is_kept_and_shared_evenly() {
    const SECONDS: u64 = 4;
    let api = FakeApi::start().await;
    api.otherwise(queued());
    let (tasks, mut yaml) = tasks(50);
    yaml["api"] = json!({"rate_limit": "20/s"});
    let exporter = Setup::new(&api, &yaml.to_string()).start().await;
    until(&api, api.now() + Duration::from_secs(SECONDS)).await;
    let asked = api.asked();
    let counted = within(&asked, Duration::ZERO, Duration::from_secs(SECONDS)).len();
    // A burst of one second's worth, and then 20 each second; a machine that stalls may lose some.
    assert!((60..=20 + 20 * 4).contains(&counted), "{counted}");
    for start in asked.iter().map(|asked| asked.at).filter(|at| *at > Duration::from_secs(1)) {
        let burst = within(&asked, start, Duration::from_secs(1)).len();
        // They come over the network: a stall lets some arrive later and others not.
        assert!(burst <= 2 * 20, "{burst} in a second from {start:?}");
    }
    let counts: Vec<usize> = tasks.iter().map(|task| api.count(task)).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least >= 1 && most - least <= 1, "{counts:?}");
    // 50 tasks at 20 a second, each due after 100 ms: the most overdue one is always late.
    exporter.until("a lag", |scrape| scrape.value("dragdropdo_poll_lag_seconds") > 0.5).await;
}

#[tokio::test]
async fn at_most_so_many_requests_are_in_flight() {
    let api = FakeApi::start().await;
    api.otherwise(queued().after(Duration::from_millis(100)));
    let (_, mut yaml) = tasks(30);
    yaml["api"] = json!({"concurrency": 3});
    let _exporter = Setup::new(&api, &yaml.to_string()).start().await;
    api.is_asked_again("t29", 2).await;
    assert_eq!(api.most_at_once(), 3);
}

#[tokio::test]
async fn a_429_holds_back_every_request_for_as_long_as_it_says() {
    let api = FakeApi::start().await;
    api.otherwise(queued());
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(4_000_000_000));
    api.answers("t0", [queued(), Answer::status(429).header("retry-after", "2"), queued()]);
    let (_, yaml) = tasks(5);
    let exporter = Setup::new(&api, &yaml.to_string()).start().await;
    let limited = "dragdropdo_api_requests_total{outcome=rate_limited}";
    exporter.shows(&[(limited, 1.0)]).await;
    exporter.until("a lag", |scrape| scrape.value("dragdropdo_poll_lag_seconds") > 0.5).await;
    api.has_told_all("t0").await;
    let asked = api.asked();
    let hold = asked.iter().filter(|asked| asked.what == "t0").nth(1).unwrap().at;
    // What was under way when the answer came may still arrive.
    let next = asked.iter().map(|asked| asked.at).find(|at| *at > hold + Duration::from_millis(500)).unwrap();
    assert!((2000..10_000).contains(&(next - hold).as_millis()), "{next:?} after {hold:?}");

    api.answers("t1", [Answer::status(429).header("retry-after", date)]);
    exporter.shows(&[(limited, 2.0)]).await;
    let before = api.asked().len();
    // Without a date it would be one second; one so far in the future is five minutes.
    until(&api, api.now() + Duration::from_secs(2)).await;
    assert!(api.asked().len() <= before + 5, "{} after {before}", api.asked().len());
}

#[tokio::test]
async fn a_refused_key_slows_everything_until_its_file_changes() {
    let api = FakeApi::start().await;
    api.otherwise(Answer::status(401));
    let mut setup = Setup::new(&api, "{tasks: [t0, t1, t2], api: {concurrency: 1, api_key: null, api_key_file: key}}");
    setup.configure("{}");
    std::fs::write(setup.path("key"), "d3_live_old\n").unwrap();
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_api_requests_total{outcome=unauthorized}", 1.0), ("dragdropdo_up", 0.0)]).await;
    // As long as a good key would have taken to ask for each task many times.
    exporter.until("a lag", |scrape| scrape.value("dragdropdo_poll_lag_seconds") > 1.5).await;
    assert_eq!(api.asked().len(), 1);
    api.otherwise(queued());
    std::fs::write(setup.path("key"), "d3_live_new\n").unwrap();
    for task in ["t0", "t1", "t2"] {
        api.is_asked_again(task, 2).await;
    }
    let asked = api.asked();
    assert_eq!(asked[0].headers["authorization"], "Bearer d3_live_old");
    assert!(asked[1..].iter().all(|asked| asked.headers["authorization"] == "Bearer d3_live_new"));
    exporter.shows(&[("dragdropdo_up", 1.0), ("dragdropdo_tasks{state=queued}", 3.0)]).await;
}

#[tokio::test]
async fn two_tasks_that_are_forbidden_in_a_row_slow_everything() {
    let api = FakeApi::start().await;
    api.otherwise(Answer::status(403));
    api.answers("t0", [queued(), Answer::status(403)]);
    let exporter = Setup::new(&api, "{tasks: [t0, t1, t2], api: {concurrency: 1}}").start().await;
    let scrape = exporter.until("a lag", |scrape| scrape.value("dragdropdo_poll_lag_seconds") > 1.5).await;
    assert_eq!(scrape.value("dragdropdo_api_requests_total{outcome=unauthorized}"), 2.0);
    assert_eq!(scrape.value("dragdropdo_up"), 0.0);
}

#[tokio::test]
async fn one_task_that_is_forbidden_or_fails_backs_off_and_holds_back_nobody() {
    let api = FakeApi::start().await;
    api.otherwise(queued());
    let failing = [
        ("forbidden", Answer::status(403)),
        ("broken", Answer::status(500)),
        ("busy", Answer::status(503).header("retry-after", "60")),
        ("slow", queued().after(Duration::from_secs(3600))),
        ("strange", Answer::body("<html>")),
        ("unknown", Answer::status(404)),
    ];
    for (task, answer) in &failing {
        api.answers(task, [answer.clone()]);
    }
    let yaml = "{tasks: [forbidden, broken, busy, slow, strange, unknown, good], api: {timeout: 300ms},
        poll: {interval: 50ms}}";
    let exporter = Setup::new(&api, yaml).start().await;
    api.is_asked_again("good", 40).await;
    let good = api.count("good");
    for (task, _) in failing {
        // Doubling from 50 ms, they come round about six times while the good one does forty times.
        let count = api.count(task);
        assert!((1..good / 3).contains(&count), "{task}: {count} of {good}");
        assert!(count > 2 || ["busy", "slow"].contains(&task), "{task}: {count}");
    }
    assert_eq!(api.count("busy"), 1);
    let outcomes = ["unauthorized", "server_error", "timeout", "invalid_response", "not_found", "success"];
    exporter
        .until("every request is counted by its outcome and its duration", |scrape| {
            let count = |outcome: &str| scrape.value(&format!("dragdropdo_api_requests_total{{outcome={outcome}}}"));
            let total = scrape.sum("dragdropdo_api_requests_total");
            outcomes.iter().all(|outcome| count(outcome) >= 1.0)
                && scrape.value("dragdropdo_api_request_duration_seconds_count") == total
        })
        .await;
    let told = exporter.tasks().await;
    let error_of = |id: &str| {
        let task = told.as_array().unwrap().iter().find(|task| task["id"] == id).unwrap();
        task["last_error"].as_str().unwrap_or("none").to_owned()
    };
    assert!(error_of("broken").starts_with("server_error: status 500"), "{}", error_of("broken"));
    assert!(error_of("slow").starts_with("timeout"), "{}", error_of("slow"));
    assert_eq!(error_of("good"), "none");
}

#[tokio::test]
async fn equal_intervals_poll_at_a_fixed_period() {
    let api = FakeApi::start().await;
    api.otherwise(queued());
    let _exporter = Setup::new(&api, "{tasks: [t0], poll: {interval: 250ms, min_interval: 250ms}}").start().await;
    api.is_asked_again("t0", 12).await;
    let times: Vec<Duration> = api.asked().iter().map(|asked| asked.at).collect();
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // No gap is shorter by more than an earlier one was longer by: stalls of the machine shift single requests.
    let mean = (times[12.min(times.len() - 1)] - times[0]) / u32::try_from(12.min(gaps.len())).unwrap();
    assert!((Duration::from_millis(240)..Duration::from_millis(400)).contains(&mean), "{mean:?}: {gaps:?}");
    let usual = gaps.iter().filter(|gap| (200..320).contains(&gap.as_millis())).count();
    assert!(usual * 2 > gaps.len(), "{gaps:?}");
}

#[tokio::test]
async fn between_the_intervals_the_wait_grows_with_the_age() {
    let api = FakeApi::start().await;
    api.otherwise(queued());
    let yaml = "{tasks: [t0], poll: {interval: 60s, min_interval: 50ms, precision: 0.5}}";
    let _exporter = Setup::new(&api, yaml).start().await;
    api.is_asked_again("t0", 10).await;
    let times: Vec<Duration> = api.asked().iter().map(|asked| asked.at).collect();
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The first is the shortest allowed; each of the last is almost half of all the time before it.
    assert!(gaps[gaps.len() - 1] > 4 * gaps[0], "{gaps:?}");
}

#[tokio::test]
async fn up_is_absent_before_the_first_answer_and_while_there_is_nothing_to_poll() {
    let api = FakeApi::start().await;
    api.answers("t0", [queued().after(Duration::from_millis(1500)), Answer::status(500), queued()]);
    let mut setup = Setup::new(&api, "tasks: [t0]");
    let exporter = setup.start().await;
    let up = "dragdropdo_up";
    let scrape = exporter.scrape().await;
    assert_eq!((scrape.get(up), scrape.get("dragdropdo_last_successful_poll_timestamp_seconds")), (None, None));
    exporter.shows(&[(up, 1.0)]).await;
    exporter
        .until("it has failed and come back", |scrape| {
            scrape.get(up) == Some(1.0) && scrape.value("dragdropdo_api_requests_total{outcome=server_error}") == 1.0
        })
        .await;
    api.answers("t0", [Answer::status(500)]);
    exporter.shows(&[(up, 0.0)]).await;
    // A 404 changes nothing, neither from 0 nor from 1.
    api.answers("t0", [Answer::status(404)]);
    let not_found = "dragdropdo_api_requests_total{outcome=not_found}";
    assert_eq!(exporter.until("a 404", |scrape| scrape.value(not_found) >= 1.0).await.value(up), 0.0);
    api.answers("t0", [operation("completed", &[])]);
    let scrape = exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=completed}", 1.0)]).await;
    assert_eq!(scrape.get(up), None, "the only task has settled");
    assert!(scrape.get("dragdropdo_last_successful_poll_timestamp_seconds").is_some());
    exporter.kill().await;

    api.answers("t1", [queued(), Answer::status(404)]);
    setup.configure("tasks: [t0, t1]");
    let exporter = setup.start().await;
    exporter.until("a 404", |scrape| scrape.value(not_found) >= 1.0).await;
    // The task is one that the API does not know, and that says nothing of its files.
    exporter
        .shows(&[(up, 1.0), ("dragdropdo_tasks{state=unknown}", 1.0), ("dragdropdo_files{state=queued}", 1.0)])
        .await;
}

#[tokio::test]
async fn the_key_goes_in_the_header_and_to_the_path_that_the_account_needs() {
    let api = FakeApi::start().await;
    api.otherwise(queued());
    let yaml = "{tasks: [t0], api: {status_path: /v1/biz/status, auth: x-d3-api-key}}";
    let _exporter = Setup::new(&api, yaml).start().await;
    api.is_asked_again("t0", 1).await;
    let asked = &api.asked()[0];
    assert_eq!(asked.path, "/v1/biz/status/t0");
    assert_eq!(asked.headers["x-d3-api-key"], "d3_live_the-key-of-the-api");
    assert!(!asked.headers.contains_key("authorization"));
}
