//! Reloading the configuration while the exporter runs: all of it, or nothing.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Exporter, FakeApi, PATIENCE, Scrape, Setup, operation};
use crate::webhooks::{ROUTE, before, deliver, ended, now, register, signature, taking_webhooks};
use dragdropdo_exporter::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor};
use std::fs;
use std::process::Command;
use std::time::Duration;

const SUCCESSFUL: &str = "dragdropdo_exporter_config_last_reload_successful";
const RELOADED: &str = "dragdropdo_exporter_config_last_reload_success_timestamp_seconds";
const SUM: &str = "dragdropdo_task_completion_latency_seconds_sum{group=default,state=completed}";
const COUNT: &str = "dragdropdo_task_completion_latency_seconds_count{group=default,state=completed}";

/// An exporter that may be reloaded over HTTP.
fn reloadable(api: &FakeApi, yaml: &str) -> Setup {
    let mut setup = taking_webhooks(api, yaml);
    setup.argument("--web.enable-lifecycle");
    setup
}

/// Asks for a reload; the status, and the reason of a failure.
async fn reload(exporter: &Exporter) -> (u16, String) {
    let answer = exporter.request(Method::POST, "/-/reload").send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap();
    let refusal: Option<Value> = serde_json::from_str(&body).ok();
    (status, refusal.map_or(body, |refusal| refusal["error"].as_str().unwrap().to_owned()))
}

/// Sends SIGHUP.
fn hang_up(setup: &Setup) {
    // The exporter writes its process number into the lock beside its database.
    let lock = fs::read_to_string(setup.path("exporter.db.lock")).unwrap();
    let process = lock.trim().strip_prefix("process ").unwrap();
    assert!(Command::new("sh").args(["-c", &format!("kill -HUP {process}")]).status().unwrap().success());
}

/// Waits until exactly these of the tracked tasks are named by a list.
async fn lists_name(exporter: &Exporter, expected: &[&str]) {
    let mut found = listed(exporter).await;
    let same = async {
        while found != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
            found = listed(exporter).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, same).await.is_ok();
    assert!(in_time, "lists name {found:?} and not {expected:?}\n{}", exporter.log().join("\n"));
}

async fn listed(exporter: &Exporter) -> Vec<String> {
    let tasks = exporter.tasks().await;
    let listed = tasks.as_array().unwrap().iter().filter(|task| task["listed"].as_bool().unwrap());
    listed.map(|task| task["id"].as_str().unwrap().to_owned()).collect()
}

/// Registers with another token than the usual one.
async fn register_with(exporter: &Exporter, token: &str, id: &str) -> u16 {
    let request = exporter.request(Method::POST, "/api/v1/tasks").bearer_auth(token);
    request.body(json!({"id": id}).to_string()).send().await.unwrap().status().as_u16()
}

/// Delivers with another secret than the usual one.
async fn deliver_with(exporter: &Exporter, secret: &str, id: &str) -> u16 {
    let body = ended(id, now()).to_string();
    let signature = signature(secret, body.as_bytes());
    let request = exporter.request(Method::POST, ROUTE).header("X-Webhook-Signature", signature).body(body);
    request.send().await.unwrap().status().as_u16()
}

/// Everything with a `group` label that only ever rises, but for the histograms of latencies.
fn totals(scrape: &Scrape) -> Vec<String> {
    let is_total = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        line.contains("group=") && (name.ends_with("_total") || name.ends_with("_failure_timestamp_seconds"))
    };
    scrape.text().lines().filter(is_total).map(str::to_owned).collect()
}

