//! The routes of the web listener.
//!
//! Handlers read the published view and speak to the ledger; they touch neither the store nor the instruments' truth.
//! `refusal` is the one form in which a request is refused; the connections are bounded by [`listener`](crate::listener).

mod refusal;
mod scrape;
mod tasks;
mod token;

pub use token::{ApiToken, TokenError};

use crate::clock::Clock;
use crate::health::Health;
use crate::ledger::LedgerHandle;
use crate::metrics::Instruments;
use crate::schedule::SharedSchedule;
use crate::view::View;
use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use refusal::Refusal;
use std::sync::Arc;
use tower_http::compression::CompressionLayer;

/// What the routes answer from.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// What is shown of tasks.
    pub view: Arc<View>,
    /// When they are polled next.
    pub schedule: Arc<SharedSchedule>,
    /// The way to register tasks.
    pub ledger: LedgerHandle,
    /// What is shown of the exporter itself.
    pub instruments: Arc<Instruments>,
    /// Whether it is healthy and ready.
    pub health: Health,
    /// The clock.
    pub clock: Clock,
}

/// What the routes need of the configuration and the command line.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The path of the metrics.
    pub telemetry_path: String,
    /// `metrics.latency_buckets`, in seconds.
    pub latency_buckets: Arc<[f64]>,
    /// `metrics.per_task_limit`.
    pub per_task_limit: usize,
    /// The token that registrations need; without one they are refused.
    pub api_token: Option<ApiToken>,
}

#[derive(Clone)]
struct Web {
    rooms: Rooms,
    settings: Arc<Settings>,
}

/// All routes.
pub fn router(rooms: Rooms, settings: Settings) -> Router {
    let telemetry_path = settings.telemetry_path.clone();
    let web = Web { rooms, settings: Arc::new(settings) };
    Router::new()
        .route(&telemetry_path, get(scrape::metrics))
        .route("/api/v1/tasks", get(tasks::list).post(tasks::register))
        .layer(CompressionLayer::new().gzip(true))
        .route("/", get(front))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(web)
}

/// Whether the metrics can be at this path: it is absolute, plain, and not the place of another route.
pub fn is_telemetry_path(path: &str) -> bool {
    let is_plain = path.starts_with('/')
        && path.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~'))
        && path != "/";
    let is_taken = ["/-/", "/api/", "/webhooks/"].iter().any(|taken| path.starts_with(taken));
    is_plain && !is_taken
}

async fn front(State(web): State<Web>) -> Html<String> {
    let metrics = &web.settings.telemetry_path;
    let version = env!("CARGO_PKG_VERSION");
    let tracked: u64 = web.rooms.view.snapshot(0).groups.iter().flat_map(|group| group.tasks).sum();
    Html(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>dragdropdo-exporter</title></head>\n\
         <body><h1>dragdropdo-exporter {version}</h1>\n\
         <p>Follows {tracked} tasks of the DragDropDo (D3) API.</p>\n<ul>\n\
         <li><a href=\"{metrics}\">Metrics</a></li>\n\
         <li><a href=\"/api/v1/tasks\">Tasks</a> (JSON)</li>\n\
         <li><a href=\"/-/healthy\">Health</a>, <a href=\"/-/ready\">readiness</a></li>\n\
         </ul></body></html>\n"
    ))
}

async fn healthy(State(web): State<Web>) -> Response {
    let stuck = web.rooms.health.stuck();
    if stuck.is_empty() {
        return "dragdropdo-exporter is healthy.\n".into_response();
    }
    let what =
        format!("the loop of the {} has not come round for a minute: restart the exporter", stuck.join(" and the "));
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, what).into_response()
}

async fn ready(State(web): State<Web>) -> Response {
    if web.rooms.health.is_ready() {
        return "dragdropdo-exporter is ready.\n".into_response();
    }
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the store is being loaded: try again in a moment").into_response()
}

async fn no_such_route(State(web): State<Web>, uri: Uri) -> Refusal {
    let what = format!(
        "there is no {}: there are {}, /api/v1/tasks, /-/healthy, /-/ready and /",
        uri.path(),
        web.settings.telemetry_path
    );
    Refusal::new(StatusCode::NOT_FOUND, what)
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let allowed = if uri.path() == "/api/v1/tasks" { "GET and POST" } else { "GET" };
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}: use {allowed}", uri.path()))
}
