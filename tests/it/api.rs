//! The client of the D3 API over real sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy;
mod redirects;
mod server;
mod tls;

use dragdropdo_exporter::api::{Answer, Client, Failure, Key, RequestOutcome};
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::config::{ApiConfig, KeyHeader, KeySource, RateLimit};
use dragdropdo_exporter::task::{Ask, FileKey, FilesSeen, State, TaskId};
use server::{Reply, Server, answer, completed};
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

fn config(base_url: &str) -> ApiConfig {
    ApiConfig {
        base_url: base_url.parse().unwrap(),
        status_path: "/api/v1/status".into(),
        auth: KeyHeader::Bearer,
        key: KeySource::Inline("d3_live_secret".into()),
        timeout: Duration::from_secs(10),
        rate_limit: RateLimit { requests: NonZeroU32::MIN, period: Duration::from_secs(1) },
        concurrency: 8,
        max_response_size: 64 * 1024,
        ca_file: None,
    }
}

fn client(config: &ApiConfig) -> Client {
    Client::new(config, Key::open(&config.key).unwrap(), Clock::system()).unwrap()
}

fn id() -> TaskId {
    TaskId::new("task_1").unwrap()
}

async fn ask(client: &Client) -> Result<Answer, Failure> {
    let answer = client.status(&id(), &Ask::Task).await;
    assert!(!format!("{answer:?} {client:?}").contains("secret"), "{answer:?}");
    answer
}

/// Asks a server that always gives this reply.
async fn asked(reply: Reply) -> Result<Answer, Failure> {
    let server = Server::always(reply).await;
    let config = ApiConfig { timeout: Duration::from_secs(2), ..config(&server.url()) };
    ask(&client(&config)).await
}

#[tokio::test]
async fn a_readable_answer_is_an_observation_with_the_time_of_its_receipt() {
    let before = Clock::system().wall();
    let body = r#"{"data":{"operation_status":"RUNNING","files_data":[
        {"file_key":"k","status":"done?","download_link":"https://d3.example/secret"}]}}"#;
    let got = asked(Reply::Whole(answer("200 OK", "", body))).await.unwrap();
    assert_eq!(got.observation.state, State::InProgress);
    assert!(before <= got.observation.received && got.observation.received <= Clock::system().wall());
    assert_eq!(got.unknown_words, ["done_"]);
    assert_eq!(got.unknown_states, 1);
}

#[tokio::test]
async fn a_file_is_asked_for_at_its_own_route() {
    let body = r#"{"operation_status":"queued","files_data":[{"file_key":"k","status":"queued"}]}"#;
    let server = Server::always(Reply::Whole(answer("200 OK", "", body))).await;
    let key = FileKey::from_api("k");
    let got = client(&config(&server.url())).status(&id(), &Ask::File(key.clone())).await.unwrap();
    assert!(matches!(got.observation.files, FilesSeen::Only { asked, entries } if asked == key && entries.len() == 1));
    assert_eq!(server.paths(), ["/api/v1/status/task_1/k"]);
}

