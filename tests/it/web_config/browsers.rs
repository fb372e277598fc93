//! What browsers do beside what they are asked to.

use super::{Served, options, plain, setup, users};
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderName};
use serde_json::json;

#[tokio::test]
async fn the_page_of_another_site_changes_nothing_with_the_password_that_a_browser_adds() {
    let served = Served::start(&setup(&users(&["ann"])).await).await;
    let register = async |headers: &[(&'static str, &str)], bearer: bool| {
        let request = served.request(&plain(), Method::POST, "/api/v1/tasks").body(json!({"id": "t2"}).to_string());
        let named = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let request = request.headers(named.collect::<HeaderMap>());
        let request =
            if bearer { request.bearer_auth("the-token") } else { request.basic_auth("ann", Some("ann-password")) };
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(register(&[("sec-fetch-site", "cross-site")], false).await, 403);
    assert_eq!(register(&[("origin", "https://elsewhere.example")], false).await, 403);
    assert_eq!(register(&[("origin", &served.base)], false).await, 201);
    assert_eq!(register(&[("sec-fetch-site", "cross-site")], true).await, 200);
    // To read is another matter: the answer is kept from that page.
    let read = served.request(&plain(), Method::GET, "/metrics").header("sec-fetch-site", "cross-site");
    assert_eq!(read.basic_auth("ann", Some("ann-password")).send().await.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn the_policy_of_the_page_is_its_own_and_there_is_one() {
    let headers = "http_server_config: {headers: {X-Frame-Options: deny, X-Content-Type-Options: nosniff, \
                   Content-Security-Policy: \"default-src 'self'\"}}";
    let served = Served::start(&setup(headers).await).await;
    let answer = served.request(&plain(), Method::GET, "/").send().await.unwrap();
    for (name, expected) in [
        ("content-security-policy", "default-src 'none'"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "deny"),
    ] {
        let values: Vec<_> = answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        assert!(matches!(values[..], [value] if value.starts_with(expected)), "{name}: {values:?}");
    }
}

#[tokio::test]
async fn nobody_is_refused_for_an_encoding() {
    let served = Served::start(&setup("{}").await).await;
    let client = options().no_gzip().build().unwrap();
    for path in ["/metrics", "/api/v1/tasks", "/"] {
        let request = served.request(&client, Method::GET, path).header(ACCEPT_ENCODING, "identity;q=0, *;q=0");
        assert_eq!(request.send().await.unwrap().status().as_u16(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_flag_that_is_empty_is_none() {
    let mut setup = setup(&users(&["configured"])).await;
    setup.environment("DRAGDROPDO_EXPORTER_WEB_CONFIG_FILE", "");
    let served = Served::start(&setup).await;
    assert_eq!(served.scrape(&plain(), "configured", "configured-password").await, 200);
    assert_eq!(served.status(&plain(), "/metrics").await, Some(401));
    served.exporter.kill().await;
    setup.argument("--web.config.file=");
    let served = Served::start(&setup).await;
    assert_eq!(served.status(&plain(), "/metrics").await, Some(401));
}
