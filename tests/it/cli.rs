//! The command line, exit codes, and the log.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Answer, Ended, FakeApi, Setup, make_pipe, operation, run};
use dragdropdo_exporter::clock::Clock;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Runs the binary at the top of the project, without an environment.
async fn cli(arguments: &[&str]) -> Ended {
    run(Path::new("."), arguments, &[]).await
}

/// The fields of a line in logfmt.
fn logfmt(line: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').unwrap_or_else(|| panic!("{line}"));
        assert!(!key.is_empty() && !key.contains([' ', '"']), "{line}");
        let (value, after) = if after.starts_with('"') {
            // A quoted value is a JSON string.
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = values.next().unwrap().unwrap_or_else(|error| panic!("{error}: {line}"));
            (value, &after[values.byte_offset()..])
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        assert!(fields.insert(key.to_owned(), value).is_none(), "{key} twice: {line}");
        rest = after.strip_prefix(' ').unwrap_or(after);
        assert!(after.is_empty() || rest.len() < after.len(), "{line}");
    }
    fields
}

#[tokio::test]
async fn check_config_refuses_each_wrong_file_with_its_message() {
    let mut checked = 0;
    for entry in std::fs::read_dir("tests/config").unwrap() {
        let message = entry.unwrap().path();
        if message.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let file = message.with_extension("yaml");
        let ended = cli(&["check-config", file.to_str().unwrap()]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", file.display());
        let expected = std::fs::read_to_string(&message).unwrap();
        assert_eq!(ended.stderr, format!("dragdropdo-exporter: {expected}"), "{}", file.display());
        checked += 1;
    }
    assert!(checked >= 50, "only {checked} files");
}

#[tokio::test]
async fn check_config_accepts_the_example_and_says_what_is_missing_here() {
    let ended = cli(&["check-config", "config.example.yaml"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.starts_with("config.example.yaml is valid: 0 tasks in 0 groups\n"), "{}", ended.stdout);
    let note =
        "note: no API key is here; the exporter will not start without one: give the API key in one of three ways";
    assert!(ended.stdout.lines().nth(1).unwrap().starts_with(note), "{}", ended.stdout);
    assert!(ended.stdout.contains("/run/secrets/dragdropdo_api_key"), "{}", ended.stdout);
    let with_key = run(Path::new("."), &["check-config", "config.example.yaml"], &[("DRAGDROPDO_API_KEY", "k")]).await;
    assert_eq!(with_key.stdout.lines().count(), 1, "{}", with_key.stdout);
}

#[tokio::test]
async fn check_config_reads_what_the_configuration_names_as_a_start_does() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |yaml: &str| {
        std::fs::write(folder.path().join("config.yaml"), yaml).unwrap();
        run(folder.path(), &["check-config", "config.yaml"], &[]).await
    };
    std::fs::write(folder.path().join("empty"), " \n").unwrap();
    for (yaml, expected) in [
        ("api: {api_key_file: empty}", "the API key in empty is empty"),
        ("api: {api_key: k, ca_file: empty}", "api.ca_file empty holds no certificate"),
        ("{api: {api_key: k}, web: {api_token_file: empty}}", "web.api_token_file empty: the file is empty"),
        ("{api: {api_key: k}, webhook: {secret_file: empty}}", "webhook.secret_file empty: the file is empty"),
        ("{api: {api_key: k}, web: {api_token_file: .}}", "web.api_token_file .: Is a directory"),
        (
            "{api: {api_key: k}, discovery: {http: [{url: 'http://a'}, {url: 'http://b', tls_config: {ca_file: empty}}]}}",
            "discovery.http[1] (http://b/): empty holds no certificate",
        ),
    ] {
        let ended = check(yaml).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{yaml}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{yaml}: {}", ended.stderr);
        assert!(!ended.stderr.contains("--config.file"), "{}", ended.stderr);
    }
    let ended = check(
        "{api: {api_key_file: key, ca_file: ca}, web: {api_token_file: token}, webhook: {secret_file: secret}, \
         discovery: {http: [{url: 'http://a', tls_config: {ca_file: ca, cert_file: cert, key_file: empty}}]}}",
    )
    .await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let missing: Vec<&str> = ended.stdout.lines().skip(1).filter_map(|line| line.split(' ').nth(1)).collect();
    let expected = [
        "api.api_key_file",
        "api.ca_file",
        "web.api_token_file",
        "webhook.secret_file",
        "discovery.http[0].tls_config.ca_file",
        "discovery.http[0].tls_config.cert_file",
    ];
    assert_eq!(missing, expected, "{}", ended.stdout);

    // What a pipe holds is for the exporter.
    make_pipe(&folder.path().join("pipe"));
    let ended = check("api: {api_key_file: pipe}").await;
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 1), "{}", ended.stdout);

    let ended = run(folder.path(), &["check-config", "nope.yaml"], &[]).await;
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("nope.yaml: the configuration file cannot be read: No such file"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("--config.file"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2_and_says_what_would_be_right() {
    for (arguments, expected) in [
        (&["--config.fil=x"][..], "--config.file"),
        (&["--surprise"], "unexpected argument '--surprise'"),
        (&["surprise"], "unrecognized subcommand 'surprise'"),
        (&["check-config"], "<FILE>"),
        (&["--log.level=loud"], "[possible values: debug, info, warn, error]"),
        (&["--log.format=xml"], "[possible values: logfmt, json]"),
        (&["--web.listen-address=10211"], "write host:port"),
        (&["--web.telemetry-path=metrics"], "write an absolute path"),
        (&["--web.telemetry-path=/api/v1/tasks"], "write an absolute path"),
        (&["--web.telemetry-path=/"], "write an absolute path"),
    ] {
        let ended = cli(arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ended.stderr.contains(expected), "{arguments:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn help_and_version_are_printed() {
    let ended = cli(&["--version"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let expected = format!("dragdropdo-exporter {} (revision ", env!("CARGO_PKG_VERSION"));
    assert!(ended.stdout.starts_with(&expected) && ended.stdout.contains(", rustc 1."), "{}", ended.stdout);
    assert_eq!(cli(&["-V"]).await.stdout, format!("dragdropdo-exporter {}\n", env!("CARGO_PKG_VERSION")));
    let help = cli(&["--help"]).await;
    assert_eq!(help.code, Some(0));
    for word in [
        "serve",
        "check-config",
        "demo",
        "simulate",
        "--config.file",
        "DRAGDROPDO_EXPORTER_CONFIG_FILE",
        "--log.format",
    ] {
        assert!(help.stdout.contains(word), "{word}: {}", help.stdout);
    }
}

#[tokio::test]
async fn what_is_missing_ends_with_2_and_says_how_to_give_it() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(folder.path(), &[], &[]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.starts_with("dragdropdo-exporter: config.yaml: "), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("--config.file names another one\n"), "{}", ended.stderr);

    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "api: {api_key: null}");
    let ended = setup.fails_to_start().await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("no API key is given"), "{}", ended.stderr);
    for way in ["api.api_key_file", "api.api_key ", "DRAGDROPDO_API_KEY"] {
        assert!(ended.stderr.contains(way), "{}", ended.stderr);
    }
    assert_eq!(ended.stderr.lines().count(), 1);
    assert!(!setup.path("exporter.db").exists(), "nothing has begun");

    setup.environment("DRAGDROPDO_API_KEY", "d3_live_environment");
    setup.configure("{tasks: [t1], web: {api_token_file: nowhere}}");
    let ended = setup.fails_to_start().await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("web.api_token_file") && ended.stderr.contains("nowhere"), "{}", ended.stderr);
    setup.configure("web: {api_token_file: null}");
    let _exporter = setup.start().await;
    api.is_asked_again("t1", 1).await;
    assert_eq!(api.asked()[0].headers["authorization"], "Bearer d3_live_environment");
}

#[tokio::test]
async fn a_port_in_use_ends_with_1_and_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "{}");
    setup.argument("serve").argument("--web.listen-address").argument(&address);
    let ended = setup.fails_to_start().await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&format!("cannot listen on {address}: ")), "{}", ended.stderr);
    assert!(ended.stderr.contains("--web.listen-address"), "{}", ended.stderr);
    assert!(!setup.path("exporter.db").exists(), "the listener comes first");
}

