//! The YAML text as a tree of plain values, bounded.

use super::locate::{begin, line_and_column, locate, position};
use super::path::KeyPath;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

/// The most that a text may grow to by its aliases, counting each value with its length and [`VALUE_COST`].
///
/// Eight times the largest file: far more than any sensible use of aliases, and small enough for any machine.
const MAX_EXPANDED: usize = 32 * 1024 * 1024;
/// What each value counts for in [`MAX_EXPANDED`] beside its text: about the memory that it takes.
const VALUE_COST: usize = 16;
/// What is said of a text that grows beyond [`MAX_EXPANDED`].
const TOO_LARGE: &str = "too many values, those that an alias (`*name`) repeats counted each time; write fewer";

/// One value of a YAML text.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction or an exponent, `.inf` or `.nan`.
    Float(f64),
    /// A text, quoted or not.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the text; no key is in it twice.
    Mapping(Vec<(String, Node)>),
}

/// What is wrong with a text as YAML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotYaml {
    /// Line and column, from 1.
    pub(super) at: (usize, usize),
    /// The key; empty when the text as a whole is meant.
    pub(super) key: KeyPath,
    /// The problem, and what to do.
    pub(super) problem: String,
}

/// Reads a YAML text of at most one document; an empty one is [`Node::Null`].
pub(super) fn read(text: &str) -> Result<Node, NotYaml> {
    refuse_control_characters(text)?;
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(document) = documents.next() else { return Ok(Node::Null) };

    let budget = Cell::new(MAX_EXPANDED);
    let complaint = RefCell::new(None);
    let mut track = serde_path_to_error::Track::new();
    let seed = Tree { budget: &budget, complaint: &complaint };
    let read = seed.deserialize(serde_path_to_error::Deserializer::new(document, &mut track));
    let node = read.map_err(|error| {
        let key = key_path(&track.path());
        match (complaint.take(), position(&error)) {
            (Some(problem), at) => NotYaml { at: at.unwrap_or((1, 1)), key, problem },
            (None, Some(at)) => refused_by_parser(&error, at, text),
            // The parser's own limit on following aliases is the one error that it gives no position for.
            (None, None) => {
                let key = key.top();
                NotYaml { at: locate(text, &key, true), key, problem: TOO_LARGE.to_owned() }
            }
        }
    })?;

    match documents.next() {
        None => Ok(node),
        Some(second) => {
            let at = begin(second);
            let problem = "a second document begins here; allowed is one: remove the line `---` before it".to_owned();
            Err(NotYaml { at, key: KeyPath::default(), problem })
        }
    }
}

fn key_path(path: &serde_path_to_error::Path) -> KeyPath {
    use serde_path_to_error::Segment;
    path.iter().fold(KeyPath::default(), |path, segment| match segment {
        Segment::Seq { index } => path.index(*index),
        Segment::Map { key } => path.key(key),
        Segment::Enum { .. } | Segment::Unknown => path,
    })
}

/// Refuses what no YAML may hold before the parser does, which would not say where it stands.
fn refuse_control_characters(text: &str) -> Result<(), NotYaml> {
    let refused = |(_, c): &(usize, char)| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}');
    match text.char_indices().find(refused) {
        None => Ok(()),
        Some((index, c)) => Err(NotYaml {
            at: line_and_column(text, index),
            key: KeyPath::default(),
            problem: format!("the control character U+{:04X} is not allowed in YAML; remove it", u32::from(c)),
        }),
    }
}

fn refused_by_parser(error: &serde_yaml::Error, at: (usize, usize), text: &str) -> NotYaml {
    let (line, column) = at;
    // The parser repeats its position within its sentence.
    let sentence = error.to_string().replacen(&format!(" at line {line} column {column}"), "", 1);
    let found = text.lines().nth(line - 1).and_then(|line| line.chars().nth(column - 1));
    let advice = if found == Some('\t') {
        "this is a tab, and YAML is indented by blanks"
    } else {
        "look at the indentation, colons and quotes here and on the line above"
    };
    NotYaml { at, key: KeyPath::default(), problem: format!("not readable as YAML: {sentence}; {advice}") }
}

/// Builds a [`Node`] of whatever stands in the text.
#[derive(Clone, Copy)]
struct Tree<'a> {
    budget: &'a Cell<usize>,
    /// The exporter's own words for the error being returned: the parser's carry the position within the sentence.
    complaint: &'a RefCell<Option<String>>,
}

impl Tree<'_> {
    fn refuse<E: serde::de::Error>(self, problem: String) -> E {
        self.complaint.replace(Some(problem));
        E::custom("refused")
    }

    fn spend<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let cost = text.len() + VALUE_COST;
        match self.budget.get().checked_sub(cost) {
            Some(left) => {
                self.budget.set(left);
                Ok(())
            }
            None => Err(self.refuse(TOO_LARGE.to_owned())),
        }
    }

    fn value<E: serde::de::Error>(self, node: Node) -> Result<Node, E> {
        self.spend("").map(|()| node)
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.value(Node::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        self.value(Node::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        self.value(Node::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        self.value(Node::Integer(value.into()))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        self.value(Node::Integer(value.into()))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Node, E> {
        self.value(Node::Integer(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Node, E> {
        // No key of the configuration goes anywhere near the largest number: it is refused by its own bound.
        self.value(Node::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        self.value(Node::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Node, E> {
        self.spend(text)?;
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        self.spend("")?;
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element_seed(self)? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Node, A::Error> {
        self.spend("")?;
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(key) = mapping.next_key_seed(Key { tree: self, seen: &mut seen })? {
            entries.push((key, mapping.next_value_seed(self)?));
        }
        Ok(Node::Mapping(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(self.refuse("a YAML tag (`!name`) has no meaning here; remove it".to_owned()))
    }
}

/// Reads one key of a mapping, which may be there once only.
struct Key<'a, 'seen> {
    tree: Tree<'a>,
    seen: &'seen mut BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, '_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key, which is a text")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        self.tree.spend(key)?;
        if !self.seen.insert(key.to_owned()) {
            return Err(self.tree.refuse("written a second time in the same mapping; keep one of the two".to_owned()));
        }
        Ok(key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_text_and_one_of_comments_are_null() {
        for text in ["", "\n", "# nothing\n", "---\n", "\u{feff}", "---\n...\n"] {
            assert_eq!(read(text), Ok(Node::Null), "{text:?}");
        }
    }

    #[test]
    fn values_keep_their_kind() {
        let text = "[1, '1', 1.5, true, yes, ~, 0123, 2026-11-23T10:00:00Z, 5m]";
        let texts = |text: &str| Node::Text(text.to_owned());
        let expected = vec![
            Node::Integer(1),
            texts("1"),
            Node::Float(1.5),
            Node::Bool(true),
            texts("yes"),
            Node::Null,
            texts("0123"),
            texts("2026-11-23T10:00:00Z"),
            texts("5m"),
        ];
        assert_eq!(read(text), Ok(Node::List(expected)));
    }

    #[test]
    fn aliases_cannot_make_a_small_text_large() {
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a, ".repeat(1000));
        let lists: String = ('b'..='z')
            .map(|name| {
                let before = char::from(name as u8 - 1);
                format!("{name}: &{name} [{}]\n", format!("*{before}, ").repeat(9))
            })
            .collect();
        for text in [long, format!("a: &a x\n{lists}")] {
            assert_eq!(read(&text).unwrap_err().problem, TOO_LARGE);
        }
        assert_eq!(read("&a [*a]").unwrap_err().at, (1, 1));
    }
}