#[tokio::test]
async fn everything_that_may_change_changes_and_every_count_goes_on() {
    let api = FakeApi::start().await;
    api.otherwise(operation("in_progress", &[("a", "in_progress")]));
    let done = || [operation("in_progress", &[]), operation("completed", &[("a", "completed"), ("b", "failed/first")])];
    api.answers("done", done());
    let setup = &mut reloadable(&api, "{}");
    let submitted = before(now(), 5);
    setup.configure(&format!(
        "{{tasks: [old, {{id: done, submitted_at: '{submitted}'}}], metrics: {{latency_buckets: [1, 10, 100]}}}}"
    ));
    let exporter = setup.start().await;
    assert_eq!(register(&exporter, &json!({"id": "registered", "group": "g"})).await, 201);
    let first = exporter
        .shows(&[
            (COUNT, 1.0),
            ("dragdropdo_tasks{state=in_progress,group=default}", 1.0),
            ("dragdropdo_tasks{state=in_progress,group=g}", 1.0),
        ])
        .await;
    assert_eq!(first.value(SUCCESSFUL), 1.0);
    assert!(first.value(SUM) >= 5.0 && first.value("dragdropdo_task_state{task_id=old,state=in_progress}") == 1.0);

    // Nothing is different.
    assert_eq!(reload(&exporter).await, (200, "the configuration is reloaded.\n".to_owned()));
    let same = exporter.scrape().await;
    assert_eq!((same.value(COUNT), same.value(SUM), totals(&same)), (1.0, first.value(SUM), totals(&first)));
    assert!(same.value(RELOADED) > first.value(RELOADED));

    // Everything is.
    fs::write(setup.path("token2"), "another-token").unwrap();
    fs::write(setup.path("secret2"), "another-secret").unwrap();
    fs::write(setup.path("list.json"), r#"[{"targets": ["in_file"], "labels": {"group": "files"}}]"#).unwrap();
    setup.configure(
        "
        tasks: [{id: new, group: news}]
        web: {api_token_file: token2}
        webhook: {secret_file: secret2, track_unknown: true}
        discovery: {files: [list.json]}
        metrics: {latency_buckets: [2, 20], per_task_limit: 0, max_error_codes: 1, known_error_codes: [first]}
        ",
    );
    assert_eq!(reload(&exporter).await.0, 200);
    let scrape = exporter.scrape().await;
    assert_eq!((scrape.value(COUNT), scrape.value(SUM)), (0.0, 0.0), "the histogram begins anew");
    assert_eq!(scrape.all("dragdropdo_task_completion_latency_seconds_bucket{group=g,state=failed}").len(), 3);
    let counted = |totals: Vec<String>| totals.into_iter().filter(|line| !line.ends_with(" 0")).collect::<Vec<_>>();
    assert_eq!(counted(totals(&scrape)), counted(totals(&first)), "everything else goes on");
    assert!(counted(totals(&scrape)).len() >= 4);
    assert!(scrape.all("dragdropdo_task_state").is_empty());
    assert_eq!(scrape.value("dragdropdo_exporter_hidden_tasks"), scrape.sum("dragdropdo_tasks"));
    assert_eq!(scrape.value("dragdropdo_discovery_tasks{source=static}"), 1.0);
    exporter.shows(&[("dragdropdo_discovery_tasks{source=files/0}", 1.0)]).await;
    lists_name(&exporter, &["in_file", "new"]).await;
    exporter
        .shows(&[
            ("dragdropdo_tasks{group=default,state=in_progress}", 1.0),
            ("dragdropdo_tasks{group=g,state=in_progress}", 1.0),
        ])
        .await;
    assert_eq!(
        (register(&exporter, &json!({"id": "x"})).await, register_with(&exporter, "another-token", "x").await),
        (401, 201)
    );
    assert_eq!(
        (deliver(&exporter, &ended("y", now())).await, deliver_with(&exporter, "another-secret", "y").await),
        (401, 204)
    );
    exporter.shows(&[("dragdropdo_webhooks_total{event=operation.completed,outcome=accepted}", 1.0)]).await;

    // What was polled is polled, what is counted is counted by the new rules.
    let submitted = before(now(), 15).to_string();
    api.answers("z", [operation("completed", &[("a", "failed/first"), ("b", "failed/second"), ("c", "failed/third")])]);
    api.answers("old", [operation("failed", &[])]);
    let task = json!({"id": "z", "group": "g", "submitted_at": submitted});
    let request = exporter.request(Method::POST, "/api/v1/tasks").bearer_auth("another-token").body(task.to_string());
    assert_eq!(request.send().await.unwrap().status().as_u16(), 201);
    exporter
        .shows(&[
            ("dragdropdo_file_failures_total{group=g,error_code=first}", 1.0),
            ("dragdropdo_file_failures_total{group=g,error_code=other}", 2.0),
            ("dragdropdo_file_failures_total{group=default,error_code=first}", 1.0),
            ("dragdropdo_tasks_finished_total{group=default,outcome=failed}", 1.0),
            ("dragdropdo_task_latency_unknown_total{group=g}", 1.0),
        ])
        .await;

    // Less again, and by the signal.
    let at = exporter.scrape().await.value(RELOADED);
    setup.configure(
        "{discovery: {files: []}, tasks: [], web: {api_token_file: null}, webhook: {secret_file: null}, metrics: {per_task_limit: 100}}",
    );
    hang_up(setup);
    let scrape = exporter.until("it is reloaded", |scrape| scrape.value(RELOADED) > at).await;
    assert!(scrape.all("dragdropdo_discovery_tasks{source=files/0}").is_empty());
    assert!(scrape.all("dragdropdo_discovery_failures_total{source=files/0}").is_empty());
    assert_eq!(register_with(&exporter, "another-token", "w").await, 403);
    assert_eq!(deliver_with(&exporter, "another-secret", "w").await, 403);
    exporter
        .until("the per-task metrics are back, and the static list is empty", |scrape| {
            scrape.get("dragdropdo_task_state{task_id=in_file,state=in_progress}") == Some(1.0)
                && scrape.value("dragdropdo_discovery_tasks{source=static}") == 0.0
        })
        .await;
    lists_name(&exporter, &[]).await;
    let before = totals(&exporter.scrape().await);
    // The changed buckets are those of the database too.
    exporter.kill().await;
    let scrape = setup.start().await.scrape().await;
    assert_eq!(totals(&scrape), before);
    assert_eq!(scrape.all("dragdropdo_task_completion_latency_seconds_bucket{group=g,state=failed}").len(), 3);
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing_and_says_why() {
    let api = FakeApi::start().await;
    api.otherwise(operation("in_progress", &[]));
    let setup = &mut reloadable(&api, "tasks: [t]");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_tasks{state=in_progress}", 1.0), (SUCCESSFUL, 1.0)]).await;
    let config = setup.path("config.yaml");
    let good = fs::read_to_string(&config).unwrap();
    let loaded = exporter.scrape().await.value(RELOADED);

    let rest = good.replace("- t\n", "- other\n");
    assert_ne!(rest, good);
    let missing = "nowhere";
    for (text, expected) in [
        (format!("{rest}nonsense: 1\n"), format!("config.yaml:{}:1: nonsense: unknown key", rest.lines().count() + 1)),
        ("tasks: [\n".to_owned(), "config.yaml:".to_owned()),
        (rest.replace("api_token_file: token", "api_token_file: nowhere"), format!("web.api_token_file {missing}: ")),
        (rest.replace("secret_file: secret", "secret_file: nowhere"), format!("webhook.secret_file {missing}: ")),
        (format!("{rest}discovery:\n  files: ['[']\n"), "discovery.files[0]".to_owned()),
        (
            format!("{rest}discovery:\n  http: [{{url: 'https://127.0.0.1:1', tls_config: {{ca_file: nowhere}}}}]\n"),
            format!("cannot read {missing}: "),
        ),
    ] {
        assert_ne!(text, rest);
        fs::write(&config, &text).unwrap();
        let (status, reason) = reload(&exporter).await;
        assert_eq!(status, 500, "{text}");
        assert!(reason.contains(&expected), "{reason}\nand not {expected}");
        let scrape = exporter.scrape().await;
        assert_eq!((scrape.value(SUCCESSFUL), scrape.value(RELOADED)), (0.0, loaded));
        assert_eq!(listed(&exporter).await, ["t"]);
    }
    assert_eq!(register(&exporter, &json!({"id": "registered"})).await, 201, "the token holds");
    fs::write(&config, &good).unwrap();
    assert_eq!(reload(&exporter).await.0, 200);
    let scrape = exporter.scrape().await;
    assert_eq!(scrape.value(SUCCESSFUL), 1.0);
    assert!(scrape.value(RELOADED) > loaded);

    // The signal tells nobody but the log and the metrics.
    fs::remove_file(&config).unwrap();
    hang_up(setup);
    exporter.shows(&[(SUCCESSFUL, 0.0)]).await;
    exporter.logs("No such file or directory (os error 2); --config.file names another one").await;
    fs::write(&config, rest).unwrap();
    hang_up(setup);
    exporter.shows(&[(SUCCESSFUL, 1.0)]).await;
    lists_name(&exporter, &["other"]).await;
    let ended = exporter.terminate().await;
    assert!(ended.0.success(), "{ended:?}");
}

#[tokio::test]
async fn what_cannot_change_while_it_runs_is_refused_by_name() {
    let api = FakeApi::start().await;
    let setup = &mut reloadable(&api, "tasks: [t]");
    let exporter = setup.start().await;
    lists_name(&exporter, &["t"]).await;
    let config = setup.path("config.yaml");
    let good = fs::read_to_string(&config).unwrap();
    for (yaml, expected) in [
        ("web: {listen_address: '127.0.0.1:1'}", "web.listen_address can't change"),
        ("webhook: {listen_address: '127.0.0.1:1'}", "webhook.listen_address can't change"),
        ("storage: {url: memory}", "storage.url can't change"),
        (
            "{storage: {url: 'sqlite://other.db'}, web: {listen_address: ':0'}}",
            "web.listen_address and storage.url can't change",
        ),
    ] {
        fs::write(&config, &good).unwrap();
        let mut other = serde_yaml::from_str(&good).unwrap();
        lay_over(&mut other, serde_yaml::from_str(yaml).unwrap());
        lay_over(&mut other, serde_yaml::from_str("tasks: [other]").unwrap());
        fs::write(&config, serde_yaml::to_string(&other).unwrap()).unwrap();
        let (status, reason) = reload(&exporter).await;
        assert_eq!(status, 500, "{yaml}");
        assert!(reason.starts_with(expected), "{reason}");
        assert_eq!(listed(&exporter).await, ["t"]);
        exporter.shows(&[(SUCCESSFUL, 0.0)]).await;
    }
    assert!(!setup.path("other.db").exists());
}

fn lay_over(config: &mut serde_yaml::Value, over: serde_yaml::Value) {
    match (config, over) {
        (serde_yaml::Value::Mapping(config), serde_yaml::Value::Mapping(over)) => {
            for (key, value) in over {
                let below = config.entry(key).or_insert(serde_yaml::Value::Mapping(serde_yaml::Mapping::new()));
                lay_over(below, value);
            }
        }
        (config, over) => *config = over,
    }
}

#[tokio::test]
async fn a_reload_over_http_has_to_be_allowed_and_asked_for_by_post() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "{}");
    let not_allowed = setup.start().await;
    let allowed = reloadable(&api, "{}").start().await;
    let (status, reason) = reload(&not_allowed).await;
    assert_eq!(status, 403);
    assert!(reason.contains("--web.enable-lifecycle") && reason.contains("SIGHUP"), "{reason}");
    assert_eq!(reload(&allowed).await.0, 200);
    for exporter in [&not_allowed, &allowed] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = exporter.request(method, "/-/reload").send().await.unwrap();
            assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &"POST".parse().unwrap()));
            assert!(answer.text().await.unwrap().contains("use POST"));
        }
    }
    // The signal needs no permission.
    let loaded = not_allowed.scrape().await.value(RELOADED);
    hang_up(&setup);
    not_allowed.until("it is reloaded", |scrape| scrape.value(RELOADED) > loaded).await;
}

