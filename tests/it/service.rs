//! What the service manager is told, over a socket of its own.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Exporter, FakeApi, Holder, PATIENCE, Setup, operation};
use reqwest::StatusCode;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram};
use tokio::net::UnixDatagram;

/// A service manager's socket below the setup's folder, named in the environment of the next starts.
fn manager(setup: &mut Setup) -> UnixDatagram {
    let path = setup.path("notify");
    setup.environment("NOTIFY_SOCKET", path.to_str().unwrap());
    UnixDatagram::bind(path).unwrap()
}

/// The next message but for signs of life.
async fn told(socket: &UnixDatagram) -> String {
    loop {
        let message = received(socket).await;
        if message != "WATCHDOG=1\n" {
            return message;
        }
    }
}

async fn received(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
    let length = received.unwrap_or_else(|_| panic!("the service manager is told nothing more")).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

async fn is_ready(exporter: &Exporter) -> bool {
    exporter.get("/-/ready").send().await.unwrap().status() == StatusCode::OK
}

#[tokio::test]
async fn systemd_learns_of_readiness_not_before_it_is_there_and_of_the_end() {
    let api = FakeApi::start().await;
    api.otherwise(operation("in_progress", &[]));
    let mut setup = Setup::new(&api, "tasks: [t1]");
    setup.start().await.terminate().await;
    // A task that the held database does not take keeps the exporter from being ready.
    setup.configure("tasks: [t1, t2]");
    let socket = manager(&mut setup);
    setup.environment("WATCHDOG_USEC", "300000");
    let holder = Holder::of(&setup.path("exporter.db"), "BEGIN IMMEDIATE");
    let mut exporter = setup.launch();
    exporter.listens().await;
    assert!(received(&socket).await.starts_with("STATUS=starting: "));
    for _ in 0..5 {
        assert_eq!(received(&socket).await, "WATCHDOG=1\n", "it lives, and is not ready");
    }
    assert!(!is_ready(&exporter).await);
    holder.lets_go();
    let expected = format!("READY=1\nSTATUS=listening on {}\n", exporter.address());
    assert_eq!(told(&socket).await, expected);
    assert!(is_ready(&exporter).await);

    for _ in 0..3 {
        assert_eq!(received(&socket).await, "WATCHDOG=1\n");
    }
    exporter.signal("TERM").await;
    assert!(told(&socket).await.starts_with("STOPPING=1\nSTATUS=shutting down"));
    exporter.stops().await;
}

#[tokio::test]
async fn systemd_learns_when_a_reload_begins_when_it_ends_and_why_it_failed() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "{}");
    let socket = manager(&mut setup);
    let exporter = setup.start().await;
    assert!(told(&socket).await.starts_with("STATUS=starting: "));
    let ready = told(&socket).await;
    for (yaml, ends) in [
        ("retention: 2h", "\n"),
        ("storage: {url: memory}", "; the latest reload failed, and the configuration is as before: storage.url can't"),
    ] {
        setup.configure(yaml);
        exporter.signal("HUP").await;
        let begins = told(&socket).await;
        let moment = begins.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{begins}"));
        assert!(moment.trim().parse::<u64>().unwrap() > 0, "{begins}");
        let ended = told(&socket).await;
        assert!(ended.starts_with(&format!("{}{ends}", ready.trim_end())), "{ended}");
        assert_eq!(ended.lines().count(), 2, "{ended}");
    }
    exporter.stops().await;
}

#[tokio::test]
async fn a_watchdog_for_another_process_gets_no_sign_of_life() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "{}");
    let socket = manager(&mut setup);
    setup.environment("WATCHDOG_USEC", "30000").environment("WATCHDOG_PID", "1");
    let exporter = setup.start().await;
    assert!(received(&socket).await.starts_with("STATUS=starting: "));
    assert!(received(&socket).await.starts_with("READY=1\n"));
    // Many signs of life would have come meanwhile.
    exporter.get("/metrics").send().await.unwrap();
    exporter.stops().await;
    assert!(received(&socket).await.starts_with("STOPPING=1\n"));
}

#[tokio::test]
async fn an_abstract_socket_serves_as_well() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "{}");
    let name = format!("dragdropdo-exporter-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = StdUnixDatagram::bind_addr(&address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = UnixDatagram::from_std(socket).unwrap();
    setup.environment("NOTIFY_SOCKET", &format!("@{name}"));
    let exporter = setup.start().await;
    assert!(told(&socket).await.starts_with("STATUS=starting: "));
    assert!(told(&socket).await.starts_with("READY=1\n"));
    exporter.stops().await;
}

#[tokio::test]
async fn a_service_manager_that_cannot_be_told_is_told_of_once_and_nothing_else_happens() {
    let api = FakeApi::start().await;
    for (socket, expected) in [("/nowhere/notify", "cannot be told how"), ("nonsense", "NOTIFY_SOCKET nonsense cannot")]
    {
        let mut setup = Setup::new(&api, "{}");
        setup.environment("NOTIFY_SOCKET", socket).environment("WATCHDOG_USEC", "30000");
        let exporter = setup.start().await;
        exporter.signal("HUP").await;
        exporter.logs("the configuration is reloaded").await;
        let log = exporter.stops().await;
        assert_eq!(log.iter().filter(|line| line.contains("service manager")).count(), 1, "{log:#?}");
        assert!(log.iter().any(|line| line.contains(expected) && line.contains("level=warn")), "{log:#?}");
    }
}

#[tokio::test]
async fn systemd_learns_why_a_start_failed() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "api: {api_key: null, api_key_file: nowhere}");
    let socket = manager(&mut setup);
    assert_eq!(setup.fails_to_start().await.code, Some(2));
    assert!(told(&socket).await.starts_with("STATUS=starting: "));
    assert!(told(&socket).await.starts_with("STATUS=cannot read the API key file nowhere"));
}
