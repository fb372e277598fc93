//! The path of a key, like `tasks[1].id`, and what of a text may be shown in a message.

use std::fmt;

/// The longest text shown in a message, in characters: enough to recognise a value by.
const MAX_SHOWN_CHARS: usize = 60;
/// How the API's keys begin: they get pasted where something else was meant.
const KEY_PREFIX: &str = "d3_";

/// One step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the value of this key of a mapping.
    Key(String),
    /// To this entry of a list, counted from 0.
    Index(usize),
}

/// The way from the top of the configuration to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<Step>);

impl KeyPath {
    /// The path of the value of `key` in the mapping at this path.
    pub(super) fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// The path of the entry `index` of the list at this path.
    pub(super) fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// The path of its first step alone.
    pub(super) fn top(&self) -> Self {
        Self(self.0.iter().take(1).cloned().collect())
    }

    /// Its steps.
    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    fn step(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(f, "{dot}{}", shown_key(key))?;
                }
            }
        }
        Ok(())
    }
}

/// A key as it may be shown: one that is no plain word may be a secret whose colon lacks the blank after it.
fn shown_key(key: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '<');
    let word = (1..=MAX_SHOWN_CHARS).contains(&key.len()) && key.chars().all(plain);
    if word && !may_be_secret(key) { key } else { "<not shown>" }
}

/// A text as it may be shown: quoted and cut, or not at all where it may hold a secret.
pub(super) fn shown(text: &str) -> String {
    if may_be_secret(text) {
        return "a text that may hold a secret and is not shown".to_owned();
    }
    let cut: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{:?}{dots}", cut)
}

/// Whether a text looks like an API key, or like a URL that carries credentials.
pub(super) fn may_be_secret(text: &str) -> bool {
    text.contains(KEY_PREFIX) || (text.contains('@') && text.contains("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_it_is_written_in_a_message() {
        let path = KeyPath::default().key("tasks").index(1).key("id");
        assert_eq!(path.to_string(), "tasks[1].id");
        assert_eq!(KeyPath::default().to_string(), "");
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        for text in ["d3_live_0123", "Bearer d3_test_1", "https://user:word@host", "postgres://u:p@db/x"] {
            assert!(!shown(text).contains(text), "{text}");
        }
        for key in ["d3_live_0123", "api_key:s3cret", "my word", ""] {
            assert_eq!(KeyPath::default().key("api").key(key).to_string(), "api.<not shown>");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_control_characters_are_escaped() {
        assert_eq!(shown("a\u{1b}[31m"), "\"a\\u{1b}[31m\"");
        assert_eq!(shown(&"x".repeat(61)), format!("\"{}\"…", "x".repeat(60)));
    }
}
