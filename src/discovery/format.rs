//! Prometheus's format of target groups: `[{"targets": [ID…], "labels": {"group": …, "submitted_at": …}}]`.
//!
//! It is read as it streams by, so that no more is held than what may be kept.

use crate::ledger::Target;
use crate::task::{Group, TaskId};
use crate::time::Time;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_path_to_error::Segment;
use std::collections::{BTreeSet, HashSet};
use std::fmt;

/// The longest list, in bytes: the most targets there may be, with IDs of more than 150 bytes.
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;
/// The most values in a list in YAML, six for each target: its parser takes up to some 200 bytes for each before anything
/// can be counted.
const MAX_YAML_VALUES: usize = 6 * MAX_TARGETS;
/// The most targets of one source: twice as many unfinished tasks as the exporter is built for.
pub(super) const MAX_TARGETS: usize = 200_000;
/// The most names of unknown labels that are told, and their longest form in characters: a list with more is no better
/// understood by them.
const MAX_UNKNOWN_LABELS: (usize, usize) = (16, 64);
/// The longest reason, in characters: it is one line of a log.
const MAX_REASON_CHARS: usize = 300;

/// The notation of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// What a list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// The targets by ID; of an ID that is in it twice, the first.
    pub(super) targets: Vec<Target>,
    /// Labels without a meaning here.
    pub(super) unknown_labels: BTreeSet<String>,
}

/// Why a list can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormatError {
    /// It is longer than is read.
    #[error("it is longer than the {} MiB that are read", MAX_BYTES / 1024 / 1024)]
    TooLong,
    /// It names more tasks than there is room for.
    #[error("it names more than {room} tasks, and a source may name {MAX_TARGETS}, all of its files together")]
    TooMany { room: usize },
    /// Something in it is wrong: where, and what.
    #[error("{0}")]
    Wrong(String),
}

/// Reads a list of at most `room` targets.
pub(super) fn read(bytes: &[u8], notation: Notation, room: usize) -> Result<List, FormatError> {
    if bytes.len() > MAX_BYTES {
        return Err(FormatError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::Wrong("it is not UTF-8".to_owned()))?;
    let mut groups = Groups {
        room,
        null_is_empty: notation == Notation::Yaml,
        taken: 0,
        overfull: false,
        seen: HashSet::new(),
        list: List::default(),
    };
    // Some editors begin every file with a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let result = match notation {
        Notation::Json => read_json(text, &mut groups),
        Notation::Yaml => read_yaml(text, &mut groups),
    };
    if groups.overfull {
        return Err(FormatError::TooMany { room });
    }
    result.map_err(|reason| FormatError::Wrong(bounded(&reason, MAX_REASON_CHARS)))?;
    groups.list.targets.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    Ok(groups.list)
}

fn read_json(text: &str, groups: &mut Groups) -> Result<(), String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    read_groups(&mut deserializer, groups).map_err(|(path, error)| format!("{path}{error}"))?;
    deserializer.end().map_err(|error| error.to_string())
}

fn read_yaml(text: &str, groups: &mut Groups) -> Result<(), String> {
    if values_at_most(text) > MAX_YAML_VALUES {
        return Err(format!("it holds more than {MAX_YAML_VALUES} values; write fewer, or write it as JSON"));
    }
    let mut documents = serde_yaml::Deserializer::from_str(text);
    if let Some(document) = documents.next() {
        read_groups(document, groups).map_err(|(path, error)| {
            let text = error.to_string();
            // The parser names the path of some errors itself, in another way.
            let rest = text.strip_prefix('.').and_then(|text| text.split_once(": ")).map(|(_, rest)| rest);
            format!("{path}{}", rest.unwrap_or(&text))
        })?;
    }
    match documents.next() {
        None => Ok(()),
        Some(_) => Err("it holds a second document; write one".to_owned()),
    }
}

/// A number that the values in a YAML text do not exceed: each but the first stands behind one of these.
fn values_at_most(text: &str) -> usize {
    let starts = |pair: &&[u8]| match pair {
        [b'-' | b'?' | b':', b' ' | b'\t'] => true,
        [first, _] => matches!(first, b',' | b'[' | b'{' | b'\n' | b'\r'),
        _ => false,
    };
    text.as_bytes().windows(2).filter(starts).count()
}

