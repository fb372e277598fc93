//! Bodies of requests: bounded in length and in time.

use super::refusal::Refusal;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use std::time::Duration;

/// The longest time that a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a body of at most `most` bytes.
pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if is_too_long(&error) => {
            let what = format!("the body is longer than {most} bytes: send less at once");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, what))
        }
        Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the body broke off: send it whole")),
        Err(_) => {
            let what = format!("the body took longer than {} s: send it faster", BODY_TIMEOUT.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, what))
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}