#[tokio::test]
async fn every_flag_has_its_variable() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "web: {listen_address: 'nowhere.invalid:1'}");
    std::fs::rename(setup.path("config.yaml"), setup.path("other.yaml")).unwrap();
    setup
        .environment("DRAGDROPDO_EXPORTER_CONFIG_FILE", "other.yaml")
        .environment("DRAGDROPDO_EXPORTER_WEB_LISTEN_ADDRESS", "127.0.0.1:0")
        .environment("DRAGDROPDO_EXPORTER_WEB_TELEMETRY_PATH", "/elsewhere")
        .environment("DRAGDROPDO_EXPORTER_LOG_LEVEL", "debug")
        .environment("DRAGDROPDO_EXPORTER_LOG_FORMAT", "json");
    let exporter = setup.start().await;
    assert_eq!(exporter.get("/elsewhere").send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(exporter.get("/metrics").send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert!(exporter.log()[0].starts_with('{'), "{:?}", exporter.log());
    exporter.terminate().await;
    // A flag goes before its variable.
    setup.argument("--web.telemetry-path=/here");
    assert_eq!(setup.start().await.get("/here").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn healthcheck_tells_by_its_exit_code() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "{}").start().await;
    let url = format!("http://{}/-/healthy", exporter.address());
    let ended = cli(&["healthcheck", "--url", &url]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let ended = cli(&["healthcheck", "--url", &url.replace("healthy", "nothing")]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("answers 404"), "{}", ended.stderr);
    exporter.kill().await;
    let ended = cli(&["healthcheck", "--url", &url]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("does not answer"), "{}", ended.stderr);
}

/// A life with all that is worth a line: trouble, a failed file, an unknown word, the end.
async fn eventful(arguments: &[&str]) -> Vec<String> {
    let api = FakeApi::start().await;
    let failed = operation("completed", &[("a", "failed/bad \"code\" = x"), ("b", "completed")]);
    api.answers("t1", [operation("pau=sed", &[("a", "queued"), ("b", "queued")]), Answer::status(500), failed]);
    let mut setup = Setup::new(&api, "tasks: [{id: t1, group: 'my group'}]");
    for argument in arguments {
        setup.argument(argument);
    }
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=partially_failed}", 1.0)]).await;
    let (status, log) = exporter.terminate().await;
    assert!(status.success(), "{status}");
    log
}

#[tokio::test]
async fn every_line_of_the_log_is_logfmt() {
    let log = eventful(&["--log.level=debug"]).await;
    let lines: Vec<_> = log.iter().map(|line| logfmt(line)).collect();
    for fields in &lines {
        for key in ["ts", "level", "message"] {
            assert!(fields.contains_key(key), "{key}: {fields:?}");
        }
        fields["ts"].parse::<jiff::Timestamp>().unwrap();
    }
    let failure = lines.iter().find(|fields| fields.contains_key("error_code")).unwrap();
    assert_eq!((failure["task_id"].as_str(), failure["group"].as_str()), ("t1", "my group"));
    assert_eq!((failure["level"].as_str(), failure["error_code"].as_str()), ("warn", "bad \"code\" = x"));
}

#[tokio::test]
async fn every_line_of_the_log_is_json_when_asked_for() {
    let log = eventful(&["--log.format=json", "--log.level=debug"]).await;
    let lines: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    let settled = lines.iter().find(|line| line["outcome"] == "partially_failed").unwrap();
    assert_eq!((&settled["task_id"], &settled["failed_files"]), (&"t1".into(), &1.into()));
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"));
    let usual = eventful(&["--log.format=json"]).await;
    assert!(usual.iter().all(|line| !line.contains("DEBUG")) && usual.len() < lines.len(), "{usual:#?}");
}

#[tokio::test]
async fn trouble_with_the_api_is_told_when_it_begins_and_when_it_ends() {
    let api = FakeApi::start().await;
    let queued = || operation("queued", &[("a", "queued")]);
    let mut answers = vec![queued()];
    answers.extend(vec![Answer::status(500); 4]);
    answers.extend([queued(), queued(), Answer::status(502), queued()]);
    api.answers("t1", answers);
    let exporter = Setup::new(&api, "tasks: [t1]").start().await;
    api.has_told_all("t1").await;
    let (_, log) = exporter.terminate().await;
    let about = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!(about("requests to the D3 API fail"), 2, "{log:#?}");
    assert_eq!(about("requests to the D3 API no longer fail"), 2, "{log:#?}");
    assert_eq!(about("failures=4"), 1, "{log:#?}");
    assert_eq!(log.len(), 6, "{log:#?}");
}

#[tokio::test]
async fn trouble_with_one_task_lasts_until_that_task_is_well_however_well_others_are() {
    const TIMES: usize = 12;
    let api = FakeApi::start().await;
    let queued = || operation("queued", &[("a", "queued")]);
    api.otherwise(queued());
    let mut answers = vec![queued()];
    for _ in 0..TIMES {
        answers.extend([Answer::status(500), Answer::status(500), queued()]);
    }
    api.answers("t0", answers);
    let tasks: Vec<String> = (0..60).map(|at| format!("t{at}")).collect();
    let yaml = serde_json::json!({"tasks": tasks, "poll": {"interval": "50ms"}});
    let exporter = Setup::new(&api, &yaml.to_string()).start().await;
    api.has_told_all("t0").await;
    let (_, log) = exporter.terminate().await;
    let about = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!(about("requests to the D3 API no longer fail"), TIMES, "{log:#?}");
    assert_eq!(about("requests to the D3 API fail"), TIMES, "{log:#?}");
}

#[tokio::test]
async fn no_secret_and_no_body_is_logged_shown_or_stored() {
    const SECRETS: [&str; 5] = [
        "the-key-of-the-api",
        "the-token-of",
        "the-download-link",
        "the-message-of-a-failure",
        "the-body-of-a-failure",
    ];
    let api = FakeApi::start().await;
    let failures = [400, 401, 403, 404, 429, 500, 503].map(Answer::status);
    for (at, failure) in failures.into_iter().enumerate() {
        let moved = Answer::status(302).header("location", "https://files.d3.example/the-download-link");
        let broken = Answer::body(r#"{"operation_status":"completed","the-body-of-a-failure":"#);
        let good = operation("completed", &[("a", "failed/x"), ("b", "completed")]);
        let answers = if at == 1 { vec![good] } else { vec![broken, moved, failure.header("retry-after", "0"), good] };
        api.answers(&format!("t{at}"), answers);
    }
    let mut setup = Setup::new(&api, "{tasks: [t0, t1, t2, t3, t4, t5, t6], web: {api_token_file: token}}");
    std::fs::write(setup.path("token"), "the-token-of-the-applications").unwrap();
    setup.argument("--log.level=debug");
    let exporter = setup.start().await;
    for token in ["the-token-of-the-applications", "the-token-of-somebody-else"] {
        let post = exporter.request(Method::POST, "/api/v1/tasks").bearer_auth(token).body(r#"{"id":"t1"}"#);
        assert!(!post.send().await.unwrap().text().await.unwrap().contains("the-token-of"));
    }
    exporter.shows(&[("dragdropdo_tasks_finished_total{outcome=partially_failed}", 7.0)]).await;
    let mut said = Vec::new();
    for path in ["/", "/metrics", "/api/v1/tasks"] {
        said.push((path, exporter.get(path).send().await.unwrap().text().await.unwrap()));
    }
    let (_, log) = exporter.terminate().await;
    assert!(log.iter().any(|line| line.contains("level=debug")), "{log:#?}");
    said.push(("the log", log.join("\n")));
    said.push((
        "the database",
        String::from_utf8_lossy(&std::fs::read(setup.path("exporter.db")).unwrap()).into_owned(),
    ));
    for (what, text) in said {
        assert!(!text.is_empty());
        for secret in SECRETS {
            assert!(!text.contains(secret), "{what} has {secret}");
        }
    }
}

#[tokio::test]
async fn a_sigterm_ends_it_soon_although_the_api_hangs_and_a_client_does_nothing() {
    let api = FakeApi::start().await;
    api.otherwise(operation("queued", &[]).after(Duration::from_secs(3600)));
    api.answers("good", [operation("queued", &[("a", "queued")])]);
    let setup = Setup::new(&api, "{tasks: [t1, t2, good], api: {timeout: 60s}}");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_files{state=queued}", 1.0)]).await;
    let _idle = TcpStream::connect(exporter.address()).await.unwrap();
    let clock = Clock::system();
    let (status, log) = exporter.terminate().await;
    assert!(status.success(), "{status} {log:?}");
    assert!(clock.elapsed() < Duration::from_secs(5), "{:?}", clock.elapsed());
    assert!(log.last().unwrap().contains("stopped"), "{log:?}");
    assert!(!setup.path("exporter.db-wal").exists(), "the database was closed");
}
