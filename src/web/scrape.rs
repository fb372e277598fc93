//! `GET /metrics`.

use super::Web;
use crate::metrics::{self, Polling};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

/// The text format, as Prometheus names it.
const TEXT_0_0_4: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(State(web): State<Web>) -> Response {
    let snapshot = web.rooms.view.snapshot(web.settings().per_task_limit);
    let now = web.rooms.clock.elapsed();
    let polling = web.rooms.schedule.with(|schedule| Polling { lag: schedule.lag(now), is_busy: !schedule.is_empty() });
    let body = metrics::render(&snapshot, polling, &web.rooms.instruments);
    ([(CONTENT_TYPE, TEXT_0_0_4)], body).into_response()
}
