//! How a request is refused: `{"error": "<what is wrong and what would be right>"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};

/// A refused request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
    challenges: Vec<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), challenges: Vec::new() }
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong and what would be right.
    pub(super) fn error(&self) -> &str {
        &self.error
    }

    /// The same, asking for credentials of this kind.
    pub(super) fn with_challenge(mut self, challenge: &'static str) -> Self {
        self.challenges.push(challenge);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(serde_json::json!({ "error": self.error }))).into_response();
        for challenge in self.challenges {
            response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}
