//! `POST /webhooks/dragdropdo`: D3 says that something ended.
//!
//! A delivery is a notification, as the vendor advises: it makes the exporter ask the API, and its time becomes the end
//! of the task. The signature is checked over the raw body before anything in it is believed.

use super::refusal::Refusal;
use super::refusal_log::Sort;
use super::{Web, body};
use crate::ledger::{Delivered, Unavailable};
use crate::task::TaskId;
use crate::time::Time;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::Sha256;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where D3 is to send its webhooks.
pub(super) const PATH: &str = "/webhooks/dragdropdo";
/// The longest delivery, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// How long a delivery may wait for the store; D3 sends it again.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// The headers that carry the signature: today's, and that of older text.
const SIGNATURE_HEADERS: [&str; 2] = ["x-webhook-signature", "x-d3-signature"];

/// The secret with which D3 signs its webhooks.
#[derive(Clone, Debug)]
pub struct WebhookSecret(SecretString);

/// A secret file that is of no use.
#[derive(Debug, thiserror::Error)]
#[error(
    "webhook.secret_file {path}: {problem}; put the secret of D3's dashboard into it, or remove the key from the configuration",
    path = path.display()
)]
pub struct SecretError {
    path: PathBuf,
    problem: String,
}

impl WebhookSecret {
    /// Reads the secret from its file. Blanks and line ends around it are not part of it.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or is empty.
    pub fn open(path: &Path) -> Result<Self, SecretError> {
        let unusable = |problem: String| SecretError { path: path.to_owned(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
        match text.trim() {
            "" => Err(unusable("the file is empty".to_owned())),
            secret => Ok(Self(secret.into())),
        }
    }

    /// Whether one of the signature headers signs `body`, in a time that does not tell how much of it is right.
    fn signs(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(self.0.expose_secret().as_bytes()) else { return false };
        let mac = mac.chain_update(body);
        let values = SIGNATURE_HEADERS.iter().flat_map(|name| headers.get_all(*name));
        values
            .filter_map(|value| signature(value.to_str().ok()?))
            .any(|signature| mac.clone().verify_slice(&signature).is_ok())
    }
}

/// Hex in either case, with or without `sha256=` before it.
fn signature(text: &str) -> Option<Vec<u8>> {
    const PREFIX: &str = "sha256=";
    let text = text.trim();
    let has_prefix = text.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
    let hex = if has_prefix { text.get(PREFIX.len()..)? } else { text };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = hex.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    bytes.collect()
}

/// The type of a delivery, as a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    OperationCompleted,
    OperationFailed,
    FileCompleted,
    FileFailed,
    Other,
}

impl Event {
    fn of(word: &str) -> Self {
        match word {
            "operation.completed" => Self::OperationCompleted,
            "operation.failed" => Self::OperationFailed,
            "fileTask.completed" => Self::FileCompleted,
            "fileTask.failed" => Self::FileFailed,
            _ => Self::Other,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::OperationCompleted => "operation.completed",
            Self::OperationFailed => "operation.failed",
            Self::FileCompleted => "fileTask.completed",
            Self::FileFailed => "fileTask.failed",
            Self::Other => "other",
        }
    }

    /// Whether it says that the main task ended.
    const fn ends_task(self) -> bool {
        matches!(self, Self::OperationCompleted | Self::OperationFailed)
    }
}

/// Takes a delivery. Answers when it is durable.
pub(super) async fn deliver(State(web): State<Web>, headers: HeaderMap, body: Body) -> Result<StatusCode, Refusal> {
    let settings = web.settings();
    let Some(secret) = &settings.webhook_secret else {
        let what =
            "webhooks are not taken here: set webhook.secret_file in the configuration to the secret of D3's dashboard";
        return Err(refused(&web, StatusCode::FORBIDDEN, what));
    };
    let body = body::read(body, MAX_BODY).await?;
    let content: Option<Value> = serde_json::from_slice(&body).ok();
    let word = content.as_ref().and_then(|content| content.get("type")?.as_str());
    let event = word.map_or(Event::Other, Event::of);
    let count = |outcome| web.rooms.instruments.webhook(event.as_str(), outcome);
    if !secret.signs(&headers, &body) {
        count("bad_signature");
        let what = "the signature is missing or wrong: send the HMAC-SHA256 of the body in X-Webhook-Signature, in hex, \
                    with the secret in webhook.secret_file";
        return Err(refused(&web, StatusCode::UNAUTHORIZED, what));
    }
    web.refusals.let_through(Sort::Webhook);
    let notice = match content.as_ref().ok_or("the body is no JSON").and_then(|content| Notice::read(event, content)) {
        Ok(notice) => notice,
        Err(problem) => {
            count("malformed");
            let what = format!("{problem}: send an event with its type, its timestamp and the main task's id");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, what));
        }
    };
    let Some(id) = notice.id else {
        // A type that is not known need not be about a task.
        count("accepted");
        return Ok(StatusCode::NO_CONTENT);
    };
    let announced = notice.timestamp.filter(|_| event.ends_task());
    let delivered = tokio::time::timeout(STORE_TIMEOUT, web.rooms.ledger.delivered(id, announced)).await;
    match delivered.unwrap_or(Err(Unavailable)) {
        Ok(Delivered::Accepted) => count("accepted"),
        Ok(Delivered::UnknownTask) => count("unknown_task"),
        Err(error) => return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The refusal of a delivery of which nothing is believed.
fn refused(web: &Web, status: StatusCode, what: &str) -> Refusal {
    let refusal = Refusal::new(status, what);
    web.tell_of(Sort::Webhook, &refusal);
    refusal
}

/// What is relied upon of a delivery.
struct Notice {
    id: Option<TaskId>,
    timestamp: Option<Time>,
}

impl Notice {
    fn read(event: Event, content: &Value) -> Result<Self, &'static str> {
        content.get("type").and_then(Value::as_str).ok_or("the event has no type")?;
        let timestamp = content.get("timestamp").and_then(Value::as_str).and_then(|text| Time::parse(text).ok());
        let id = main_task_id(content).and_then(|id| TaskId::new(id).ok());
        if event != Event::Other {
            id.as_ref().ok_or("the event names no main task")?;
            timestamp.ok_or("the event has no timestamp in RFC 3339")?;
        }
        Ok(Self { id, timestamp })
    }
}

