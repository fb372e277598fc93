//! TLS, basic auth and the rest of the web config file.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

mod browsers;
mod certificates;
mod changes;
mod files;
mod refused;
mod tls;
mod users;

use crate::harness::{Exporter, FakeApi, PATIENCE, Setup, operation};
use certificates::{Authority, Pair};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method, RequestBuilder};
use std::time::Duration;

/// The file that every test writes.
const FILE: &str = "web.yaml";
/// The lines for the certificate that [`with_certificate`] writes.
const CERTIFICATE: &str = "cert_file: tls.crt, key_file: tls.key";

/// An exporter that follows one task and has this web config file.
async fn setup(web_config: &str) -> Setup {
    let api = FakeApi::start().await;
    api.otherwise(operation("queued", &[]));
    let setup = Setup::new(&api, &format!("{{tasks: [t1], web: {{config_file: {FILE}, api_token_file: token}}}}"));
    std::fs::write(setup.path("token"), "the-token").unwrap();
    std::fs::write(setup.path(FILE), web_config).unwrap();
    setup
}

/// The same with a certificate, and the CA that made it.
async fn with_certificate(web_config: &str) -> (Setup, Authority) {
    let (setup, authority) = (setup(web_config).await, Authority::new("servers"));
    place(&setup, &authority.server("first"));
    (setup, authority)
}

/// Writes the certificate and the key over those that are there.
fn place(setup: &Setup, pair: &Pair) {
    std::fs::write(setup.path("tls.crt"), &pair.certificate).unwrap();
    std::fs::write(setup.path("tls.key"), &pair.key).unwrap();
}

/// An exporter that is running, and how it is asked.
struct Served {
    exporter: Exporter,
    base: String,
}

impl Served {
    async fn start(setup: &Setup) -> Self {
        let exporter = setup.launch();
        let line = exporter.logs("listening on http").await;
        let base = line.split("listening on ").nth(1).unwrap().split(['"', ' ']).next().unwrap().to_owned();
        Self { exporter, base }
    }

    fn request(&self, client: &Client, method: Method, path: &str) -> RequestBuilder {
        client.request(method, format!("{}{path}", self.base))
    }

    /// The status of a GET; `None` when the connection fails.
    async fn status(&self, client: &Client, path: &str) -> Option<u16> {
        let answer = self.request(client, Method::GET, path).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// The status of a scrape by this user.
    async fn scrape(&self, client: &Client, user: &str, password: &str) -> u16 {
        let request = self.request(client, Method::GET, "/metrics").basic_auth(user, Some(password));
        request.send().await.unwrap().status().as_u16()
    }

    /// Asks for a reload; the status and the answer.
    async fn reload(&self, client: &Client, user: Option<(&str, &str)>) -> (u16, String) {
        let mut request = self.request(client, Method::POST, "/-/reload");
        if let Some((name, password)) = user {
            request = request.basic_auth(name, Some(password));
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn times_logged(&self, text: &str) -> usize {
        self.exporter.log().iter().filter(|line| line.contains(text)).count()
    }
}

/// Options of a client that makes a new connection for each request.
fn options() -> ClientBuilder {
    Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(0).retry(reqwest::retry::never())
}

fn plain() -> Client {
    options().build().unwrap()
}

/// Options of a client that trusts this CA alone.
fn trusting(authority: &Authority) -> ClientBuilder {
    options().tls_certs_only([Certificate::from_pem(authority.pem().as_bytes()).unwrap()])
}

/// A client that shows this certificate.
fn showing(authority: &Authority, pair: &Pair) -> Client {
    trusting(authority).identity(Identity::from_pem(pair.both().as_bytes()).unwrap()).build().unwrap()
}

/// Users with cheap hashes; the password of each is its name and `-password`.
fn users(names: &[&str]) -> String {
    let line = |name: &&str| format!("  {name}: {}\n", bcrypt::hash(format!("{name}-password"), 4).unwrap());
    format!("basic_auth_users:\n{}", names.iter().map(line).collect::<String>())
}

/// Waits until `condition` holds.
async fn until<F: Future<Output = bool>>(served: &Served, what: &str, condition: impl Fn() -> F) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, holds).await.is_ok();
    assert!(in_time, "{what}: never so\n{}", served.exporter.log().join("\n"));
}
