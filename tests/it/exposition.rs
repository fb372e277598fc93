//! The two formats of `/metrics`: which one is served, that both say the same, and what only OpenMetrics tells.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

mod openmetrics;

use crate::harness::{Answer, Exporter, FakeApi, PATIENCE, Setup, operation};
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::time::Time;
use openmetrics::{ACCEPT, OpenMetrics, scrape};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, VARY};
use reqwest::{Method, StatusCode};
use std::collections::BTreeSet;
use std::process::Command;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TASK_LATENCY: &str = "dragdropdo_task_completion_latency_seconds";

/// So many seconds ago.
fn ago(seconds: i64) -> Time {
    Time::from_micros(Clock::system().wall().as_micros() - seconds * 1_000_000)
}

/// A task that is first unfinished and then completed, with one failed file.
fn short_life() -> [Answer; 2] {
    [
        operation("in_progress", &[("a", "queued"), ("b", "queued")]),
        operation("completed", &[("a_out", "completed"), ("b", "failed/code")]),
    ]
}

/// A configuration in which `tasks` settle that were submitted so many seconds ago.
fn settling(api: &FakeApi, tasks: &[(&str, i64)], yaml: &str) -> Setup {
    let listed = tasks.iter().map(|(id, seconds)| format!("{{id: '{id}', submitted_at: '{}'}}", ago(*seconds)));
    for (id, _) in tasks {
        api.answers(id, short_life());
    }
    let mut setup = Setup::new(api, &format!("tasks: [{}]", listed.collect::<Vec<_>>().join(", ")));
    setup.configure(yaml);
    setup
}

/// Waits until so many tasks have settled.
async fn settled(exporter: &Exporter, tasks: usize) -> OpenMetrics {
    exporter.until("they have settled", |scrape| scrape.sum("dragdropdo_tasks_finished_total") == tasks as f64).await;
    scrape(exporter).await
}

async fn reload(exporter: &Exporter) {
    assert_eq!(exporter.request(Method::POST, "/-/reload").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_format_is_the_one_that_is_asked_for() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "{}").start().await;
    for (accept, expected) in [
        (&[][..], TEXT),
        (&["*/*"], TEXT),
        (&["application/json"], TEXT),
        (&["application/openmetrics-text;version=0.0.1"], TEXT),
        (&["application/openmetrics-text;q=0, */*"], TEXT),
        (&["application/openmetrics-text"], OPENMETRICS),
        (&[ACCEPT], OPENMETRICS),
        (&["text/plain;q=0.5", "application/openmetrics-text; version=\"1.0.0\""], OPENMETRICS),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let mut request = exporter.request(method.clone(), "/metrics");
            for line in accept {
                request = request.header("accept", *line);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(
                (answer.status(), &answer.headers()[CONTENT_TYPE]),
                (StatusCode::OK, &HeaderValue::from_static(expected)),
                "{accept:?}"
            );
            let vary = |headers: &HeaderMap| {
                let lines = headers.get_all(VARY).iter().map(|line| line.to_str().unwrap().to_lowercase());
                lines.collect::<Vec<_>>().join(", ")
            };
            assert_eq!(vary(answer.headers()), "accept, accept-encoding", "{accept:?}");
            let body = answer.text().await.unwrap();
            assert_eq!(body.is_empty(), method == Method::HEAD);
            assert_eq!(body.ends_with("\n# EOF\n"), expected == OPENMETRICS && method == Method::GET, "{accept:?}");
        }
    }
}