/// The main task's id, in every place where the vendor's material lets it stand.
fn main_task_id(content: &Value) -> Option<&str> {
    const PLACES: [&[&str]; 8] = [
        &["payload", "main_task", "id"],
        &["payload", "mainTask", "id"],
        &["payload", "main_task_id"],
        &["payload", "mainTaskId"],
        &["payload", "file_task", "main_task_id"],
        &["payload", "fileTask", "main_task_id"],
        &["payload", "file_task", "mainTaskId"],
        &["payload", "fileTask", "mainTaskId"],
    ];
    PLACES.iter().find_map(|place| place.iter().try_fold(content, |value, key| value.get(key))?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// RFC 4231, test case 2.
    const KEY: &str = "Jefe";
    const BODY: &[u8] = b"what do ya want for nothing?";
    const HEX: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    fn signs(header: &'static str, value: &str, body: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header, value.parse().unwrap());
        WebhookSecret(KEY.into()).signs(&headers, body)
    }

    #[test]
    fn a_signature_is_hex_in_either_case_with_or_without_prefix_in_either_header() {
        for header in SIGNATURE_HEADERS {
            for value in
                [HEX.to_owned(), HEX.to_uppercase(), format!("sha256={HEX}"), format!("SHA256={}", HEX.to_uppercase())]
            {
                assert!(signs(header, &value, BODY), "{header}: {value}");
            }
        }
    }

    #[test]
    fn anything_else_is_no_signature() {
        let wrong = HEX.replacen('5', "6", 1);
        for value in ["", "sha256=", &wrong, &HEX[..62], &HEX[..63], &format!("{HEX}00"), &format!("md5={HEX}"), "zz"] {
            assert!(!signs("x-webhook-signature", value, BODY), "{value}");
        }
        assert!(!signs("x-webhook-signature", HEX, b"another body"));
        assert!(!signs("authorization", HEX, BODY));
    }

    #[test]
    fn the_main_task_id_is_found_wherever_it_can_stand() {
        for payload in [
            json!({"main_task": {"id": "a"}}),
            json!({"mainTask": {"id": "a"}}),
            json!({"main_task_id": "a"}),
            json!({"mainTaskId": "a"}),
            json!({"file_task": {"main_task_id": "a", "id": "b"}}),
            json!({"fileTask": {"mainTaskId": "a"}}),
        ] {
            assert_eq!(main_task_id(&json!({ "payload": payload })), Some("a"));
        }
        assert_eq!(main_task_id(&json!({"payload": {"id": "a"}, "id": "a"})), None);
    }

    #[test]
    fn an_event_without_type_time_or_task_is_malformed_and_one_of_another_type_is_not() {
        let whole = json!({"type": "operation.failed", "timestamp": "2022-11-03T20:26:10.344522Z", "payload": {"main_task_id": "a"}});
        assert!(Notice::read(Event::OperationFailed, &whole).is_ok());
        for key in ["type", "timestamp", "payload"] {
            let mut part = whole.clone();
            part.as_object_mut().unwrap().remove(key);
            assert!(Notice::read(Event::OperationFailed, &part).is_err(), "{key}");
        }
        assert!(Notice::read(Event::Other, &json!({"type": "account.renamed"})).is_ok());
    }
}
