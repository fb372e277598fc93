use super::*;
use proptest::prelude::*;

fn received() -> Time {
    Time::parse("2026-11-23T10:00:00Z").unwrap()
}

fn task(body: &str) -> Result<Answer, String> {
    read(body.as_bytes(), &Ask::Task, received())
}

fn file(key: &str, state: State, error_code: Option<&str>) -> FileSeen {
    FileSeen { key: FileKey::from_api(key), state, error_code: error_code.and_then(ErrorCode::from_api) }
}

fn observation(state: State, files: FilesSeen) -> Observation {
    Observation { received: received(), state, files }
}

/// The one file of a body with the entry `entry`, and how many state words were unknown.
fn entry(entry: &str) -> (FileSeen, u64) {
    let answer = task(&format!(r#"{{"operation_status":"queued","files_data":[{entry}]}}"#)).unwrap();
    let FilesSeen::All(mut files) = answer.observation.files else { panic!("{entry}") };
    assert_eq!(files.len(), 1);
    (files.remove(0), answer.unknown_states)
}

#[test]
fn every_variant_of_the_vendors_material_is_the_same_observation() {
    let expected = observation(
        State::Completed,
        FilesSeen::All(vec![
            file("file_key_1_result", State::Completed, None),
            file("file_key_2", State::Failed, Some("internal_error")),
        ]),
    );
    for body in [
        // The documented body.
        r#"{"operation_status":"completed","files_data":[
            {"file_key":"file_key_1_result","status":"completed","download_link":"https://x/y"},
            {"file_key":"file_key_2","status":"failed","error_code":"internal_error","error_message":"no"}]}"#,
        // The envelope that the official clients read.
        r#"{"data":{"operation_status":"completed","files_data":[
            {"file_key":"file_key_1_result","status":"completed","download_link":"https://x/y"},
            {"file_key":"file_key_2","status":"failed","error_code":"internal_error","error_message":"no"}]}}"#,
        // The schema's upper case.
        r#"{"operation_status":"COMPLETED","files_data":[
            {"file_key":"file_key_1_result","status":"COMPLETED"},
            {"file_key":"file_key_2","status":"FAILED","error_code":"INTERNAL_ERROR"}]}"#,
        // camelCase, in an envelope with other fields around it.
        r#"{"success":true,"message":null,"data":{"operationStatus":"completed","filesData":[
            {"fileKey":"file_key_1_result","status":"completed","downloadLink":"https://x/y"},
            {"fileKey":"file_key_2","status":"failed","errorCode":"internal_error","errorMessage":"no"}]},"meta":[]}"#,
        // The webhook page's word, and spellings of it.
        r#"{"operation_status":"Partially completed","files_data":[
            {"status":"completed","file_key":"file_key_1_result"},
            {"status":" failed ","error_code":" internal_error","file_key":"file_key_2"}]}"#,
        // Unrelated fields of the documented names' siblings, of any type.
        r#"{"data":[1,{"operation_status":"queued"}],"operation_status":"partially-completed","files_data":[
            {"file_key":"file_key_1_result","status":"completed","download_link":{"a":[1e999]},"error_message":7,"error_code":null},
            {"file_key":"file_key_2","status":"failed","error_code":"internal_error","error_message":[{}],"x":[[[]]]}],"y":-0}"#,
        // Escapes.
        r#"{"operation_st\u0061tus":"compl\u0065ted","files_data":[
            {"file_key":"file_key_1\u005fresult","status":"c\u006fmpleted"},
            {"file_key":"file_\u006bey_2","status":"\u0046ailed","error_code":"internal\u005ferror"}]}"#,
    ] {
        let answer = task(body).unwrap();
        assert_eq!(answer.observation, expected, "{body}");
        assert_eq!((answer.unknown_states, answer.unknown_words), (0, vec![]), "{body}");
    }
}

