//! The HTTP routes: those of the API, and those below `/simulator` that tell the truth about it.

use super::answer::{error_answer, json_answer, not_found, rate_limited, status_answer, status_with};
use super::operation::Action;
use super::world::{NotAdmitted, Refused};
use super::{InFlight, Simulator};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{MatchedPath, Path, Query, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

/// The header that carries the key on some older accounts.
const KEY_HEADER: &str = "x-d3-api-key";
/// Operations listed when a request for the list names no limit.
const DEFAULT_LIST_LIMIT: usize = 1000;

/// All routes.
pub(super) fn router(simulator: Simulator) -> Router {
    Router::new()
        .route("/api/v1/do", post(submit))
        .route("/api/v1/status/{main_task_id}", get(task_status))
        .route("/api/v1/status/{main_task_id}/{file_key}", get(file_status))
        .route("/v1/biz/status/{main_task_id}", get(task_status))
        .route("/v1/biz/status/{main_task_id}/{file_key}", get(file_status))
        .route("/simulator/truth", get(truth))
        .route("/simulator/operations", get(operations))
        .route("/simulator/requests", get(requests))
        .route("/simulator/webhooks", get(webhooks))
        .fallback(async || not_found())
        .with_state(simulator)
}

async fn task_status(
    State(simulator): State<Simulator>,
    route: MatchedPath,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    answer_status(&simulator, route.as_str(), &headers, &id, None).await
}

async fn file_status(
    State(simulator): State<Simulator>,
    route: MatchedPath,
    headers: HeaderMap,
    Path((id, file)): Path<(String, String)>,
) -> Response {
    answer_status(&simulator, route.as_str(), &headers, &id, Some(&file)).await
}

async fn answer_status(
    simulator: &Simulator,
    route: &str,
    headers: &HeaderMap,
    id: &str,
    file: Option<&str>,
) -> Response {
    let _in_flight = match admit(simulator, route, headers) {
        Ok(in_flight) => in_flight,
        Err(refusal) => return *refusal,
    };
    let mut call = simulator.world().call(id);
    tokio::time::sleep(call.latency).await;

    let now = simulator.now();
    let (body, form) = {
        let mut world = simulator.world();
        let body = world.status_body(now, id, file, &mut call);
        let (status, fault) = match body {
            Some(_) => (status_with(call.drawn.fault), call.drawn.fault),
            None => (StatusCode::NOT_FOUND, None),
        };
        // Counted before it is sent, so that one that hangs is seen while it does.
        world.requests.answered(route, status.as_u16(), fault.map(|fault| fault.as_str()));
        (body, world.options().retry_after)
    };
    match body {
        Some(body) => status_answer(&body, &mut call, form, now).await,
        None => not_found(),
    }
}

/// The body of `POST /api/v1/do`, as far as it matters here.
#[derive(Deserialize)]
struct Submission {
    action: String,
    file_keys: Vec<String>,
    #[serde(default)]
    notes: Value,
}

async fn submit(State(simulator): State<Simulator>, route: MatchedPath, headers: HeaderMap, body: Bytes) -> Response {
    let _in_flight = match admit(&simulator, route.as_str(), &headers) {
        Ok(in_flight) => in_flight,
        Err(refusal) => return *refusal,
    };
    let latency = simulator.world().options().latency;
    tokio::time::sleep(latency).await;

    let bad_request = |message: String| error_answer(StatusCode::BAD_REQUEST, "invalid_request", &message);
    let answer = match read_submission(&body) {
        Err(message) => bad_request(message),
        Ok((action, file_keys, tag)) => match simulator.submit(action, file_keys, &tag) {
            Ok(id) => json_answer(StatusCode::OK, &json!({"data": {"main_task_id": id}})),
            Err(refused @ Refused::Full) => {
                error_answer(StatusCode::SERVICE_UNAVAILABLE, "overloaded", &refused.to_string())
            }
            Err(refused @ (Refused::FileCount(_) | Refused::FileKey(_) | Refused::Tag(_) | Refused::Tags)) => {
                bad_request(refused.to_string())
            }
        },
    };
    simulator.world().requests.answered(route.as_str(), answer.status().as_u16(), None);
    answer
}

/// Action, file keys and tag of a submission.
fn read_submission(body: &[u8]) -> Result<(Action, Vec<String>, String), String> {
    let submission: Submission = serde_json::from_slice(body)
        .map_err(|error| format!("the body is no operation with an action and a list of file_keys: {error}"))?;
    let action = Action::from_word(&submission.action).ok_or_else(|| {
        let words = Action::ALL.map(Action::as_str).join(", ");
        format!("there is no action {:?}: use one of {words}", submission.action)
    })?;
    // The official clients send notes as an object; a plain text is easier by hand.
    let tag = match &submission.notes {
        Value::Null => "",
        Value::String(text) => text,
        Value::Object(notes) => notes.get("group").and_then(Value::as_str).unwrap_or_default(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            return Err("notes must be a text, or an object, of which the text in \"group\" counts".into());
        }
    };
    Ok((action, submission.file_keys, tag.to_owned()))
}

/// Lets a request in, or gives the answer that refuses it.
fn admit(simulator: &Simulator, route: &str, headers: &HeaderMap) -> Result<InFlight, Box<Response>> {
    let in_flight = simulator.arrived();
    let now = simulator.now();
    let mut world = simulator.world();
    let refusal = match world.admit(now, api_key(headers)) {
        Ok(()) => return Ok(in_flight),
        Err(NotAdmitted::Unauthorized) => {
            error_answer(StatusCode::UNAUTHORIZED, "unauthorized", "The API key is missing or not valid.")
        }
        Err(NotAdmitted::RateLimited(wait)) => rate_limited(wait, world.options().retry_after, now),
    };
    world.requests.answered(route, refusal.status().as_u16(), None);
    // Its end of life takes the same lock.
    drop(world);
    drop(in_flight);
    Err(Box::new(refusal))
}

fn api_key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let bearer = text(AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| text(KEY_HEADER))
}

async fn truth(State(simulator): State<Simulator>) -> Response {
    json_answer(StatusCode::OK, &json!(simulator.truth()))
}

/// What of the list of operations is wanted.
#[derive(Deserialize)]
struct Wanted {
    tag: Option<String>,
    limit: Option<usize>,
}

async fn operations(State(simulator): State<Simulator>, Query(wanted): Query<Wanted>) -> Response {
    let limit = wanted.limit.unwrap_or(DEFAULT_LIST_LIMIT);
    json_answer(StatusCode::OK, &json!(simulator.operations(wanted.tag.as_deref(), limit)))
}

async fn requests(State(simulator): State<Simulator>) -> Response {
    json_answer(StatusCode::OK, &json!(simulator.requests()))
}

async fn webhooks(State(simulator): State<Simulator>) -> Response {
    json_answer(StatusCode::OK, &json!(simulator.webhooks()))
}
