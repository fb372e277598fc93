//! SIGTERM ends the exporter within its time, whatever the API, the disk and the clients do, and loses nothing that it
//! has received.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{
    Exporter, FakeApi, Holder, Manner, PATIENCE, Setup, Stubborn, is_read_as_a_pipe, make_pipe, operation,
};
use crate::webhooks::{TOKEN, deliver, ended, now, register, sqlite3, taking_webhooks};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Longer than any shutdown: what waits for it is cut.
const FOREVER: &str = "api: {timeout: 1h}";

/// A connection that has sent this.
async fn sent(exporter: &Exporter, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(exporter.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Waits until it takes no connection any longer: the first thing that ends.
async fn is_ending(exporter: &Exporter) {
    let refused = async {
        while TcpStream::connect(exporter.address()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, refused).await.is_ok(), "it goes on listening");
}

#[tokio::test]
async fn an_api_that_never_finishes_an_answer_holds_nothing_up() {
    for manner in [Manner::Silent, Manner::Trickling] {
        let mut api = Stubborn::start(manner).await;
        let mut setup = Setup::at(api.url(), "tasks: [t1, t2]");
        setup.configure(FOREVER);
        let exporter = setup.start().await;
        api.is_asked().await;
        let log = exporter.stops().await;
        assert!(log.iter().any(|line| line.contains("polls are made again after the restart")), "{manner:?}: {log:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_hangs_holds_nothing_up() {
    let mut proxy = Stubborn::start(Manner::Silent).await;
    let mut setup = Setup::at("http://api.invalid", "tasks: [t1]");
    setup.configure(FOREVER);
    setup.environment("HTTP_PROXY", proxy.url());
    let exporter = setup.start().await;
    proxy.is_asked().await;
    exporter.stops().await;
}

#[tokio::test]
async fn a_source_of_tasks_that_hangs_holds_nothing_up() {
    let api = FakeApi::start().await;
    let mut source = Stubborn::start(Manner::Silent).await;
    let yaml = json!({"discovery": {"http": [{"url": source.url(), "refresh_interval": "1h", "timeout": "1h"}]}});
    let exporter = Setup::new(&api, &yaml.to_string()).start().await;
    source.is_asked().await;
    exporter.stops().await;
}

#[tokio::test]
async fn clients_that_do_not_finish_hold_nothing_up() {
    let api = FakeApi::start().await;
    let exporter = taking_webhooks(&api, "{}").start().await;
    let post = format!("POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n");
    let _clients = [
        sent(&exporter, "").await,
        sent(&exporter, "GET /metrics HTTP/1.1\r\nhos").await,
        sent(&exporter, &format!("{post}content-length: 1000\r\n\r\n[")).await,
        sent(&exporter, &format!("{post}transfer-encoding: chunked\r\n\r\n1\r\n")).await,
        // They read nothing of their answers.
        sent(&exporter, &"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200)).await,
    ];
    // Connections are taken in their order: the others have been.
    exporter.scrape().await;
    exporter.stops().await;
}

#[tokio::test]
async fn an_answer_that_comes_while_it_ends_is_committed() {
    let api = FakeApi::start().await;
    let gate = watch::Sender::new(false);
    let late = operation("failed", &[("a", "failed/code")]).once(gate.subscribe());
    api.answers("t1", [operation("in_progress", &[("a", "queued")]), late]);
    let setup = Setup::new(&api, "tasks: [t1]");
    let exporter = setup.start().await;
    api.is_asked_again("t1", 2 - api.count("t1")).await;
    exporter.signal("TERM").await;
    is_ending(&exporter).await;
    gate.send_replace(true);
    exporter.stops().await;
    assert_eq!(api.count("t1"), 2, "the second answer was under way");
    let database = setup.path("exporter.db");
    assert_eq!(sqlite3(&database, "SELECT state FROM task WHERE id = 't1'"), "failed");
    let failures = "SELECT total FROM counter WHERE family = 'dragdropdo_file_failures_total' AND value = 'code'";
    assert_eq!(sqlite3(&database, failures), "1");
}

#[tokio::test]
async fn an_answer_that_waits_for_the_store_when_it_is_to_end_is_committed_if_the_store_comes_back() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("in_progress", &[("a", "queued")])]);
    let setup = taking_webhooks(&api, "tasks: [t1]");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_files{state=queued}", 1.0)]).await;
    let database = setup.path("exporter.db");
    let holder = Holder::of(&database, "BEGIN IMMEDIATE");
    api.answers("t1", [operation("completed", &[("a", "completed")])]);
    api.is_asked_again("t1", 1).await;
    let delivery = ended("unknown", now());
    let (delivered, ()) = tokio::join!(deliver(&exporter, &delivery), async {
        // The delivery is under way, and is answered when it is durable.
        exporter.get("/-/healthy").send().await.unwrap();
        exporter.signal("TERM").await;
        is_ending(&exporter).await;
        holder.lets_go();
    });
    assert_eq!(delivered, 204);
    exporter.stops().await;
    assert_eq!(sqlite3(&database, "SELECT state FROM task WHERE id = 't1'"), "completed");
    assert_eq!(sqlite3(&database, "SELECT task_id FROM early_webhook"), "unknown");
}

#[tokio::test]
async fn a_database_that_is_held_to_the_end_holds_nothing_up_and_nothing_is_lost() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("in_progress", &[("a", "queued")])]);
    let setup = taking_webhooks(&api, "tasks: [t1]");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_files{state=queued}", 1.0)]).await;
    let holder = Holder::of(&setup.path("exporter.db"), "BEGIN EXCLUSIVE");
    api.answers("t1", [operation("failed", &[("a", "failed/code")])]);
    api.is_asked_again("t1", 1).await;
    // A registration waits as well, and learns nothing: it is not durable.
    let mut client = sent(
        &exporter,
        &format!("POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 11\r\n\r\n{{\"id\":\"t2\"}}"),
    )
    .await;
    exporter.get("/-/healthy").send().await.unwrap();
    let log = exporter.stops().await;
    assert!(log.iter().any(|line| line.contains("what was committed is safe")), "{log:#?}");
    let mut answer = Vec::new();
    // The connection is cut, or ends.
    client.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    holder.lets_go();
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_file_failures_total{error_code=code}", 1.0)]).await;
}

