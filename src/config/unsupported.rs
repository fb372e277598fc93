//! Keys that have a meaning in the documentation and none in this version yet: taken at their default, refused otherwise.
//!
//! Supporting one is to read it into its typed section in place of the call here.

use super::value::{Problem, Section, Value};
use super::web::{LISTEN_ADDRESS, is_listen_address};

/// Reads `discovery`.
pub(super) fn discovery(mut section: Section<'_>) -> Result<(), Problem> {
    list(&mut section, "files", "globs")?;
    list(&mut section, "http", "mappings with url and refresh_interval")?;
    section.finish()
}

/// Reads `webhook`.
pub(super) fn webhook(mut section: Section<'_>) -> Result<(), Problem> {
    path(&mut section, "secret_file")?;
    address(&mut section, "listen_address")?;
    truth(&mut section, "track_unknown")?;
    section.finish()
}

/// A path that is null by default.
pub(super) fn path(section: &mut Section<'_>, key: &'static str) -> Result<(), Problem> {
    let Some(value) = section.get(key).and_then(Value::some) else { return Ok(()) };
    match value.text() {
        Some(_) => Err(not_yet(&value, "null")),
        None => Err(value.wrong("the path of a file, or null")),
    }
}

/// A boolean that is false by default.
pub(super) fn truth(section: &mut Section<'_>, key: &'static str) -> Result<(), Problem> {
    let Some(value) = section.get(key) else { return Ok(()) };
    if value.boolean()? { Err(not_yet(&value, "false")) } else { Ok(()) }
}

fn address(section: &mut Section<'_>, key: &'static str) -> Result<(), Problem> {
    let Some(value) = section.get(key).and_then(Value::some) else { return Ok(()) };
    match value.text().filter(|text| is_listen_address(text)) {
        Some(_) => Err(not_yet(&value, "null")),
        None => Err(value.wrong(&format!("{LISTEN_ADDRESS}, or null"))),
    }
}

fn list(section: &mut Section<'_>, key: &'static str, of: &str) -> Result<(), Problem> {
    let Some(value) = section.get(key) else { return Ok(()) };
    if value.list(of)?.is_empty() { Ok(()) } else { Err(not_yet(&value, "[]")) }
}

fn not_yet(value: &Value<'_>, allowed: &str) -> Problem {
    Problem::new(value.path().clone(), format!("a value here is not supported by this version; allowed is {allowed}"))
}
