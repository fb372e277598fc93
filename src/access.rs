//! Who may connect and ask: TLS, client certificates, basic auth and the rate of requests, as the web config file says.
//!
//! [`Loaded`] is what the file and those that it names make, ready before any of it counts; [`Access`] is what is in force.
//! The [`listener`](crate::listener) takes the certificates from it, and [`web`](crate::web) asks it about each request.
//! `watch` follows the files while the exporter runs, and never opens a door that was closed: for that, somebody has to
//! reload.

mod client_cert;
mod error;
mod material;
mod passwords;
mod places;
mod tls;
mod watch;

pub use error::AccessError;
pub use passwords::Verdict;

use crate::clock::Clock;
use crate::config::{ClientAuth, RequestRate, WebConfigFile};
use crate::listener::TlsSource;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use material::Material;
use passwords::Passwords;
use reqwest::header::{HeaderName, HeaderValue};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tls::ServerConfigs;

/// What is in force. Clones share it.
#[derive(Clone, Debug)]
pub struct Access {
    rules: Arc<RwLock<Arc<Rules>>>,
    passwords: Arc<Passwords>,
    clock: Clock,
}

/// What a web config file makes, ready to be put in force.
#[derive(Debug)]
pub struct Loaded(Rules);

type Limiter = RateLimiter<NotKeyed, InMemoryState, Clock, NoOpMiddleware<Nanos>>;

/// Where rules come from, and what the files held.
#[derive(Clone, Debug)]
struct Origin {
    path: PathBuf,
    digest: [u8; 32],
}

#[derive(Debug, Default)]
struct Rules {
    file: WebConfigFile,
    tls: Option<ServerConfigs>,
    /// `None` without a web config file.
    origin: Option<Origin>,
    /// Made when the rules are put in force.
    limiter: Option<Arc<Limiter>>,
}

impl Loaded {
    /// Reads the web config file and the files that it names; without one, everybody may ask over plain HTTP.
    ///
    /// # Errors
    ///
    /// What can't be read or used, and what to do.
    pub fn open(path: Option<&Path>) -> Result<Self, AccessError> {
        match path {
            None => Ok(Self(Rules::default())),
            Some(path) => Self::of(Material::read(path)?, path),
        }
    }

    fn of(material: Material, path: &Path) -> Result<Self, AccessError> {
        let tls = tls::server_configs(&material)?;
        let origin = Origin { path: path.to_owned(), digest: material.digest };
        Ok(Self(Rules { file: material.file, tls, origin: Some(origin), limiter: None }))
    }
}

impl Access {
    /// Puts the first rules in force.
    ///
    /// # Errors
    ///
    /// A system that gives no random numbers.
    pub fn new(loaded: Loaded, clock: Clock) -> Result<Self, rand::rngs::SysError> {
        let mut rules = loaded.0;
        rules.limiter = limiter(&rules.file, &clock);
        Ok(Self { rules: Arc::new(RwLock::new(Arc::new(rules))), passwords: Arc::new(Passwords::new()?), clock })
    }

    /// Whether others can be put in force while the exporter runs.
    ///
    /// # Errors
    ///
    /// Why not: TLS would be turned on or off, for which the listeners must be begun anew.
    pub fn check(&self, loaded: &Loaded) -> Result<(), String> {
        match (self.rules().tls.is_some(), loaded.0.tls.is_some()) {
            (false, true) => {
                Err("web.config_file: TLS cannot be turned on while the exporter runs: restart it, or undo the change"
                    .to_owned())
            }
            (true, false) => {
                Err("web.config_file: TLS cannot be turned off while the exporter runs: restart it, or undo the change"
                    .to_owned())
            }
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// Puts others in force, unless `is_late` says that they were overtaken.
    pub fn replace(&self, loaded: Loaded, is_late: impl Fn() -> bool) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        if is_late() {
            return;
        }
        let (old, new) = (&rules.file.users, &loaded.0.file.users);
        self.passwords.retain(|name| old.get(name) == new.get(name));
        let mut new_rules = loaded.0;
        // What has been spent stays spent.
        let is_same_rate = rules.file.rate_limit == new_rules.file.rate_limit;
        new_rules.limiter = if is_same_rate { rules.limiter.clone() } else { limiter(&new_rules.file, &self.clock) };
        *rules = Arc::new(new_rules);
    }

    /// Whether TLS is spoken.
    pub fn speaks_tls(&self) -> bool {
        self.rules().tls.is_some()
    }

    /// How TLS is spoken on the web listener.
    pub fn web_tls(&self) -> Option<TlsSource> {
        self.tls(|configs| &configs.web)
    }

    /// How TLS is spoken on a listener for webhooks alone: the same certificate, and clients need none.
    pub fn webhook_tls(&self) -> Option<TlsSource> {
        self.tls(|configs| &configs.webhooks)
    }

    /// Whether one more request may come now.
    pub fn has_room(&self) -> bool {
        self.rules().limiter.as_ref().is_none_or(|limiter| limiter.check().is_ok())
    }

    /// Whether only users may ask.
    pub fn needs_user(&self) -> bool {
        !self.rules().file.users.is_empty()
    }

    /// Whether this is a user with the right password. A right one that was used lately costs next to nothing; all others
    /// are checked one after another beside the async threads. `from` is the client's address: no address may have all the
    /// places of those who wait.
    pub async fn verify(&self, user: &str, password: &[u8], from: IpAddr) -> Verdict {
        let rules = self.rules();
        self.passwords.verify(&rules.file.users, user, password, from).await
    }

    /// Headers of every answer.
    pub fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.rules().file.headers.clone()
    }