#[tokio::test]
async fn a_full_disk_holds_nothing_up_and_nothing_is_lost() {
    let api = FakeApi::start().await;
    let queued = |file: usize| operation("in_progress", &[(&*format!("file-{file}"), "queued")]);
    // Each answer shows another file, which is something to write.
    api.answers("t1", (0..100).map(queued));
    let mut setup = taking_webhooks(&api, "tasks: [t1]");
    setup.start().await.terminate().await;
    // No file grows past 40 KiB, as on a disk that is full: enough for the index of the write-ahead log, not for the log.
    setup.shell("trap '' XFSZ; ulimit -f 80");
    let exporter = setup.start().await;
    let line = exporter.logs("the store fails").await;
    assert!(line.contains("what was observed waits"), "{line}");
    exporter.scrape().await;
    let log = exporter.stops().await;
    assert!(log.iter().any(|line| line.contains("not durable and will be observed again")), "{log:#?}");

    api.answers("t1", [operation("failed", &[("file-99", "failed/code")])]);
    setup.shell("ulimit -f unlimited");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_file_failures_total{error_code=code}", 1.0)]).await;
    assert_eq!(register(&exporter, &json!({"id": "t2"})).await, 201);
}

#[tokio::test]
async fn an_exporter_without_a_free_file_descriptor_serves_again_when_there_is_one_and_ends_in_time() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "{}");
    setup.shell("ulimit -n 32");
    let exporter = setup.start().await;
    for is_last in [false, true] {
        let mut clients = Vec::new();
        // More than it can take; the system keeps the rest waiting.
        for _ in 0..60 {
            clients.push(sent(&exporter, "GET /metrics HTTP/1.1\r\n").await);
        }
        if is_last {
            exporter.stops().await;
            return;
        }
        drop(clients);
        exporter.scrape().await;
    }
}

#[tokio::test]
async fn a_reload_that_waits_for_a_pipe_holds_up_neither_the_work_nor_the_end() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("in_progress", &[])]);
    for (piped, yaml) in [("config.yaml", "{}"), ("key", "api: {api_key: null, api_key_file: key}")] {
        let mut setup = Setup::new(&api, "tasks: [t1]");
        let exporter = setup.start().await;
        setup.configure(yaml);
        make_pipe(&setup.path(piped));
        exporter.signal("HUP").await;
        let _writer = is_read_as_a_pipe(&setup.path(piped)).await;
        api.is_asked_again("t1", 2).await;
        exporter.scrape().await;
        exporter.stops().await;
    }
}

#[tokio::test]
async fn a_second_signal_changes_nothing_and_an_interrupt_ends_it_as_well() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "{}").start().await;
    let log = exporter.stops_by("INT").await;
    assert!(log.last().unwrap().contains("stopped"), "{log:?}");

    let mut slow = Stubborn::start(Manner::Silent).await;
    let mut setup = Setup::at(slow.url(), "tasks: [t1]");
    setup.configure(FOREVER);
    let exporter = setup.start().await;
    slow.is_asked().await;
    exporter.signal("TERM").await;
    exporter.signal("INT").await;
    let log = exporter.stops().await;
    assert!(log.last().unwrap().contains("stopped"), "{log:?}");
}

#[tokio::test]
async fn an_exporter_whose_log_nobody_reads_any_longer_goes_on_and_ends_in_time() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("in_progress", &[])]);
    for format in ["logfmt", "json"] {
        let mut setup = Setup::new(&api, "tasks: [t1]");
        setup.argument(&format!("--log.format={format}")).argument("--log.level=debug");
        let exporter = setup.start().await;
        exporter.is_not_read();
        // Each of these is worth a line.
        exporter.signal("HUP").await;
        let reloaded = async {
            let reloads = "dragdropdo_exporter_config_last_reload_success_timestamp_seconds";
            let before = exporter.scrape().await.value(reloads);
            exporter.signal("HUP").await;
            exporter.until("another reload", |scrape| scrape.value(reloads) > before).await;
        };
        tokio::time::timeout(PATIENCE, reloaded).await.expect("it goes on");
        api.is_asked_again("t1", 2).await;
        exporter.stops().await;
    }
}

#[tokio::test]
async fn an_exporter_whose_log_waits_to_be_read_goes_on_and_ends_in_time() {
    /// Each is worth a line, and together they are several times what a pipe holds.
    const FAILURES: usize = 5000;
    let api = FakeApi::start().await;
    let names: Vec<String> = (0..FAILURES).map(|file| format!("file-{file}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "failed/code")).collect();
    api.answers("t1", [operation("in_progress", &[]), operation("failed", &files)]);
    let exporter = Setup::new(&api, "tasks: [t1]").start().await;
    exporter.is_left_unread();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    exporter.shows(&[("dragdropdo_file_failures_total{error_code=code}", FAILURES as f64)]).await;
    let before = exporter.scrape().await;
    assert_eq!(before.value("dragdropdo_tasks_finished_total{outcome=failed}"), 1.0);
    let log = exporter.stops().await;
    assert!(log.len() > 100 && log.len() < FAILURES, "{} lines", log.len());
}
