//! Webhooks, as D3 sends them: signed, retried until they are acknowledged, and sometimes late, twice or never.
//!
//! An event's moment is known from its operation's plan, and is the `timestamp` of its webhook, however late that is sent.
//! Everything that chance decides about a webhook depends on the seed, its operation and its event alone.

mod counts;
mod event;
mod options;
mod outbox;
mod signature;

pub use counts::WebhookCounts;
pub(super) use event::Event;
pub use options::{SignatureForm, SignatureHeader, WebhookOptions};
pub(super) use outbox::{Answer, Delivery, Outbox};

use super::Simulator;
use super::world::World;
use crate::time::Time;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The most requests under way at once: enough for a receiver that is slow, and it bounds the connections and bodies.
const MAX_IN_FLIGHT: usize = 16;

/// Sends the webhooks of `simulator` until `stop` is cancelled; what is under way then is cut.
pub(super) async fn deliver(simulator: Simulator, stop: CancellationToken) {
    stop.run_until_cancelled(deliver_forever(&simulator)).await;
}

async fn deliver_forever(simulator: &Simulator) {
    // Not before it is needed: a client loads the system's certificates.
    while simulator.world().options().webhooks.url.is_none() {
        simulator.inner.changed.notified().await;
    }
    // Every request is counted, so the client makes none of its own.
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = match client.retry(reqwest::retry::never()).build() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "the simulated API sends no webhooks: it has no HTTP client");
            return;
        }
    };
    let mut under_way = FuturesUnordered::new();
    loop {
        let now = simulator.now();
        let (requests, next) = {
            let mut world = simulator.world();
            (requests(&mut world, &client, now, MAX_IN_FLIGHT - under_way.len()), world.next_webhook())
        };
        under_way.extend(requests.into_iter().map(|(delivery, request)| send(delivery, request)));
        // With all places taken, only an answer makes room for what is due.
        let next = next.filter(|_| under_way.len() < MAX_IN_FLIGHT).map(|at| simulator.instant(at));
        tokio::select! {
            () = simulator.inner.changed.notified() => {}
            Some((delivery, answer)) = under_way.next() => {
                let now = simulator.now();
                simulator.world().webhook_answered(now, delivery, answer);
            }
            () = until(next) => {}
        }
    }
}

/// The requests to make now, at most `most`.
fn requests(world: &mut World, client: &Client, now: Time, most: usize) -> Vec<(Delivery, RequestBuilder)> {
    let due = world.take_webhooks(now, most);
    let options = &world.options().webhooks;
    let Some(url) = &options.url else { return Vec::new() };
    let request = |delivery: Delivery| {
        let body = delivery.body().to_string();
        let mut request = client.post(url.clone()).timeout(options.timeout).header(CONTENT_TYPE, "application/json");
        if let Some(secret) = &options.secret {
            let signature = signature::sign(secret, body.as_bytes(), options.signature_form);
            request = request.header(options.signature_header.name(), signature);
        }
        (delivery, request.body(body))
    };
    due.into_iter().map(request).collect()
}

async fn send(delivery: Delivery, request: RequestBuilder) -> (Delivery, Answer) {
    let answer = match request.send().await {
        Ok(response) => Answer::Status(response.status().as_u16()),
        Err(error) if error.is_timeout() => Answer::Timeout,
        Err(_) => Answer::None,
    };
    (delivery, answer)
}

/// Waits until `next`, or for ever when there is none.
async fn until(next: Option<Instant>) {
    match next {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
