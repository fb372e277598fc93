//! Reading typed values out of the tree, each with the path that an error about it names.

use super::duration;
use super::path::{KeyPath, shown};
use super::size;
use super::yaml::Node;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Something wrong with one value or key; where it stands in the text is looked up once, when it is reported.
#[derive(Debug)]
pub(super) struct Problem {
    /// The value.
    pub(super) path: KeyPath,
    /// Whether its key is meant, not the value.
    pub(super) at_key: bool,
    /// What is wrong, and what is allowed.
    pub(super) text: String,
    /// Another value that it conflicts with, whose line is named too.
    pub(super) other: Option<KeyPath>,
}

impl Problem {
    /// A problem of the value at `path`.
    pub(super) fn new(path: KeyPath, text: impl Into<String>) -> Self {
        Self { path, at_key: false, text: text.into(), other: None }
    }

    /// The same, naming the line of another value too.
    pub(super) fn with_other(self, other: KeyPath) -> Self {
        Self { other: Some(other), ..self }
    }
}

/// One value of the configuration and where it is.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    node: &'a Node,
    path: KeyPath,
}

impl<'a> Value<'a> {
    /// The whole configuration.
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node, path: KeyPath::default() }
    }

    /// Its path.
    pub(super) fn path(&self) -> &KeyPath {
        &self.path
    }

    /// The value, unless it is null.
    pub(super) fn some(self) -> Option<Self> {
        (*self.node != Node::Null).then_some(self)
    }

    /// Whether it is a mapping.
    pub(super) fn is_mapping(&self) -> bool {
        matches!(self.node, Node::Mapping(_))
    }

    /// The problem that this value is not `allowed`.
    pub(super) fn wrong(&self, allowed: &str) -> Problem {
        let found = match self.node {
            Node::Null => "nothing".to_owned(),
            Node::Bool(value) => value.to_string(),
            Node::Integer(value) => value.to_string(),
            Node::Float(value) if value.is_nan() => ".nan".to_owned(),
            Node::Float(value) if value.is_infinite() => ".inf".to_owned(),
            Node::Float(value) => value.to_string(),
            Node::Text(text) => shown(text),
            Node::List(list) if list.is_empty() => "an empty list".to_owned(),
            Node::List(_) => "a list".to_owned(),
            Node::Mapping(_) => "a mapping".to_owned(),
        };
        Problem::new(self.path.clone(), format!("found {found}, allowed is {allowed}"))
    }

    /// The problem that this value is not `allowed`, of a value that must never be shown.
    pub(super) fn wrong_secret(&self, allowed: &str) -> Problem {
        let found = match self.node {
            Node::Null => "nothing",
            Node::Bool(_) => "a boolean",
            Node::Integer(_) | Node::Float(_) => "a number",
            Node::Text(text) if text.trim().is_empty() => "an empty text",
            Node::Text(_) => "a text",
            Node::List(_) => "a list",
            Node::Mapping(_) => "a mapping",
        };
        Problem::new(self.path.clone(), format!("found {found}, allowed is {allowed}"))
    }

    /// A text, whatever it holds.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.node {
            Node::Text(text) => Some(text),
            Node::Null | Node::Bool(_) | Node::Integer(_) | Node::Float(_) | Node::List(_) | Node::Mapping(_) => None,
        }
    }

    /// A number, whole or not.
    #[expect(clippy::cast_precision_loss, reason = "no key takes a number that large: its bound refuses it")]
    pub(super) fn number(&self) -> Option<f64> {
        match self.node {
            Node::Integer(value) => Some(*value as f64),
            Node::Float(value) => Some(*value),
            Node::Null | Node::Bool(_) | Node::Text(_) | Node::List(_) | Node::Mapping(_) => None,
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Result<bool, Problem> {
        match self.node {
            Node::Bool(value) => Ok(*value),
            Node::Null | Node::Integer(_) | Node::Float(_) | Node::Text(_) | Node::List(_) | Node::Mapping(_) => {
                Err(self.wrong("true or false"))
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn whole(&self, range: RangeInclusive<usize>) -> Result<usize, Problem> {
        let number = match self.node {
            Node::Integer(value) => usize::try_from(*value).ok().filter(|number| range.contains(number)),
            Node::Null | Node::Bool(_) | Node::Float(_) | Node::Text(_) | Node::List(_) | Node::Mapping(_) => None,
        };
        number.ok_or_else(|| self.wrong(&format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// A duration, 0 included.
    pub(super) fn duration(&self) -> Result<Duration, Problem> {
        match self.node {
            Node::Integer(0) => Ok(Duration::ZERO),
            Node::Integer(number) if *number > 0 => {
                Err(self.wrong(&format!("a duration with its unit; write {number}s for seconds")))
            }
            Node::Text(text) => duration::parse(text).ok_or_else(|| self.wrong(duration::ALLOWED)),
            Node::Null | Node::Bool(_) | Node::Integer(_) | Node::Float(_) | Node::List(_) | Node::Mapping(_) => {
                Err(self.wrong(duration::ALLOWED))
            }
        }
    }

    /// A duration above 0.
    pub(super) fn positive_duration(&self) -> Result<Duration, Problem> {
        let duration = self.duration()?;
        if duration.is_zero() { Err(self.wrong("a duration above 0, like 15s")) } else { Ok(duration) }
    }

    /// A size in bytes within `range`, whose ends are also given as they are written.
    pub(super) fn size(&self, range: RangeInclusive<u64>, written: &str) -> Result<u64, Problem> {
        if let Node::Integer(number) = self.node {
            return Err(self.wrong(&format!("a size with its unit, like 8MiB; write {number}B for bytes")));
        }
        let size = self.text().and_then(size::parse).filter(|size| range.contains(size));
        size.ok_or_else(|| {
            self.wrong(&format!("a size from {written}, like 8MiB (units B, KiB, MiB, GiB, KB, MB, GB)"))
        })
    }

    /// The path of a file, below `folder` when it is relative.
    pub(super) fn file(&self, folder: &std::path::Path) -> Result<PathBuf, Problem> {
        match self.text() {
            Some(text) if !text.trim().is_empty() && !text.contains('\0') => Ok(folder.join(text)),
            Some(_) | None => Err(self.wrong("the path of a file")),
        }
    }

    /// A list; null is an empty one, as when every entry is commented out.
    pub(super) fn list(&self, of: &str) -> Result<Vec<Value<'a>>, Problem> {
        match self.node {
            Node::Null => Ok(Vec::new()),
            Node::List(nodes) => {
                let entry = |(index, node)| Value { node, path: self.path.index(index) };
                Ok(nodes.iter().enumerate().map(entry).collect())
            }
            Node::Bool(_) | Node::Integer(_) | Node::Float(_) | Node::Text(_) | Node::Mapping(_) => {
                Err(self.wrong(&format!("a list of {of}, like [] or one `- …` per line")))
            }
        }
    }

    /// A mapping; null is an empty one, as when every key is commented out.
    pub(super) fn section(&self) -> Result<Section<'a>, Problem> {
        let entries: &[(String, Node)] = match self.node {
            Node::Null => &[],
            Node::Mapping(entries) => entries,
            Node::Bool(_) | Node::Integer(_) | Node::Float(_) | Node::Text(_) | Node::List(_) => {
                // Never the text itself: a secret whose colon lacks the blank after it is read as one.
                return Err(
                    self.wrong_secret("a mapping with lines like `key: value` (mind the blank after the colon)")
                );
            }
        };
        Ok(Section { entries, path: self.path.clone(), known: Vec::new() })
    }

    /// The entries of a mapping whose keys are the user's own names; null is an empty one.
    pub(super) fn entries(&self) -> Result<Vec<(&'a str, Value<'a>)>, Problem> {
        let Section { entries, path, .. } = self.section()?;
        Ok(entries.iter().map(|(name, node)| (name.as_str(), Value { node, path: path.key(name) })).collect())
    }
}

/// A mapping being read. It learns the keys that are known by being asked for them, so that no list can go out of date.
#[derive(Debug)]
pub(super) struct Section<'a> {
    entries: &'a [(String, Node)],
    path: KeyPath,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The path of the value of `key`, written or not.
    pub(super) fn path(&self, key: &str) -> KeyPath {
        self.path.key(key)
    }

    /// Whether `key` is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name == key)
    }

    /// The value of `key`, if it is written.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        let (_, node) = self.entries.iter().find(|(name, _)| name == key)?;
        Some(Value { node, path: self.path(key) })
    }

    /// The value of `key`, unless it is null: for a format in which null means unset.
    pub(super) fn set(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.get(key).and_then(Value::some)
    }

    /// The value of `key` as `read` takes it, or `default` when it is not written.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Value<'a>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.get(key).map_or(Ok(default), |value| read(&value))
    }

    /// The section under `key`, empty when it is not written.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Section<'a>, Problem> {
        match self.get(key) {
            Some(value) => value.section(),
            None => Ok(Section { entries: &[], path: self.path(key), known: Vec::new() }),
        }
    }

    /// Ends the reading: a key that was not asked for is unknown.
    pub(super) fn finish(self) -> Result<(), Problem> {
        self.finish_without(&[])
    }

    /// Ends the reading of a section that Prometheus has too, with the keys of it that are `unsupported` here.
    pub(super) fn finish_without(self, unsupported: &[&str]) -> Result<(), Problem> {
        match self.entries.iter().find(|(name, _)| !self.known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let what = if unsupported.contains(&name.as_str()) {
                    "a key of Prometheus that is not supported by this version"
                } else {
                    "unknown key"
                };
                let text = format!("{what}; allowed are {}", self.known.join(", "));
                Err(Problem { at_key: true, ..Problem::new(self.path(name), text) })
            }
        }
    }
}