#[tokio::test]
async fn every_status_and_every_unreadable_answer_has_its_outcome() {
    use RequestOutcome as O;
    let json = r#"{"operation_status":"completed"}"#;
    for (status, body, outcome) in [
        ("404 Not Found", json, O::NotFound),
        ("401 Unauthorized", json, O::Unauthorized),
        ("403 Forbidden", "<html>", O::Unauthorized),
        ("429 Too Many Requests", r#"{"error":"rate_limit_exceeded"}"#, O::RateLimited),
        ("400 Bad Request", "", O::ClientError),
        ("418 I'm a teapot", json, O::ClientError),
        ("500 Internal Server Error", json, O::ServerError),
        ("503 Service Unavailable", "secret", O::ServerError),
        ("201 Created", json, O::InvalidResponse),
        ("202 Accepted", json, O::InvalidResponse),
        ("304 Not Modified", "", O::InvalidResponse),
        ("200 OK", "", O::InvalidResponse),
        ("200 OK", "<html>secret</html>", O::InvalidResponse),
        ("200 OK", r#"{"message":"secret"}"#, O::InvalidResponse),
        ("200 OK", r#"{"operation_status":null}"#, O::InvalidResponse),
    ] {
        let failure = asked(Reply::Whole(answer(status, "", body))).await.unwrap_err();
        assert_eq!(failure.outcome, outcome, "{status} {body}");
        assert_eq!(failure.status.unwrap().to_string(), status[..3], "{status} {body}");
        assert_eq!(failure.retry_after, None);
    }
    let empty = Reply::Whole(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
    assert_eq!(asked(empty).await.unwrap_err().outcome, O::InvalidResponse);
}

#[tokio::test]
async fn retry_after_is_read_on_any_failing_status() {
    for (header, expected) in [("120", Some(120)), ("soon", None), ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0))] {
        for status in ["429 Too Many Requests", "503 Service Unavailable", "403 Forbidden", "302 Found"] {
            let reply = Reply::Whole(answer(status, &format!("retry-after: {header}\r\n"), ""));
            assert_eq!(asked(reply).await.unwrap_err().retry_after, expected.map(Duration::from_secs), "{header}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_carries_no_whole_answer_is_a_connection_error() {
    let started = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"operation_status\"".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"ope\r\n".to_vec();
    let gzip = [&b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 100\r\n\r\n"[..], GZIP_START].concat();
    for reply in [
        Reply::Cut(Vec::new()),
        Reply::Cut(b"HTTP/1.1 200".to_vec()),
        Reply::Cut(started.clone()),
        Reply::Cut(chunked),
        Reply::Cut(gzip),
        Reply::Reset(Vec::new()),
        Reply::Reset(started),
    ] {
        let failure = asked(reply).await.unwrap_err();
        assert_eq!(failure.outcome, RequestOutcome::ConnectionError, "{failure:?}");
        assert!(!failure.reason.contains("127.0.0.1"), "{failure:?}");
    }
}

#[tokio::test]
async fn nobody_listening_and_no_such_host_are_connection_errors() {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    // A label of more than 63 characters has no address, and no name server is asked for it.
    for base in [format!("http://127.0.0.1:{port}"), format!("http://{}.example", "a".repeat(64))] {
        let failure = ask(&client(&config(&base))).await.unwrap_err();
        assert_eq!(failure.outcome, RequestOutcome::ConnectionError, "{failure:?}");
        assert_eq!(failure.status, None);
    }
}

/// The beginning of a gzip stream: a header and a stored block of 32 bytes that breaks off.
const GZIP_START: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x20\0\xdf\xff{\"operation_";

#[tokio::test]
async fn an_answer_that_is_no_sound_http_or_gzip_is_invalid() {
    let gzip = "content-encoding: gzip\r\n";
    for reply in [
        Reply::Cut(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        Reply::Cut(b"HTTP/1.1 200 OK\r\nno header\r\n\r\n".to_vec()),
        Reply::Whole(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n".to_vec()),
        Reply::Whole(answer("200 OK", gzip, r#"{"operation_status":"completed"}"#)),
        Reply::Whole(answer("200 OK", gzip, GZIP_START)),
    ] {
        let failure = asked(reply).await.unwrap_err();
        assert_eq!(failure.outcome, RequestOutcome::InvalidResponse, "{failure:?}");
    }
}

#[tokio::test]
async fn the_timeout_covers_headers_and_body() {
    for (stall, status) in [
        (&b""[..], None),
        (b"HTTP/1.1 200 OK\r\n", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", Some(200)),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n", Some(200)),
    ] {
        let server = Server::always(Reply::Stall(stall.to_vec())).await;
        let config = ApiConfig { timeout: Duration::from_millis(200), ..config(&server.url()) };
        let clock = Clock::system();
        let answer = timeout(Duration::from_secs(5), ask(&client(&config))).await;
        let failure = answer.unwrap().unwrap_err();
        assert_eq!((failure.outcome, failure.status), (RequestOutcome::Timeout, status), "{failure:?}");
        assert!((Duration::from_millis(200)..Duration::from_secs(2)).contains(&clock.elapsed()));
    }
}

#[tokio::test]
async fn a_failing_status_whose_body_stalls_or_never_ends_is_told_soon() {
    let head = b"HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\nretry-after: 7\r\n\r\n".to_vec();
    let endless = Reply::Endless(head.clone(), b"4\r\nwait\r\n".to_vec());
    for (reply, timeout, told_after) in
        [(endless, 10_000, 5000), (Reply::Stall(head.clone()), 10_000, 5000), (Reply::Stall(head), 100, 900)]
    {
        let server = Server::always(reply).await;
        let config = ApiConfig { timeout: Duration::from_millis(timeout), ..config(&server.url()) };
        let clock = Clock::system();
        let failure = ask(&client(&config)).await.unwrap_err();
        assert_eq!((failure.outcome, failure.status), (RequestOutcome::ServerError, Some(503)));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        assert!(clock.elapsed() < Duration::from_millis(told_after));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_invalid_and_one_at_the_limit_is_not() {
    let limit = 64 * 1024;
    let sized = |size: usize| format!(r#"{{"operation_status":"completed","x":"{}"}}"#, "x".repeat(size - 39));
    assert_eq!(sized(limit).len(), limit);
    let whole = |body: &str| Reply::Whole(answer("200 OK", "", body));
    let chunked = |body: &str| {
        let (head, tail) = body.split_at(1000);
        let chunks = [head, tail].map(|part| format!("{:x}\r\n{part}\r\n", part.len())).concat();
        Reply::Whole(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes())
    };
    for reply in [whole(&sized(limit)), chunked(&sized(limit))] {
        assert_eq!(asked(reply).await.unwrap().observation.state, State::Completed);
    }
    for reply in [whole(&sized(limit + 1)), chunked(&sized(limit + 1))] {
        let failure = asked(reply).await.unwrap_err();
        assert_eq!((failure.outcome, failure.status), (RequestOutcome::InvalidResponse, Some(200)));
        assert_eq!(failure.reason, "the body has more than 65536 bytes, the limit of api.max_response_size");
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in [format!("1000\r\n{}\r\n", " ".repeat(4096)), "1\r\n \r\n".repeat(1000)] {
        let failure = asked(Reply::Endless(head.clone(), piece.into_bytes())).await.unwrap_err();
        assert_eq!(failure.outcome, RequestOutcome::InvalidResponse, "{failure:?}");
        assert!(failure.reason.contains("more than 65536 bytes"), "{failure:?}");
    }
}

#[tokio::test]
async fn gzip_is_read_and_a_gzip_bomb_is_cut_at_the_limit() {
    use axum::{Router, routing::get};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::{server::conn::auto::Builder, service::TowerToHyperService};
    let app = Router::new()
        .route(
            "/good/status/task_1",
            get(async || format!(r#"{{"x":"{}","operation_status":"failed"}}"#, "x".repeat(5000))),
        )
        // A thousand times smaller on the wire.
        .route("/bomb/status/task_1", get(async || " ".repeat(16 << 20)))
        .layer(tower_http::compression::CompressionLayer::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(app.clone());
            // The client hangs up on the bomb.
            tokio::spawn(async move {
                drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });

    let at = |path: &str| client(&ApiConfig { status_path: path.into(), ..config(&base) });
    assert_eq!(ask(&at("good/status")).await.unwrap().observation.state, State::Failed);
    let failure = ask(&at("bomb/status")).await.unwrap_err();
    assert_eq!(failure.outcome, RequestOutcome::InvalidResponse);
    assert!(failure.reason.contains("more than 65536 bytes"), "{failure:?}");
}

#[tokio::test]
async fn an_identifier_arrives_as_one_segment_whatever_it_holds() {
    let server = Server::always(Reply::Whole(completed())).await;
    let client = client(&config(&server.url()));
    let names = ["a/b", "../admin", "%2e%2e", "a?b=c#d", "100%", " a b", "größe", "..."];
    let escaped =
        ["a%2Fb", "..%2Fadmin", "%252e%252e", "a%3Fb%3Dc%23d", "100%25", "%20a%20b", "gr%C3%B6%C3%9Fe", "..."];
    for name in names {
        client.status(&TaskId::new(name).unwrap(), &Ask::File(FileKey::from_api(name))).await.unwrap();
    }
    assert_eq!(server.paths(), escaped.map(|name| format!("/api/v1/status/{name}/{name}")));
}

#[tokio::test]
async fn a_name_that_would_lead_to_another_route_is_not_found_without_a_request() {
    let server = Server::always(Reply::Whole(completed())).await;
    let client = client(&config(&server.url()));
    for (task, key) in [(".", None), ("..", None), ("task_1", Some("..")), ("task_1", Some(".")), ("task_1", Some(""))]
    {
        let ask = key.map_or(Ask::Task, |key| Ask::File(FileKey::from_api(key)));
        let failure = client.status(&TaskId::new(task).unwrap(), &ask).await.unwrap_err();
        assert_eq!((failure.outcome, failure.status), (RequestOutcome::NotFound, None), "{failure:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_request_carries_the_key_in_the_configured_header_and_says_who_asks() {
    let server = Server::always(Reply::Whole(completed())).await;
    let bearer = config(&server.url());
    ask(&client(&bearer)).await.unwrap();
    ask(&client(&ApiConfig { auth: KeyHeader::XD3ApiKey, ..bearer })).await.unwrap();
    let heads = server.heads();
    let version = env!("CARGO_PKG_VERSION");
    for head in &heads {
        assert!(head.starts_with("GET /api/v1/status/task_1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\naccept: application/json\r\n"), "{head}");
        assert!(head.contains("\r\naccept-encoding: gzip\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nuser-agent: dragdropdo-exporter/{version}\r\n")), "{head}");
    }
    assert!(heads[0].contains("\r\nauthorization: Bearer d3_live_secret\r\n") && !heads[0].contains("x-d3-api-key"));
    assert!(heads[1].contains("\r\nx-d3-api-key: d3_live_secret\r\n") && !heads[1].contains("authorization"));
}

#[tokio::test]
async fn one_connection_serves_request_after_request_whatever_their_outcome() {
    let server = Server::start(|head| {
        Reply::Whole(if head.contains("missing") {
            answer("404 Not Found", "", "x".repeat(20_000))
        } else {
            completed()
        })
    })
    .await;
    let client = client(&config(&server.url()));
    for _ in 0..5 {
        client.status(&id(), &Ask::Task).await.unwrap();
        client.status(&TaskId::new("missing").unwrap(), &Ask::Task).await.unwrap_err();
    }
    assert_eq!((server.heads().len(), server.connections()), (10, 1));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_costs_no_failure() {
    let server = Server::always(Reply::Cut(completed())).await;
    let client = client(&config(&server.url()));
    for _ in 0..3 {
        ask(&client).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_new_key_in_the_file_is_used_from_the_next_request_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "d3_old_secret\n").unwrap();
    let server = Server::start(|head| {
        Reply::Whole(if head.contains("Bearer d3_new_secret\r\n") { completed() } else { answer("401 No", "", "") })
    })
    .await;
    let config = ApiConfig { key: KeySource::File(path.clone()), ..config(&server.url()) };
    let key = Key::open(&config.key).unwrap();
    let client = Client::new(&config, key.clone(), Clock::system()).unwrap();
    let cancel = CancellationToken::new();
    let mut changes = key.changes();
    let watching = tokio::spawn(key.watch(cancel.clone()));

    assert_eq!(ask(&client).await.unwrap_err().outcome, RequestOutcome::Unauthorized);
    std::fs::write(&path, "d3_new_secret\n").unwrap();
    timeout(Duration::from_secs(10), changes.changed()).await.unwrap().unwrap();
    ask(&client).await.unwrap();

    cancel.cancel();
    watching.await.unwrap();
}
