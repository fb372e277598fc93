//! The web config file and the files that it names, read as one.

use super::AccessError;
use crate::config::{ConfigError, Secret, TlsServerConfig, WebConfigFile};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The longest file of certificates or of a key, in bytes: all roots of a system take less than half of it.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// What the files hold.
pub(super) struct Material {
    pub(super) path: PathBuf,
    pub(super) file: WebConfigFile,
    pub(super) tls: Option<TlsMaterial>,
    /// Tells whether anything has changed.
    pub(super) digest: [u8; 32],
}

/// The parts of TLS.
pub(super) struct TlsMaterial {
    pub(super) certificate: Pem,
    pub(super) key: Pem,
    pub(super) client_ca: Option<Pem>,
}

/// A text in PEM, and where it comes from.
pub(super) struct Pem {
    /// The key of the web config file that holds it, or names its file.
    pub(super) key: &'static str,
    /// Its file, when it has one.
    path: Option<PathBuf>,
    bytes: SecretSlice<u8>,
}

impl Material {
    /// Reads all files.
    pub(super) fn read(path: &Path) -> Result<Self, AccessError> {
        let unreadable = |reason| ConfigError::UnreadableWebConfig { path: path.to_owned(), reason };
        check_regular(path).map_err(unreadable)?;
        let bytes = WebConfigFile::read_bytes(path)?;
        let file = WebConfigFile::parse(&bytes, path)?;
        let tls = file.tls.as_ref().map(|tls| TlsMaterial::read(tls, path)).transpose()?;
        let parts = tls.iter().flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]);
        let mut hash = Sha256::new();
        for part in [bytes.as_slice()].into_iter().chain(parts.flatten().map(Pem::bytes)) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        Ok(Self { path: path.to_owned(), file, tls, digest: hash.finalize().into() })
    }
}

impl TlsMaterial {
    fn read(tls: &TlsServerConfig, web_config: &Path) -> Result<Self, AccessError> {
        let client_ca = tls.client_ca.as_ref().map(|ca| Pem::read(ca, ("client_ca", "client_ca_file"), web_config));
        Ok(Self {
            certificate: Pem::read(&tls.certificate, ("cert", "cert_file"), web_config)?,
            key: Pem::read(&tls.key, ("key", "key_file"), web_config)?,
            client_ca: client_ca.transpose()?,
        })
    }
}

impl Pem {
    fn read(
        source: &Secret,
        (inline_key, file_key): (&'static str, &'static str),
        web_config: &Path,
    ) -> Result<Self, AccessError> {
        match source {
            Secret::Inline(text) => {
                let bytes = text.expose_secret().as_bytes().to_vec();
                Ok(Self { key: inline_key, path: None, bytes: bytes.into() })
            }
            Secret::File(path) => {
                let unreadable = |cause| AccessError::Unreadable {
                    web_config: web_config.to_owned(),
                    key: file_key,
                    path: path.clone(),
                    cause,
                };
                let bytes = read_bounded(path).map_err(unreadable)?;
                Ok(Self { key: file_key, path: Some(path.clone()), bytes: bytes.into() })
            }
        }
    }

    /// Where it stands, for a message.
    pub(super) fn place(&self) -> String {
        self.path.as_ref().map_or_else(|| "the text here".to_owned(), |path| path.display().to_string())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.expose_secret()
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    check_regular(path)?;
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// Opening a pipe would wait for somebody to write, and what it held can't be read again.
fn check_regular(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_file() { Ok(()) } else { Err(io::Error::other("it is no regular file")) }
}
