//! Keys that have a meaning in the documentation and none in this version yet: taken at their default, refused otherwise.
//!
//! Supporting one is to read it into its typed section in place of the call here.

use super::value::{Problem, Section, Value};

/// A boolean that is false by default.
pub(super) fn truth(section: &mut Section<'_>, key: &'static str) -> Result<(), Problem> {
    let Some(value) = section.get(key) else { return Ok(()) };
    if value.boolean()? { Err(not_yet(&value, "false")) } else { Ok(()) }
}

fn not_yet(value: &Value<'_>, allowed: &str) -> Problem {
    Problem::new(value.path().clone(), format!("a value here is not supported by this version; allowed is {allowed}"))
}