#[tokio::test]
async fn a_poll_under_way_is_counted_and_a_new_budget_holds_at_once() {
    let api = FakeApi::start().await;
    api.answers("slow", [operation("failed", &[("a", "failed/code")]).after(Duration::from_secs(2))]);
    api.otherwise(operation("in_progress", &[]));
    // The budget is one request an hour, and the slow one has it.
    let setup = &mut reloadable(&api, "{tasks: [slow], api: {rate_limit: 1/h}}");
    let exporter = setup.start().await;
    let asked = async {
        while api.count("slow") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    assert_eq!(register(&exporter, &json!([{"id": "a"}, {"id": "b"}, {"id": "c"}])).await, 201);
    assert_eq!(api.asked().len(), 1);
    setup.configure("{api: {rate_limit: 1000/s, timeout: 7s, api_key: d3_live_another-key}, tasks: [slow], poll: {interval: 200ms, min_interval: 200ms}}");
    assert_eq!(reload(&exporter).await.0, 200);
    exporter.shows(&[("dragdropdo_tasks{state=in_progress}", 3.0)]).await;
    api.is_asked_again("a", 2).await;
    exporter
        .shows(&[
            ("dragdropdo_tasks_finished_total{outcome=failed}", 1.0),
            ("dragdropdo_file_failures_total{error_code=code}", 1.0),
        ])
        .await;
    assert_eq!(api.count("slow"), 1, "the answer that was under way is the one that counts");
    let asked = api.asked();
    let key = |what: &str| asked.iter().find(|asked| asked.what == what).unwrap().headers["authorization"].clone();
    assert_eq!(
        (key("slow"), key("a")),
        ("Bearer d3_live_the-key-of-the-api".parse().unwrap(), "Bearer d3_live_another-key".parse().unwrap())
    );
}

#[tokio::test]
async fn a_source_that_was_never_good_leaves_no_series_behind() {
    let api = FakeApi::start().await;
    let setup = &mut reloadable(&api, "discovery: {files: [list.json]}");
    fs::write(setup.path("list.json"), "nonsense").unwrap();
    let exporter = setup.start().await;
    let failures = "dragdropdo_discovery_failures_total{source=files/0}";
    exporter.shows(&[(failures, 1.0)]).await;
    setup.configure("discovery: {files: []}");
    assert_eq!(reload(&exporter).await.0, 200);
    exporter.until("its series are gone", |scrape| scrape.all(failures).is_empty()).await;
}

#[tokio::test]
async fn a_source_whose_place_changes_keeps_its_last_good_list() {
    let api = FakeApi::start().await;
    let setup = &mut reloadable(&api, "discovery: {files: [a.json, b.json]}");
    for name in ["a", "b"] {
        let list = json!([{"targets": [format!("of_{name}")]}]);
        fs::write(setup.path(&format!("{name}.json")), list.to_string()).unwrap();
    }
    let exporter = setup.start().await;
    let of = |source: &str| format!("dragdropdo_discovery_tasks{{source=files/{source}}}");
    exporter.shows(&[(&of("0"), 1.0), (&of("1"), 1.0)]).await;
    fs::write(setup.path("b.json"), "nonsense").unwrap();
    exporter.shows(&[("dragdropdo_discovery_failures_total{source=files/1}", 1.0)]).await;
    lists_name(&exporter, &["of_a", "of_b"]).await;
    // The first one goes, and the broken one takes its place.
    setup.configure("discovery: {files: [b.json]}");
    assert_eq!(reload(&exporter).await.0, 200);
    lists_name(&exporter, &["of_b"]).await;
}

#[tokio::test]
async fn a_shorter_interval_holds_for_tasks_that_wait_too() {
    let api = FakeApi::start().await;
    api.otherwise(operation("in_progress", &[]));
    let setup = &mut reloadable(&api, "{tasks: [t], poll: {interval: 1h, min_interval: 1h}}");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_tasks{state=in_progress}", 1.0)]).await;
    setup.configure("poll: {interval: 100ms, min_interval: 50ms}");
    assert_eq!(reload(&exporter).await.0, 200);
    api.is_asked_again("t", 2).await;
}

#[tokio::test]
async fn it_ends_in_time_although_a_reload_waits_for_the_store() {
    let api = FakeApi::start().await;
    api.otherwise(operation("in_progress", &[]));
    let setup = &mut reloadable(&api, "{}");
    let exporter = setup.start().await;
    let mut other = SqliteConnectOptions::new().filename(setup.path("exporter.db")).connect().await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    setup.configure("tasks: [t]");
    let request = exporter.request(Method::POST, "/-/reload");
    let waiting = tokio::spawn(request.send());
    exporter.logs("the store fails").await;
    assert!(!waiting.is_finished(), "the list can't be tracked yet");
    let clock = Clock::system();
    exporter.terminate().await;
    let took = clock.elapsed();
    assert!(took < Duration::from_secs(10), "it took {took:?}");
}
