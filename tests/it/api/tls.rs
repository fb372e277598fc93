//! HTTPS: a private CA beside the platform's, HTTP/2 by ALPN, and failures of the handshake.

use super::{ask, client, config};
use dragdropdo_exporter::api::{Client, Key, RequestOutcome};
use dragdropdo_exporter::clock::Clock;
use dragdropdo_exporter::config::ApiConfig;
use dragdropdo_exporter::task::State;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// An HTTPS server with a certificate of a CA of its own.
struct TlsServer {
    port: u16,
    ca_pem: String,
    /// For each connection, the versions of the requests on it.
    versions: Arc<Mutex<Vec<Vec<hyper::Version>>>>,
}

impl TlsServer {
    async fn start(alpn: &[&str]) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca_pem = params.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();

        let mut tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        tls.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let versions = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&versions)));
        Self { port, ca_pem, versions }
    }

    fn config(&self, ca_file: Option<PathBuf>) -> ApiConfig {
        ApiConfig { ca_file, ..config(&format!("https://localhost:{}", self.port)) }
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, versions: Arc<Mutex<Vec<Vec<hyper::Version>>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, versions) = (tls.clone(), Arc::clone(&versions));
        tokio::spawn(async move {
            // A client that does not trust the certificate ends the handshake.
            let Ok(stream) = tls.accept(stream).await else { return };
            let connection = {
                let mut versions = versions.lock().unwrap();
                versions.push(Vec::new());
                versions.len() - 1
            };
            let service = hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                versions.lock().unwrap()[connection].push(request.version());
                assert_eq!(request.headers()["authorization"], "Bearer d3_live_secret");
                let body = axum::body::Body::from(r#"{"data":{"operation_status":"completed"}}"#);
                async { Ok::<_, Infallible>(hyper::Response::new(body)) }
            });
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

fn written(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_private_ca_is_trusted_and_http_2_carries_many_requests_on_one_connection() {
    let folder = TempDir::new().unwrap();
    let server = TlsServer::start(&["h2", "http/1.1"]).await;
    let client = client(&server.config(Some(written(&folder, &server.ca_pem))));
    assert_eq!(ask(&client).await.unwrap().observation.state, State::Completed);
    let answers = futures_util::future::join_all((0..20).map(|_| ask(&client))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(*server.versions.lock().unwrap(), [[hyper::Version::HTTP_2; 21]]);
}

#[tokio::test]
async fn a_server_without_http_2_is_asked_in_http_1() {
    let folder = TempDir::new().unwrap();
    let server = TlsServer::start(&["http/1.1"]).await;
    ask(&client(&server.config(Some(written(&folder, &server.ca_pem))))).await.unwrap();
    assert_eq!(*server.versions.lock().unwrap(), [[hyper::Version::HTTP_11]]);
}

#[tokio::test]
async fn a_handshake_that_fails_is_a_connection_error_that_says_why() {
    let folder = TempDir::new().unwrap();
    let server = TlsServer::start(&["h2"]).await;
    let other = TlsServer::start(&["h2"]).await;
    for ca_file in [None, Some(written(&folder, &other.ca_pem))] {
        let failure = ask(&client(&server.config(ca_file))).await.unwrap_err();
        assert_eq!(failure.outcome, RequestOutcome::ConnectionError);
        assert!(failure.reason.contains("certificate"), "{failure:?}");
    }
    assert!(server.versions.lock().unwrap().is_empty());

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://{}", plain.local_addr().unwrap());
    let greeting = tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
        stream
    });
    let failure = ask(&client(&config(&base))).await.unwrap_err();
    assert_eq!(failure.outcome, RequestOutcome::ConnectionError, "{failure:?}");
    drop(greeting.await.unwrap());
}

#[test]
fn a_ca_file_that_cannot_serve_is_named() {
    let folder = TempDir::new().unwrap();
    let refused = |path: PathBuf| {
        let config = ApiConfig { ca_file: Some(path), ..config("https://localhost") };
        Client::new(&config, Key::open(&config.key).unwrap(), Clock::system()).unwrap_err().to_string()
    };
    let missing = folder.path().join("nowhere.pem");
    let message = refused(missing.clone());
    assert!(message.starts_with(&format!("cannot read api.ca_file {}: No such file", missing.display())), "{message}");
    for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
        let path = written(&folder, text);
        assert_eq!(
            refused(path.clone()),
            format!(
                "api.ca_file {} holds no certificate that can be read: it must be PEM, with BEGIN CERTIFICATE lines",
                path.display()
            )
        );
    }
}