/// Reads the groups; an error comes with its path.
fn read_groups<'de, D: Deserializer<'de>>(deserializer: D, groups: &mut Groups) -> Result<(), (String, D::Error)> {
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    groups.deserialize(tracked).map_err(|error| {
        let mut path = String::new();
        for segment in track.path().iter() {
            match segment {
                Segment::Seq { index } => path.push_str(&format!("[{index}]")),
                Segment::Map { key } => path.push_str(&format!(".{key}")),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        (if path.is_empty() { path } else { path + ": " }, error)
    })
}

/// A text as it may stand in a log.
pub(super) fn bounded(text: &str, most_chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { '_' } else { c }).take(most_chars).collect()
}

/// The list, as it grows.
struct Groups {
    room: usize,
    /// Whether nothing at all is a list: YAML of which every line is commented out.
    null_is_empty: bool,
    /// IDs so far, those that are there twice too.
    taken: usize,
    overfull: bool,
    seen: HashSet<TaskId>,
    list: List,
}

impl<'de> DeserializeSeed<'de> for &mut Groups {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Groups {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of target groups, like [{\"targets\": [\"main_task_abc123\"]}]")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        if self.null_is_empty { Ok(()) } else { Err(E::invalid_type(Unexpected::Unit, &self)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_element_seed(OneGroup(self))?.is_some() {}
        Ok(())
    }
}

/// One target group.
struct OneGroup<'a>(&'a mut Groups);

impl<'de> DeserializeSeed<'de> for OneGroup<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneGroup<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a target group, a mapping with targets and labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let (mut ids, mut labels) = (None, None);
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "targets" if ids.is_none() => ids = Some(entries.next_value_seed(Ids(self.0))?),
                "labels" if labels.is_none() => labels = Some(entries.next_value_seed(Labels(self.0))?),
                "targets" | "labels" => return Err(A::Error::custom(format!("{key} is written twice"))),
                _ => {
                    let key = bounded(&key, MAX_UNKNOWN_LABELS.1);
                    return Err(A::Error::custom(format!("unknown key {key:?}, allowed are targets and labels")));
                }
            }
        }
        let KnownLabels { group, submitted_at } = labels.unwrap_or_default();
        let group = group.unwrap_or_default();
        for id in ids.unwrap_or_default() {
            if self.0.seen.insert(id.clone()) {
                self.0.list.targets.push(Target { id, group: group.clone(), submitted_at, file_keys: Vec::new() });
            }
        }
        Ok(())
    }
}

/// The IDs of a target group.
struct Ids<'a>(&'a mut Groups);

impl<'de> DeserializeSeed<'de> for Ids<'_> {
    type Value = Vec<TaskId>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<TaskId>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Ids<'_> {
    type Value = Vec<TaskId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of main task IDs")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Vec<TaskId>, E> {
        self.visit_unit()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Vec<TaskId>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<TaskId>, A::Error> {
        let mut ids = Vec::new();
        while let Some(id) = entries.next_element_seed(Text("a main task ID as a text", |text| {
            TaskId::new(text).map_err(|error| error.to_string())
        }))? {
            self.0.taken += 1;
            if self.0.taken > self.0.room {
                self.0.overfull = true;
                return Err(A::Error::custom("too many"));
            }
            ids.push(id);
        }
        Ok(ids)
    }
}

/// The labels of a target group.
struct Labels<'a>(&'a mut Groups);

/// Those that mean something here.
#[derive(Default)]
struct KnownLabels {
    group: Option<Group>,
    submitted_at: Option<Time>,
}

impl<'de> DeserializeSeed<'de> for Labels<'_> {
    type Value = KnownLabels;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<KnownLabels, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Labels<'_> {
    type Value = KnownLabels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels, a mapping like {\"group\": \"invoices\"}")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<KnownLabels, E> {
        self.visit_unit()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<KnownLabels, E> {
        Ok(KnownLabels::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<KnownLabels, A::Error> {
        let (mut known, mut names) = (KnownLabels::default(), HashSet::new());
        while let Some(name) = entries.next_key::<String>()? {
            match name.as_str() {
                "group" => known.group = entries.next_value_seed(Text("a group's name as a text", group))?,
                "submitted_at" => {
                    known.submitted_at = entries.next_value_seed(Text("a date and time as a text", time))?
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                    let unknown = &mut self.0.list.unknown_labels;
                    // Prometheus's own labels, and those of its discoveries, begin like this.
                    if !name.starts_with("__") && unknown.len() < MAX_UNKNOWN_LABELS.0 {
                        unknown.insert(bounded(&name, MAX_UNKNOWN_LABELS.1));
                    }
                    continue;
                }
            }
            if !names.insert(name) {
                return Err(A::Error::custom("a label is written twice"));
            }
        }
        Ok(known)
    }
}

/// A group's name. As in Prometheus, a label with an empty value is no label.
fn group(text: &str) -> Result<Option<Group>, String> {
    if text.is_empty() { Ok(None) } else { Group::new(text).map(Some).map_err(|error| error.to_string()) }
}

/// A date and time, or none.
fn time(text: &str) -> Result<Option<Time>, String> {
    if text.is_empty() { Ok(None) } else { Time::parse(text).map(Some).map_err(|error| error.to_string()) }
}

/// What a text is called, and what is made of it.
struct Text<T>(&'static str, fn(&str) -> Result<T, String>);

impl<'de, T> DeserializeSeed<'de> for Text<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests;
