//! The bearer token of the routes that change something.

use super::guard::{self, AuthenticatedUser};
use super::refusal::Refusal;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;

/// The token that registrations need.
#[derive(Clone, Debug)]
pub struct ApiToken(SecretString);

/// A token file that is of no use.
#[derive(Debug, thiserror::Error)]
#[error("web.api_token_file {path}: {problem}; put the token into it, or remove the key from the configuration", path = path.display())]
pub struct TokenError {
    path: PathBuf,
    problem: String,
}

impl ApiToken {
    /// Reads the token from its file. Blanks and line ends around it are not part of it.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or is empty.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let unusable = |problem: String| TokenError { path: path.to_owned(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
        let token = text.trim();
        if token.is_empty() {
            return Err(unusable("the file is empty".to_owned()));
        }
        Ok(Self(token.into()))
    }

    /// Whether `given` is the token, in a time that does not tell how much of it is right.
    fn is(&self, given: &str) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// How clients are asked for the token.
const CHALLENGE: &str = "Bearer";

/// Lets through a request that carries the token, or comes from a user; `users` says whether there are any.
pub(super) fn check(
    token: Option<&ApiToken>,
    users: bool,
    user: Option<AuthenticatedUser>,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    if user.is_some() {
        return Ok(());
    }
    let refused = |what: &str| match (token, users) {
        (Some(_), true) => guard::unauthorized(&format!("{what}, or a user and password of basic_auth_users"))
            .with_challenge(CHALLENGE),
        (Some(_), false) => Refusal::new(StatusCode::UNAUTHORIZED, what).with_challenge(CHALLENGE),
        (None, true) => {
            guard::unauthorized("a user and password are missing: send one of basic_auth_users by basic auth")
        }
        (None, false) => Refusal::new(
            StatusCode::FORBIDDEN,
            "tasks can't be registered over HTTP here: set web.api_token_file in the configuration to allow it",
        ),
    };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(given.trim())
    });
    match (given, token) {
        (Some(given), Some(token)) if token.is(given) => Ok(()),
        (Some(_), _) => Err(refused("the bearer token is wrong: send the one in web.api_token_file")),
        (None, _) => Err(refused(
            "the bearer token is missing: send the header Authorization: Bearer <token>, with the token in web.api_token_file",
        )),
    }
}