#[tokio::test]
async fn both_formats_hold_the_same_samples() {
    let api = FakeApi::start().await;
    let setup = settling(&api, &[("t1", 3), ("t2", 40)], "metrics: {created_samples: true}");
    let exporter = setup.start().await;
    settled(&exporter, 2).await;
    let is_still = |line: &&str| {
        let moving = ["process_", "dragdropdo_poll_lag_seconds"];
        moving.iter().all(|name| !line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ").starts_with(name))
    };
    let still = |text: &str| text.lines().filter(is_still).map(str::to_owned).collect::<Vec<_>>();
    let same = async {
        loop {
            let openmetrics = scrape(&exporter).await;
            let text = exporter.scrape().await;
            let (found, expected) = (still(openmetrics.scrape.text()), still(text.text()));
            if found == expected {
                // The process's metrics are the same, too, and only their values move.
                assert_eq!(openmetrics.scrape.types(), text.types());
                return found;
            }
        }
    };
    let same = tokio::time::timeout(PATIENCE, same).await.expect("the formats never say the same");
    assert!(same.len() > 200, "{} lines", same.len());
}

#[tokio::test]
async fn start_times_are_told_when_they_are_asked_for_and_only_in_openmetrics() {
    let api = FakeApi::start().await;
    let mut setup = settling(&api, &[("t1", 3)], "{}");
    setup.argument("--web.enable-lifecycle");
    let exporter = setup.start().await;
    assert!(settled(&exporter, 1).await.created.is_empty());
    setup.configure("metrics: {created_samples: true}");
    reload(&exporter).await;
    let openmetrics = scrape(&exporter).await;
    let kinds = |kind: &str| openmetrics.scrape.types().values().filter(|of| *of == kind).count();
    let families = openmetrics.created.keys().map(|series| series.split("_created").next().unwrap());
    let families: BTreeSet<&str> = families.collect();
    assert_eq!(families.len(), kinds("counter") + kinds("histogram"), "each of them has its start: {families:?}");
    assert!(!exporter.scrape().await.text().contains("_created"));
    setup.configure("metrics: {created_samples: false}");
    reload(&exporter).await;
    assert!(scrape(&exporter).await.created.is_empty());
}

#[tokio::test]
async fn the_start_of_what_is_stored_survives_every_kind_of_end_and_that_of_the_rest_is_the_process_s() {
    let api = FakeApi::start().await;
    let setup = settling(&api, &[("t1", 3)], "metrics: {created_samples: true}");
    let began = ago(0).as_secs_f64();
    let mut exporter = setup.start().await;
    let first = settled(&exporter, 1).await;
    let stored = first.created_of("group=");
    assert!(stored.len() > 12, "{stored:?}");
    assert!(stored.values().all(|at| (began..ago(0).as_secs_f64()).contains(at)), "{stored:?}");
    // A counter that its first event brought begins with it, and not with its group.
    let of_first_failure = "dragdropdo_file_failures_created{group=\"default\",error_code=\"code\"}";
    let of_group = "dragdropdo_file_failures_created{group=\"default\",error_code=\"internal_error\"}";
    assert!(stored[of_first_failure] > stored[of_group], "{stored:?}");

    let of_process = |openmetrics: &OpenMetrics| {
        let mut created = openmetrics.created.clone();
        created.retain(|series, _| !series.contains("group="));
        let mut times: Vec<f64> = created.values().copied().collect();
        times.sort_by(f64::total_cmp);
        assert!(created.len() > 30 && created.contains_key("process_cpu_seconds_created"), "{created:?}");
        // Sources count from when they are first named, which is a little later.
        created.retain(|series, _| !series.contains("source="));
        assert!(created.values().all(|at| *at == times[0]), "{created:?}");
        (times[0], times[times.len() - 1])
    };
    let mut before = of_process(&first);
    assert!(before.0 >= began);
    for kills in [true, false, true] {
        let ended = ago(0).as_secs_f64();
        if kills {
            exporter.kill().await;
        } else {
            exporter.terminate().await;
        }
        exporter = setup.start().await;
        let openmetrics = scrape(&exporter).await;
        assert_eq!(openmetrics.created_of("group="), stored);
        assert_eq!(openmetrics.scrape.sum("dragdropdo_file_failures_total{error_code=code}"), 1.0);
        let after = of_process(&openmetrics);
        assert!(before.1 < ended && ended < after.0, "{before:?} {ended} {after:?}");
        before = after;
    }
}

#[tokio::test]
async fn changed_buckets_start_anew_and_all_else_keeps_its_start() {
    let api = FakeApi::start().await;
    let mut setup = settling(&api, &[("t1", 3)], "metrics: {created_samples: true}");
    setup.argument("--web.enable-lifecycle");
    let exporter = setup.start().await;
    let before = settled(&exporter, 1).await.created_of("group=");
    let changed = ago(0).as_secs_f64();
    setup.configure("metrics: {latency_buckets: [1, 2]}");
    reload(&exporter).await;
    let openmetrics = scrape(&exporter).await;
    assert!(openmetrics.exemplars.is_empty(), "{:?}", openmetrics.exemplars);
    let after = openmetrics.created_of("group=");
    for (series, at) in &before {
        let is_histogram = series.contains("_completion_latency_seconds_");
        assert_eq!(after[series] > changed, is_histogram, "{series} {at} {}", after[series]);
        assert!(is_histogram || after[series] == *at, "{series}");
    }
    exporter.kill().await;
    assert_eq!(scrape(&setup.start().await).await.created_of("group="), after);
}

#[tokio::test]
async fn a_source_that_a_reload_adds_starts_with_it() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "{metrics: {created_samples: true}, tasks: []}");
    setup.argument("--web.enable-lifecycle");
    let exporter = setup.start().await;
    let of = |openmetrics: &OpenMetrics, source: &str| {
        openmetrics.created.get(&format!("dragdropdo_discovery_failures_created{{source=\"{source}\"}}")).copied()
    };
    let before = scrape(&exporter).await;
    assert_eq!(of(&before, "files/0"), None);
    let mut added = 0.0;
    for _ in 0..2 {
        let changed = ago(0).as_secs_f64();
        setup.configure("discovery: {files: [list.json]}");
        reload(&exporter).await;
        // It is there as soon as it is followed, which the reload does not wait for.
        exporter
            .until("the source exists", |scrape| {
                scrape.get("dragdropdo_discovery_failures_total{source=files/0}").is_some()
            })
            .await;
        let after = scrape(&exporter).await;
        assert_eq!(of(&after, "static"), of(&before, "static"));
        assert!(of(&after, "files/0").is_some_and(|at| at > changed && at > added));
        added = of(&after, "files/0").unwrap();
        // A source that goes takes its start along.
        setup.configure("discovery: {files: []}");
        reload(&exporter).await;
        assert_eq!(of(&scrape(&exporter).await, "files/0"), None);
    }
}

