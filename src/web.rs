//! The routes of the web listener.
//!
//! Handlers read the published view and speak to the ledger; they touch neither the store nor the instruments' truth.
//! `refusal` is the one form in which a request is refused, and `refusal_log` tells the operator; the connections are
//! bounded by [`listener`](crate::listener).

mod accept;
mod body;
mod guard;
mod page;
mod refusal;
mod refusal_log;
mod scrape;
mod sending;
mod tasks;
mod token;
mod webhook;

pub use token::{ApiToken, TokenError};
pub use webhook::{SecretError, WebhookSecret};

use crate::access::Access;
use crate::clock::Clock;
use crate::health::Health;
use crate::ledger::LedgerHandle;
use crate::metrics::Instruments;
use crate::reload::ReloadHandle;
use crate::schedule::SharedSchedule;
use crate::view::View;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use guard::AuthenticatedUser;
use refusal::Refusal;
use refusal_log::{RefusalLog, Sort};
use sending::Sending;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Semaphore;
use tower_http::compression::CompressionLayer;

/// Lists of all tasks that are made at once; each holds all of it in memory, and more than its text.
const MAX_LISTS: usize = 2;

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
    /// Who may ask.
    pub access: Access,
    /// Whether it is healthy and ready.
    pub health: Health,
    /// The clock.
    pub clock: Clock,
}

/// What the routes need of the configuration; it may change while they serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `metrics.per_task_limit`.
    pub per_task_limit: usize,
    /// `metrics.created_samples`.
    pub created_samples: bool,
    /// The token that changing anything needs; without one it is refused.
    pub api_token: Option<ApiToken>,
    /// The secret with which webhooks are signed; without one they are refused.
    pub webhook_secret: Option<WebhookSecret>,
}

/// The settings in force.
#[derive(Clone, Debug)]
pub struct SharedSettings(Arc<RwLock<Arc<Settings>>>);

impl SharedSettings {
    /// Shares settings.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(settings))))
    }

    /// Puts others in force.
    pub fn set(&self, settings: Settings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn get(&self) -> Arc<Settings> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The routes of the web listener that depend on how the exporter was started.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The path of the metrics.
    pub telemetry_path: String,
    /// Whether webhooks come to the web listener, rather than to one of their own.
    pub takes_webhooks: bool,
    /// Who reloads the configuration; `None` without `--web.enable-lifecycle`.
    pub reload: Option<ReloadHandle>,
}

#[derive(Clone)]
struct Web {
    rooms: Rooms,
    settings: SharedSettings,
    layout: Layout,
    refusals: Arc<RefusalLog>,
    /// Lists of all tasks being written at once.
    lists: Arc<Semaphore>,
    /// Pages for people being written at once.
    pages: Arc<Semaphore>,
    /// The room for what is being sent.
    sending: Sending,
}

impl Web {
    fn new(rooms: Rooms, settings: SharedSettings, layout: Layout) -> Self {
        let (lists, pages) = (Arc::new(Semaphore::new(MAX_LISTS)), Arc::new(Semaphore::new(page::MAX_PAGES)));
        let (refusals, sending) = (Arc::default(), Sending::new());
        Self { rooms, settings, layout, refusals, lists, pages, sending }
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    /// Lets through a request that may change something.
    fn check_change(&self, sort: Sort, user: Option<AuthenticatedUser>, headers: &HeaderMap) -> Result<(), Refusal> {
        let checked = token::check(self.settings().api_token.as_ref(), self.rooms.access.needs_user(), user, headers);
        match &checked {
            Ok(()) => self.refusals.let_through(sort),
            Err(refusal) => self.tell_of(sort, refusal),
        }
        checked
    }

    /// Tells the operator of a refusal.
    fn tell_of(&self, sort: Sort, refusal: &Refusal) {
        self.refusals.refused(sort, refusal, self.rooms.clock.elapsed());
    }
}

/// The routes of the web listener.
pub fn router(rooms: Rooms, settings: SharedSettings, layout: Layout) -> Router {
    let telemetry_path = layout.telemetry_path.clone();
    let takes_webhooks = layout.takes_webhooks;
    let web = Web::new(rooms, settings, layout);
    let router = Router::new()
        .route(&telemetry_path, get(scrape::metrics))
        .route("/api/v1/tasks", get(tasks::list).post(tasks::register))
        .route("/", get(page::show))
        .layer(CompressionLayer::new().gzip(true))
        .route("/api/v1/tasks/{id}", delete(tasks::forget))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload));
    let router = if takes_webhooks { router.route(webhook::PATH, post(webhook::deliver)) } else { router };
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(axum::middleware::from_fn_with_state(web.clone(), guard::guard))
        .with_state(web)
}

/// The routes of a listener for webhooks alone.
pub fn webhook_router(rooms: Rooms, settings: SharedSettings) -> Router {
    let layout = Layout { telemetry_path: String::new(), takes_webhooks: true, reload: None };
    let only_webhooks = || async {
        Refusal::new(StatusCode::NOT_FOUND, format!("this listener takes webhooks alone: POST {}", webhook::PATH))
    };
    Router::new()
        .route(webhook::PATH, post(webhook::deliver))
        .fallback(only_webhooks)
        .method_not_allowed_fallback(no_such_method)
        .with_state(Web::new(rooms, settings, layout))
}

/// Whether the metrics can be at this path: it is absolute, plain, and not the place of another route.
pub fn is_telemetry_path(path: &str) -> bool {
    let is_plain = path.starts_with('/')
        && path.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~'))
        && path != "/";
    let is_taken = ["/-/", "/api/", "/webhooks/"].iter().any(|taken| path.starts_with(taken));
    is_plain && !is_taken
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
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the tasks of the configuration are not in the store yet: try again in a moment, and see the log if this lasts",
    )
    .into_response()
}

async fn no_such_route(State(web): State<Web>, uri: Uri) -> Refusal {
    let webhooks = if web.layout.takes_webhooks { ", /webhooks/dragdropdo" } else { "" };
    let what = format!(
        "there is no {}: there are {}, /api/v1/tasks{webhooks}, /-/healthy, /-/ready, /-/reload and /",
        uri.path(),
        web.layout.telemetry_path
    );
    Refusal::new(StatusCode::NOT_FOUND, what)
}

async fn reload(State(web): State<Web>) -> Result<&'static str, Refusal> {
    let Some(reload) = &web.layout.reload else {
        let what =
            "the configuration can't be reloaded over HTTP here: start with --web.enable-lifecycle, or send SIGHUP";
        return Err(Refusal::new(StatusCode::FORBIDDEN, what));
    };
    match reload.reload().await {
        Ok(()) => Ok("the configuration is reloaded.\n"),
        Err(error) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)),
    }
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let allowed = match uri.path() {
        "/api/v1/tasks" => "GET or POST",
        "/-/reload" | webhook::PATH => "POST",
        path if path.starts_with("/api/v1/tasks/") => "DELETE",
        _ => "GET",
    };
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}: use {allowed}", uri.path()))
}
