//! `GET`, `POST` and `DELETE /api/v1/tasks`: what is tracked, registering more, and forgetting.

use super::guard::AuthenticatedUser;
use super::refusal::Refusal;
use super::refusal_log::Sort;
use super::{Web, body};
use crate::clock::Clock;
use crate::ledger::{DeleteError, RegisterError, Registered, Target};
use crate::schedule::Standing;
use crate::task::{FileKey, Group, State as TaskState, TaskId, TaskRecord};
use crate::time::Time;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest body, in bytes: ten thousand tasks with some hundred bytes each.
const MAX_BODY: usize = 1024 * 1024;
/// Tasks in one request: more would hold up the ledger, which takes one request as a whole.
const MAX_TASKS: usize = 10_000;
/// Files that a task may be narrowed to: each costs a request of its own per poll.
const MAX_FILE_KEYS: usize = 100;
/// How long a change may wait for the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Task {
    id: String,
    group: String,
    state: &'static str,
    outcome: Option<&'static str>,
    registered: bool,
    listed: bool,
    start: Option<String>,
    first_observed: Option<String>,
    not_found_since: Option<String>,
    finished: Option<String>,
    settled: Option<String>,
    next_poll: Option<String>,
    last_error: Option<String>,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    file_key: String,
    state: &'static str,
    error_code: Option<String>,
}

/// Every tracked task, by ID.
pub(super) async fn list(State(web): State<Web>) -> Result<Response, Refusal> {
    // It never closes, so it never refuses.
    let _one_of_few = web.lists.acquire().await;
    let tasks = web.rooms.view.tasks();
    let standings: Vec<Option<Standing>> =
        web.rooms.schedule.with(|schedule| tasks.iter().map(|task| schedule.standing(&task.id)).collect());
    let tasks: Vec<Task> = tasks
        .iter()
        .zip(standings)
        .map(|(task, standing)| Task::of(task, standing.unwrap_or_default(), &web.rooms.clock))
        .collect();
    // Strings, numbers and nothing are all that a task holds: JSON has a form for each.
    let body = web.sending.body(serde_json::to_vec(&tasks).unwrap_or_default())?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

impl Task {
    fn of(task: &TaskRecord, standing: Standing, clock: &Clock) -> Self {
        let text = |time: Option<Time>| time.map(|time| time.to_string());
        let (wall, elapsed) = (clock.wall(), clock.elapsed());
        let files = task.present_files().map(|file| File {
            file_key: file.key.to_string(),
            state: file.state.as_str(),
            error_code: (file.state == TaskState::Failed)
                .then(|| file.error_code().map_or_else(|| "unspecified".to_owned(), ToString::to_string)),
        });
        Self {
            id: task.id.to_string(),
            group: task.group.to_string(),
            state: task.state.as_str(),
            outcome: task.settled.map(|settled| settled.outcome.as_str()),
            registered: task.registered,
            listed: task.unlisted_since.is_none(),
            start: text(task.start),
            first_observed: text(task.first_seen),
            not_found_since: text(task.not_found_since),
            finished: text(task.end),
            settled: text(task.settled.map(|settled| settled.at)),
            next_poll: standing.due.map(|due| wall.after(due.saturating_sub(elapsed)).to_string()),
            last_error: standing.last_error.map(|error| format!("{}: {}", error.kind, error.what)),
            files: files.collect(),
        }
    }
}

/// One registration, as a client writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    id: String,
    group: Option<String>,
    submitted_at: Option<String>,
    file_keys: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Registrant {
    id: String,
    group: String,
    new: bool,
}

/// Registers one task, or a list of them: all, or none. Answers when they are durable.
pub(super) async fn register(
    State(web): State<Web>,
    user: Option<Extension<AuthenticatedUser>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    web.check_change(Sort::Registration, user.map(|Extension(user)| user), &headers)?;
    let arrived = web.rooms.clock.wall();
    let body = body::read(body, MAX_BODY).await?;
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let registrations: Vec<Registration> = if is_list { parse(&body)? } else { vec![parse(&body)?] };
    if registrations.len() > MAX_TASKS {
        let what = format!("{} tasks in one request: send at most {MAX_TASKS}", registrations.len());
        return Err(bad(what));
    }
    let targets = registrations.into_iter().enumerate().map(|(place, registration)| {
        registration.into_target().map_err(|what| bad(if is_list { format!("task {place}: {what}") } else { what }))
    });
    let targets: Vec<Target> = targets.collect::<Result<_, _>>()?;
    let registered = tokio::time::timeout(STORE_TIMEOUT, web.rooms.ledger.register(targets, arrived)).await;
    let registered = registered.map_err(|_| not_yet_durable("registration"))??;
    let any_new = registered.iter().any(|task| task.is_new);
    let status = if any_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut registrants: Vec<Registrant> = registered.into_iter().map(Registrant::of).collect();
    match registrants.pop() {
        Some(only) if !is_list => Ok((status, Json(only)).into_response()),
        last => {
            registrants.extend(last);
            Ok((status, Json(registrants)).into_response())
        }
    }
}

/// Forgets a registered task. Answers when that is durable.
pub(super) async fn forget(
    State(web): State<Web>,
    id: Result<Path<String>, PathRejection>,
    user: Option<Extension<AuthenticatedUser>>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    web.check_change(Sort::Deletion, user.map(|Extension(user)| user), &headers)?;
    let Path(id) = id.map_err(|_| bad("the main task ID in the path is no UTF-8: percent-encode it as such"))?;
    let id = TaskId::new(&id).map_err(|error| Refusal::new(StatusCode::NOT_FOUND, error.to_string()))?;
    let deleted = tokio::time::timeout(STORE_TIMEOUT, web.rooms.ledger.delete(id)).await;
    deleted.map_err(|_| not_yet_durable("deletion"))??;
    Ok(StatusCode::NO_CONTENT)
}

fn not_yet_durable(what: &str) -> Refusal {
    let what =
        format!("the {what} is not durable yet, because the store is slow or fails: send it again, which is harmless");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, what)
}

fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let wrong = |what: String| {
        bad(format!(
            "the body is not as expected: {what}; send {{\"id\": \"…\", \"group\": \"…\", \"submitted_at\": \"…\", \
             \"file_keys\": […]}}, of which only id is needed, or a list of those"
        ))
    };
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { String::new() } else { format!("{path}: ") };
        wrong(format!("{at}{}", error.inner()))
    })?;
    reader.end().map_err(|error| wrong(error.to_string()))?;
    Ok(value)
}

fn bad(what: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, what)
}

impl Registration {
    fn into_target(self) -> Result<Target, String> {
        let named = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let file_keys = self.file_keys.unwrap_or_default();
        if file_keys.len() > MAX_FILE_KEYS {
            return Err(format!(
                "file_keys: {} keys, and each costs a request per poll: name at most {MAX_FILE_KEYS}, or none to follow the whole task",
                file_keys.len()
            ));
        }
        Ok(Target {
            id: TaskId::new(&self.id).map_err(|error| named("id", &error))?,
            group: self
                .group
                .map_or_else(|| Ok(Group::default()), |group| Group::new(&group))
                .map_err(|error| named("group", &error))?,
            submitted_at: self
                .submitted_at
                .map(|text| Time::parse(&text))
                .transpose()
                .map_err(|error| named("submitted_at", &error))?,
            file_keys: file_keys
                .iter()
                .map(|key| FileKey::new(key))
                .collect::<Result<_, _>>()
                .map_err(|error| named("file_keys", &error))?,
        })
    }
}

impl Registrant {
    fn of(registered: Registered) -> Self {
        Self { id: registered.id.to_string(), group: registered.group.to_string(), new: registered.is_new }
    }
}

impl From<DeleteError> for Refusal {
    fn from(error: DeleteError) -> Self {
        let status = match error {
            DeleteError::NotTracked(_) => StatusCode::NOT_FOUND,
            DeleteError::Listed { .. } => StatusCode::CONFLICT,
            DeleteError::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        let status = match error {
            RegisterError::TooManyGroups { .. } => StatusCode::CONFLICT,
            RegisterError::SetAside(_) | RegisterError::Refused { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            RegisterError::StoreUnavailable | RegisterError::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}
