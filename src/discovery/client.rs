//! The HTTP client of one source: its TLS files, and which redirects it follows.

use crate::config::{HttpSource, TlsOptions, TlsVersion};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Client, ClientBuilder, Identity, tls};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Most redirects that are followed: one or two occur (a renamed route, a slash), more are a loop.
const MAX_REDIRECTS: usize = 5;
/// The longest file of certificates or of a key, in bytes: all roots of a system take less than half of it.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// A source that can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of `tls_config` can't be read.
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file of trust roots holds none.
    #[error("{} holds no certificate that can be read: it must be PEM, with BEGIN CERTIFICATE lines", path.display())]
    NoRoots {
        /// The file.
        path: PathBuf,
    },
    /// The files of the client's certificate and key hold no such pair.
    #[error(
        "{} and {} hold no certificate with its private key: they must be PEM, with BEGIN CERTIFICATE lines in the one and BEGIN PRIVATE KEY in the other",
        cert_file.display(), key_file.display()
    )]
    NoIdentity {
        /// The certificate's file.
        cert_file: PathBuf,
        /// The key's file.
        key_file: PathBuf,
    },
    /// There is no TLS without trust roots.
    #[error(
        "cannot set up the HTTP client: install the system's CA certificates or name a PEM file in tls_config.ca_file"
    )]
    Http(#[source] reqwest::Error),
}

/// A client, and what its TLS files held when it was made.
#[derive(Clone, Debug)]
pub(super) struct SourceClient {
    /// The client.
    pub(super) http: Client,
    digest: [u8; 32],
}

/// What the TLS files hold.
#[derive(Default)]
struct Material {
    roots: Option<Vec<u8>>,
    identity: Option<Vec<u8>>,
}

impl SourceClient {
    /// The client of a source.
    pub(super) fn new(source: &HttpSource) -> Result<Self, ClientError> {
        let material = Material::read(&source.tls)?;
        Ok(Self { http: build(source, &material)?, digest: material.digest() })
    }

    /// The client, made anew if a TLS file has changed: certificates are renewed while the exporter runs.
    pub(super) fn refreshed(self, source: &HttpSource) -> Result<Self, ClientError> {
        let material = Material::read(&source.tls)?;
        let digest = material.digest();
        if digest == self.digest { Ok(self) } else { Ok(Self { http: build(source, &material)?, digest }) }
    }
}

impl Material {
    fn read(tls: &TlsOptions) -> Result<Self, ClientError> {
        let roots = tls.ca_file.as_deref().map(read).transpose()?;
        let identity = match &tls.identity {
            None => None,
            Some(files) => Some([read(&files.cert_file)?, b"\n".to_vec(), read(&files.key_file)?].concat()),
        };
        Ok(Self { roots, identity })
    }

    /// Kept in place of the key itself, to notice a change.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.roots, &self.identity].into_iter().flatten() {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let unreadable = |cause| ClientError::Unreadable { path: path.to_owned(), cause };
    // Opening a pipe would wait for somebody to write.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::other("it is no regular file")));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(unreadable(io::Error::other("it is longer than 1 MiB")));
    }
    Ok(bytes)
}

fn build(source: &HttpSource, material: &Material) -> Result<Client, ClientError> {
    let tls = &source.tls;
    if let (Some(pem), Some(path)) = (&material.roots, &tls.ca_file) {
        let roots = roots(pem).ok_or_else(|| ClientError::NoRoots { path: path.clone() })?;
        return builder(source, material)?.tls_certs_only(roots).build().map_err(ClientError::Http);
    }
    match builder(source, material)?.build() {
        Ok(client) => Ok(client),
        // Plain HTTP works in an image without any trust roots, and where nothing is verified they are not missed.
        Err(_) if source.url.whole().scheme() == "http" || tls.insecure_skip_verify => {
            builder(source, material)?.tls_certs_only([]).build().map_err(ClientError::Http)
        }
        Err(error) => Err(ClientError::Http(error)),
    }
}

fn roots(pem: &[u8]) -> Option<Vec<Certificate>> {
    Certificate::from_pem_bundle(pem).ok().filter(|roots| !roots.is_empty())
}

fn builder(source: &HttpSource, material: &Material) -> Result<ClientBuilder, ClientError> {
    let tls = &source.tls;
    let mut builder = Client::builder()
        .user_agent(concat!("dragdropdo-exporter/", env!("CARGO_PKG_VERSION")))
        .referer(false)
        .redirect(policy(source))
        .tls_danger_accept_invalid_certs(tls.insecure_skip_verify)
        .tls_version_min(match tls.min_version {
            TlsVersion::Tls12 => tls::Version::TLS_1_2,
            TlsVersion::Tls13 => tls::Version::TLS_1_3,
        });
    if let (Some(pem), Some(files)) = (&material.identity, &tls.identity) {
        let none = |_| ClientError::NoIdentity { cert_file: files.cert_file.clone(), key_file: files.key_file.clone() };
        builder = builder.identity(Identity::from_pem(pem).map_err(none)?);
    }
    Ok(builder)
}

/// Credentials never leave the origin of the configured URL, and a list that is asked for over TLS does not come without.
fn policy(source: &HttpSource) -> Policy {
    if !source.follow_redirects {
        return Policy::none();
    }
    let origin = source.url.whole().origin();
    let is_secure = source.url.whole().scheme() == "https";
    let has_credentials = source.auth.is_some() || source.tls.identity.is_some();
    Policy::custom(move |attempt: Attempt<'_>| {
        let is_allowed =
            attempt.url().origin() == origin || (!has_credentials && (!is_secure || attempt.url().scheme() == "https"));
        // The first of `previous` is the request itself.
        if is_allowed && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
    })
}
