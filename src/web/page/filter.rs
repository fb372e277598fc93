//! What a reader asks to see: a group, a state, a text; and the addresses that ask for it.

use crate::task::{Group, State, TaskRecord};
use crate::view::GroupSnapshot;
use axum::extract::Query;
use axum::http::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The longest parameter that is looked for, in bytes: the longest file key that is kept. No name is longer.
pub(super) const MAX_BYTES: usize = 512;

/// What a reader asks to see. A parameter that is absent or empty asks for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// The group's name, known or not.
    pub(super) group: Option<String>,
    /// The word for the tasks' state, known or not.
    pub(super) state: Option<String>,
    /// A part of a task ID, a file key or an error code.
    pub(super) text: Option<String>,
    /// The parameters that were longer than [`MAX_BYTES`], and are cut to that.
    pub(super) too_long: Vec<&'static str>,
}

impl Filter {
    /// Reads the parameters of an address: the first of each name that is not empty, the others are ignored.
    pub(super) fn of(uri: &Uri) -> Self {
        let parameters = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|query| query.0).unwrap_or_default();
        let mut too_long = Vec::new();
        // A group's name may begin or end with a blank; what somebody pastes into the form has one by accident.
        let mut first = |wanted: &'static str| {
            let values = parameters.iter().filter(|(name, _)| name == wanted).map(|(_, value)| &**value);
            let value =
                values.map(|value| if wanted == "q" { value.trim() } else { value }).find(|value| !value.is_empty())?;
            if value.len() > MAX_BYTES {
                too_long.push(wanted);
            }
            Some(value[..value.floor_char_boundary(MAX_BYTES)].to_owned())
        };
        let (group, state, text) = (first("group"), first("state"), first("q"));
        Self { group, state, text, too_long }
    }

    /// The address that asks for the task with this ID, whatever else is asked for now: its state may change.
    pub(super) fn to_task(id: &str) -> String {
        Self { text: Some(id.to_owned()), ..Self::default() }.address()
    }

    /// The address that asks for this group, and for the same state and text as now.
    pub(super) fn to_group(&self, group: &Group) -> String {
        Self { group: Some(group.to_string()), too_long: Vec::new(), ..self.clone() }.address()
    }

    /// The address that asks for this group in this state, and for the same text as now.
    pub(super) fn to_state(&self, group: &Group, state: State) -> String {
        let state = Some(state.as_str().to_owned());
        Self { group: Some(group.to_string()), state, too_long: Vec::new(), ..self.clone() }.address()
    }

    fn address(&self) -> String {
        let parameters = [("group", &self.group), ("state", &self.state), ("q", &self.text)];
        let parameters = parameters.into_iter().filter_map(|(name, value)| {
            Some(format!("{name}={}", utf8_percent_encode(value.as_deref()?, NON_ALPHANUMERIC)))
        });
        let parameters: Vec<String> = parameters.collect();
        if parameters.is_empty() { "/".to_owned() } else { format!("/?{}", parameters.join("&")) }
    }

    /// Whether everything is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.group.is_none() && self.state.is_none() && self.text.is_none()
    }

    /// The group that is asked for, when it is none of those that are known.
    pub(super) fn unknown_group(&self, groups: &[GroupSnapshot]) -> Option<&str> {
        let is_known = |group: &&str| groups.iter().any(|known| known.group.as_str() == *group);
        self.group.as_deref().filter(|group| !is_known(group))
    }

    /// The state that is asked for, when it is none.
    pub(super) fn unknown_state(&self) -> Option<&str> {
        self.state.as_deref().filter(|word| state(word).is_none())
    }

    /// The filter to hold tasks against; `None` when it can find none.
    pub(super) fn matcher(&self) -> Option<Matcher<'_>> {
        if !self.too_long.is_empty() {
            return None;
        }
        let state = match &self.state {
            Some(word) => Some(state(word)?),
            None => None,
        };
        let text = self.text.as_deref().map(Needle::new);
        Some(Matcher { group: self.group.as_deref(), state, text })
    }
}

fn state(word: &str) -> Option<State> {
    State::ALL.into_iter().find(|state| state.as_str() == word)
}

/// A filter whose words are known.
#[derive(Debug, Default)]
pub(super) struct Matcher<'a> {
    group: Option<&'a str>,
    state: Option<State>,
    text: Option<Needle>,
}

