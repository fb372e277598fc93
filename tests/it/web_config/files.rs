//! What is wrong with a web config file, and how that is told.

use super::certificates::{Authority, Pair};
use super::{CERTIFICATE, FILE, place, setup};
use crate::harness::run;
use dragdropdo_exporter::config::{ClientAuth, WebConfigFile};
use std::path::{Path, PathBuf};

/// Every wrong file under `tests/web_config`, with the message that it must be refused with.
fn wrong_files() -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir("tests/web_config").unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
    files.sort();
    let with_message = |file: PathBuf| {
        let message = std::fs::read_to_string(file.with_extension("txt"));
        let message = message.unwrap_or_else(|error| panic!("{}: no message: {error}", file.display()));
        (file, message.trim_end().to_owned())
    };
    files.into_iter().map(with_message).collect()
}

#[test]
fn each_wrong_file_is_refused_with_exactly_its_message() {
    let files = wrong_files();
    assert!(files.len() >= 30, "only {} files", files.len());
    for (file, expected) in files {
        let found = match WebConfigFile::load(&file) {
            Ok(_) => panic!("{} was accepted", file.display()),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[tokio::test]
async fn the_exporter_does_not_start_on_a_wrong_file_and_says_what_is_wrong() {
    let authority = Authority::new("servers");
    let (pair, other) = (authority.server("one"), authority.server("other"));
    let weak = Pair::weak();
    let version_1 = std::fs::read_to_string("tests/web_config/version_1.crt").unwrap();
    let tls = format!("tls_server_config: {{{CERTIFICATE}}}");
    let with_ca = format!(
        "tls_server_config: {{{CERTIFICATE}, client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert}}"
    );
    for (file, certificate, key, expected) in [
        (None, "", "", "web.yaml: the web config file cannot be read: No such file"),
        (Some("surprise: 1"), "", "", "web.yaml:1:1: surprise: unknown key; allowed are tls_server_config,"),
        (Some(tls.as_str()), "", &pair.key, "tls_server_config.cert_file: "),
        (Some(&tls), &pair.certificate, "", "tls.key holds no private key that can be read"),
        (Some(&tls), &pair.certificate, &other.key, "tls.key is not the key of the certificate"),
        (
            Some(&tls),
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            &pair.key,
            "tls.crt holds no certificate",
        ),
        (
            Some(&tls),
            &weak.certificate,
            &weak.key,
            "tls.key is a key that is too weak or of a kind that is not spoken: ",
        ),
        (Some(&tls), &version_1, &pair.key, "tls.crt holds a certificate of X.509 version 1, which is not served: "),
        (Some(&with_ca), &pair.certificate, &pair.key, "tls_server_config.client_ca_file: cannot read "),
    ] {
        let setup = setup("").await;
        match file {
            Some(text) => std::fs::write(setup.path(FILE), text).unwrap(),
            None => std::fs::remove_file(setup.path(FILE)).unwrap(),
        }
        std::fs::write(setup.path("tls.crt"), certificate).unwrap();
        std::fs::write(setup.path("tls.key"), key).unwrap();
        let ended = setup.fails_to_start().await;
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{expected}: {}", ended.stderr);
        assert!(!ended.stderr.contains("-----BEGIN"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn check_config_reads_the_file_and_notes_what_it_names_and_is_not_here() {
    let setup = setup("tls_server_config: {cert_file: tls.crt, key_file: tls.key}").await;
    let check = || async { run(setup.path(".").as_path(), &["check-config", "config.yaml"], &[]).await };
    let ended = check().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let notes: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with("note: ")).collect();
    assert_eq!(
        notes,
        [
            "note: tls_server_config.cert_file tls.crt is not here; the exporter will not start without it",
            "note: tls_server_config.key_file tls.key is not here; the exporter will not start without it",
        ]
    );
    place(&setup, &Authority::new("servers").server("server"));
    assert_eq!(check().await.stdout.lines().count(), 1);
    std::fs::write(setup.path("tls.key"), "junk").unwrap();
    let ended = check().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("tls.key holds no private key that can be read"), "{}", ended.stderr);
    std::fs::write(setup.path(FILE), "basic_auth_users: {ann: hunter2}").unwrap();
    let ended = check().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("web.yaml:1:25: basic_auth_users.ann: found a text"), "{}", ended.stderr);
    std::fs::remove_file(setup.path(FILE)).unwrap();
    let ended = check().await;
    assert!(ended.stdout.contains("note: web.config_file web.yaml is not here"), "{}", ended.stdout);
}

#[test]
fn the_sample_is_valid_and_shows_every_key() {
    let text = std::fs::read_to_string("web-config.example.yaml").unwrap();
    let sample = WebConfigFile::load(Path::new("web-config.example.yaml")).unwrap();
    let hash = sample.users["prometheus"].expose();
    assert!(bcrypt::verify("change-me", hash).unwrap());
    // With the commented lines as they stand, too.
    let is_yaml = |line: &&str| line.starts_with(char::is_lowercase) || line.starts_with("  ");
    let uncommented = |line: &str| match line.trim_start().strip_prefix("# ") {
        Some(rest) if rest.split(": ").next().is_some_and(|key| !key.contains(' ')) || rest.starts_with("  ") => {
            let indent = &line[..line.len() - line.trim_start().len()];
            format!("{indent}{rest}")
        }
        Some(_) | None => line.to_owned(),
    };
    let whole: Vec<String> = text.lines().map(uncommented).collect();
    let whole: Vec<&str> =
        whole.iter().map(String::as_str).filter(is_yaml).filter(|line| !line.trim_start().starts_with('#')).collect();
    let whole = WebConfigFile::parse(whole.join("\n").as_bytes(), Path::new("web.yaml")).unwrap();
    let tls = whole.tls.unwrap();
    assert_eq!(tls.client_auth, ClientAuth::RequireAndVerify);
    assert_eq!((tls.client_allowed_sans.len(), tls.cipher_suites.len(), tls.curves.len()), (1, 2, 2));
    assert_eq!((whole.headers.len(), whole.rate_limit.unwrap().burst.get()), (5, 20));
    for key in ["tls_server_config", "http_server_config"] {
        let message = WebConfigFile::parse(
            format!("{key}: {{surprise: 1, cert_file: c, key_file: k}}").as_bytes(),
            Path::new("w"),
        );
        let message = message.unwrap_err().to_string();
        for key in message.split_once("allowed are ").unwrap().1.split(", ") {
            assert!(
                text.contains(&format!("{key}:"))
                    || text.contains(&format!("`{key}`"))
                    || text.contains(&format!("or {key},")),
                "{key} is not shown"
            );
        }
    }
}
