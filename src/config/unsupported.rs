//! Keys that have a meaning in the documentation and none in this version yet: taken at their default, refused otherwise.
//!
//! Supporting one is to read it into its typed section in place of the call here.

use super::value::{Problem, Section, Value};

/// A path that is null by default.
pub(super) fn path(section: &mut Section<'_>, key: &'static str) -> Result<(), Problem> {
    let Some(value) = section.get(key).and_then(Value::some) else { return Ok(()) };
    match value.text() {
        Some(_) => Err(not_yet(&value, "null")),
        None => Err(value.wrong("the path of a file, or null")),
    }
}

fn not_yet(value: &Value<'_>, allowed: &str) -> Problem {
    Problem::new(value.path().clone(), format!("a value here is not supported by this version; allowed is {allowed}"))
}
