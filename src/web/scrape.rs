//! `GET /metrics`.

use super::refusal::Refusal;
use super::{Web, accept};
use crate::metrics::{self, Format, Polling};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::response::{IntoResponse, Response};

pub(super) async fn metrics(State(web): State<Web>, headers: HeaderMap) -> Result<Response, Refusal> {
    let settings = web.settings();
    let format = if accept::prefers_openmetrics(&headers) {
        Format::OpenMetrics { created_samples: settings.created_samples }
    } else {
        Format::Text
    };
    let snapshot = web.rooms.view.snapshot(settings.per_task_limit);
    let now = web.rooms.clock.elapsed();
    let polling = web.rooms.schedule.with(|schedule| Polling { lag: schedule.lag(now), is_busy: !schedule.is_empty() });
    let body = metrics::render(&snapshot, polling, &web.rooms.instruments, format);
    let body = web.sending.body(body)?;
    Ok(([(CONTENT_TYPE, content_type(format)), (VARY, ACCEPT.as_str())], body).into_response())
}

/// The formats, as Prometheus names them.
const fn content_type(format: Format) -> &'static str {
    match format {
        Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        Format::OpenMetrics { .. } => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    }
}
