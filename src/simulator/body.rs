//! Writes an operation's state as a status body, in one of its forms.

use super::operation::{Entry, Snapshot, State};
use super::style::{PartialWord, QueuedFiles, Style};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Where absolute download links point: a host that can't exist, so that nothing is ever fetched.
const DOWNLOAD_HOST: &str = "https://api.dragdropdo.invalid";

/// The status body of `snapshot`.
pub(super) fn status_body(snapshot: &Snapshot<'_>, style: Style) -> Value {
    let mut body = Map::new();
    body.insert(key("operation_status", style), operation_word(snapshot, style).into());
    let files = || Value::Array(snapshot.entries.iter().map(|entry| file(entry, style)).collect());
    let files = match style.queued_files {
        _ if snapshot.state != State::Queued => Some(files()),
        QueuedFiles::Listed => Some(files()),
        QueuedFiles::Empty => Some(json!([])),
        QueuedFiles::Null => Some(Value::Null),
        QueuedFiles::Absent => None,
    };
    if let Some(files) = files {
        body.insert(key("files_data", style), files);
    }
    if style.extra_fields {
        body.insert(key("schema_version", style), 3.into());
        body.insert(key("queue_info", style), json!({"status": "idle", "regions": ["eu", "us"]}));
    }
    if style.bare {
        return body.into();
    }
    let mut envelope = Map::from_iter([("data".to_owned(), body.into())]);
    if style.extra_fields {
        envelope.insert("success".into(), true.into());
        envelope.insert("message".into(), "ok".into());
    }
    envelope.into()
}

/// One file, as every list of files names it.
pub(super) fn file(entry: &Entry<'_>, style: Style) -> Value {
    let mut fields = Map::new();
    let mut optional = |name, value: Option<String>| match value {
        Some(value) => drop(fields.insert(key(name, style), value.into())),
        None if style.null_fields => drop(fields.insert(key(name, style), Value::Null)),
        None => {}
    };
    optional("download_link", (entry.state == State::Completed).then(|| download_link(&entry.key, style)));
    optional("error_code", entry.failure.and_then(|failure| failure.code.clone()));
    optional("error_message", entry.failure.map(|failure| failure.message.clone()));
    fields.insert(key("file_key", style), entry.key.as_ref().into());
    fields.insert("status".into(), word(entry.state, style).into());
    if style.extra_fields {
        fields.insert(key("page_count", style), Value::Null);
        fields.insert(key("file_size", style), 52_417.into());
    }
    fields.into()
}

/// A link that carries a secret, as a signed one does: a reader that keeps it can be found out.
fn download_link(file_key: &str, style: Style) -> String {
    let mut hasher = DefaultHasher::new();
    file_key.hash(&mut hasher);
    let host = if style.relative_links { "" } else { DOWNLOAD_HOST };
    let file_key = utf8_percent_encode(file_key, NON_ALPHANUMERIC);
    format!("{host}/v1/download/{file_key}?signature={:016x}", hasher.finish())
}

/// The word for the state of an operation.
pub(super) fn operation_word(snapshot: &Snapshot<'_>, style: Style) -> String {
    let partial = match style.partial_word {
        _ if !snapshot.partial => None,
        PartialWord::Completed => None,
        PartialWord::Underscore => Some("partially_completed"),
        PartialWord::Hyphen => Some("partially-completed"),
        PartialWord::Blank => Some("partially completed"),
    };
    partial.map_or_else(|| word(snapshot.state, style), |word| cased(word, style))
}

fn word(state: State, style: Style) -> String {
    let word = match state {
        State::Queued => "queued",
        State::InProgress if style.running => "running",
        State::InProgress => "in_progress",
        State::Completed => "completed",
        State::Failed => "failed",
    };
    cased(word, style)
}

fn cased(word: &str, style: Style) -> String {
    if style.upper_case { word.to_uppercase() } else { word.to_owned() }
}

/// A key in the style's spelling.
pub(super) fn key(name: &str, style: Style) -> String {
    if !style.camel_case {
        return name.to_owned();
    }
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::operation::Failure;

    fn with_failure(check: impl FnOnce(Snapshot<'_>)) {
        let inputs = ["a b".to_owned(), "c".to_owned()];
        let failure = Failure { code: Some("internal_error".into()), message: "no".into() };
        let done = Entry { key: "a b_result".into(), inputs: &inputs[..1], state: State::Completed, failure: None };
        let failed = Entry { key: "c".into(), inputs: &inputs[1..], state: State::Failed, failure: Some(&failure) };
        check(Snapshot { state: State::Completed, partial: true, entries: vec![done, failed] });
    }

    fn queued(style: Style) -> Value {
        let entries = vec![Entry { key: "k".into(), inputs: &[], state: State::Queued, failure: None }];
        status_body(&Snapshot { state: State::Queued, partial: false, entries }, Style { bare: true, ..style })
    }

    #[test]
    fn the_plain_form_is_the_one_that_the_official_clients_read() {
        with_failure(|snapshot| {
            assert_eq!(
                status_body(&snapshot, Style::default()),
                json!({"data": {
                    "operation_status": "completed",
                    "files_data": [
                        {"file_key": "a b_result", "status": "completed",
                         "download_link": download_link("a b_result", Style::default())},
                        {"file_key": "c", "status": "failed", "error_code": "internal_error", "error_message": "no"},
                    ]
                }})
            );
        });
    }

    #[test]
    fn every_option_of_the_form_shows() {
        let style = Style {
            bare: true,
            upper_case: true,
            camel_case: true,
            partial_word: PartialWord::Hyphen,
            null_fields: true,
            relative_links: true,
            extra_fields: true,
            ..Style::default()
        };
        with_failure(|snapshot| {
            let body = status_body(&snapshot, style);
            assert_eq!(body["operationStatus"], "PARTIALLY-COMPLETED");
            assert_eq!(body["filesData"][0]["fileKey"], "a b_result");
            assert_eq!(body["filesData"][0]["status"], "COMPLETED");
            assert_eq!(body["filesData"][0].get("errorCode"), Some(&Value::Null));
            assert!(body["filesData"][0]["downloadLink"].as_str().unwrap().starts_with("/v1/download/a%20b"));
            assert_eq!(body["schemaVersion"], 3);
        });
        assert_eq!(word(State::InProgress, Style { running: true, ..Style::default() }), "running");
    }

    #[test]
    fn the_files_of_a_queued_operation_may_be_listed_empty_null_or_absent() {
        let files = |queued_files| queued(Style { queued_files, ..Style::default() }).get("files_data").cloned();
        assert_eq!(files(QueuedFiles::Listed), Some(json!([{"file_key": "k", "status": "queued"}])));
        assert_eq!(files(QueuedFiles::Empty), Some(json!([])));
        assert_eq!(files(QueuedFiles::Null), Some(Value::Null));
        assert_eq!(files(QueuedFiles::Absent), None);
    }
}
