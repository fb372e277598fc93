//! Files that change while the exporter runs, and reloads.

use super::certificates::Authority;
use super::{CERTIFICATE, FILE, Served, place, plain, setup, trusting, until, users, with_certificate};
use crate::harness::Setup;
use std::fs;
use std::os::unix::fs::symlink;

const REFUSED: &str = "keeping the last web config: ";

/// Replaces a file by renaming a finished one over it.
fn replace(setup: &Setup, name: &str, text: &str) {
    fs::write(setup.path("new"), text).unwrap();
    fs::rename(setup.path("new"), setup.path(name)).unwrap();
}

/// The latest line about a change that was refused, without logfmt's escapes.
fn refusal(served: &Served) -> String {
    let log = served.exporter.log();
    log.iter().rfind(|line| line.contains(REFUSED)).unwrap().replace("\\'", "'")
}

/// Waits until the certificate is one of this CA.
async fn has_certificate_of(served: &Served, authority: &Authority) {
    let client = trusting(authority).build().unwrap();
    until(served, "the certificate is another", || async { served.status(&client, "/metrics").await == Some(200) })
        .await;
}

#[tokio::test]
async fn a_certificate_is_renewed_by_rename_and_in_place() {
    let (mut setup, first) = with_certificate(&format!("tls_server_config: {{{CERTIFICATE}}}")).await;
    setup.configure("webhook: {listen_address: '127.0.0.1:0', secret_file: token}");
    let served = Served::start(&setup).await;
    has_certificate_of(&served, &first).await;
    let kept = trusting(&first).pool_max_idle_per_host(1).build().unwrap();
    assert_eq!(served.status(&kept, "/metrics").await, Some(200));

    let second = Authority::new("second");
    let pair = second.server("second");
    replace(&setup, "tls.crt", &pair.certificate);
    replace(&setup, "tls.key", &pair.key);
    has_certificate_of(&served, &second).await;
    let late = trusting(&first).build().unwrap();
    assert_eq!(served.status(&late, "/metrics").await, None);
    // A connection that was there goes on.
    assert_eq!(served.status(&kept, "/metrics").await, Some(200));

    let third = Authority::new("third");
    place(&setup, &third.server("third"));
    has_certificate_of(&served, &third).await;
    let line = served.exporter.logs("listening for webhooks on ").await;
    let address = line.split("webhooks on ").nth(1).unwrap().split('"').next().unwrap();
    let client = trusting(&third).build().unwrap();
    assert_eq!(client.get(format!("{address}/")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_mounted_secret_that_is_swapped_as_a_whole_is_followed() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let setup = setup("").await;
    for (folder, authority, user) in [("v1", &first, "ann"), ("v2", &second, "bob")] {
        fs::create_dir(setup.path(folder)).unwrap();
        let pair = authority.server(folder);
        fs::write(setup.path(folder).join("tls.crt"), pair.certificate).unwrap();
        fs::write(setup.path(folder).join("tls.key"), pair.key).unwrap();
        let text = format!("tls_server_config: {{{CERTIFICATE}}}\n{}", users(&[user]));
        fs::write(setup.path(folder).join(FILE), text).unwrap();
    }
    symlink("v1", setup.path("..data")).unwrap();
    for name in [FILE, "tls.crt", "tls.key"] {
        fs::remove_file(setup.path(name)).ok();
        symlink(format!("..data/{name}"), setup.path(name)).unwrap();
    }
    let served = Served::start(&setup).await;
    let client = trusting(&first).build().unwrap();
    assert_eq!(served.scrape(&client, "ann", "ann-password").await, 200);

    symlink("v2", setup.path("..data_tmp")).unwrap();
    fs::rename(setup.path("..data_tmp"), setup.path("..data")).unwrap();
    let client = trusting(&second).build().unwrap();
    until(&served, "the second", || async { served.status(&client, "/metrics").await == Some(401) }).await;
    assert_eq!(served.scrape(&client, "bob", "bob-password").await, 200);
    assert_eq!(served.scrape(&client, "ann", "ann-password").await, 401);
    assert_eq!(served.times_logged(REFUSED), 0);
}

#[tokio::test]
async fn users_come_go_and_change_their_passwords() {
    let setup = setup(&users(&["ann", "bob"])).await;
    let (served, client) = (Served::start(&setup).await, plain());
    assert_eq!(served.scrape(&client, "ann", "ann-password").await, 200);
    let other = bcrypt::hash("another", 4).unwrap();
    replace(&setup, FILE, &format!("basic_auth_users: {{ann: {other}, eve: {other}}}"));
    until(&served, "eve", || async { served.scrape(&client, "eve", "another").await == 200 }).await;
    assert_eq!(served.scrape(&client, "ann", "another").await, 200);
    assert_eq!(served.scrape(&client, "ann", "ann-password").await, 401);
    assert_eq!(served.scrape(&client, "bob", "bob-password").await, 401);
}

#[tokio::test]
async fn a_broken_change_is_logged_once_and_refused_by_a_reload_with_the_reason() {
    let (mut setup, authority) =
        with_certificate(&format!("tls_server_config: {{{CERTIFICATE}}}\n{}", users(&["ann"]))).await;
    setup.argument("--web.enable-lifecycle");
    let served = Served::start(&setup).await;
    let client = trusting(&authority).build().unwrap();
    let ann = Some(("ann", "ann-password"));
    let good = fs::read_to_string(setup.path(FILE)).unwrap();
    let key = fs::read_to_string(setup.path("tls.key")).unwrap();
    let stranger = Authority::new("stranger").server("stranger");
    let mut broken = 0;
    for (name, text, reason) in [
        (FILE, Some("surprise: 1\n"), "surprise: unknown key"),
        (FILE, Some("basic_auth_users: {ann: ann-password}"), "basic_auth_users.ann: found a text"),
        (FILE, None, "the web config file cannot be read: No such file"),
        ("tls.key", Some(""), "holds no private key that can be read"),
        ("tls.key", Some(stranger.key.as_str()), "is not the key of the certificate"),
        ("tls.key", None, "tls_server_config.key_file: cannot read"),
    ] {
        match text {
            Some(text) => replace(&setup, name, text),
            None => fs::remove_file(setup.path(name)).unwrap(),
        }
        broken += 1;
        until(&served, reason, || async { served.times_logged(REFUSED) == broken }).await;
        assert!(refusal(&served).contains(reason), "{reason}");
        assert_eq!(served.scrape(&client, "ann", "ann-password").await, 200);
        assert_eq!(served.status(&client, "/metrics").await, Some(401));
        let (status, answer) = served.reload(&client, ann).await;
        assert_eq!(status, 500);
        assert!(answer.contains(reason) && !answer.contains("ann-password"), "{answer}");
        replace(&setup, FILE, &good);
        replace(&setup, "tls.key", &key);
        let mended = "is again what is in force";
        until(&served, "mended", || async { served.times_logged(mended) == broken }).await;
    }
    assert_eq!(served.reload(&client, ann).await.0, 200);
    assert_eq!(served.times_logged(REFUSED), broken);
}

#[tokio::test]
async fn a_change_that_opens_a_door_waits_for_a_reload() {
    let mut setup = setup(&users(&["ann"])).await;
    setup.argument("--web.enable-lifecycle");
    let (served, client) = (Served::start(&setup).await, plain());
    fs::write(setup.path(FILE), "").unwrap();
    let line = served.exporter.logs(REFUSED).await;
    assert!(line.contains("basic_auth_users names nobody any more"), "{line}");
    assert_eq!(served.status(&client, "/metrics").await, Some(401));
    assert_eq!(served.reload(&client, None).await.0, 401);
    assert_eq!(served.reload(&client, Some(("ann", "ann-password"))).await.0, 200);
    assert_eq!(served.status(&client, "/metrics").await, Some(200));
    // What closes a door does not wait.
    fs::write(setup.path(FILE), users(&["bob"])).unwrap();
    until(&served, "bob alone", || async { served.status(&client, "/metrics").await == Some(401) }).await;
    // Nor has the configuration to name the file for ever.
    setup.configure("web: {config_file: ~}");
    assert_eq!(served.reload(&client, Some(("bob", "bob-password"))).await.0, 200);
    assert_eq!(served.status(&client, "/metrics").await, Some(200));
}

#[tokio::test]
async fn turning_tls_on_or_off_needs_a_restart() {
    let tls = format!("tls_server_config: {{{CERTIFICATE}}}");
    for (before, after, word) in [(tls.as_str(), "", "off"), ("", tls.as_str(), "on")] {
        let (mut setup, authority) = with_certificate(before).await;
        setup.argument("--web.enable-lifecycle");
        let served = Served::start(&setup).await;
        let client = if before.is_empty() { plain() } else { trusting(&authority).build().unwrap() };
        fs::write(setup.path(FILE), after).unwrap();
        let expected = format!("TLS cannot be turned {word} while the exporter runs: restart it, or undo the change");
        let (status, answer) = served.reload(&client, None).await;
        assert!(status == 500 && answer.contains(&expected), "{answer}");
        served.exporter.logs(REFUSED).await;
        assert!(refusal(&served).contains(&expected));
        assert_eq!(served.status(&client, "/metrics").await, Some(200));
    }
}

#[tokio::test]
async fn the_flag_and_its_variable_go_before_the_configuration() {
    let mut setup = setup(&users(&["configured"])).await;
    fs::create_dir(setup.path("folder")).unwrap();
    fs::write(setup.path("folder/flag.yaml"), users(&["flag"])).unwrap();
    setup.environment("DRAGDROPDO_EXPORTER_WEB_CONFIG_FILE", "folder/flag.yaml");
    let served = Served::start(&setup).await;
    assert_eq!(served.scrape(&plain(), "flag", "flag-password").await, 200);
    assert_eq!(served.scrape(&plain(), "configured", "configured-password").await, 401);
    served.exporter.kill().await;
    setup.argument("--web.config.file=web.yaml");
    let served = Served::start(&setup).await;
    assert_eq!(served.scrape(&plain(), "configured", "configured-password").await, 200);
}
