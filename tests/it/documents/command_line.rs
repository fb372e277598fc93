//! The flags, environment variables and exit codes of `docs/configuration.md`, held against the program.

use super::configuration::CONFIGURATION;
use super::{assert_none, code, rows};
use crate::harness::{FakeApi, Setup, run};
use dragdropdo_exporter::config::KeySource;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tokio::net::TcpListener;

/// Flags with their environment variable and default, each empty where there is none.
type Flags = BTreeMap<String, (String, String)>;

/// The flags that `--help` of a command names, but for itself.
async fn flags(command: &str) -> Flags {
    let help = run(Path::new("."), &[command, "--help"], &[]).await.stdout;
    let mut options: Vec<String> = Vec::new();
    for line in help.lines() {
        match line.trim_start() {
            option if option.starts_with("--") => options.push(option.to_owned()),
            // Another heading, or another option.
            other
                if line.starts_with(|c: char| c.is_alphabetic())
                    || other.starts_with('-') && !other.starts_with("- ") =>
            {
                options.push(String::new());
            }
            more => options.iter_mut().last().into_iter().for_each(|option| *option = format!("{option} {more}")),
        }
    }
    let between = |text: &str, before: &str, after: char| {
        text.split_once(before)
            .and_then(|(_, rest)| rest.split_once(after))
            .map_or("", |(found, _)| found)
            .trim()
            .to_owned()
    };
    let options = options.iter().filter(|option| option.starts_with("--"));
    let flag = |option: &String| option.split([' ', '=']).next().unwrap_or_default().to_owned();
    options.map(|option| (flag(option), (between(option, "[env: ", '='), between(option, "[default: ", ']')))).collect()
}

/// The flags in the tables under the headings that begin like this.
fn documented(headings: &[&str]) -> Flags {
    let rows = rows(CONFIGURATION, |row| row.contains_key("flag")).into_iter();
    let meant = rows.filter(|(heading, _)| headings.iter().any(|meant| heading.starts_with(meant)));
    let text = |cell: Option<&String>| cell.filter(|cell| !cell.is_empty()).map_or("", |cell| code(cell)).to_owned();
    meant
        .map(|(_, row)| {
            assert!(!row["meaning"].is_empty(), "{row:?}");
            let flag = code(&row["flag"]).split('=').next().unwrap_or_default().to_owned();
            (flag, (text(row.get("environment variable")), text(row.get("default"))))
        })
        .collect()
}

#[tokio::test]
async fn the_flags_of_every_command_are_documented_with_their_variables_and_defaults() {
    let mut problems = Vec::new();
    for (command, headings, least) in [
        ("serve", &["`serve`"][..], 6),
        ("check-config", &["`check-config"], 0),
        ("healthcheck", &["`healthcheck`"], 1),
        ("demo", &["`demo`", "The simulated API"], 50),
        ("simulate", &["`simulate`", "The simulated API"], 50),
    ] {
        let (are, told) = (flags(command).await, documented(headings));
        assert!(are.len() >= least, "{command}: {are:?}");
        for flag in are.keys().chain(told.keys()).collect::<BTreeSet<_>>() {
            if are.get(flag) != told.get(flag) {
                problems.push(format!(
                    "{command} {flag} is {:?} and documented as {:?}",
                    are.get(flag),
                    told.get(flag)
                ));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn the_variable_and_the_file_of_the_api_key_are_documented() {
    let variables = rows(CONFIGURATION, |row| row.contains_key("variable"));
    assert!(variables.iter().any(|(_, row)| code(&row["variable"]) == KeySource::VARIABLE));
    let secrets = rows(CONFIGURATION, |row| row.contains_key("secret"));
    let (_, key) = secrets.iter().find(|(_, row)| row["secret"] == "the API key").unwrap();
    for way in ["`api.api_key_file`", "`api.api_key`", KeySource::VARIABLE, KeySource::DEFAULT_FILE] {
        assert!(key["where it comes from"].contains(way), "{way}");
    }
}

#[tokio::test]
async fn the_exit_codes_are_as_documented() {
    let api = FakeApi::start().await;
    let (good, exporter) = (Setup::new(&api, "{}"), Setup::new(&api, "{}").start().await);
    let (folder, config) = (good.path(""), good.path("config.yaml"));
    let healthy = format!("http://{}/-/healthy", exporter.address());
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let write = |name: &str, text: String| std::fs::write(good.path(name), text).unwrap();
    let configuration = |more: &str| format!("{{api: {{api_key: k}}, web: {{listen_address: '127.0.0.1:0'}}, {more}}}");
    write("wrong.yaml", "surprise: 1".to_owned());
    write("no-database.yaml", configuration("storage: {url: sqlite://config.yaml}"));
    write("no-secret.yaml", configuration("webhook: {secret_file: nowhere}"));
    write("no-roots.yaml", "{api: {api_key: k, ca_file: nowhere}, web: {listen_address: '127.0.0.1:0'}}".to_owned());
    write("no-key.yaml", "{api: {api_key_file: nowhere}, web: {listen_address: '127.0.0.1:0'}}".to_owned());
    let config = config.to_str().unwrap();

    let cases: [(u8, &str, &[&[&str]]); 7] = [
        (
            0,
            "a command did what it was to do",
            &[&["check-config", config], &["healthcheck", "--url", &healthy], &["--version"]],
        ),
        (
            1,
            "an address to listen on is taken, or not this machine's",
            &[
                &["--web.listen-address", &taken],
                &["simulate", "--listen-address", &taken],
                &["demo", "--simulator.listen-address", "192.0.2.1:1"],
            ],
        ),
        (
            1,
            "the database can't be opened, is another exporter's, or was written by a newer version",
            &[&["--config.file=no-database.yaml"]],
        ),
        (
            1,
            "`healthcheck` gets an answer that is no 2xx, or none within 5 seconds",
            &[&["healthcheck", "--url", "http://127.0.0.1:1/"]],
        ),
        (
            2,
            "a flag, a value of one, or a command that there is not",
            &[&["--surprise"], &["surprise"], &["--log.level=loud"], &["simulate", "--files=0"]],
        ),
        (
            2,
            "the configuration is missing, unreadable or wrong",
            &[
                &["--config.file=nowhere"],
                &["--config.file=wrong.yaml"],
                &["check-config", "wrong.yaml"],
                &["check-config", "."],
            ],
        ),
        (
            2,
            "a file that the configuration names is missing or of no use: the API key, a token, a secret, a certificate, the web configuration",
            &[
                &["--config.file=no-key.yaml"],
                &["--config.file=no-secret.yaml"],
                &["--config.file=no-roots.yaml"],
                &["--config.file", config, "--web.config.file=nowhere"],
            ],
        ),
    ];
    let mut shown = BTreeSet::new();
    for (expected, when, commands) in cases {
        shown.insert((expected.to_string(), when.to_owned()));
        for arguments in commands {
            let ended = run(&folder, arguments, &[]).await;
            assert_eq!(ended.code, Some(expected.into()), "{arguments:?}: {}", ended.stderr);
        }
    }
    let (status, _) = exporter.terminate().await;
    shown.insert((status.code().unwrap().to_string(), "ended by SIGTERM or SIGINT".to_owned()));
    let documented = rows(CONFIGURATION, |row| row.contains_key("code")).into_iter();
    let documented: BTreeSet<_> = documented.map(|(_, row)| (row["code"].clone(), row["when"].clone())).collect();
    assert_eq!(shown, documented);
}
