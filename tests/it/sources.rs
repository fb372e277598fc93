//! Lists of tasks from files and URLs, from what a producer writes to what the exporter shows.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Exporter, FakeApi, PATIENCE, Setup, operation};
use crate::webhooks::{TOKEN, register};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::listener;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A list of one target group.
fn list(group: &str, ids: &[&str]) -> String {
    json!([{"targets": ids, "labels": {"group": group}}]).to_string()
}

/// The same, as people write it.
fn yaml(group: &str, ids: &[&str]) -> String {
    format!("# Written by hand.\n- labels:\n    group: {group}\n  targets:\n    - {}\n", ids.join("\n    - "))
}

/// Puts a file there as a careful producer does: at once, by a rename over it.
fn replace(path: &Path, content: &str) {
    let new = path.with_file_name(".new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

/// What is tracked: for each task its group, with a star when a list names it.
async fn tracked(exporter: &Exporter) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let shown = |task: &Value| {
        let star = if task["listed"].as_bool().unwrap() { "*" } else { "" };
        (text(&task["id"]), format!("{}{star}", text(&task["group"])))
    };
    exporter.tasks().await.as_array().unwrap().iter().map(shown).collect()
}

/// Waits until exactly these tasks are tracked, as [`tracked`] tells them.
async fn tracks(exporter: &Exporter, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(id, group)| ((*id).to_owned(), (*group).to_owned())).collect();
    let mut found = tracked(exporter).await;
    let same = async {
        while found != expected {
            tokio::time::sleep(Duration::from_millis(50)).await;
            found = tracked(exporter).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, same).await.is_ok();
    assert!(in_time, "{found:#?}\nand not {expected:#?}\n{}", exporter.log().join("\n"));
}

fn count_lines(exporter: &Exporter, texts: &[&str]) -> usize {
    exporter.log().iter().filter(|line| texts.iter().all(|text| line.contains(text))).count()
}

/// Answers every path with what it is told to, and keeps the headers of what it was asked.
struct Producer {
    url: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    clock: Clock,
    answer: Mutex<(StatusCode, String)>,
    asked: Mutex<Vec<(Duration, HeaderMap)>>,
}

impl Producer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tasks", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            clock: Clock::system(),
            answer: Mutex::new((StatusCode::OK, "[]".to_owned())),
            asked: Mutex::default(),
        });
        let router = Router::new().route("/tasks", get(answer)).with_state(shared.clone());
        let stop = CancellationToken::new();
        tokio::spawn(listener::serve(listener, router, stop.clone()));
        Self { url, shared, _stop: stop.drop_guard() }
    }

    fn says(&self, list: &str) {
        *self.shared.answer.lock().unwrap() = (StatusCode::OK, list.to_owned());
    }

    fn fails(&self) {
        *self.shared.answer.lock().unwrap() = (StatusCode::SERVICE_UNAVAILABLE, "no list".to_owned());
    }

    fn asked(&self) -> Vec<(Duration, HeaderMap)> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Waits until it has been asked `times` more often, so that its latest answer has been dealt with when that is two.
    async fn is_asked_again(&self, times: usize) {
        let target = self.asked().len() + times;
        let asked = async {
            while self.asked().len() < target {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, asked).await.is_ok();
        assert!(in_time, "it was asked {} times and not {target} times", self.asked().len());
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    shared.asked.lock().unwrap().push((shared.clock.elapsed(), headers));
    let (status, body) = shared.answer.lock().unwrap().clone();
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

#[tokio::test]
async fn files_are_followed_however_they_are_written_and_replaced() {
    let api = FakeApi::start().await;
    api.otherwise(operation("in_progress", &[]));
    let setup = Setup::new(
        &api,
        "discovery: {files: [rewritten.yaml, renamed.json, 'many/[!.]*.yaml', mounted/tasks.json, later.yml]}",
    );
    let path = |name: &str| setup.path(name);
    fs::write(path("rewritten.yaml"), yaml("yaml", &["rewritten_1"])).unwrap();
    fs::write(path("renamed.json"), list("json", &["renamed_1"])).unwrap();
    fs::create_dir(path("many")).unwrap();
    fs::write(path("many/a.yaml"), yaml("many", &["many_a"])).unwrap();
    fs::write(path("many/b.yaml"), yaml("many", &["many_b", "many_ab"])).unwrap();
    fs::write(path("many/README.md"), "none of the glob's").unwrap();
    fs::write(path("many/.c.yaml"), yaml("many", &["not_renamed_yet"])).unwrap();
    // As Kubernetes mounts a config map: the file is a link into a folder that is a link to the folder of this version.
    fs::create_dir_all(path("mounted/..version_1")).unwrap();
    fs::write(path("mounted/..version_1/tasks.json"), list("mounted", &["mounted_1"])).unwrap();
    symlink("..version_1", path("mounted/..data")).unwrap();
    symlink("..data/tasks.json", path("mounted/tasks.json")).unwrap();

    let exporter = setup.start().await;
    let before = [
        ("rewritten_1", "yaml"),
        ("renamed_1", "json"),
        ("many_a", "many"),
        ("many_b", "many"),
        ("many_ab", "many"),
        ("mounted_1", "mounted"),
    ];
    let listed = before.map(|(id, group)| (id, format!("{group}*")));
    tracks(&exporter, &listed.each_ref().map(|(id, group)| (*id, &**group))).await;
    exporter.shows(&[("dragdropdo_discovery_tasks{source=files/2}", 3.0)]).await;
    // All have been observed, so that none goes at once.
    exporter.until("all are observed", |scrape| scrape.sum("dragdropdo_tasks{state=in_progress}") == 6.0).await;

    fs::write(path("rewritten.yaml"), yaml("yaml", &["rewritten_2"])).unwrap();
    replace(&path("renamed.json"), &list("json", &["renamed_2"]));
    fs::remove_file(path("many/a.yaml")).unwrap();
    fs::write(path("many/c.yaml"), yaml("many", &["many_c", "many_ab"])).unwrap();
    fs::create_dir(path("mounted/..version_2")).unwrap();
    fs::write(path("mounted/..version_2/tasks.json"), list("mounted", &["mounted_2"])).unwrap();
    symlink("..version_2", path("mounted/..data_tmp")).unwrap();
    fs::rename(path("mounted/..data_tmp"), path("mounted/..data")).unwrap();
    fs::remove_dir_all(path("mounted/..version_1")).unwrap();
    fs::write(path("later.yml"), yaml("later", &["later"])).unwrap();
    tracks(
        &exporter,
        &[
            ("rewritten_1", "yaml"),
            ("rewritten_2", "yaml*"),
            ("renamed_1", "json"),
            ("renamed_2", "json*"),
            ("many_a", "many"),
            ("many_ab", "many*"),
            ("many_b", "many*"),
            ("many_c", "many*"),
            ("mounted_1", "mounted"),
            ("mounted_2", "mounted*"),
            ("later", "later*"),
        ],
    )
    .await;
    let scrape = exporter.scrape().await;
    for (source, tasks) in
        [("static", 0.0), ("files/0", 1.0), ("files/1", 1.0), ("files/2", 3.0), ("files/3", 1.0), ("files/4", 1.0)]
    {
        assert_eq!(scrape.value(&format!("dragdropdo_discovery_tasks{{source={source}}}")), tasks, "{source}");
    }
    assert_eq!(scrape.sum("dragdropdo_discovery_failures_total"), 0.0, "{}", exporter.log().join("\n"));
}

#[tokio::test]
async fn a_list_that_is_emptied_hides_no_failure() {
    let api = FakeApi::start().await;
    for id in ["renamed", "truncated", "removed", "asked"] {
        api.answers(id, [operation("in_progress", &[("a", "in_progress")])]);
    }
    let producer = Producer::start().await;
    let setup = Setup::new(
        &api,
        &format!(
            "{{retention: 0s, discovery: {{files: ['*.json'], http: [{{url: '{}', refresh_interval: 1s}}]}}}}",
            producer.url
        ),
    );
    // What the API does not know has never been observed.
    replace(&setup.path("renamed.json"), &list("g", &["renamed", "unseen_1"]));
    replace(&setup.path("truncated.json"), &list("g", &["truncated", "unseen_2"]));
    replace(&setup.path("removed.json"), &list("g", &["removed", "unseen_3"]));
    producer.says(&list("g", &["asked", "unseen_4"]));
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_tasks{state=in_progress}", 4.0), ("dragdropdo_tasks{state=unknown}", 4.0)]).await;

    replace(&setup.path("renamed.json"), "[]");
    fs::write(setup.path("truncated.json"), "").unwrap();
    fs::remove_file(setup.path("removed.json")).unwrap();
    producer.says("[]");
    let of_group_g = ["asked", "removed", "renamed", "truncated"].map(|id| (id, "g"));
    tracks(&exporter, &of_group_g).await;
    exporter
        .shows(&[("dragdropdo_discovery_tasks{source=files/0}", 0.0), ("dragdropdo_tasks{state=unknown}", 0.0)])
        .await;

    // The failure comes only now.
    for (id, _) in of_group_g {
        api.answers(id, [operation("failed", &[("a", "failed/code")])]);
    }
    let expected = [
        ("dragdropdo_tasks_finished_total{group=g,outcome=failed}", 4.0),
        ("dragdropdo_file_failures_total{group=g,error_code=code}", 4.0),
    ];
    exporter.shows(&expected).await;
    tracks(&exporter, &[]).await;

    // Whoever lists them again, while their records are remembered, counts nothing again.
    let again = list("g", &["renamed", "truncated", "removed", "asked"]);
    replace(&setup.path("renamed.json"), &again);
    tracks(&exporter, &of_group_g.map(|(id, _)| (id, "g*"))).await;
    let scrape = exporter.scrape().await;
    for (series, value) in expected {
        assert_eq!(scrape.value(series), value, "{series}");
    }
}

#[tokio::test]
async fn a_source_that_breaks_keeps_its_last_good_list_also_over_a_crash() {
    let api = FakeApi::start().await;
    let running = || operation("in_progress", &[("a", "in_progress")]);
    for id in ["of_file", "of_url"] {
        api.answers(id, [running()]);
    }
    let producer = Producer::start().await;
    let address = producer.url.replace("http://", "http://user:a-password@");
    let setup = Setup::new(
        &api,
        &format!("discovery: {{files: [list.json], http: [{{url: '{address}?token=a-token', refresh_interval: 1s}}]}}"),
    );
    let file = setup.path("list.json");
    // One of each is never observed: the first to go, should its list be lost.
    replace(&file, &list("file", &["of_file", "unseen_of_file"]));
    producer.says(&list("url", &["of_url", "unseen_of_url"]));
    let whole = [("of_file", "file*"), ("of_url", "url*"), ("unseen_of_file", "file*"), ("unseen_of_url", "url*")];
    let exporter = setup.start().await;
    tracks(&exporter, &whole).await;
    exporter.until("two are observed", |scrape| scrape.sum("dragdropdo_tasks{state=in_progress}") == 2.0).await;

    replace(&file, "[{\"targets\": [");
    producer.fails();
    let failures = |source: &str| format!("dragdropdo_discovery_failures_total{{source={source}}}");
    exporter
        .until("both are broken", |scrape| {
            scrape.get(&failures("files/0")) == Some(1.0) && scrape.get(&failures("http/0")) >= Some(2.0)
        })
        .await;
    for source in ["files/0", "http/0"] {
        let told = [&*format!("the source {source}"), "and its last good list stays in force"];
        assert_eq!(count_lines(&exporter, &told), 1, "{}", exporter.log().join("\n"));
        exporter.shows(&[(&format!("dragdropdo_discovery_tasks{{source={source}}}"), 2.0)]).await;
    }
    assert_eq!(count_lines(&exporter, &["list.json"]), 1);
    assert_eq!(tracked(&exporter).await.len(), 4);
    exporter.kill().await;

    // Neither has said anything since this start: what they named goes on.
    let exporter = setup.start().await;
    exporter
        .until("both are broken", |scrape| {
            scrape.get(&failures("files/0")) == Some(1.0) && scrape.get(&failures("http/0")) >= Some(2.0)
        })
        .await;
    tracks(&exporter, &whole).await;
    for id in ["of_file", "unseen_of_url"] {
        api.answers(id, [operation("failed", &[("a", "failed/code")])]);
    }
    exporter
        .shows(&[
            ("dragdropdo_file_failures_total{group=file,error_code=code}", 1.0),
            ("dragdropdo_file_failures_total{group=url,error_code=code}", 1.0),
        ])
        .await;

    // When both are good again, what they do not name any more goes.
    replace(&file, &list("file", &["of_file"]));
    producer.says(&list("url", &["of_url"]));
    tracks(&exporter, &[("of_file", "file*"), ("of_url", "url*"), ("unseen_of_url", "url")]).await;
    for source in ["files/0", "http/0"] {
        let told = [&*format!("the source {source}"), "can be refreshed again"];
        assert_eq!(count_lines(&exporter, &told), 1, "{}", exporter.log().join("\n"));
    }
    assert_eq!(count_lines(&exporter, &["a-password"]) + count_lines(&exporter, &["a-token"]), 0);
    let scrape = exporter.scrape().await;
    assert!(!scrape.text().contains("a-password") && !scrape.text().contains("a-token"));
}

#[tokio::test]
async fn each_reason_of_a_broken_source_is_told_and_a_broken_file_that_goes_is_none_any_more() {
    let api = FakeApi::start().await;
    let producer = Producer::start().await;
    let setup = Setup::new(
        &api,
        &format!("discovery: {{files: [list.json], http: [{{url: '{}', refresh_interval: 1s}}]}}", producer.url),
    );
    let file = setup.path("list.json");
    producer.fails();
    replace(&file, "nonsense");
    let exporter = setup.start().await;
    exporter.logs("status 503 Service Unavailable; it must be 200").await;
    exporter.logs("list.json: expected").await;
    exporter.logs("the source files/0 (list.json) can't be refreshed").await;
    producer.says("nonsense");
    exporter.logs("its last good list stays in force: expected").await;
    replace(&file, "[{");
    exporter.logs("list.json: [0]: EOF while parsing").await;
    producer.fails();
    producer.is_asked_again(3).await;
    let again = ["the source http/0", "stays in force: status 503"];
    assert_eq!(count_lines(&exporter, &again), 2, "{}", exporter.log().join("\n"));

    std::fs::remove_file(&file).unwrap();
    let line = exporter.logs("can be refreshed again").await;
    assert!(line.contains("the source files/0") && line.contains("list.json"), "{line}");
}

#[tokio::test]
async fn a_url_is_asked_as_prometheus_would_ask_it() {
    let api = FakeApi::start().await;
    api.otherwise(operation("in_progress", &[]));
    let (bearer, basic, plain) = tokio::join!(Producer::start(), Producer::start(), Producer::start());
    bearer.says(&list("bearer", &["b1"]));
    basic.says(&list("basic", &["b2"]));
    plain.says(&list("plain", &["b3"]));
    let setup = Setup::new(
        &api,
        &format!(
            "
            discovery:
              http:
                - {{url: '{}', refresh_interval: 1s, authorization: {{credentials_file: jobs_token}}}}
                - {{url: '{}', refresh_interval: 1s, basic_auth: {{username: user, password: pass}}}}
                - {{url: '{}', refresh_interval: 90s}}
            ",
            bearer.url, basic.url, plain.url
        ),
    );
    fs::write(setup.path("jobs_token"), "first\n").unwrap();
    let exporter = setup.start().await;
    tracks(&exporter, &[("b1", "bearer*"), ("b2", "basic*"), ("b3", "plain*")]).await;
    fs::write(setup.path("jobs_token"), "second\n").unwrap();
    bearer.is_asked_again(2).await;
    basic.is_asked_again(1).await;

    let header =
        |asked: &(Duration, HeaderMap), name: &str| asked.1.get(name).map(|value| value.to_str().unwrap().to_owned());
    let of =
        |producer: &Producer, name: &str| producer.asked().iter().map(|asked| header(asked, name)).collect::<Vec<_>>();
    let authorizations = of(&bearer, AUTHORIZATION.as_str());
    assert_eq!(authorizations.first().unwrap().as_deref(), Some("Bearer first"));
    assert_eq!(authorizations.last().unwrap().as_deref(), Some("Bearer second"), "the file is read for each request");
    // What `printf user:pass | base64` says.
    assert!(of(&basic, AUTHORIZATION.as_str()).iter().all(|sent| sent.as_deref() == Some("Basic dXNlcjpwYXNz")));
    assert_eq!(of(&plain, AUTHORIZATION.as_str()), [None]);
    let interval = "X-Prometheus-Refresh-Interval-Seconds";
    assert!(of(&bearer, interval).iter().all(|sent| sent.as_deref() == Some("1")));
    assert_eq!(of(&plain, interval), [Some("90".to_owned())]);
    assert_eq!(of(&plain, "accept"), [Some("application/json".to_owned())]);
    // At its interval, and not at the ends of the answers; the machine may be late, and then early.
    let asked: Vec<Duration> = basic.asked().iter().map(|(at, _)| *at).collect();
    let lasted = (*asked.last().unwrap() - asked[0]).as_secs_f64();
    assert!(asked.len() as f64 <= lasted + 2.0, "{asked:?}");
}

#[tokio::test]
async fn one_task_that_several_sources_name_is_one_task_of_the_first_ones_group() {
    let api = FakeApi::start().await;
    api.answers("t", [operation("in_progress", &[("a", "in_progress")])]);
    let producer = Producer::start().await;
    let setup = Setup::new(
        &api,
        &format!(
            "{{web: {{api_token_file: token}}, discovery: {{files: ['a.json', 'b.json'], http: [{{url: '{}', refresh_interval: 1s}}]}}}}",
            producer.url
        ),
    );
    fs::write(setup.path("token"), TOKEN).unwrap();
    replace(&setup.path("a.json"), &list("first", &["t"]));
    let exporter = setup.start().await;
    tracks(&exporter, &[("t", "first*")]).await;
    exporter.shows(&[("dragdropdo_tasks{group=first,state=in_progress}", 1.0)]).await;
    replace(&setup.path("b.json"), &list("second", &["t"]));
    producer.says(&list("third", &["t"]));
    let named = |source: &str| format!("dragdropdo_discovery_tasks{{source={source}}}");
    let sources = ["files/0", "files/1", "http/0"];
    exporter.until("all name it", |scrape| sources.iter().all(|source| scrape.value(&named(source)) == 1.0)).await;
    assert_eq!(register(&exporter, &json!({"id": "t", "group": "fourth"})).await, 200);
    tracks(&exporter, &[("t", "first*")]).await;
    api.answers("t", [operation("failed", &[("a", "failed/code")])]);
    let scrape = exporter.shows(&[("dragdropdo_file_failures_total{group=first,error_code=code}", 1.0)]).await;
    for total in ["dragdropdo_tasks_finished_total", "dragdropdo_file_failures_total", "dragdropdo_tasks"] {
        assert_eq!(scrape.sum(total), 1.0, "{total}");
    }

    let forget = async || {
        let answer = exporter.request(Method::DELETE, "/api/v1/tasks/t").bearer_auth(TOKEN).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, body) = forget().await;
    assert_eq!(status, 409);
    assert!(body.contains("the task t is named by files/0, files/1, http/0: "), "{body}");
    replace(&setup.path("a.json"), "[]");
    replace(&setup.path("b.json"), "[]");
    exporter.shows(&[(&named("files/0"), 0.0), (&named("files/1"), 0.0)]).await;
    tracks(&exporter, &[("t", "first*")]).await;
    let (status, body) = forget().await;
    assert_eq!(status, 409);
    assert!(body.contains("the task t is named by http/0: "), "{body}");
    producer.says("[]");
    tracks(&exporter, &[("t", "first")]).await;
    assert_eq!(forget().await.0, 204);
    assert_eq!(forget().await.0, 404);
    tracks(&exporter, &[]).await;
    assert_eq!(exporter.scrape().await.sum("dragdropdo_tasks_finished_total"), 1.0);
}
#[tokio::test]
async fn the_group_of_a_task_is_the_same_after_a_restart_whichever_source_comes_first() {
    let api = FakeApi::start().await;
    api.answers("t", [operation("in_progress", &[("a", "failed/code"), ("b", "in_progress")])]);
    let producer = Producer::start().await;
    let setup = Setup::new(
        &api,
        &format!("discovery: {{files: [list.json], http: [{{url: '{}', refresh_interval: 1s}}]}}", producer.url),
    );
    replace(&setup.path("list.json"), &list("first", &["t"]));
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_file_failures_total{group=first,error_code=code}", 1.0)]).await;
    producer.says(&list("second", &["t"]));
    exporter.shows(&[("dragdropdo_discovery_tasks{source=http/0}", 1.0)]).await;
    tracks(&exporter, &[("t", "first*")]).await;
    exporter.kill().await;

    // The one that named it first is broken now, so that the other comes first.
    replace(&setup.path("list.json"), "nonsense");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_discovery_tasks{source=http/0}", 1.0)]).await;
    tracks(&exporter, &[("t", "first*")]).await;
    api.answers("t", [operation("failed", &[("a", "failed/code"), ("b", "failed/code")])]);
    exporter.shows(&[("dragdropdo_file_failures_total{group=first,error_code=code}", 2.0)]).await;
}

#[tokio::test]
async fn a_broken_file_among_good_ones_keeps_its_tasks_over_a_restart() {
    let api = FakeApi::start().await;
    let setup = Setup::new(&api, "discovery: {files: ['*.json']}");
    // Neither has ever been observed: the first to go, should its list be lost.
    replace(&setup.path("a.json"), &list("g", &["of_a"]));
    replace(&setup.path("b.json"), &list("g", &["of_b"]));
    let exporter = setup.start().await;
    let both = [("of_a", "g*"), ("of_b", "g*")];
    tracks(&exporter, &both).await;
    replace(&setup.path("b.json"), "nonsense");
    let failures = "dragdropdo_discovery_failures_total{source=files/0}";
    exporter.shows(&[(failures, 1.0)]).await;
    tracks(&exporter, &both).await;
    exporter.terminate().await;
    let exporter = setup.start().await;
    exporter.shows(&[(failures, 1.0)]).await;
    // What the good one names has been told by then.
    replace(&setup.path("a.json"), &list("g", &["of_a", "new"]));
    tracks(&exporter, &[both[0], both[1], ("new", "g*")]).await;
}