#[test]
fn every_known_word_is_read_in_any_spelling() {
    for (words, state) in [
        (&["queued", "QUEUED", "Queued", " queued\n"][..], State::Queued),
        (&["in_progress", "IN_PROGRESS", "in-progress", "In Progress", "running", "Running"], State::InProgress),
        (&["completed", "COMPLETED", "partially_completed", "Partially-Completed"], State::Completed),
        (&["PARTIALLY COMPLETED", "partially\tcompleted"], State::Completed),
        (&["failed", "FAILED", "\tfailed"], State::Failed),
    ] {
        for word in words {
            let quoted = serde_json::to_string(word).unwrap();
            let answer = task(&format!(r#"{{"operation_status":{quoted}}}"#)).unwrap();
            assert_eq!(answer.observation, observation(state, FilesSeen::NotSaid), "{word:?}");
            assert_eq!(entry(&format!(r#"{{"file_key":"k","status":{quoted}}}"#)), (file("k", state, None), 0));
        }
    }
}

#[test]
fn an_unknown_word_is_an_unknown_state_and_reported_once_with_its_count() {
    let answer = task(
        r#"{"operation_status":"Paused!","files_data":[
            {"file_key":"a","status":"paused!"},{"file_key":"b","status":"unknown"},{"file_key":"c"},
            {"file_key":"d","status":null},{"file_key":"e","status":"  "},{"file_key":"f","status":"queuedd"}]}"#,
    )
    .unwrap();
    assert_eq!(answer.observation.state, State::Unknown);
    let FilesSeen::All(files) = answer.observation.files else { panic!() };
    assert!(files.iter().all(|file| file.state == State::Unknown));
    assert_eq!(answer.unknown_words, ["paused_", "unknown", "(none)", "queuedd"]);
    assert_eq!(answer.unknown_states, 7);
}

#[test]
fn unknown_words_are_bounded_in_length_and_number() {
    let entries: Vec<String> = (0..100).map(|n| format!(r#"{{"status":"word{n}"}}"#)).collect();
    let link = "https://d3.example/download?token=0123456789abcdef0123456789abcdef";
    let answer = task(&format!(r#"{{"operation_status":"{link}","files_data":[{}]}}"#, entries.join(","))).unwrap();
    assert_eq!(answer.unknown_states, 101);
    assert_eq!(answer.unknown_words.len(), MAX_UNKNOWN_WORDS);
    assert_eq!(answer.unknown_words[0], "https___d3_example_download_toke");
    assert!(!format!("{answer:?}").contains("0123456789abcdef"));
}

#[test]
fn absent_and_null_files_say_nothing_and_an_empty_list_says_none() {
    for (files, seen) in [
        ("", FilesSeen::NotSaid),
        (r#","files_data":null"#, FilesSeen::NotSaid),
        (r#","filesData":null"#, FilesSeen::NotSaid),
        (r#","files_data":[]"#, FilesSeen::All(vec![])),
        (r#","filesData":[]"#, FilesSeen::All(vec![])),
    ] {
        let bare = format!(r#"{{"operation_status":"queued"{files}}}"#);
        for body in [bare.clone(), format!(r#"{{"data":{bare}}}"#)] {
            assert_eq!(task(&body).unwrap().observation, observation(State::Queued, seen.clone()), "{body}");
        }
    }
}

#[test]
fn the_file_endpoint_speaks_only_of_the_file_asked_for() {
    let asked = FileKey::from_api("k");
    for (files, seen) in [
        ("null", FilesSeen::NotSaid),
        ("[]", FilesSeen::Only { asked: asked.clone(), entries: vec![] }),
        (
            r#"[{"file_key":"k","status":"failed","error_code":7}]"#,
            FilesSeen::Only { asked: asked.clone(), entries: vec![file("k", State::Failed, Some("7"))] },
        ),
    ] {
        let body = format!(r#"{{"operation_status":"running","files_data":{files}}}"#);
        let answer = read(body.as_bytes(), &Ask::File(asked.clone()), received()).unwrap();
        assert_eq!(answer.observation, observation(State::InProgress, seen));
    }
}

#[test]
fn an_error_code_is_a_string_or_a_number() {
    for (value, code) in [
        (r#""Internal_Error""#, Some("internal_error")),
        (r#""a\nb\u0041""#, Some("a_ba")),
        ("404", Some("404")),
        ("-7", Some("-7")),
        ("4.5", Some("4.5")),
        ("18446744073709551616", Some("18446744073709551616")),
        ("1e999", Some("1e999")),
        (r#""""#, None),
        (r#"" ""#, None),
        (r#""\ud800""#, None),
        ("null", None),
        ("true", None),
        ("[1]", None),
        (r#"{"code":"x"}"#, None),
    ] {
        let (seen, _) = entry(&format!(r#"{{"file_key":"k","status":"failed","error_code":{value}}}"#));
        assert_eq!(seen, file("k", State::Failed, code), "{value}");
    }
    assert_eq!(entry(r#"{"file_key":"k","status":"failed"}"#).0, file("k", State::Failed, None));
}

#[test]
fn a_file_without_a_key_has_an_empty_one() {
    for key in ["", r#""file_key":null,"#, r#""file_key":"","#] {
        assert_eq!(entry(&format!(r#"{{{key}"status":"queued"}}"#)).0, file("", State::Queued, None));
    }
}

#[test]
fn snake_case_wins_over_camel_case_unless_it_says_nothing() {
    let both = r#"{"operationStatus":"failed","operation_status":"completed","filesData":[],"files_data":[
        {"fileKey":"camel","file_key":"snake","status":"failed","errorCode":"camel","error_code":"snake"}]}"#;
    let expected = observation(State::Completed, FilesSeen::All(vec![file("snake", State::Failed, Some("snake"))]));
    assert_eq!(task(both).unwrap().observation, expected);
    let null = r#"{"operation_status":null,"operationStatus":"queued","files_data":null,"filesData":[]}"#;
    assert_eq!(task(null).unwrap().observation, observation(State::Queued, FilesSeen::All(vec![])));
}

#[test]
fn data_means_nothing_beside_a_status_and_everything_without_one() {
    for data in ["null", "7", "1e999", "true", r#""x""#, "[]", "{}", r#"[{"operation_status":"failed"}]"#] {
        let body = format!(r#"{{"data":{data},"operation_status":"queued"}}"#);
        assert_eq!(task(&body).unwrap().observation, observation(State::Queued, FilesSeen::NotSaid), "{body}");
    }
    for data in [
        r#"{"operation_status":"failed","files_data":[{"status":"failed"}]}"#,
        r#"{"operation_status":5,"files_data":"x"}"#,
    ] {
        let body = format!(r#"{{"operation_status":"queued","data":{data},"files_data":[]}}"#);
        let expected = observation(State::Queued, FilesSeen::All(vec![]));
        assert_eq!(task(&body).unwrap().observation, expected, "{body}");
    }
    let wrapped = r#"{"files_data":[],"operation_status":null,"data":{"data":5,"operation_status":"failed"}}"#;
    assert_eq!(task(wrapped).unwrap().observation, observation(State::Failed, FilesSeen::NotSaid));
}

#[test]
fn an_unreadable_body_is_refused_and_the_reason_says_where_and_nothing_of_it() {
    let secret = "https://d3.example/secret";
    for (body, reason) in [
        ("", "the body is not JSON from line 1 column 0 on"),
        ("<html>https://d3.example/secret</html>", "the body is not JSON from line 1 column 1 on"),
        (r#"{"operation_status":"queued""#, "the body is not JSON from line 1 column 28 on"),
        (r#"{"operation_status":"queued"}}"#, "the body is not JSON from line 1 column 30 on"),
        (r#"{"x":{"https://d3.example/secret":tru"#, "the body is not JSON from line 1 column 37 on"),
        ("[]", "the body is no JSON object"),
        ("null", "the body is no JSON object"),
        (r#""https://d3.example/secret""#, "the body is no JSON object"),
        (r#"["queued",null,[],null,null]"#, "the body is no JSON object"),
        ("{}", "the body has no operation_status"),
        (r#"{"error":"https://d3.example/secret"}"#, "the body has no operation_status"),
        (r#"{"operation_status":null}"#, "the body has no operation_status"),
        (r#"{"operation_status":""}"#, "the body has no operation_status"),
        (r#"{"operation_status":" \t"}"#, "the body has no operation_status"),
        (r#"{"data":{}}"#, "the body has no operation_status"),
        (r#"{"data":{"data":{"operation_status":"queued"}}}"#, "the body has no operation_status"),
        (r#"{"operation_status":5}"#, "the body's operation_status is not as documented"),
        (r#"{"operation_status":["queued"]}"#, "the body's operation_status is not as documented"),
        (r#"{"data":"https://d3.example/secret"}"#, "the body's data is not as documented"),
        (r#"{"data":["queued"]}"#, "the body's data is not as documented"),
        (r#"{"data":{"operationStatus":true}}"#, "the body's data.operationStatus is not as documented"),
        (
            r#"{"operation_status":"queued","files_data":"https://d3.example/secret"}"#,
            "the body's files_data is not as documented",
        ),
        (
            r#"{"operation_status":"queued","files_data":{"file_key":"a"}}"#,
            "the body's files_data is not as documented",
        ),
        (
            r#"{"operation_status":"queued","files_data":[{},"https://d3.example/secret"]}"#,
            "the body's files_data[1] is not as documented",
        ),
        (
            r#"{"operation_status":"queued","files_data":[["a",null,"queued"]]}"#,
            "the body's files_data[0] is not as documented",
        ),
        (r#"{"operation_status":"queued","files_data":[null]}"#, "the body's files_data[0] is not as documented"),
        (
            r#"{"operation_status":"queued","files_data":[{"file_key":5}]}"#,
            "the body's files_data[0].file_key is not as documented",
        ),
        (
            r#"{"data":{"operation_status":"queued","files_data":[{"status":{"https://d3.example/secret":1}}]}}"#,
            "the body's data.files_data[0].status is not as documented",
        ),
    ] {
        let told = task(body).unwrap_err();
        assert_eq!(told, reason, "{body}");
        assert!(!told.contains(secret));
    }
}

#[test]
fn a_field_said_twice_is_ambiguous_and_refused() {
    for body in [
        r#"{"operation_status":"queued","operation_status":"failed"}"#,
        r#"{"operation_status":"queued","files_data":[{"status":"queued","status":"failed"}]}"#,
    ] {
        assert!(task(body).is_err(), "{body}");
    }
}

#[test]
fn nesting_however_deep_does_no_harm() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(500_000), close.repeat(500_000));
    let lists = deep("[", "]");
    let objects = format!("{}1{}", r#"{"data":"#.repeat(500_000), "}".repeat(500_000));
    for ignored in [&lists, &objects] {
        for body in [
            format!(r#"{{"x":{ignored},"operation_status":"queued"}}"#),
            format!(r#"{{"data":{ignored},"operation_status":"queued"}}"#),
            format!(r#"{{"data":{{"operation_status":"queued","data":{ignored}}}}}"#),
        ] {
            assert_eq!(task(&body).unwrap().observation.state, State::Queued);
        }
        assert!(task(ignored).is_err());
        assert!(task(&format!(r#"{{"operation_status":{ignored}}}"#)).is_err());
        assert!(task(&format!(r#"{{"operation_status":"queued","files_data":{ignored}}}"#)).is_err());
        assert_eq!(entry(&format!(r#"{{"error_code":{ignored}}}"#)).0.error_code, None);
    }
    assert!(task(&"[".repeat(1_000_000)).is_err());
    assert!(task(&r#"{"data":"#.repeat(1_000_000)).is_err());
}

#[test]
fn more_files_than_any_task_has_are_refused() {
    let body =
        |count: usize| format!(r#"{{"operation_status":"queued","files_data":[{}{{}}]}}"#, "{},".repeat(count - 1));
    let FilesSeen::All(files) = task(&body(MAX_FILES)).unwrap().observation.files else { panic!() };
    assert_eq!(files.len(), MAX_FILES);
    assert_eq!(task(&body(MAX_FILES + 1)).unwrap_err(), "the body names more than 250000 files");
}

/// JSON text made of the words that the reader knows, in places where they belong and where they do not.
fn json() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "operation_status",
        "operationStatus",
        "files_data",
        "filesData",
        "data",
        "file_key",
        "status",
        "error_code",
        "queued",
        "Failed",
        "x",
    ]);
    let leaf = prop_oneof![
        word.clone().prop_map(|word| format!("{word:?}")),
        any::<i64>().prop_map(|number| number.to_string()),
        prop::sample::select(vec!["null", "true", "1e999", "-0.5", r#""\ud800""#, "[]", "{}"]).prop_map(String::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let fields = prop::collection::vec((word.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            fields.prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read(&bytes, &Ask::Task, received()));
    }

    #[test]
    fn no_json_makes_it_panic_and_an_envelope_changes_nothing(body in json(), cut in any::<prop::sample::Index>()) {
        let mut broken = body.clone();
        broken.truncate(cut.index(body.len() + 1));
        drop(task(&broken));
        if let Ok(answer) = task(&body)
            && body.starts_with(r#"{"operation_status":""#)
        {
            prop_assert_eq!(task(&format!(r#"{{"data":{body}}}"#)).unwrap(), answer);
        }
    }

    #[test]
    fn what_is_written_is_read(
        entries in prop::collection::vec((".{0,20}", 0_usize..4, prop::option::of("[a-z_]{1,20}")), 0..20),
        state in 0_usize..4,
        camel in any::<bool>(),
        envelope in any::<bool>(),
        upper in any::<bool>(),
    ) {
        let name = |snake: &'static str, in_camel: &'static str| if camel { in_camel } else { snake };
        let word = |index: usize| {
            let word = State::ALL[index].as_str();
            if upper { word.to_uppercase() } else { word.to_owned() }
        };
        let list: Vec<_> = entries.iter().map(|(key, state, code)| serde_json::json!({
            name("file_key", "fileKey"): key, "status": word(*state), name("error_code", "errorCode"): code,
        })).collect();
        let mut body = serde_json::json!({
            name("operation_status", "operationStatus"): word(state), name("files_data", "filesData"): list,
        });
        if envelope {
            body = serde_json::json!({ "data": body });
        }
        let expected = observation(State::ALL[state], FilesSeen::All(
            entries.iter().map(|(key, state, code)| file(key, State::ALL[*state], code.as_deref())).collect(),
        ));
        prop_assert_eq!(task(&body.to_string()).unwrap().observation, expected);
    }
}
