//! TLS: who must show which certificate, what is spoken, and what becomes of those who speak something else.

use super::certificates::Authority;
use super::{CERTIFICATE, Served, plain, showing, trusting, users, with_certificate};
use crate::harness::{Setup, run};
use rcgen::SanType;
use reqwest::tls::Version;
use reqwest::{Client, Method};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A configuration with this in `tls_server_config`, beside the certificate.
fn tls(rest: &str) -> String {
    format!("tls_server_config: {{{CERTIFICATE}{rest}}}\n")
}

#[tokio::test]
async fn each_type_of_client_auth_lets_in_those_that_it_says() {
    let (own, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    let ca = ", client_ca_file: clients.crt";
    for (client_auth, nobody, stranger) in [
        ("", true, true),
        (", client_auth_type: NoClientCert", true, true),
        (", client_auth_type: RequestClientCert", true, true),
        (", client_auth_type: RequireAnyClientCert", false, true),
        (&format!(", client_auth_type: VerifyClientCertIfGiven{ca}"), true, false),
        (&format!(", client_auth_type: RequireAndVerifyClientCert{ca}"), false, false),
    ] {
        let (setup, servers) = with_certificate(&tls(client_auth)).await;
        std::fs::write(setup.path("clients.crt"), own.pem()).unwrap();
        let served = Served::start(&setup).await;
        assert!(served.base.starts_with("https://127.0.0.1:"), "{}", served.base);
        for (client, is_let_in) in [
            (trusting(&servers).build().unwrap(), nobody),
            (showing(&servers, &own.client(vec![])), true),
            (showing(&servers, &strangers.client(vec![])), stranger),
            // A server's certificate is no client's.
            (showing(&servers, &own.server("server")), stranger),
        ] {
            for path in ["/metrics", "/-/healthy"] {
                let expected = is_let_in.then_some(200);
                assert_eq!(served.status(&client, path).await, expected, "{client_auth} {path}");
            }
        }
        let untrusting = trusting(&strangers).build().unwrap();
        assert_eq!(served.status(&untrusting, "/metrics").await, None);
        // What a client does wrong is told once, however often it tries.
        for (reason, is_told) in [
            ("the client showed no certificate, which client_auth_type", !nobody),
            ("the certificate of the client is of no CA in client_ca_file", !stranger),
            ("the certificate of the client is not meant for clients", !stranger),
            ("the client does not take the certificate of this exporter (UnknownCA)", true),
        ] {
            let line = format!("a TLS handshake failed: {reason}");
            if is_told {
                served.exporter.logs(&line).await;
            }
            assert_eq!(served.times_logged(&line), usize::from(is_told), "{reason}");
        }
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_itself_in_the_ca_file_is_let_in_by_whoever_has_its_key() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

    let right = Authority::own(ClientAuth, 4000);
    let (expired, server) = (Authority::own(ClientAuth, 2020), Authority::own(ServerAuth, 4000));
    let auth = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.crt";
    let (setup, servers) = with_certificate(&tls(auth)).await;
    let listed = [&right, &expired, &server].map(|pair| pair.certificate.as_str()).concat();
    std::fs::write(setup.path("clients.crt"), listed).unwrap();
    let served = Served::start(&setup).await;
    let unlisted = Authority::own(ClientAuth, 4000);
    for (name, pair, expected) in [
        ("right", right, Some(200)),
        ("expired", expired, None),
        ("server", server, None),
        ("unlisted", unlisted, None),
    ] {
        assert_eq!(served.status(&showing(&servers, &pair), "/metrics").await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_certificate_of_the_right_ca_needs_one_of_the_allowed_names() {
    let (own, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    let names = ", client_allowed_sans: [prometheus.example.com, 192.0.2.1, ops@example.com, 'spiffe://example.com/p']";
    let auth = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.crt";
    let (setup, servers) = with_certificate(&tls(&format!("{auth}{names}"))).await;
    std::fs::write(setup.path("clients.crt"), own.pem()).unwrap();
    let served = Served::start(&setup).await;
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    for (name, expected) in [
        (dns("prometheus.example.com"), Some(200)),
        (SanType::IpAddress("192.0.2.1".parse().unwrap()), Some(200)),
        (SanType::Rfc822Name("ops@example.com".try_into().unwrap()), Some(200)),
        (SanType::URI("spiffe://example.com/p".try_into().unwrap()), Some(200)),
        (dns("other.example.com"), None),
        (SanType::IpAddress("192.0.2.2".parse().unwrap()), None),
    ] {
        let client = showing(&servers, &own.client(vec![dns("first.example.com"), name.clone()]));
        assert_eq!(served.status(&client, "/metrics").await, expected, "{name:?}");
    }
    let stranger = showing(&servers, &strangers.client(vec![dns("prometheus.example.com")]));
    assert_eq!(served.status(&stranger, "/metrics").await, None);
    assert_eq!(served.status(&showing(&servers, &own.client(vec![])), "/metrics").await, None);
    let line = "has none of the names in client_allowed_sans; its subject alternative names are: ";
    served.exporter.logs(&format!("{line}first.example.com, other.example.com")).await;
    served.exporter.logs(&format!("{line}none")).await;
}

#[tokio::test]
async fn only_the_allowed_versions_and_suites_are_spoken() {
    // The certificate's key is one of ECDSA.
    for (choice, with_1_2, with_1_3) in [
        ("", true, true),
        (", min_version: TLS13", false, true),
        (", max_version: TLS12", true, false),
        (", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256], curve_preferences: [CurveP384]", true, true),
        (", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", false, true),
        (", cipher_suites: [TLS_AES_128_GCM_SHA256]", false, true),
    ] {
        let (setup, servers) = with_certificate(&tls(choice)).await;
        let served = Served::start(&setup).await;
        for (version, expected) in [(Version::TLS_1_2, with_1_2), (Version::TLS_1_3, with_1_3)] {
            let client = trusting(&servers).tls_version_min(version).tls_version_max(version).build().unwrap();
            assert_eq!(served.status(&client, "/metrics").await, expected.then_some(200), "{choice} {version:?}");
        }
    }
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_on_and_asked_for() {
    for (choice, by_both, by_http_2_alone) in
        [("true", reqwest::Version::HTTP_2, true), ("false", reqwest::Version::HTTP_11, false)]
    {
        let (setup, servers) = with_certificate(&format!("{}http_server_config: {{http2: {choice}}}", tls(""))).await;
        let served = Served::start(&setup).await;
        let version = |client: Client| {
            let request = served.request(&client, Method::GET, "/api/v1/tasks");
            async move { request.send().await.ok().map(|answer| answer.version()) }
        };
        assert_eq!(version(trusting(&servers).build().unwrap()).await, Some(by_both));
        assert_eq!(version(trusting(&servers).http1_only().build().unwrap()).await, Some(reqwest::Version::HTTP_11));
        assert_eq!(
            version(trusting(&servers).http2_prior_knowledge().build().unwrap()).await.is_some(),
            by_http_2_alone
        );
        let client = trusting(&servers).build().unwrap();
        let many = (0..40).map(|_| served.status(&client, "/metrics"));
        assert!(futures_util::future::join_all(many).await.iter().all(|status| *status == Some(200)));
    }
}

#[tokio::test]
async fn plain_http_is_told_to_use_https() {
    let (setup, _) = with_certificate(&tls("")).await;
    let served = Served::start(&setup).await;
    let url = served.base.replace("https:", "http:");
    let answer = plain().get(format!("{url}/metrics")).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let refusal: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(refusal["error"], "this listener speaks TLS alone: ask with https:// in place of http://");
}

#[tokio::test]
async fn a_certificate_and_a_key_may_stand_in_the_file() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let pair = servers.server("inline");
    let tls = serde_json::json!({
        "cert": pair.certificate, "key": pair.key,
        "client_ca": clients.pem(), "client_auth_type": "RequireAndVerifyClientCert",
    });
    // JSON is YAML.
    let setup = super::setup(&serde_json::json!({ "tls_server_config": tls }).to_string()).await;
    let served = Served::start(&setup).await;
    assert_eq!(served.status(&showing(&servers, &clients.client(vec![])), "/metrics").await, Some(200));
    assert_eq!(served.status(&trusting(&servers).build().unwrap(), "/metrics").await, None);
}

#[tokio::test]
async fn the_listener_for_webhooks_has_the_same_certificate_and_asks_for_nothing() {
    let own = Authority::new("clients");
    let auth = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.crt";
    let (mut setup, servers) = with_certificate(&format!("{}{}", tls(auth), users(&["ann"]))).await;
    std::fs::write(setup.path("clients.crt"), own.pem()).unwrap();
    setup.configure("webhook: {listen_address: '127.0.0.1:0', secret_file: token}");
    let served = Served::start(&setup).await;
    let line = served.exporter.logs("listening for webhooks on https://").await;
    let address = line.split("webhooks on ").nth(1).unwrap().split('"').next().unwrap();
    let client = trusting(&servers).build().unwrap();
    let answer = client.post(format!("{address}/webhooks/dragdropdo")).body("{}").send().await.unwrap();
    let refusal: serde_json::Value = answer.json().await.unwrap();
    assert!(refusal["error"].as_str().unwrap().contains("signature"), "{refusal}");
    // Nothing else is there, and the listener of the rest keeps its door.
    assert_eq!(client.get(format!("{address}/metrics")).send().await.unwrap().status(), 404);
    assert_eq!(served.status(&client, "/-/healthy").await, None);
    assert_eq!(served.status(&showing(&servers, &own.client(vec![])), "/metrics").await, Some(401));
}

#[tokio::test]
async fn connections_that_say_nothing_and_idle_ones_do_not_hold_up_the_end() {
    let (setup, servers) = with_certificate(&tls("")).await;
    let served = Served::start(&setup).await;
    let mut silent = TcpStream::connect(served.base.trim_start_matches("https://")).await.unwrap();
    drop(TcpStream::connect(served.base.trim_start_matches("https://")).await.unwrap());
    let idle = trusting(&servers).pool_max_idle_per_host(1).build().unwrap();
    assert_eq!(served.status(&idle, "/metrics").await, Some(200));
    // A probe of the port is no news.
    assert_eq!(served.times_logged("handshake"), 0);
    let (status, _) = served.exporter.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or_default(), 0);
}

#[tokio::test]
async fn a_health_check_trusts_the_ca_that_it_is_given_or_nobody_or_anybody() {
    let (setup, servers) = with_certificate(&format!("{}{}", tls(""), users(&["ann"]))).await;
    let served = Served::start(&setup).await;
    std::fs::write(setup.path("ca.crt"), servers.pem()).unwrap();
    std::fs::write(setup.path("other.crt"), Authority::new("strangers").pem()).unwrap();
    std::fs::write(setup.path("empty.crt"), "").unwrap();
    for (options, environment, code, says) in [
        (&["--ca-file=ca.crt"][..], &[][..], 0, ""),
        (&["--insecure-skip-verify"], &[], 0, ""),
        (&[], &[("DRAGDROPDO_EXPORTER_HEALTH_CA_FILE", "ca.crt")], 0, ""),
        (&[], &[("DRAGDROPDO_EXPORTER_HEALTH_INSECURE_SKIP_VERIFY", "true")], 0, ""),
        (&[], &[], 1, "does not answer"),
        (&["--ca-file=other.crt"], &[], 1, "does not answer"),
        (&["--ca-file=empty.crt"], &[], 1, "empty.crt holds no certificate: it must be PEM"),
        (&["--ca-file=none.crt"], &[], 1, "cannot read none.crt: No such file"),
        (&["--ca-file=ca.crt", "--insecure-skip-verify"], &[], 2, "cannot be used with"),
        (&["--cert-file=ca.crt"], &[], 2, "--key-file"),
    ] {
        check_health(&setup, &served, (options, environment), code, says).await;
    }
}

#[tokio::test]
async fn a_health_check_shows_the_certificate_that_it_is_given() {
    let own = Authority::new("clients");
    let auth = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.crt";
    let (setup, _) = with_certificate(&tls(auth)).await;
    std::fs::write(setup.path("clients.crt"), own.pem()).unwrap();
    let pair = own.client(vec![]);
    std::fs::write(setup.path("health.crt"), pair.certificate).unwrap();
    std::fs::write(setup.path("health.key"), pair.key).unwrap();
    let served = Served::start(&setup).await;
    let shown = ["--insecure-skip-verify", "--cert-file=health.crt", "--key-file=health.key"];
    check_health(&setup, &served, (&shown, &[]), 0, "").await;
    check_health(&setup, &served, (&shown[..1], &[]), 1, "does not answer").await;
    let without_key = ["--insecure-skip-verify", "--cert-file=health.crt", "--key-file=health.crt"];
    check_health(&setup, &served, (&without_key, &[]), 1, "hold no certificate with its key").await;
}

/// Runs a health check with these options and variables, and checks its exit code and what it says.
async fn check_health(
    setup: &Setup,
    served: &Served,
    (options, environment): (&[&str], &[(&str, &str)]),
    code: i32,
    says: &str,
) {
    let url = format!("--url={}/-/healthy", served.base);
    let arguments = [&["healthcheck", &url], options].concat();
    let ended = run(setup.path(".").as_path(), &arguments, environment).await;
    assert_eq!(ended.code, Some(code), "{options:?} {environment:?}: {}", ended.stderr);
    assert!(ended.stderr.contains(says), "{options:?}: {}", ended.stderr);
}
