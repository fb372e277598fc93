//! Proxies and trust roots from the environment, each in a process of its own, since an environment is the process's.

use super::server::{Reply, Server, answer, completed};
use super::{ask, client, config};
use dragdropdo_exporter::api::{Client, ClientError, Key, RequestOutcome};
use dragdropdo_exporter::clock::Clock;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// Where the process that a test starts finds what it shall ask.
const BASE_URL: &str = "TEST_BASE_URL";

/// Runs one of the ignored tests below with nothing but this in its environment.
async fn run(test: &str, environment: &[(&str, &str)]) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("api::proxy::{test}")])
        .env_clear()
        .envs(environment.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(20), child).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

#[tokio::test]
async fn plain_http_goes_through_the_proxy_of_the_environment() {
    let proxy = Server::always(Reply::Whole(completed())).await;
    run("asked_and_answered", &[("http_proxy", &proxy.url()), (BASE_URL, "http://d3.example:81")]).await;
    assert!(proxy.heads()[0].starts_with("GET http://d3.example:81/api/v1/status/task_1 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn https_asks_the_proxy_of_the_environment_for_a_tunnel_and_keeps_the_key_from_it() {
    let proxy = Server::always(Reply::Whole(answer("502 Bad Gateway", "", ""))).await;
    run("asked_and_not_connected", &[("HTTPS_PROXY", &proxy.url()), (BASE_URL, "https://d3.example")]).await;
    let head = &proxy.heads()[0];
    assert!(head.starts_with("CONNECT d3.example:443 HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("d3_live_secret"), "{head}");
}

#[tokio::test]
async fn a_host_that_no_proxy_names_is_asked_directly() {
    let proxy = Server::always(Reply::Whole(answer("502 Bad Gateway", "", ""))).await;
    let server = Server::always(Reply::Whole(completed())).await;
    let environment = [("HTTP_PROXY", proxy.url()), ("NO_PROXY", "127.0.0.1".into()), (BASE_URL, server.url())];
    run("asked_and_answered", &environment.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    assert_eq!((proxy.connections(), server.connections()), (0, 1));
}

#[tokio::test]
async fn without_any_trust_roots_http_works_and_https_says_what_is_missing() {
    let server = Server::always(Reply::Whole(completed())).await;
    run("asked_and_answered", &[("SSL_CERT_FILE", "/dev/null"), (BASE_URL, &server.url())]).await;
    run("refused_for_want_of_trust_roots", &[("SSL_CERT_FILE", "/dev/null"), (BASE_URL, "https://d3.example")]).await;
}

fn base_url() -> String {
    std::env::var(BASE_URL).unwrap()
}

#[tokio::test]
#[ignore = "run by the tests above, with an environment"]
async fn asked_and_answered() {
    ask(&client(&config(&base_url()))).await.unwrap();
}

#[tokio::test]
#[ignore = "run by the tests above, with an environment"]
async fn asked_and_not_connected() {
    let failure = ask(&client(&config(&base_url()))).await.unwrap_err();
    assert_eq!(failure.outcome, RequestOutcome::ConnectionError, "{failure:?}");
}

#[test]
#[ignore = "run by the tests above, with an environment"]
fn refused_for_want_of_trust_roots() {
    let config = config(&base_url());
    let refused = Client::new(&config, Key::open(&config.key).unwrap(), Clock::system()).unwrap_err();
    assert!(matches!(refused, ClientError::Http(_)), "{refused}");
    assert!(refused.to_string().contains("api.ca_file"), "{refused}");
}