    fn tls(&self, which: fn(&ServerConfigs) -> &Arc<tokio_rustls::rustls::ServerConfig>) -> Option<TlsSource> {
        if !self.speaks_tls() {
            return None;
        }
        let access = self.clone();
        Some(Arc::new(move || access.rules().tls.as_ref().map(which).cloned()))
    }

    fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn limiter(file: &WebConfigFile, clock: &Clock) -> Option<Arc<Limiter>> {
    let rate = file.rate_limit?;
    let quota = Quota::with_period(rate.interval)?.allow_burst(rate.burst);
    Some(Arc::new(RateLimiter::direct_with_clock(quota, clock.clone())))
}

/// What would be open under `new` that is closed under `old`, if anything.
fn opens(old: &WebConfigFile, new: &WebConfigFile) -> Option<&'static str> {
    if !old.users.is_empty() && new.users.is_empty() {
        return Some("basic_auth_users names nobody any more");
    }
    if old.rate_limit.is_some_and(|old| new.rate_limit.is_none_or(|new| is_looser(old, new))) {
        return Some("rate_limit allows more requests");
    }
    if old.headers.iter().any(|(name, _)| new.headers.iter().all(|(kept, _)| kept != name)) {
        return Some("headers has fewer of them, which browsers would no longer be told");
    }
    let (Some(old), Some(new)) = (&old.tls, &new.tls) else { return None };
    // Neither of these two keeps anybody out.
    let was_open = matches!(old.client_auth, ClientAuth::None | ClientAuth::Request);
    if !(was_open || new.client_auth == old.client_auth || new.client_auth == ClientAuth::RequireAndVerify) {
        return Some("client_auth_type asks for less");
    }
    if !old.client_allowed_sans.is_empty() && new.client_allowed_sans.is_empty() {
        return Some("client_allowed_sans allows every name");
    }
    (new.min_version < old.min_version).then_some("min_version is lower")
}

fn is_looser(old: RequestRate, new: RequestRate) -> bool {
    new.interval < old.interval || new.burst > old.burst
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> WebConfigFile {
        WebConfigFile::parse(text.as_bytes(), Path::new("web.yaml")).unwrap()
    }

    #[test]
    fn only_what_lets_more_in_opens_a_door() {
        let user = "basic_auth_users: {a: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG}";
        let rate = "rate_limit: {interval: 1s, burst: 5}";
        let header = "http_server_config: {headers: {Content-Security-Policy: \"default-src 'self'\"}}";
        let tls = |rest: &str| file(&format!("tls_server_config: {{cert_file: c, key_file: k{rest}}}"));
        let verifying = ", client_ca_file: ca, client_auth_type: RequireAndVerifyClientCert";
        let if_given = ", client_ca_file: ca, client_auth_type: VerifyClientCertIfGiven";
        let any = ", client_auth_type: RequireAnyClientCert";
        for (old, new, expected) in [
            (file(user), file(""), true),
            (file(""), file(user), false),
            (file(user), file(user), false),
            (file(rate), file(""), true),
            (file(rate), file("rate_limit: {interval: 1s, burst: 6}"), true),
            (file(rate), file("rate_limit: {interval: 500ms, burst: 5}"), true),
            (file(rate), file("rate_limit: {interval: 2s, burst: 4}"), false),
            (file(""), file(rate), false),
            (file(header), file("http_server_config: {headers: {X-Frame-Options: deny}}"), true),
            (file(header), file(&header.replace("'self'", "'none'")), false),
            (file(""), file(header), false),
            (tls(verifying), tls(""), true),
            (tls(verifying), tls(if_given), true),
            (tls(if_given), tls(any), true),
            (tls(any), tls(verifying), false),
            (tls(""), tls(any), false),
            (tls(&format!("{verifying}, client_allowed_sans: [a]")), tls(verifying), true),
            (tls(verifying), tls(&format!("{verifying}, client_allowed_sans: [a]")), false),
            (tls(", min_version: TLS13"), tls(""), true),
            (tls(""), tls(", min_version: TLS13"), false),
        ] {
            assert_eq!(opens(&old, &new).is_some(), expected, "{old:?} {new:?}");
        }
    }
}
