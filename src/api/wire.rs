//! The status body: every variant that occurs in the field, read in one pass as one [`Observation`].

use super::Answer;
use crate::task::{Ask, ErrorCode, FileKey, FileSeen, FilesSeen, Observation, State};
use crate::time::Time;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Most entries of `files_data` that are taken. No task has as many; without it a body of the default size limit, full
/// of `{}`, would take fifteen times its size in memory.
const MAX_FILES: usize = 250_000;

/// Most distinct unknown state words that one answer reports: they are for the log, which has each word once.
const MAX_UNKNOWN_WORDS: usize = 16;

/// Longest unknown state word kept, in characters: the known ones have at most 19, and the beginning tells which it is.
const MAX_UNKNOWN_WORD_CHARS: usize = 32;

/// What stands for the state word of a file that has none.
const NO_WORD: &str = "(none)";

/// Reads the body of a 200, received at `received`, as the answer to `ask`.
///
/// # Errors
///
/// A body that is no JSON object with a status, or whose documented fields have another type, with the reason.
pub(super) fn read(body: &[u8], ask: &Ask, received: Time) -> Result<Answer, String> {
    let (status, files) = parse(body)?;
    if files.as_ref().is_some_and(|files| files.too_many) {
        return Err(format!("the body names more than {MAX_FILES} files"));
    }
    let mut unknown = UnknownWords::default();
    let state = unknown.state(&status.0);
    let files = files.map(|files| {
        unknown.add_all(files.unknown);
        files.entries
    });
    let files = match (ask, files) {
        (_, None) => FilesSeen::NotSaid,
        (Ask::Task, Some(entries)) => FilesSeen::All(entries),
        (Ask::File(asked), Some(entries)) => FilesSeen::Only { asked: asked.clone(), entries },
    };
    Ok(Answer {
        observation: Observation { received, state, files },
        unknown_words: unknown.words,
        unknown_states: unknown.count,
    })
}

/// A body, bare or as the `data` of an envelope; `D` is what is read of its own `data`.
#[derive(serde::Deserialize)]
struct Body<'a, D> {
    #[serde(borrow)]
    operation_status: Option<Text<'a>>,
    #[serde(borrow, rename = "operationStatus")]
    operation_status_camel: Option<Text<'a>>,
    files_data: Option<Files>,
    #[serde(rename = "filesData")]
    files_data_camel: Option<Files>,
    data: Option<D>,
}

type Bare<'a> = Body<'a, IgnoredAny>;
type MaybeEnvelope<'a> = Body<'a, Object<Bare<'a>>>;

impl<'a, D> Body<'a, D> {
    /// Its status and files, if it has a status.
    fn content(self) -> Option<(Text<'a>, Option<Files>)> {
        let status = self.operation_status.or(self.operation_status_camel)?;
        (!status.0.trim().is_empty()).then_some((status, self.files_data.or(self.files_data_camel)))
    }
}

fn parse(body: &[u8]) -> Result<(Text<'_>, Option<Files>), String> {
    let content = match serde_json::from_slice::<Object<MaybeEnvelope<'_>>>(body) {
        Ok(Object(mut outer)) => {
            let data = outer.data.take();
            outer.content().or_else(|| data?.0.content())
        }
        // A bare body may have an unrelated `data` of any shape; that is rare, and so read on a second pass only.
        Err(error) => match serde_json::from_slice::<Object<Bare<'_>>>(body) {
            Ok(Object(bare)) => Some(bare.content().ok_or_else(|| reason(&error, body))?),
            Err(_) => return Err(reason(&error, body)),
        },
    };
    content.ok_or_else(|| "the body has no operation_status".into())
}

/// Says what is wrong with a body and where, without showing any of it: the parser's own message would quote a text
/// that stands where it should not, and that text may be a download link.
fn reason(error: &serde_json::Error, body: &[u8]) -> String {
    if !error.is_data() {
        return format!("the body is not JSON from line {} column {} on", error.line(), error.column());
    }
    let mut parser = serde_json::Deserializer::from_slice(body);
    // Only documented fields are looked into, so the path to the mismatch holds no word of the body.
    match serde_path_to_error::deserialize::<_, Object<MaybeEnvelope<'_>>>(&mut parser) {
        Err(at) if at.path().iter().len() > 0 => {
            format!("the body's {} is not as documented", at.path())
        }
        Ok(_) | Err(_) => "the body is no JSON object".into(),
    }
}

