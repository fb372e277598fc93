use super::*;
use crate::config::{HttpAuth, parse};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use axum::{Json, Router};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A producer on this machine, and the requests that it has seen.
struct Producer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Producer {
    async fn start(answer: impl Fn() -> axum::response::Response + Clone + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = seen.clone();
        let list = get(move |request: Request| {
            shared.lock().unwrap().push(request.headers().clone());
            std::future::ready(answer())
        });
        let router = Router::new()
            .route("/list", list)
            .route("/moved", get(async || Redirect::temporary("/list")))
            .route("/loop", get(async || Redirect::temporary("/loop")));
        Self { address: serve(router).await, seen }
    }

    async fn of(body: &'static str) -> Self {
        Self::start(move || ([(CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()).await
    }

    fn last(&self) -> HeaderMap {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(crate::listener::serve(listener, router, CancellationToken::new()));
    address
}

/// The source of this URL with more options, as they are written in the configuration.
fn source(url: &str, options: &str) -> HttpSource {
    let text = format!("discovery: {{http: [{{url: '{url}', {options}}}]}}");
    parse(&text, Path::new("config.yaml"), &|_| None).unwrap().discovery.http.remove(0)
}

fn fetcher(url: &str, options: &str) -> Fetcher {
    Fetcher::new(source(url, options)).unwrap()
}

async fn ids(fetcher: &mut Fetcher) -> Result<Vec<String>, String> {
    let list = fetcher.fetch().await.map_err(|error| error.to_string())?;
    Ok(list.targets.iter().map(|target| target.id.to_string()).collect())
}

#[tokio::test]
async fn a_list_is_asked_for_as_prometheus_asks() {
    let producer = Producer::of(r#"[{"targets": ["b", "a"], "labels": {"group": "g", "env": "x"}}]"#).await;
    let mut fetcher = fetcher(&producer.url("/list"), "refresh_interval: 1m30s");
    let list = fetcher.fetch().await.unwrap();
    assert_eq!(list.targets.iter().map(|target| target.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(list.unknown_labels.len(), 1);
    let head = producer.last();
    assert_eq!(head[ACCEPT], "application/json");
    assert_eq!(head[REFRESH_INTERVAL_HEADER], "90");
    assert!(head["user-agent"].to_str().unwrap().starts_with("dragdropdo-exporter/"));
    assert!(!head.contains_key(AUTHORIZATION));
}

#[tokio::test]
async fn each_kind_of_credentials_is_sent() {
    let producer = Producer::of("[]").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    for (options, expected) in [
        ("basic_auth: {username: user, password: pass}".to_owned(), "Basic dXNlcjpwYXNz"),
        (format!("basic_auth: {{username: user, password_file: {}}}", file.display()), "Basic dXNlcjpwYXNz"),
        ("authorization: {credentials: pass}".to_owned(), "Bearer pass"),
        (format!("authorization: {{type: Token, credentials_file: {}}}", file.display()), "Token pass"),
    ] {
        std::fs::write(&file, "pass\n").unwrap();
        ids(&mut fetcher(&producer.url("/list"), &options)).await.unwrap();
        assert_eq!(producer.last()[AUTHORIZATION], expected, "{options}");
    }
    let with_user = producer.url("/list").replace("http://", "http://user:pass@");
    ids(&mut fetcher(&with_user, "")).await.unwrap();
    assert_eq!(producer.last()[AUTHORIZATION], "Basic dXNlcjpwYXNz");
}

#[tokio::test]
async fn a_secret_file_that_changes_is_in_force_with_the_next_request() {
    let producer = Producer::of("[]").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let mut fetcher =
        fetcher(&producer.url("/list"), &format!("authorization: {{credentials_file: {}}}", file.display()));
    let missing = ids(&mut fetcher).await.unwrap_err();
    assert!(missing.starts_with("cannot read the credentials in "), "{missing}");
    assert_eq!(producer.count(), 0);
    for secret in ["first", "second"] {
        std::fs::write(&file, secret).unwrap();
        ids(&mut fetcher).await.unwrap();
        assert_eq!(producer.last()[AUTHORIZATION], format!("Bearer {secret}"));
    }
}

#[tokio::test]
async fn what_is_no_list_is_refused_with_its_reason() {
    type Answer = fn() -> axum::response::Response;
    let answers: [(Answer, &str); 8] = [
        (|| StatusCode::UNAUTHORIZED.into_response(), "status 401 Unauthorized; it must be 200"),
        (|| StatusCode::NO_CONTENT.into_response(), "status 204 No Content; it must be 200"),
        (|| "[]".into_response(), "the Content-Type is \"text/plain; charset=utf-8\"; it must be application/json"),
        (|| Body::from("[]").into_response(), "the Content-Type is missing; it must be application/json"),
        (|| Json(serde_json::json!(null)).into_response(), "invalid type: null, expected a list of target groups"),
        (|| Json(serde_json::json!({"targets": []})).into_response(), "invalid type: map, expected a list of target"),
        (|| ([(CONTENT_TYPE, "application/json")], "").into_response(), "EOF while parsing a value"),
        (
            || ([(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")], "[]").into_response(),
            "error decoding response body",
        ),
    ];
    for (answer, expected) in answers {
        let producer = Producer::start(answer).await;
        let message = ids(&mut fetcher(&producer.url("/list"), "")).await.unwrap_err();
        assert!(message.starts_with(expected), "{message}");
    }
}

#[tokio::test]
async fn a_failure_shows_neither_the_query_nor_the_password() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let message = ids(&mut fetcher(&format!("http://user:hunter2@{closed}/l?token=hunter2"), "")).await.unwrap_err();
    assert!(message.contains("onnect") && !message.contains("hunter2"), "{message}");
    let producer =
        Producer::start(|| Redirect::temporary("http://u:hunter2@127.0.0.1:9/?hunter2").into_response()).await;
    let message = ids(&mut fetcher(&producer.url("/list"), "follow_redirects: false")).await.unwrap_err();
    assert_eq!(
        message,
        "status 307 Temporary Redirect: a redirect to http://127.0.0.1:9, which is not followed; write the final address as url"
    );
}

#[tokio::test]
async fn a_list_that_is_too_long_is_not_read_to_its_end() {
    let said = Producer::start(|| {
        let body = Body::from(vec![b' '; MAX_BYTES + 1]);
        ([(CONTENT_TYPE, "application/json")], body).into_response()
    })
    .await;
    let endless = Producer::start(|| {
        let pieces = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
        ([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response()
    })
    .await;
    for producer in [said, endless] {
        let message = ids(&mut fetcher(&producer.url("/list"), "")).await.unwrap_err();
        assert_eq!(message, "it is longer than the 32 MiB that are read");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_cut_at_the_timeout() {
    let silent = serve(Router::new().route("/list", get(async || std::future::pending::<()>().await))).await;
    let stalled = Producer::start(|| {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        ([(CONTENT_TYPE, "application/json")], body).into_response()
    })
    .await;
    for url in [format!("http://{silent}/list"), stalled.url("/list")] {
        let message = ids(&mut fetcher(&url, "timeout: 100ms")).await.unwrap_err();
        assert!(message.starts_with("the answer was not complete within 100ms"), "{message}");
    }
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_with_the_credentials() {
    let producer = Producer::of(r#"[{"targets": ["a"]}]"#).await;
    let mut followed = fetcher(&producer.url("/moved"), "authorization: {credentials: secret}");
    assert_eq!(ids(&mut followed).await.unwrap(), ["a"]);
    assert_eq!(producer.last()[AUTHORIZATION], "Bearer secret");
    let refused = ids(&mut fetcher(&producer.url("/moved"), "follow_redirects: false")).await.unwrap_err();
    assert!(refused.starts_with("status 307 Temporary Redirect: a redirect to "), "{refused}");
    let message = ids(&mut fetcher(&producer.url("/loop"), "")).await.unwrap_err();
    assert!(message.starts_with("status 307 Temporary Redirect: a redirect to "), "{message}");
}

#[tokio::test]
async fn a_redirect_elsewhere_is_followed_only_without_credentials() {
    let elsewhere = Producer::of(r#"[{"targets": ["a"]}]"#).await;
    let to = elsewhere.url("/list");
    let producer = Producer::start(move || Redirect::temporary(&to).into_response()).await;
    assert_eq!(ids(&mut fetcher(&producer.url("/list"), "")).await.unwrap(), ["a"]);
    assert!(!elsewhere.last().contains_key("referer"));
    let asked = elsewhere.count();
    for options in ["authorization: {credentials: secret}", "basic_auth: {username: user}"] {
        let message = ids(&mut fetcher(&producer.url("/list"), options)).await.unwrap_err();
        assert!(message.ends_with("which is not followed; write the final address as url"), "{message}");
    }
    assert_eq!(elsewhere.count(), asked);
}

/// A server that speaks TLS with a certificate of its own for 127.0.0.1, and its certificate.
async fn secure(client_root: Option<&rcgen::Certificate>) -> (SocketAddr, rcgen::CertifiedKey<rcgen::KeyPair>) {
    use tokio_rustls::rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = own.signing_key.serialize_der().try_into().unwrap();
    let config = match client_root {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(root) => {
            let mut roots = RootCertStore::empty();
            roots.add(root.der().clone()).unwrap();
            ServerConfig::builder()
                .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let config = Arc::new(config.with_single_cert(vec![own.cert.der().clone()], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&config));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = [0; 4096];
                drop(stream.read(&mut head).await);
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]";
                drop(stream.write_all(answer).await);
                drop(stream.shutdown().await);
            });
        }
    });
    (address, own)
}

#[tokio::test]
async fn a_certificate_is_taken_with_its_root_or_without_verification() {
    let (address, own) = secure(None).await;
    let url = format!("https://{address}/list");
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (folder.path().join("right.pem"), folder.path().join("wrong.pem"));
    std::fs::write(&right, own.cert.pem()).unwrap();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&wrong, other.cert.pem()).unwrap();

    let with_root = |path: &Path| format!("tls_config: {{ca_file: {}, min_version: TLS13}}", path.display());
    assert!(ids(&mut fetcher(&url, &with_root(&right))).await.is_ok());
    assert!(ids(&mut fetcher(&url, "tls_config: {insecure_skip_verify: true}")).await.is_ok());
    let mut fetcher = fetcher(&url, &with_root(&wrong));
    let message = ids(&mut fetcher).await.unwrap_err();
    assert!(message.to_lowercase().contains("certificate"), "{message}");
    // A root that is renewed is in force with the next request.
    std::fs::copy(&right, &wrong).unwrap();
    assert!(ids(&mut fetcher).await.is_ok());
    std::fs::remove_file(&wrong).unwrap();
    assert!(ids(&mut fetcher).await.unwrap_err().starts_with("cannot read "));
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_gets_it() {
    let client = rcgen::generate_simple_self_signed(["exporter".to_owned()]).unwrap();
    let (address, own) = secure(Some(&client.cert)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ca, cert) = (file("ca.pem", own.cert.pem()), file("cert.pem", client.cert.pem()));
    let key = file("key.pem", client.signing_key.serialize_pem());
    let url = format!("https://{address}/list");
    let with = format!("tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}");
    assert!(ids(&mut fetcher(&url, &with)).await.is_ok());
    assert!(ids(&mut fetcher(&url, &format!("tls_config: {{ca_file: {ca}}}"))).await.is_err());
}

#[test]
fn a_tls_file_that_is_none_is_found_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let error = |options: String| Fetcher::new(source("https://127.0.0.1", &options)).unwrap_err().to_string();
    let empty = empty.display();
    assert!(error(format!("tls_config: {{ca_file: {empty}}}")).contains("holds no certificate that can be read"));
    let identity = error(format!("tls_config: {{cert_file: {empty}, key_file: {empty}}}"));
    assert!(identity.contains("hold no certificate with its private key"), "{identity}");
    assert!(error("tls_config: {ca_file: /nowhere/ca.pem}".to_owned()).starts_with("cannot read /nowhere/ca.pem: "));
    assert!(error("tls_config: {ca_file: /}".to_owned()).contains("it is no regular file"));
}

#[test]
fn no_form_shows_a_secret() {
    let url = "http://127.0.0.1/?token=hunter2";
    let fetcher = fetcher(url, "basic_auth: {username: u, password: hunter2}");
    assert!(matches!(fetcher.source().auth, Some(HttpAuth::Basic { .. })));
    assert!(!format!("{fetcher:?}").contains("hunter2"));
}