#[tokio::test]
async fn a_bucket_tells_the_latest_task_whose_latency_fell_into_it() {
    let api = FakeApi::start().await;
    let mut setup = settling(&api, &[("quick", 3), ("slow", 40)], "{}");
    setup.argument("--web.enable-lifecycle");
    let exporter = setup.start().await;
    let began = ago(0).as_secs_f64();
    let in_bucket = |openmetrics: &OpenMetrics, le: &str| {
        openmetrics
            .exemplars
            .get(&format!("{TASK_LATENCY}_bucket{{group=\"default\",state=\"completed\",le=\"{le}\"}}"))
            .cloned()
    };
    let first = settled(&exporter, 2).await;
    for (le, task, latency) in [("5", "quick", 3.0..5.0), ("60", "slow", 40.0..60.0)] {
        let exemplar = in_bucket(&first, le).unwrap();
        assert_eq!(exemplar.task_id, task);
        assert!(latency.contains(&exemplar.latency), "{exemplar:?}");
        assert!((began - 10.0..ago(0).as_secs_f64()).contains(&exemplar.counted), "{exemplar:?}");
    }
    // Each in its own bucket alone, of both families, and in no other one.
    let of_files = |state: &str, le: &str| {
        format!("dragdropdo_file_completion_latency_seconds_bucket{{group=\"default\",state=\"{state}\",le=\"{le}\"}}")
    };
    for series in ["completed", "failed"].iter().flat_map(|state| [of_files(state, "5"), of_files(state, "60")]) {
        assert!(first.exemplars.contains_key(&series), "{series}: {:?}", first.exemplars);
    }
    assert_eq!(first.exemplars.len(), 6, "{:?}", first.exemplars);

    // A later one takes its place, whatever its ID is made of; one that does not fit leaves it.
    let odd = "a \"b\" \\c ü";
    let too_long = "x".repeat(122);
    for (id, path, expected) in [
        (odd, "a%20%22b%22%20%5Cc%20%C3%BC", "a \\\"b\\\" \\\\c ü"),
        (too_long.as_str(), too_long.as_str(), "a \\\"b\\\" \\\\c ü"),
    ] {
        api.answers(path, short_life());
        let counted = exporter.scrape().await.sum("dragdropdo_tasks_finished_total") as usize;
        setup.configure(&format!("tasks: [{{id: '{id}', submitted_at: '{}'}}]", ago(3)));
        reload(&exporter).await;
        let openmetrics = settled(&exporter, counted + 1).await;
        assert_eq!(in_bucket(&openmetrics, "5").unwrap().task_id, expected);
        assert_eq!(in_bucket(&openmetrics, "60"), in_bucket(&first, "60"));
    }

    // Whoever scraped them keeps them.
    exporter.kill().await;
    let openmetrics = scrape(&setup.start().await).await;
    assert_eq!(openmetrics.scrape.sum(&format!("{TASK_LATENCY}_count")), 4.0);
    assert!(openmetrics.exemplars.is_empty());
}

#[tokio::test]
async fn what_the_store_refuses_is_no_exemplar_until_it_is_stored() {
    let api = FakeApi::start().await;
    let setup = settling(&api, &[("kept", 3), ("refused", 40)], "{}");
    for task in ["kept", "refused"] {
        api.answers(task, [operation("in_progress", &[("a", "queued")])]);
    }
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_tasks{state=in_progress}", 2.0)]).await;
    let sqlite3 = |statement: &str| {
        assert!(Command::new("sqlite3").arg(setup.path("exporter.db")).arg(statement).status().unwrap().success());
    };
    sqlite3(
        "CREATE TRIGGER refuse BEFORE UPDATE ON task WHEN new.id = 'refused' BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    );
    for task in ["kept", "refused"] {
        api.answers(task, [operation("completed", &[("a_out", "completed")])]);
    }
    exporter.logs("not this one").await;
    let tasks = |openmetrics: &OpenMetrics| {
        openmetrics.exemplars.values().map(|exemplar| exemplar.task_id.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(tasks(&settled(&exporter, 1).await), ["kept".to_owned()].into());
    sqlite3("DROP TRIGGER refuse");
    assert_eq!(tasks(&settled(&exporter, 2).await), ["kept".to_owned(), "refused".to_owned()].into());
}
