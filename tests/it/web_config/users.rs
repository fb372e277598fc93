//! Basic auth, headers and the rate limit: what is asked of each request.

use super::{Served, plain, setup, users};
use crate::webhooks::{ROUTE, ended, now, signature};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const CHALLENGE: &str = "Basic realm=\"dragdropdo-exporter\", charset=\"UTF-8\"";

/// The status, what credentials are asked for, and why.
async fn refusal(answer: Response) -> (u16, Vec<String>, String) {
    let status = answer.status().as_u16();
    let challenges = answer.headers().get_all(WWW_AUTHENTICATE).iter();
    let challenges = challenges.map(|value| value.to_str().unwrap().to_owned()).collect();
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    let body: Value = answer.json().await.unwrap();
    (status, challenges, body["error"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_route_but_health_and_webhooks_needs_a_user() {
    let mut setup = setup(&users(&["ann", "bob"])).await;
    setup.configure("webhook: {secret_file: token}");
    setup.argument("--web.enable-lifecycle");
    let (served, client) = (Served::start(&setup).await, plain());
    served.exporter.logs("listening on http://").await;
    for (method, path, status) in [
        (Method::GET, "/", 200),
        (Method::GET, "/metrics", 200),
        (Method::HEAD, "/metrics", 200),
        (Method::GET, "/api/v1/tasks", 200),
        (Method::GET, "/api/v1/tasks/t1", 405),
        (Method::PUT, "/api/v1/tasks", 405),
        (Method::POST, "/-/reload", 200),
        (Method::GET, "/-/reload", 405),
        (Method::GET, "/surprise", 404),
        (Method::DELETE, "/api/v1/tasks/t1/more", 404),
        (Method::GET, "//-/healthy", 404),
        (Method::GET, "/-/healthy/", 404),
        (Method::GET, "/%2d/healthy", 404),
    ] {
        let request = || served.request(&client, method.clone(), path);
        for request in [
            request(),
            request().basic_auth("ann", Some("wrong")),
            request().basic_auth("ann", Some("bob-password")),
            request().basic_auth("ann", None::<&str>),
            request().basic_auth("eve", Some("ann-password")),
            request().bearer_auth("the-token"),
            request().header(AUTHORIZATION, "Basic ???"),
        ] {
            let answer = request.send().await.unwrap();
            if method == Method::HEAD {
                assert_eq!(answer.status().as_u16(), 401);
                continue;
            }
            let (status, challenges, error) = refusal(answer).await;
            assert_eq!((status, challenges), (401, vec![CHALLENGE.to_owned()]), "{method} {path}");
            assert!(error.ends_with("basic_auth_users") || error.ends_with("by basic auth"), "{error}");
        }
        for user in ["ann", "bob"] {
            let request = request().basic_auth(user, Some(format!("{user}-password")));
            assert_eq!(request.send().await.unwrap().status().as_u16(), status, "{method} {path}");
        }
    }
    for path in ["/-/healthy", "/-/ready"] {
        let request = served.request(&client, Method::GET, path).basic_auth("ann", Some("wrong"));
        assert_eq!(request.send().await.unwrap().status().as_u16(), 200, "{path}");
    }
    let body = ended("t1", now()).to_string();
    let request = served.request(&client, Method::POST, ROUTE);
    let request = request.header("X-Webhook-Signature", signature("the-token", body.as_bytes())).body(body);
    assert_eq!(request.send().await.unwrap().status().as_u16(), 204);
    assert_eq!(served.times_logged("password"), 0);
}

#[tokio::test]
async fn a_change_needs_the_token_or_a_user() {
    for has_token in [true, false] {
        let mut setup = setup(&users(&["ann"])).await;
        if !has_token {
            setup.configure("web: {api_token_file: ~}");
        }
        let (served, client) = (Served::start(&setup).await, plain());
        let register =
            |id: &str| served.request(&client, Method::POST, "/api/v1/tasks").body(format!("{{\"id\": \"{id}\"}}"));
        let forget = |id: &str| served.request(&client, Method::DELETE, &format!("/api/v1/tasks/{id}"));
        let token_works = if has_token { (201, 204) } else { (401, 401) };
        let registered = register("by-token").bearer_auth("the-token").send().await.unwrap();
        assert_eq!(registered.status().as_u16(), token_works.0);
        let forgotten = forget("by-token").bearer_auth("the-token").send().await.unwrap();
        assert_eq!(forgotten.status().as_u16(), token_works.1);

        let by_user = register("by-user").basic_auth("ann", Some("ann-password")).send().await.unwrap();
        assert_eq!(by_user.status().as_u16(), 201);
        let by_user = forget("by-user").basic_auth("ann", Some("ann-password")).send().await.unwrap();
        assert_eq!(by_user.status().as_u16(), 204);

        let mut challenges = vec![CHALLENGE.to_owned()];
        challenges.extend(has_token.then(|| "Bearer".to_owned()));
        for request in [register("x"), forget("t1"), register("x").bearer_auth("wrong")] {
            let (status, found, error) = refusal(request.send().await.unwrap()).await;
            assert_eq!((status, &found), (401, &challenges));
            assert!(error.contains("basic_auth_users"), "{error}");
        }
        let (status, found, _) = refusal(register("x").basic_auth("ann", Some("wrong")).send().await.unwrap()).await;
        assert_eq!((status, found), (401, vec![CHALLENGE.to_owned()]));
        served
            .exporter
            .logs("a registration was refused with 401, and the next ones like it are not told: the user")
            .await;
    }
}

#[tokio::test]
async fn every_kind_of_hash_is_understood() {
    // The password of each is "secret", hashed by other programs: htpasswd, and Python's bcrypt.
    let file = std::fs::read_to_string("tests/web_config/hashes").unwrap();
    let (served, client) = (Served::start(&setup(&file).await).await, plain());
    let names: Vec<&str> =
        file.lines().filter_map(|line| line.trim().split_once(": $")).map(|(name, _)| name).collect();
    assert_eq!(names, ["kind-2a", "kind-2b", "kind-2y"]);
    for name in names {
        assert_eq!(served.scrape(&client, name, "secret").await, 200, "{name}");
        assert_eq!(served.scrape(&client, name, "Secret").await, 401, "{name}");
    }
}

#[tokio::test]
async fn a_flood_of_wrong_passwords_holds_up_no_scrape_whose_password_was_right_before() {
    // At this cost each check takes a second or so of this build's time.
    let hash = bcrypt::hash("ann-password", 12).unwrap();
    let setup = setup(&format!("basic_auth_users: {{ann: {hash}}}")).await;
    let served = Arc::new(Served::start(&setup).await);
    let client = Client::builder().no_proxy().build().unwrap();
    assert_eq!(served.scrape(&client, "ann", "ann-password").await, 200);
    let (stop, wrong) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let flood: Vec<_> = (0..50)
        .map(|number| {
            let (served, client, stop, wrong) = (served.clone(), client.clone(), stop.clone(), wrong.clone());
            tokio::spawn(async move {
                let user = if number % 2 == 0 { "ann" } else { "eve" };
                while !stop.load(Ordering::Relaxed) {
                    let status = served.scrape(&client, user, &format!("wrong-{number}")).await;
                    assert!([401, 503].contains(&status), "{status}");
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    super::until(&served, "a flood", || async { wrong.load(Ordering::Relaxed) > 100 }).await;
    // While these are answered at most a few passwords are checked: none of them waits for one.
    let mut refused = 0;
    for _ in 0..200 {
        refused += usize::from(served.scrape(&client, "ann", "ann-password").await != 200);
    }
    let cpu = served.exporter.cpu();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(refused, 0, "{cpu:?}");
    for one in flood {
        one.await.unwrap();
    }
}

#[tokio::test]
async fn a_flood_from_one_address_locks_out_nobody_at_another() {
    let hash = bcrypt::hash("ann-password", 10).unwrap();
    let setup = setup(&format!("basic_auth_users: {{ann: {hash}}}")).await;
    let served = Arc::new(Served::start(&setup).await);
    let client = Client::builder().no_proxy().build().unwrap();
    let (stop, busy) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let flood: Vec<_> = (0..24)
        .map(|number| {
            let (served, client, stop, busy) = (served.clone(), client.clone(), stop.clone(), busy.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let status = served.scrape(&client, "ann", &format!("wrong-{number}")).await;
                    busy.fetch_add(usize::from(status == 503), Ordering::Relaxed);
                }
            })
        })
        .collect();
    super::until(&served, "a flood", || async { busy.load(Ordering::Relaxed) > 100 }).await;
    let elsewhere = super::options().local_address(std::net::IpAddr::from([127, 0, 0, 2])).build().unwrap();
    let status = served.scrape(&elsewhere, "ann", "ann-password").await;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(status, 200);
    for one in flood {
        one.await.unwrap();
    }
}

#[tokio::test]
async fn the_headers_are_on_every_answer() {
    let headers =
        "http_server_config: {headers: {X-Frame-Options: deny, Content-Security-Policy: \"default-src 'self'\"}}";
    let served = Served::start(&setup(&format!("{headers}\n{}", users(&["ann"]))).await).await;
    for (path, password, status) in [
        ("/metrics", "ann-password", 200),
        ("/metrics", "wrong", 401),
        ("/surprise", "ann-password", 404),
        ("/-/healthy", "", 200),
    ] {
        let request = served.request(&plain(), Method::GET, path).basic_auth("ann", Some(password));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(answer.headers()["x-frame-options"], "deny");
        assert_eq!(answer.headers()["content-security-policy"], "default-src 'self'");
    }
}

#[tokio::test]
async fn requests_beyond_the_rate_are_refused_but_health_and_webhooks() {
    let served = Served::start(&setup("rate_limit: {interval: 1h, burst: 3}").await).await;
    let client = plain();
    for expected in [200, 200, 200, 429, 429] {
        assert_eq!(served.status(&client, "/metrics").await, Some(expected));
    }
    for _ in 0..5 {
        assert_eq!(served.status(&client, "/-/healthy").await, Some(200));
        let answer = served.request(&client, Method::POST, ROUTE).body("{}").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 403);
    }
    let (status, _, error) = refusal(served.request(&client, Method::GET, "/").send().await.unwrap()).await;
    assert_eq!(status, 429);
    assert!(error.contains("rate_limit"), "{error}");
}
