//! How a request to a source is authorized: `basic_auth`, `authorization`, or a user in the URL.

use super::value::{Problem, Section, Value};
use secrecy::SecretString;
use std::path::{Path, PathBuf};

/// How a request is authorized.
#[derive(Clone, Debug)]
pub enum HttpAuth {
    /// Basic authentication.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// `Authorization: <scheme> <credentials>`.
    Header {
        /// The scheme, `Bearer` for most.
        scheme: String,
        /// The credentials.
        credentials: Secret,
    },
}

/// A secret, or where it is.
#[derive(Clone, Debug)]
pub enum Secret {
    /// The secret itself.
    Inline(SecretString),
    /// A file that holds it and nothing else, read whenever it is used.
    File(PathBuf),
}

/// Reads `basic_auth` or `authorization` of an HTTP client.
pub(super) fn read(section: &mut Section<'_>, folder: &Path) -> Result<Option<HttpAuth>, Problem> {
    let basic = section.get("basic_auth").and_then(Value::some);
    let header = section.get("authorization").and_then(Value::some);
    match (basic, header) {
        (Some(basic), Some(header)) => {
            let text = "given beside basic_auth, allowed is one of the two; remove the other";
            Err(Problem::new(header.path().clone(), text).with_other(basic.path().clone()))
        }
        (Some(basic), None) => read_basic(basic.section()?, folder).map(Some),
        (None, Some(header)) => read_header(&header, folder).map(Some),
        (None, None) => Ok(None),
    }
}

/// Takes the user out of a URL, as basic authentication.
pub(super) fn take_from(url: &mut reqwest::Url) -> Result<Option<HttpAuth>, &'static str> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().map(String::from);
    let (Ok(username), Ok(password)) = (decoded(url.username()), decoded(url.password().unwrap_or_default())) else {
        return Err("the user name or password in this URL is not UTF-8; give it in basic_auth");
    };
    if !is_username(&username) {
        return Err(
            "the user name in this URL holds a colon or a control character, which basic authentication can't carry",
        );
    }
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err("the user name and password can't be taken out of this URL; give them in basic_auth");
    }
    Ok(Some(HttpAuth::Basic { username, password: Secret::Inline(password.into()) }))
}

fn read_basic(mut section: Section<'_>, folder: &Path) -> Result<HttpAuth, Problem> {
    const USERNAME: &str = "the user's name as a text without colon and control characters";
    // Never the text itself: `user:password` is what gets pasted there.
    let username = match section.get("username") {
        Some(value) => {
            value.text().filter(|text| is_username(text)).ok_or_else(|| value.wrong_secret(USERNAME))?.to_owned()
        }
        None => return Err(Problem::new(section.path("username"), "missing, write the user's name here")),
    };
    let password = secret(&mut section, folder, ("password", "password_file"), |text| !text.is_empty())?;
    // As in Prometheus, no password is an empty one.
    let password = password.unwrap_or_else(|| Secret::Inline(SecretString::default()));
    section.finish_without(&["username_file", "username_ref", "password_ref"])?;
    Ok(HttpAuth::Basic { username, password })
}

fn read_header(value: &Value<'_>, folder: &Path) -> Result<HttpAuth, Problem> {
    const SCHEME: &str = "the name of a scheme, like Bearer; for Basic, use basic_auth";
    let mut section = value.section()?;
    let scheme = section.read("type", "Bearer".to_owned(), |value| {
        let text = value.text().filter(|text| is_token(text) && !text.eq_ignore_ascii_case("basic"));
        Ok(text.ok_or_else(|| value.wrong(SCHEME))?.to_owned())
    })?;
    let sendable = |text: &str| !text.trim().is_empty() && text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    let credentials = secret(&mut section, folder, ("credentials", "credentials_file"), sendable)?;
    section.finish_without(&["credentials_ref"])?;
    let Some(credentials) = credentials else {
        let text = "no credentials are given: name their file in credentials_file, or write them in credentials";
        return Err(Problem::new(value.path().clone(), text));
    };
    Ok(HttpAuth::Header { scheme, credentials })
}

/// A secret that is written, or the file that holds it.
fn secret(
    section: &mut Section<'_>,
    folder: &Path,
    (key, file_key): (&'static str, &'static str),
    is_right: fn(&str) -> bool,
) -> Result<Option<Secret>, Problem> {
    let inline = section.get(key).and_then(Value::some);
    let file = section.get(file_key).and_then(Value::some);
    match (inline, file) {
        (Some(inline), Some(file)) => {
            let text = format!("given beside {key}, allowed is one of the two; remove the other");
            Err(Problem::new(file.path().clone(), text).with_other(inline.path().clone()))
        }
        (Some(inline), None) => match inline.text().filter(|text| is_right(text)) {
            Some(text) => Ok(Some(Secret::Inline(text.into()))),
            None => Err(inline.wrong_secret("a text that an HTTP header can carry, in quotes if it is all digits")),
        },
        (None, Some(file)) => Ok(Some(Secret::File(file.file(folder)?))),
        (None, None) => Ok(None),
    }
}

/// Basic authentication ends the name at the first colon.
fn is_username(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c == ':' || c.is_control())
}

/// RFC 9110's token.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
