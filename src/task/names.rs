//! Names: validated once, where they enter, and bounded.

use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// Longest main task ID, in bytes.
const MAX_TASK_ID_BYTES: usize = 256;
/// Longest group name, in characters: it is a label value that people read on a dashboard.
const MAX_GROUP_CHARS: usize = 64;
/// Longest file key kept as it is, in bytes; a longer one is kept as a digest, so that a record stays small.
const MAX_FILE_KEY_BYTES: usize = 512;
/// Longest error code kept, in characters: it is a label value.
const MAX_ERROR_CODE_CHARS: usize = 64;

/// A name that is empty, too long or holds a control character.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}: it has 1 to {limit}, and no control characters")]
pub struct InvalidName {
    what: &'static str,
    problem: &'static str,
    limit: &'static str,
}

/// A D3 main task ID: 1 to 256 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(Arc<str>);

impl TaskId {
    /// Takes `text` as a main task ID.
    ///
    /// # Errors
    ///
    /// An empty text, one over 256 bytes, or one with a control character.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        check("a main task ID", text, text.len(), MAX_TASK_ID_BYTES, "256 bytes")?;
        Ok(Self(text.into()))
    }

    /// The ID as D3 gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user's own name for a kind of task: 1 to 64 characters without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(Arc<str>);

impl Group {
    /// Takes `text` as a group's name.
    ///
    /// # Errors
    ///
    /// An empty text, one over 64 characters, or one with a control character.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        check("a group", text, text.chars().count(), MAX_GROUP_CHARS, "64 characters")?;
        Ok(Self(text.into()))
    }

    /// The group's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Group {
    /// The group of tasks that were given none.
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file's key, bounded: control characters are escaped, and a key over 512 bytes is kept as its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey(Box<str>);

impl FileKey {
    /// Takes a key as the API sent it, whatever it holds.
    pub fn from_api(text: &str) -> Self {
        if text.len() > MAX_FILE_KEY_BYTES {
            let digest = Sha256::digest(text.as_bytes());
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            return Self(format!("sha256:{hex}").into());
        }
        if text.chars().any(char::is_control) {
            let escaped: String = text
                .chars()
                .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
                .collect();
            return Self(escaped.into());
        }
        Self(text.into())
    }

    /// Takes a key that a user names, to be asked for: 1 to 512 bytes without control characters.
    ///
    /// # Errors
    ///
    /// An empty text, one over 512 bytes, or one with a control character.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        check("a file key", text, text.len(), MAX_FILE_KEY_BYTES, "512 bytes")?;
        Ok(Self(text.into()))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The API's code for a failure, as a label value: trimmed, lower-cased, control characters as `_`, at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(Arc<str>);

impl ErrorCode {
    /// The code of a failure for which the API gave none.
    pub const UNSPECIFIED: &'static str = "unspecified";
    /// The code under which new codes are counted once `metrics.max_error_codes` are known.
    pub const OTHER: &'static str = "other";

    /// Takes a code as the API sent it; `None` when it is empty.
    pub fn from_api(text: &str) -> Option<Self> {
        let code: String = text
            .trim()
            .chars()
            .flat_map(char::to_lowercase)
            .map(|c| if c.is_control() { '_' } else { c })
            .take(MAX_ERROR_CODE_CHARS)
            .collect();
        (!code.is_empty()).then(|| Self(code.into()))
    }

    /// The code of a failure for which the API gave none.
    pub fn unspecified() -> Self {
        Self(Self::UNSPECIFIED.into())
    }

    /// The code under which new codes are counted once `metrics.max_error_codes` are known.
    pub fn other() -> Self {
        Self(Self::OTHER.into())
    }

    /// The label value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(what: &'static str, text: &str, length: usize, most: usize, limit: &'static str) -> Result<(), InvalidName> {
    let problem = if text.is_empty() {
        "is empty"
    } else if length > most {
        "is too long"
    } else if text.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(());
    };
    Err(InvalidName { what, problem, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_is_bounded_in_bytes_and_a_group_in_characters() {
        assert!(TaskId::new(&"é".repeat(128)).is_ok());
        assert!(TaskId::new(&"é".repeat(129)).is_err());
        assert!(Group::new(&"é".repeat(64)).is_ok());
        assert!(Group::new(&"é".repeat(65)).is_err());
        assert_eq!(
            TaskId::new("a\nb").unwrap_err().to_string(),
            "a main task ID holds a control character: it has 1 to 256 bytes, and no control characters"
        );
        assert!(Group::new("").is_err());
    }

    #[test]
    fn an_error_code_is_made_a_bounded_label_value() {
        assert_eq!(ErrorCode::from_api("  Internal_Error ").unwrap().as_str(), "internal_error");
        assert_eq!(ErrorCode::from_api("a\u{7}b").unwrap().as_str(), "a_b");
        assert_eq!(ErrorCode::from_api(&"X".repeat(80)).unwrap().as_str(), "x".repeat(64));
        assert_eq!(ErrorCode::from_api(" \n "), None);
    }

    #[test]
    fn a_file_key_is_kept_whatever_it_holds_and_bounded() {
        assert_eq!(FileKey::from_api("a\nb").as_str(), "a\\nb");
        assert_eq!(FileKey::from_api(&"k".repeat(512)).as_str(), "k".repeat(512));
        let long = FileKey::from_api(&"k".repeat(513));
        assert_eq!(long.as_str().len(), "sha256:".len() + 64);
        assert_eq!(long, FileKey::from_api(&"k".repeat(513)));
        assert_ne!(long, FileKey::from_api(&"k".repeat(514)));
    }
}