impl Matcher<'_> {
    /// Whether a task is of the group that is asked for.
    pub(super) fn has_group(&self, task: &TaskRecord) -> bool {
        self.group.is_none_or(|group| task.group.as_str() == group)
    }

    /// Whether one of these states is asked for.
    pub(super) fn has_state(&self, states: &[State]) -> bool {
        self.state.is_none_or(|state| states.contains(&state))
    }

    /// Whether one of these texts holds the text that is asked for.
    pub(super) fn has_text<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> bool {
        self.text.as_ref().is_none_or(|needle| texts.into_iter().any(|text| needle.is_in(text)))
    }

    /// Whether a text is asked for.
    pub(super) fn asks_for_text(&self) -> bool {
        self.text.is_some()
    }
}

/// A text to be found within others, whatever the case of its letters.
#[derive(Debug)]
struct Needle {
    lower: String,
}

impl Needle {
    fn new(text: &str) -> Self {
        Self { lower: text.to_lowercase() }
    }

    fn is_in(&self, text: &str) -> bool {
        if self.lower.is_ascii() && text.is_ascii() {
            // The usual case, without a copy: a page may look through a million keys.
            let needle = self.lower.as_bytes();
            return text.as_bytes().windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle));
        }
        text.to_lowercase().contains(&self.lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Filter {
        Filter::of(&format!("/?{query}").parse().unwrap())
    }

    #[test]
    fn absent_and_empty_parameters_ask_for_everything() {
        for query in ["", "group=&state=&q=", "q=+&other=x", "&&=", "q"] {
            assert!(filter(query).is_empty(), "{query}");
        }
        assert_eq!(Filter::of(&"/".parse().unwrap()), Filter::default());
    }

    #[test]
    fn the_first_parameter_of_a_name_counts_and_is_decoded() {
        let read = filter("q=%3Cb%3E+x&q=y&group=a%26b&state=failed&q=%ff");
        assert_eq!(read.text.as_deref(), Some("<b> x"));
        assert_eq!((read.group.as_deref(), read.state.as_deref()), (Some("a&b"), Some("failed")));
        assert!(filter("q=%ff%").text.is_some(), "what is no UTF-8 is no error");
        let blanks = filter("group=+a+&q=+b+");
        assert_eq!((blanks.group.as_deref(), blanks.text.as_deref()), (Some(" a "), Some("b")));
    }

    #[test]
    fn a_parameter_that_is_too_long_is_cut_at_a_character_and_finds_nothing() {
        let read = filter(&format!("q={}", "%C3%A9".repeat(300)));
        assert_eq!((read.text.as_ref().unwrap().len(), &read.too_long[..]), (512, &["q"][..]));
        assert!(read.matcher().is_none());
        assert!(filter(&format!("group={}", "g".repeat(513))).matcher().is_none());
        assert!(filter(&format!("q={}", "k".repeat(512))).matcher().is_some());
    }

    #[test]
    fn an_address_leads_back_to_the_filter_that_made_it() {
        let group = Group::new("a&b=c #ä\"<>").unwrap();
        let read = filter("q=x%25&state=queued&group=other");
        for address in [read.to_group(&group), read.to_state(&group, State::Failed)] {
            let found = Filter::of(&address.parse().unwrap());
            assert_eq!((found.group.as_deref(), found.text.as_deref()), (Some(group.as_str()), Some("x%")));
        }
        let found = Filter::of(&Filter::to_task("a&q=b\u{202e}").parse().unwrap());
        assert_eq!(found, Filter { text: Some("a&q=b\u{202e}".to_owned()), ..Filter::default() });
        assert_eq!(Filter::default().address(), "/");
    }

    #[test]
    fn a_text_is_found_within_others_in_any_case() {
        for (needle, text, is_in) in [
            ("ERROR", "internal_error", true),
            ("task_1", "main_TASK_12", true),
            ("ÄB", "xäby", true),
            ("ß", "STRASSE", false),
            ("longer than the text", "text", false),
            ("k", "\u{212a}", true),
            (".*", "abc", false),
        ] {
            assert_eq!(Needle::new(needle).is_in(text), is_in, "{needle} in {text}");
        }
    }

    #[test]
    fn a_state_that_is_none_finds_nothing() {
        assert!(filter("state=partially_failed").matcher().is_none());
        assert!(filter("state=in_progress").matcher().is_some());
    }
}
