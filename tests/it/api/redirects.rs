//! Redirects: followed within the origin, and the key goes nowhere else.

use super::server::{Reply, Server, answer, completed};
use super::{ask, client, config};
use dragdropdo_exporter::api::RequestOutcome;
use dragdropdo_exporter::config::{ApiConfig, KeyHeader};
use dragdropdo_exporter::task::State;

fn redirect(status: &str, location: &str) -> Reply {
    Reply::Whole(answer(status, &format!("location: {location}\r\n"), "moved"))
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_with_the_key() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let server = Server::start(move |head| {
            if head.starts_with("GET /api/v1/status/task_1 ") {
                redirect(status, "/v2/status/task_1?x=1")
            } else {
                Reply::Whole(completed())
            }
        })
        .await;
        assert_eq!(ask(&client(&config(&server.url()))).await.unwrap().observation.state, State::Completed);
        let heads = server.heads();
        assert_eq!(server.paths()[1], "/v2/status/task_1?x=1");
        assert!(heads[1].starts_with("GET ") && heads[1].contains("\r\nauthorization: Bearer d3_live_secret\r\n"));
        assert!(!heads[1].contains("referer"), "{}", heads[1]);
    }
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_refused_and_the_key_stays_here() {
    let other = Server::always(Reply::Whole(completed())).await;
    let port = other.address().port();
    for auth in [KeyHeader::Bearer, KeyHeader::XD3ApiKey] {
        for origin in [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")] {
            let location = format!("{origin}/signed?token=secret");
            let server = Server::always(redirect("302 Found", &location)).await;
            let failure = ask(&client(&ApiConfig { auth, ..config(&server.url()) })).await.unwrap_err();
            assert_eq!((failure.outcome, failure.status), (RequestOutcome::InvalidResponse, Some(302)));
            assert_eq!(
                failure.reason,
                format!("status 302 Found: not redirected to another origin, {origin}; check api.base_url")
            );
        }
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn another_scheme_or_port_of_the_same_host_is_another_origin() {
    for target in ["https://{}", "http://127.0.0.1:1", "ftp://{}", "//127.0.0.1:1"] {
        let server = Server::start(move |head| {
            let host = head.split("host: ").nth(1).unwrap().split("\r\n").next().unwrap();
            redirect("307 Temporary Redirect", &format!("{}/secret", target.replace("{}", host)))
        })
        .await;
        let failure = ask(&client(&config(&server.url()))).await.unwrap_err();
        assert_eq!((failure.outcome, failure.status), (RequestOutcome::InvalidResponse, Some(307)), "{target}");
        assert!(failure.reason.contains("not redirected to another origin, "), "{failure:?}");
        assert_eq!(server.heads().len(), 1);
    }
}

#[tokio::test]
async fn a_loop_of_redirects_ends_after_five() {
    let server = Server::always(redirect("302 Found", "/api/v1/status/task_1")).await;
    let failure = ask(&client(&config(&server.url()))).await.unwrap_err();
    assert_eq!((failure.outcome, failure.status), (RequestOutcome::InvalidResponse, Some(302)));
    assert_eq!(failure.reason, "status 302 Found: more than 5 redirects");
    assert_eq!(server.heads().len(), 6);
}

#[tokio::test]
async fn a_redirect_to_nowhere_is_invalid() {
    for headers in ["", "location: http://[\r\n", "location: \u{e9}://\r\n", "location: http://\r\n"] {
        let server = Server::always(Reply::Whole(answer("302 Found", headers, ""))).await;
        let failure = ask(&client(&config(&server.url()))).await.unwrap_err();
        assert_eq!((failure.outcome, failure.status), (RequestOutcome::InvalidResponse, Some(302)), "{headers}");
        assert!(failure.reason.starts_with("status 302 Found"), "{failure:?}");
    }
}
