//! Makes HTTP answers, spoilt ones too.

use super::faults::{Fault, FaultOptions};
use super::options::RetryAfter;
use super::world::Call;
use crate::time::Time;
use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::io;
use std::time::{Duration, UNIX_EPOCH};

/// What a client gets of a body before its connection is closed must have left the socket's buffers by then.
const PAUSE_BEFORE_DISCONNECT: Duration = Duration::from_millis(20);
/// The piece in which an oversized body is sent, so that it is never in memory as a whole.
const PADDING: &[u8] = &[b'x'; 64 * 1024];

/// Answers that are no status body, each unreadable in a way of its own.
const GARBAGE: [&[u8]; 8] = [
    b"<!DOCTYPE html><html><body><h1>Scheduled maintenance</h1></body></html>",
    b"",
    b"null",
    b"[]",
    b"{\"data\":null}",
    b"{\"data\":{\"files_data\":[]}}",
    b"{\"operation_status\":7,\"files_data\":{}}",
    b"\xff\xfe\x00\x01\x80{",
];

/// An answer with a JSON body.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Response {
    bytes_answer(status, body.to_string().into())
}

/// An answer with the API's error body.
pub(super) fn error_answer(status: StatusCode, error: &str, message: &str) -> Response {
    json_answer(status, &json!({"error": error, "message": message}))
}

/// The answer for what does not exist.
pub(super) fn not_found() -> Response {
    error_answer(StatusCode::NOT_FOUND, "not_found", "There is no such task or file.")
}

/// The answer for a key that has used up its requests.
pub(super) fn rate_limited(wait: Duration, form: RetryAfter, now: Time) -> Response {
    let message = "Too many requests for this API key. Try again later.";
    let mut answer = error_answer(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message);
    set_retry_after(&mut answer, wait, form, now);
    answer
}

/// The HTTP status with which an answer about something that exists is sent, given what spoils it.
pub(super) fn status_with(fault: Option<Fault>) -> StatusCode {
    match fault {
        Some(Fault::ServerError) => StatusCode::INTERNAL_SERVER_ERROR,
        Some(Fault::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        Some(Fault::NotFound) => StatusCode::NOT_FOUND,
        Some(Fault::Forbidden) => StatusCode::FORBIDDEN,
        Some(Fault::Hang) => StatusCode::GATEWAY_TIMEOUT,
        None | Some(Fault::Stall | Fault::Disconnect | Fault::Garbage | Fault::Truncated | Fault::Oversized) => {
            StatusCode::OK
        }
    }
}

/// The answer with a status body, spoilt as the call says. One that hangs comes late.
pub(super) async fn status_answer(body: &Value, call: &mut Call, form: RetryAfter, now: Time) -> Response {
    let text = Bytes::from(body.to_string());
    let status = status_with(call.drawn.fault);
    match call.drawn.fault {
        None => bytes_answer(status, text),
        Some(Fault::ServerError) => error_answer(status, "internal_error", "Something went wrong."),
        Some(Fault::Unavailable) => unavailable(&call.faults, form, now),
        Some(Fault::NotFound) => not_found(),
        Some(Fault::Forbidden) => error_answer(status, "forbidden", "This key may not see this task."),
        Some(Fault::Hang) => {
            tokio::time::sleep(call.faults.hang_for).await;
            let mut answer = error_answer(status, "timeout", "The answer took too long.");
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            answer
        }
        Some(Fault::Stall) => cut_off(text, call.faults.hang_for),
        Some(Fault::Disconnect) => cut_off(text, PAUSE_BEFORE_DISCONNECT),
        Some(Fault::Garbage) => bytes_answer(status, garbage(&mut call.random)),
        Some(Fault::Truncated) => {
            let end = call.random.random_range(0..text.len().max(1));
            bytes_answer(status, text.slice(..end))
        }
        Some(Fault::Oversized) => oversized(&text, call.faults.oversized_bytes),
    }
}

fn bytes_answer(status: StatusCode, bytes: Bytes) -> Response {
    body_answer(status, Body::from(bytes))
}

fn body_answer(status: StatusCode, body: Body) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

fn unavailable(faults: &FaultOptions, form: RetryAfter, now: Time) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut answer = error_answer(status, "service_unavailable", "The service is being restarted.");
    let form = if form == RetryAfter::None { RetryAfter::Seconds } else { form };
    set_retry_after(&mut answer, faults.unavailable_for, form, now);
    answer
}

