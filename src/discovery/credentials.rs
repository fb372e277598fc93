//! The `Authorization` header of a request to a source.

use crate::config::{HttpAuth, Secret};
use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The longest file of a secret, in bytes: servers refuse headers of more than about 8 KiB.
const MAX_FILE_BYTES: u64 = 4096;

/// Why there are no credentials. It never shows them.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    /// Their file can't be read.
    #[error("cannot read the credentials in {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Their file holds none.
    #[error("the credentials in {} can't be used: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No header can carry them.
    #[error("the credentials hold a character that no HTTP header can carry")]
    Unsendable,
}

/// The request with its header; a secret file is read for each, so that a new secret is in force with the next one.
pub(super) fn authorize(request: RequestBuilder, auth: &HttpAuth) -> Result<RequestBuilder, CredentialsError> {
    match auth {
        HttpAuth::Basic { username, password } => {
            let password = reveal(password)?;
            Ok(request.basic_auth(username, Some(password.expose_secret())))
        }
        HttpAuth::Header { scheme, credentials } => {
            let revealed = reveal(credentials)?;
            let value = HeaderValue::from_str(&format!("{scheme} {}", revealed.expose_secret()));
            let mut value = value.map_err(|_| CredentialsError::Unsendable)?;
            value.set_sensitive(true);
            Ok(request.header(AUTHORIZATION, value))
        }
    }
}

fn reveal(secret: &Secret) -> Result<SecretString, CredentialsError> {
    match secret {
        Secret::Inline(secret) => Ok(secret.clone()),
        Secret::File(path) => read(path),
    }
}

/// What a file holds, but for blanks and line breaks around it.
fn read(path: &Path) -> Result<SecretString, CredentialsError> {
    let unreadable = |cause| CredentialsError::Unreadable { path: path.to_owned(), cause };
    let unusable = |problem| CredentialsError::Unusable { path: path.to_owned(), problem };
    // Opening a pipe would wait for somebody to write.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unusable("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unusable("it is longer than 4096 bytes"));
    }
    let text = std::str::from_utf8(bytes.trim_ascii()).map_err(|_| unusable("it is not UTF-8"))?;
    if text.is_empty() {
        return Err(unusable("it is empty"));
    }
    if text.contains(char::is_control) {
        return Err(unusable("it holds a line break or another control character"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::Client;

    fn header(auth: &HttpAuth) -> Result<String, String> {
        let request = authorize(Client::new().get("http://127.0.0.1"), auth).map_err(|error| error.to_string())?;
        let request = request.build().unwrap();
        let value = request.headers().get(AUTHORIZATION).unwrap();
        assert!(value.is_sensitive());
        Ok(value.to_str().unwrap().to_owned())
    }

    fn bearer(path: &Path) -> HttpAuth {
        HttpAuth::Header { scheme: "Bearer".into(), credentials: Secret::File(path.into()) }
    }

    #[test]
    fn each_kind_has_its_header() {
        let basic =
            |password: &str| HttpAuth::Basic { username: "user".into(), password: Secret::Inline(password.into()) };
        // What `printf user:pass | base64` says.
        assert_eq!(header(&basic("pass")).unwrap(), "Basic dXNlcjpwYXNz");
        assert_eq!(header(&basic("")).unwrap(), "Basic dXNlcjo=");
        let token = HttpAuth::Header { scheme: "Token".into(), credentials: Secret::Inline("a b".into()) };
        assert_eq!(header(&token).unwrap(), "Token a b");
    }

    #[test]
    fn a_file_is_read_for_each_request_and_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for text in ["first", " second\r\n\n"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(header(&bearer(&path)).unwrap(), format!("Bearer {}", text.trim()));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let long = "hunter2".repeat(1000);
        for (text, problem) in [
            (&b""[..], "it is empty"),
            (b" \n", "it is empty"),
            (b"hunter2\nhunter2", "it holds a line break or another control character"),
            (b"hunter2\xff", "it is not UTF-8"),
            (long.as_bytes(), "it is longer than 4096 bytes"),
        ] {
            std::fs::write(&path, text).unwrap();
            let expected = format!("the credentials in {} can't be used: {problem}", path.display());
            assert_eq!(header(&bearer(&path)).unwrap_err(), expected);
        }
        assert!(header(&bearer(folder.path())).unwrap_err().ends_with("it is no regular file"));
        let missing = header(&bearer(&folder.path().join("nowhere"))).unwrap_err();
        assert!(missing.starts_with("cannot read the credentials in "), "{missing}");
    }
}
