//! Where in the YAML text a value or a key stands.

use super::path::{KeyPath, Step};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Line and column, from 1, of the value at `path`, or of its key; where it is not written, of the innermost value around it that is.
///
/// The parser tells a position only with an error, so this reads the text again and fails on purpose at the place looked for.
pub(super) fn locate(text: &str, path: &KeyPath, key: bool) -> (usize, usize) {
    let document = serde_yaml::Deserializer::from_str(text).next();
    document.map_or((1, 1), |document| fail_at(Find { steps: path.steps(), key }, document))
}

/// Line and column, from 1, of the first value of a document.
pub(super) fn begin(document: serde_yaml::Deserializer<'_>) -> (usize, usize) {
    fail_at(Find { steps: &[], key: false }, document)
}

/// Line and column, from 1, of the byte at `index`.
pub(super) fn line_and_column(text: &str, index: usize) -> (usize, usize) {
    let before = text.get(..index).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Line and column, from 1, of an error of the parser, where it knows them.
pub(super) fn position(error: &serde_yaml::Error) -> Option<(usize, usize)> {
    error.location().map(|at| (at.line(), at.column()))
}

fn fail_at(find: Find<'_>, document: serde_yaml::Deserializer<'_>) -> (usize, usize) {
    find.deserialize(document).err().as_ref().and_then(position).unwrap_or((1, 1))
}

/// Fails at the value to which `steps` lead, or at its key.
#[derive(Clone, Copy)]
struct Find<'a> {
    steps: &'a [Step],
    key: bool,
}

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = ();

    /// Said of every scalar, since no `visit_` of one is defined: the failure is what is wanted.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place that is looked for")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if let Some((Step::Index(index), rest)) = self.steps.split_first() {
            for _ in 0..*index {
                list.next_element::<IgnoredAny>()?;
            }
            list.next_element_seed(Find { steps: rest, ..self })?;
        }
        Err(A::Error::custom("here"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<(), A::Error> {
        if let Some((Step::Key(wanted), rest)) = self.steps.split_first() {
            let stop_at = (self.key && rest.is_empty()).then_some(wanted.as_str());
            while let Some(key) = mapping.next_key_seed(FindKey { stop_at })? {
                if key == *wanted {
                    mapping.next_value_seed(Find { steps: rest, ..self })?;
                } else {
                    mapping.next_value::<IgnoredAny>()?;
                }
            }
        }
        Err(A::Error::custom("here"))
    }
}

/// Reads a key, and fails at the one looked for.
struct FindKey<'a> {
    stop_at: Option<&'a str>,
}

impl<'de> DeserializeSeed<'de> for FindKey<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for FindKey<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        if self.stop_at == Some(key) { Err(E::custom("here")) } else { Ok(key.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(steps: &[&str]) -> KeyPath {
        steps.iter().fold(KeyPath::default(), |path, step| match step.parse() {
            Ok(index) => path.index(index),
            Err(_) => path.key(step),
        })
    }

    #[test]
    fn a_value_and_its_key_are_found_where_they_are_written() {
        let text = "a:\n  - b\n  - {c: 1, 'd': [2, 3]}\né: é  # é\ne:\nf: x\n";
        for (steps, key, expected) in [
            (&["a"][..], true, (1, 1)),
            (&["a"], false, (2, 3)),
            (&["a", "0"], false, (2, 5)),
            (&["a", "1"], false, (3, 5)),
            (&["a", "1", "d"], true, (3, 12)),
            (&["a", "1", "d", "1"], false, (3, 21)),
            (&["é"], false, (4, 4)),
            (&["e"], false, (5, 3)),
            (&["f"], false, (6, 4)),
            (&[], false, (1, 1)),
        ] {
            assert_eq!(locate(text, &path(steps), key), expected, "{steps:?}");
        }
    }

    #[test]
    fn what_is_not_written_is_placed_at_the_innermost_value_around_it() {
        let text = "a:\n  b:\n    c: 1\n";
        assert_eq!(locate(text, &path(&["a", "b", "missing"]), false), (3, 5));
        assert_eq!(locate(text, &path(&["a", "missing", "c"]), true), (2, 3));
        assert_eq!(locate(text, &path(&["a", "7"]), false), (2, 3));
        assert_eq!(locate("", &path(&["a"]), false), (1, 1));
    }

    #[test]
    fn a_value_by_alias_is_placed_where_it_is_written() {
        assert_eq!(locate("a: &x\n  - 1\nb: *x\n", &path(&["b", "0"]), false), (2, 5));
    }
}