/// Sets `Retry-After`, rounded up to whole seconds.
fn set_retry_after(answer: &mut Response, wait: Duration, form: RetryAfter, now: Time) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let value = match form {
        RetryAfter::None => return,
        RetryAfter::Seconds => HeaderValue::from(seconds),
        RetryAfter::Date => {
            // The date has whole seconds as well: cutting off a part of one must not make it too early.
            let micros = u64::try_from(now.as_micros()).unwrap_or(0);
            let at = Duration::from_secs(micros.div_ceil(1_000_000).saturating_add(seconds));
            match HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + at)) {
                Ok(date) => date,
                Err(_) => return,
            }
        }
    };
    answer.headers_mut().insert(RETRY_AFTER, value);
}

/// Promises the whole text, sends half of it, waits and closes the connection.
fn cut_off(text: Bytes, wait: Duration) -> Response {
    let length = HeaderValue::from(text.len());
    let half = text.slice(..text.len() / 2);
    let end = async move {
        tokio::time::sleep(wait).await;
        Err(io::Error::other("the simulated API cuts this answer off"))
    };
    let pieces = stream::iter([Ok(half)]).chain(stream::once(end));
    let mut answer = body_answer(StatusCode::OK, Body::from_stream(pieces));
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer
}

/// The same JSON object with so long a field in front that the whole has at least `bytes` bytes.
fn oversized(text: &Bytes, bytes: u64) -> Response {
    let pieces = usize::try_from(bytes.div_ceil(PADDING.len() as u64)).unwrap_or(usize::MAX);
    let head = Bytes::from_static(b"{\"padding\":\"");
    let rest = Bytes::from([b"\",", text.strip_prefix(b"{").unwrap_or(text)].concat());
    let pieces = stream::iter([head])
        .chain(stream::iter(std::iter::repeat_n(Bytes::from_static(PADDING), pieces)))
        .chain(stream::iter([rest]));
    body_answer(StatusCode::OK, Body::from_stream(pieces.map(Ok::<_, io::Error>)))
}

fn garbage(random: &mut StdRng) -> Bytes {
    Bytes::from_static(GARBAGE.get(random.random_range(0..GARBAGE.len())).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn text_of(answer: Response) -> Bytes {
        answer.into_body().collect().await.unwrap().to_bytes()
    }

    #[test]
    fn retry_after_is_rounded_up_in_either_form() {
        let now = Time::parse("2026-11-23T10:00:00.5Z").unwrap();
        let header = |form| rate_limited(Duration::from_millis(1200), form, now).headers().get(RETRY_AFTER).cloned();
        assert_eq!(header(RetryAfter::None), None);
        assert_eq!(header(RetryAfter::Seconds).unwrap(), "2");
        assert_eq!(header(RetryAfter::Date).unwrap(), "Mon, 23 Nov 2026 10:00:03 GMT");
    }

    #[tokio::test]
    async fn an_oversized_body_is_valid_once_all_of_it_is_read() {
        let text = Bytes::from_static(b"{\"operation_status\":\"queued\"}");
        let body = text_of(oversized(&text, 300_000)).await;
        assert!(body.len() >= 300_000);
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["operation_status"], "queued");
    }

    #[tokio::test]
    async fn a_cut_off_body_ends_in_an_error() {
        let answer = cut_off(Bytes::from_static(b"0123456789"), Duration::ZERO);
        assert_eq!(answer.headers()[CONTENT_LENGTH], "10");
        let mut body = answer.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "01234");
        assert!(body.frame().await.unwrap().is_err());
    }

    #[test]
    fn no_garbage_is_a_status_body() {
        for sample in GARBAGE {
            let Ok(value) = serde_json::from_slice::<Value>(sample) else { continue };
            let body = value.get("data").unwrap_or(&value);
            assert!(!body["operation_status"].is_string(), "{value}");
        }
    }
}
