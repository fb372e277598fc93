//! Starts that fail, or that wait for something.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{
    FakeApi, Holder, PATIENCE, Setup, binary, is_read_as_a_pipe, make_full_pipe, make_pipe, operation, run,
};
use std::fs::File;
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::test]
async fn what_keeps_it_from_starting_is_told_with_its_code_what_it_is_about_and_what_to_do() {
    let api = FakeApi::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap();
    for (yaml, code, about, advice) in [
        (
            &*format!("webhook: {{listen_address: '{taken}'}}"),
            1,
            &*taken.to_string(),
            "choose another webhook.listen_address",
        ),
        (
            "storage: {url: 'sqlite://nowhere/exporter.db'}",
            1,
            "nowhere/exporter.db.lock",
            "must be able to write in that folder",
        ),
        ("storage: {url: 'sqlite://.'}", 1, "the database .", "check storage.url"),
        (
            "api: {api_key: null, api_key_file: nowhere}",
            2,
            "the API key file nowhere",
            "put the key into it, or let api.api_key_file name another one",
        ),
        ("web: {config_file: nowhere}", 2, "nowhere", "web.config_file"),
        ("api: {ca_file: nowhere}", 2, "api.ca_file nowhere", "name a PEM file"),
        ("web: {api_token_file: nowhere}", 2, "web.api_token_file nowhere", "put the token into it"),
        ("webhook: {secret_file: nowhere}", 2, "webhook.secret_file nowhere", "put the secret"),
    ] {
        let setup = Setup::new(&api, yaml);
        let ended = setup.fails_to_start().await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{yaml}: {ended:?}");
        assert!(ended.stderr.contains(about) && ended.stderr.contains(advice), "{yaml}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{yaml}: {ended:?}");
    }
}

#[tokio::test]
async fn a_database_that_another_program_keeps_for_itself_is_told_of_and_waited_for_no_longer_than_needed() {
    let api = FakeApi::start().await;
    api.otherwise(operation("in_progress", &[]));
    let setup = Setup::new(&api, "tasks: [t1]");
    setup.start().await.terminate().await;
    let holder = Holder::of(&setup.path("exporter.db"), "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    let ended = setup.fails_to_start().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("exporter.db is locked by another program: end it"), "{ended:?}");

    // While it waits it can be stopped, and that is no failure.
    let exporter = setup.launch();
    let lock = format!("process {}\n", exporter.pid());
    let opens = async {
        while std::fs::read_to_string(setup.path("exporter.db.lock")).unwrap() != lock {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, opens).await.expect("it goes on to the database");
    let log = exporter.stops().await;
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("stopped before it had started"), "{log:?}");
    holder.lets_go();
    setup.start().await;
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_of_and_not_taken_for_a_broken_database() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "{}");
    // Nothing is written past 8 KiB, as on a disk that is full.
    setup.shell("trap '' XFSZ; ulimit -f 16");
    let ended = setup.fails_to_start().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("exporter.db cannot be read or written"), "{ended:?}");
    assert!(ended.stderr.contains("see whether the disk is full") && !ended.stderr.contains("backup"), "{ended:?}");
}

#[tokio::test]
async fn a_start_that_waits_for_a_pipe_can_be_stopped() {
    let api = FakeApi::start().await;
    for (piped, yaml) in [("config.yaml", "{}"), ("key", "api: {api_key: null, api_key_file: key}")] {
        let setup = Setup::new(&api, yaml);
        make_pipe(&setup.path(piped));
        let exporter = setup.launch();
        let _writer = is_read_as_a_pipe(&setup.path(piped)).await;
        let log = exporter.stops().await;
        assert!(log[0].contains("stopped before it had started"), "{piped}: {log:?}");
    }
}

#[tokio::test]
async fn nobody_needs_to_read_what_a_command_prints() {
    let full = |arguments: &'static [&str]| async move {
        let mut command = binary();
        command.args(arguments).stdout(File::options().write(true).open("/dev/full").unwrap());
        command.stderr(File::options().write(true).open("/dev/full").unwrap());
        command.status().await.unwrap().code()
    };
    assert_eq!(full(&["check-config", "config.example.yaml"]).await, Some(0));
    assert_eq!(full(&["check-config", "nowhere.yaml"]).await, Some(2));
    assert_eq!(full(&["--config.file=nowhere.yaml"]).await, Some(2));
    assert_eq!(full(&["healthcheck", "--url=http://127.0.0.1:1"]).await, Some(1));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), &["--version"], &[]).await.code, Some(0));
}

#[tokio::test]
async fn whoever_holds_what_a_command_prints_and_does_not_read_it_keeps_nothing_from_ending() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let _held = make_full_pipe(&path);
    let full = || File::options().write(true).open(&path).unwrap();
    let started = |arguments: &[&str]| {
        let mut command = binary();
        command.args(arguments).stdout(full()).stderr(full());
        command.spawn().unwrap()
    };
    let ended = async |mut child: tokio::process::Child| {
        tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap().code()
    };
    assert_eq!(ended(started(&["--config.file=nowhere.yaml"])).await, Some(2));
    assert_eq!(ended(started(&["check-config", "config.example.yaml"])).await, Some(0));
    for command in [
        "simulate --listen-address=127.0.0.1:0",
        "demo --web.listen-address=127.0.0.1:0 --simulator.listen-address=127.0.0.1:0",
    ] {
        let child = started(&command.split(' ').collect::<Vec<_>>());
        let pid = child.id().unwrap();
        let catches = async {
            while !catches_sigterm(pid) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, catches).await.expect("it catches SIGTERM");
        run_shell(&format!("kill -TERM {pid}")).await;
        assert_eq!(ended(child).await, Some(0), "{command}");
    }
}

/// Whether the process has a handler for SIGTERM, as the system tells it.
fn catches_sigterm(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
    u64::from_str_radix(caught, 16).unwrap() & (1 << 14) != 0
}

async fn run_shell(command: &str) {
    assert!(tokio::process::Command::new("sh").args(["-c", command]).status().await.unwrap().success());
}

#[tokio::test]
async fn a_start_that_fails_is_told_in_the_format_of_the_log() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "api: {api_key: null, api_key_file: nowhere}");
    setup.argument("--log.format=json");
    let ended = setup.fails_to_start().await;
    assert_eq!(ended.code, Some(2));
    let line: serde_json::Value = serde_json::from_str(ended.stderr.trim()).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().contains("the API key file nowhere"), "{line}");
}
