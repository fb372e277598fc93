use super::*;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

fn both(text: &str) -> Result<List, String> {
    let json = read(text.as_bytes(), Notation::Json, MAX_TARGETS).map_err(|error| error.to_string());
    let yaml = read(text.as_bytes(), Notation::Yaml, MAX_TARGETS).map_err(|error| error.to_string());
    // Any JSON is YAML; the sentences of the parsers differ, and so do their positions.
    assert_eq!(json.as_ref().ok(), yaml.as_ref().ok(), "{text}: {json:?}, {yaml:?}");
    json
}

fn yaml(text: &str) -> Result<List, String> {
    read(text.as_bytes(), Notation::Yaml, MAX_TARGETS).map_err(|error| error.to_string())
}

fn shown(list: &List) -> Vec<String> {
    let target = |target: &Target| {
        assert!(target.file_keys.is_empty());
        let time = target.submitted_at.map(|time| time.to_string()).unwrap_or_default();
        format!("{} {} {time}", target.id, target.group).trim_end().to_owned()
    };
    list.targets.iter().map(target).collect()
}

#[test]
fn a_list_is_read_whatever_it_leaves_out() {
    for (text, expected) in [
        ("[]", &[][..]),
        ("[{}]", &[]),
        (r#"[{"targets": null, "labels": null}]"#, &[]),
        (r#"[{"targets": ["b", "a"]}]"#, &["a default", "b default"]),
        (r#"[{"labels": {"group": "g"}, "targets": ["a"]}, {"targets": ["b"]}]"#, &["a g", "b default"]),
        (
            r#"[{"targets": ["a"], "labels": {"submitted_at": "2026-11-23T11:00:00+01:00", "group": "Größe"}}]"#,
            &["a Größe 2026-11-23T10:00:00Z"],
        ),
        (r#"[{"targets": ["a"], "labels": {"group": "", "submitted_at": ""}}]"#, &["a default"]),
        ("\u{feff} [ ] ", &[]),
    ] {
        assert_eq!(shown(&both(text).unwrap()), expected, "{text}");
    }
}

#[test]
fn yaml_is_read_as_it_is_usually_written() {
    let text = "# ours\n- targets: [main_task_1, '2']\n  labels:\n    group: invoices\n    submitted_at: 2026-11-23T10:00:00Z\n- targets:\n  - 03\n  labels:\n- targets: ~\n";
    let expected = ["03 default", "2 invoices 2026-11-23T10:00:00Z", "main_task_1 invoices 2026-11-23T10:00:00Z"];
    assert_eq!(shown(&yaml(text).unwrap()), expected);
    for nothing in ["", "# - targets: [a]\n", "---\n", "~"] {
        assert_eq!(yaml(nothing).unwrap(), List::default(), "{nothing:?}");
    }
}

#[test]
fn of_an_id_that_is_named_twice_the_first_counts() {
    let text =
        r#"[{"targets": ["a", "a"], "labels": {"group": "g"}}, {"targets": ["a", "b"], "labels": {"group": "h"}}]"#;
    assert_eq!(shown(&both(text).unwrap()), ["a g", "b h"]);
}

#[test]
fn labels_without_a_meaning_are_told_unless_they_are_prometheus_own() {
    let text = r#"[{"targets": ["a"], "labels": {"__meta_x": "1", "env": "prod", "team": 7, "e\u0007": []}}]"#;
    let list = both(text).unwrap();
    assert_eq!(list.unknown_labels.iter().map(String::as_str).collect::<Vec<_>>(), ["e_", "env", "team"]);
    assert_eq!(shown(&list), ["a default"]);
    let many: Vec<String> = (0..1000).map(|number| format!("\"{number:0100}\": \"\"")).collect();
    let told = both(&format!("[{{\"labels\": {{{}}}}}]", many.join(","))).unwrap().unknown_labels;
    assert!(told.len() <= MAX_UNKNOWN_LABELS.0 && told.iter().all(|name| name.len() == MAX_UNKNOWN_LABELS.1));
}

#[test]
fn a_wrong_list_is_refused_as_a_whole_and_the_message_says_where() {
    let long = "x".repeat(257);
    for (text, expected) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("null", "invalid type: null, expected a list of target groups, like"),
        ("{}", "invalid type: map, expected a list of target groups, like"),
        (r#"["a"]"#, r#"[0]: invalid type: string "a", expected a target group, a mapping with targets and labels"#),
        ("[{}] []", "trailing characters at line 1 column 6"),
        ("[{}, {", "[1]: EOF while parsing an object"),
        (r#"[{}, {"target": []}]"#, r#"[1]: unknown key "target", allowed are targets and labels"#),
        (r#"[{"targets": [], "targets": []}]"#, "[0]: targets is written twice"),
        (r#"[{"labels": {"group": "a", "group": "a"}}]"#, "[0].labels: a label is written twice"),
        (r#"[{"targets": "a"}]"#, r#"[0].targets: invalid type: string "a", expected a list of main task IDs"#),
        (r#"[{"targets": ["a", 7]}]"#, "[0].targets[1]: invalid type: integer `7`, expected a main task ID as a text"),
        (r#"[{"targets": ["a", ""]}]"#, "[0].targets[1]: a main task ID is empty: it has 1 to 256 bytes"),
        (
            &format!(r#"[{{"targets": ["{long}"]}}]"#),
            "[0].targets[0]: a main task ID is too long: it has 1 to 256 bytes",
        ),
        (r#"[{"targets": ["a\nb"]}]"#, "[0].targets[0]: a main task ID holds a control character"),
        (r#"[{"labels": []}]"#, "[0].labels: invalid type: sequence, expected labels, a mapping"),
        (
            r#"[{"labels": {"group": 7}}]"#,
            "[0].labels.group: invalid type: integer `7`, expected a group's name as a text",
        ),
        (&format!(r#"[{{"labels": {{"group": "{long}"}}}}]"#), "[0].labels.group: a group is too long: it has 1 to 64"),
        (
            r#"[{"targets": ["a"]}, {"labels": {"submitted_at": "yesterday"}}]"#,
            r#"[1].labels.submitted_at: "yesterday" is no date and time: write RFC 3339 with its offset"#,
        ),
        (
            r#"[{"labels": {"submitted_at": "2026-11-23T10:00:00"}}]"#,
            "[0].labels.submitted_at: \"2026-11-23T10:00:00\" is no",
        ),
    ] {
        let message = read(text.as_bytes(), Notation::Json, MAX_TARGETS).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{text}: {message}");
    }
}

#[test]
fn the_message_of_yaml_says_where_too() {
    for (text, expected) in [
        ("targets: [a]", "invalid type: map, expected a list of target groups"),
        ("- targets: [a]\n- targets: a", "[1].targets: invalid type: string \"a\", expected a list of main task IDs"),
        ("- targets: [a, '']", "[0].targets[1]: a main task ID is empty: it has 1 to 256 bytes"),
        ("- labels: {submitted_at: soon}", "[0].labels.submitted_at: \"soon\" is no date and time"),
        ("- labels: {group: [a]}", "[0].labels.group: invalid type: sequence, expected a group's name as a text"),
        ("[]\n---\n[]", "it holds a second document; write one"),
        ("- targets: [a", "did not find expected"),
    ] {
        let message = yaml(text).unwrap_err();
        assert!(message.contains(expected), "{text}: {message}");
        assert!(!message.contains(": ."), "{message}");
    }
}

#[test]
fn what_is_no_text_or_too_long_is_refused() {
    let message = |bytes: &[u8], notation| read(bytes, notation, MAX_TARGETS).unwrap_err().to_string();
    assert_eq!(message(b"[\"\xff\"]", Notation::Json), "it is not UTF-8");
    for notation in [Notation::Json, Notation::Yaml] {
        assert_eq!(message(&vec![b' '; MAX_BYTES + 1], notation), "it is longer than the 32 MiB that are read");
    }
    let values = ["- a\n", "[a,", "- ", "? a\n", "{a: b, "];
    for value in values {
        let text = value.repeat(MAX_YAML_VALUES + 1);
        assert!(message(text.as_bytes(), Notation::Yaml).contains("values; write fewer"), "{value}");
    }
}

#[test]
fn as_many_targets_as_there_is_room_for_are_taken_and_no_more() {
    let list = |count: usize| format!("[{{\"targets\": [{}]}}]", vec!["\"a\""; count].join(","));
    for notation in [Notation::Json, Notation::Yaml] {
        assert_eq!(read(list(3).as_bytes(), notation, 3).unwrap().targets.len(), 1);
        assert_eq!(read(list(4).as_bytes(), notation, 3), Err(FormatError::TooMany { room: 3 }));
    }
    let aliases = format!("- &g {{targets: [{}]}}\n{}", "a, ".repeat(1000), "- *g\n".repeat(1000));
    assert!(yaml(&aliases).unwrap_err().starts_with("it names more than 200000 tasks"));
}

#[test]
fn a_message_is_one_bounded_line() {
    let message = both(&format!("[{{\"{}\\n\": 1}}]", "x".repeat(10_000))).unwrap_err();
    assert!(message.len() < 400 && !message.contains('\n'), "{message}");
}

/// Texts that look like lists: they reach deeper than arbitrary ones.
fn nearly_a_list() -> impl Strategy<Value = String> {
    let piece = "(\\[|\\]|\\{|\\}|,|:|\n|- |\"targets\"|\"labels\"|\"group\"|\"submitted_at\"|\"a\"|\"2026-11-23T10:00:00Z\"|null|1|&x|\\*x| |é)";
    proptest::string::string_regex(&format!("{piece}{{0,40}}")).unwrap()
}

fn check(text: &[u8]) -> TestCaseResult {
    for notation in [Notation::Json, Notation::Yaml] {
        if let Ok(list) = read(text, notation, 3) {
            prop_assert!(list.targets.len() <= 3);
            prop_assert!(list.targets.is_sorted_by(|a, b| a.id < b.id));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<Vec<u8>>()) {
        check(&text)?;
    }

    #[test]
    fn no_mangled_list_makes_it_panic(text in nearly_a_list()) {
        check(text.as_bytes())?;
    }

    #[test]
    fn what_a_producer_writes_is_what_is_read(
        groups in proptest::collection::vec((proptest::collection::vec("[^\\p{Cc}]{1,20}", 0..4), "[^\\p{Cc}]{1,20}", any::<u32>()), 0..5)
    ) {
        let mut expected: std::collections::BTreeMap<String, (String, i64)> = Default::default();
        let mut list = Vec::new();
        for (ids, group, seconds) in groups {
            let at = Time::from_micros(i64::from(seconds) * 1_000_000);
            list.push(serde_json::json!({"targets": ids, "labels": {"group": group, "submitted_at": at.to_string()}}));
            for id in ids {
                expected.entry(id).or_insert((group.clone(), at.as_micros()));
            }
        }
        for (text, notation) in [
            (serde_json::to_string(&list).unwrap(), Notation::Json),
            (serde_yaml::to_string(&list).unwrap(), Notation::Yaml),
        ] {
            let read = read(text.as_bytes(), notation, MAX_TARGETS).unwrap();
            let found: Vec<_> = read.targets.iter().map(|t| (t.id.as_str(), t.group.as_str(), t.submitted_at.unwrap().as_micros())).collect();
            let expected: Vec<_> = expected.iter().map(|(id, (group, at))| (id.as_str(), group.as_str(), *at)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
