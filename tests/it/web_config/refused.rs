//! Refusals before the body has come.

use super::{CERTIFICATE, Served, trusting, users, with_certificate};
use crate::webhooks::ROUTE;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::{Body, Client, Method, Version};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Parts of a body.
const PARTS: usize = 20;

/// A body that comes slowly, of blanks, and how many of its parts were sent.
fn slow(part: usize) -> (Body, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let parts = stream::unfold(0, move |at| {
        let counted = counted.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            (at < PARTS).then(|| {
                counted.fetch_add(1, Ordering::Relaxed);
                (Ok::<_, Infallible>(Frame::data(bytes::Bytes::from(vec![b' '; part]))), at + 1)
            })
        }
    });
    (Body::wrap(StreamBody::new(Box::pin(parts))), sent)
}

#[tokio::test]
async fn the_answer_comes_when_the_body_has_come() {
    let (setup, servers) =
        with_certificate(&format!("tls_server_config: {{{}}}\n{}", CERTIFICATE, users(&["ann"]))).await;
    let served = Served::start(&setup).await;
    let http2 = trusting(&servers).build().unwrap();
    let http1 = trusting(&servers).http1_only().build().unwrap();
    for (client, version) in [(&http2, Version::HTTP_2), (&http1, Version::HTTP_11)] {
        for (path, password, part, status) in [
            ("/api/v1/tasks", "", 100, 401),
            ("/api/v1/tasks", "wrong", 100, 401),
            // Thrown away together with what was read: no more than twice the longest body.
            ("/api/v1/tasks", "ann-password", 100 << 10, 413),
            ("/-/reload", "ann-password", 100, 403),
            ("/surprise", "ann-password", 100, 404),
            ("/metrics", "ann-password", 100, 405),
            (ROUTE, "", 100, 403),
        ] {
            let found = send(&served, client, path, password, part).await;
            assert_eq!(found, (version, status, PARTS), "{path} {password}");
        }
    }
}

#[tokio::test]
async fn a_refusal_for_the_rate_waits_for_the_body_too() {
    let (setup, servers) =
        with_certificate(&format!("tls_server_config: {{{}}}\nrate_limit: {{interval: 1h, burst: 1}}\n", CERTIFICATE))
            .await;
    let served = Served::start(&setup).await;
    let client = trusting(&servers).build().unwrap();
    assert_eq!(served.status(&client, "/metrics").await, Some(200));
    assert_eq!(send(&served, &client, "/api/v1/tasks", "", 100).await, (Version::HTTP_2, 429, PARTS));
}

/// Posts a slow body: the version, the status, and how many parts had been sent when the answer was there.
async fn send(served: &Served, client: &Client, path: &str, password: &str, part: usize) -> (Version, u16, usize) {
    let (body, sent) = slow(part);
    let mut request = served.request(client, Method::POST, path).body(body);
    if !password.is_empty() {
        request = request.basic_auth("ann", Some(password));
    }
    let answer = request.send().await.unwrap();
    (answer.version(), answer.status().as_u16(), sent.load(Ordering::Relaxed))
}