/// A string, borrowed from the body where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A JSON object read as `T`. By itself a derived `T` also takes an array, as its fields in their order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// `files_data`, each entry turned into what is kept of it as it is read.
#[derive(Default)]
struct Files {
    entries: Vec<FileSeen>,
    unknown: UnknownWords,
    too_many: bool,
}

#[derive(serde::Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    file_key: Option<Text<'a>>,
    #[serde(borrow, rename = "fileKey")]
    file_key_camel: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    error_code: Option<&'a RawValue>,
    #[serde(borrow, rename = "errorCode")]
    error_code_camel: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FilesVisitor;

        impl<'de> Visitor<'de> for FilesVisitor {
            type Value = Files;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of files")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Files, A::Error> {
                let mut files = Files::default();
                while let Some(Object(entry)) = list.next_element::<Object<Entry<'de>>>()? {
                    if files.entries.len() == MAX_FILES {
                        files.too_many = true;
                        while list.next_element::<IgnoredAny>()?.is_some() {}
                        break;
                    }
                    files.add(entry);
                }
                Ok(files)
            }
        }

        deserializer.deserialize_seq(FilesVisitor)
    }
}

impl Files {
    fn add(&mut self, entry: Entry<'_>) {
        let key = entry.file_key.or(entry.file_key_camel);
        self.entries.push(FileSeen {
            key: FileKey::from_api(key.as_ref().map_or("", |key| &key.0)),
            state: self.unknown.state(entry.status.as_ref().map_or("", |status| &status.0)),
            error_code: entry.error_code.or(entry.error_code_camel).and_then(error_code),
        });
    }
}

/// The code that a JSON value stands for: a string, or a number as it is written; nothing else is one.
fn error_code(value: &RawValue) -> Option<ErrorCode> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => ErrorCode::from_api(&serde_json::from_str::<Text<'_>>(text).ok()?.0),
        b'-' | b'0'..=b'9' => ErrorCode::from_api(text),
        _ => None,
    }
}

/// State words that are not known: how many there were, and which.
#[derive(Default)]
struct UnknownWords {
    words: Vec<String>,
    count: u64,
}

impl UnknownWords {
    /// The state that `word` stands for; one that is not known is noted.
    fn state(&mut self, word: &str) -> State {
        known_state(word).unwrap_or_else(|| {
            self.count += 1;
            self.add(shown(word));
            State::Unknown
        })
    }

    fn add_all(&mut self, other: Self) {
        self.count += other.count;
        other.words.into_iter().for_each(|word| self.add(word));
    }

    fn add(&mut self, word: String) {
        if self.words.len() < MAX_UNKNOWN_WORDS && !self.words.contains(&word) {
            self.words.push(word);
        }
    }
}

fn known_state(word: &str) -> Option<State> {
    const WORDS: [(&str, State); 6] = [
        ("queued", State::Queued),
        ("in_progress", State::InProgress),
        ("running", State::InProgress),
        ("completed", State::Completed),
        ("partially_completed", State::Completed),
        ("failed", State::Failed),
    ];
    let word = word.trim();
    let is = |known: &str| known.len() == word.len() && known.bytes().eq(word.bytes().map(normalised));
    WORDS.iter().find(|(known, _)| is(known)).map(|&(_, state)| state)
}

const fn normalised(byte: u8) -> u8 {
    match byte {
        b' ' | b'\t' | b'-' => b'_',
        other => other.to_ascii_lowercase(),
    }
}

/// An unknown word as the log may show it: too short and too plain for a link that stands where a state should.
fn shown(word: &str) -> String {
    let word = word.trim();
    if word.is_empty() {
        return NO_WORD.into();
    }
    let plain = |c: char| if c.is_alphanumeric() { c } else { '_' };
    word.chars().take(MAX_UNKNOWN_WORD_CHARS).map(plain).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests;
