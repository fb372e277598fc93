//! From the certificate, the key and the choices of the web config file to what rustls serves with.

use super::material::{Material, Pem, TlsMaterial};
use super::{AccessError, client_cert};
use crate::config::{TlsServerConfig, TlsVersion};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{
    self, InconsistentKeys, NamedGroup, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version,
};

/// What each listener serves with.
pub(super) struct ServerConfigs {
    pub(super) web: Arc<ServerConfig>,
    pub(super) webhooks: Arc<ServerConfig>,
}

impl fmt::Debug for ServerConfigs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerConfigs")
    }
}

/// What rustls serves with; `None` where TLS is off.
pub(super) fn server_configs(material: &Material) -> Result<Option<ServerConfigs>, AccessError> {
    let (Some(config), Some(tls)) = (&material.file.tls, &material.tls) else { return Ok(None) };
    let provider = Arc::new(provider(config));
    let certificate = certificate(tls, &provider, &material.path)?;
    let verifier = client_cert::verifier(config, tls.client_ca.as_ref(), &provider)
        .map_err(|(key, problem)| unusable(&material.path, key, problem))?;
    let config = |verifier| server_config(config, &provider, verifier, certificate.clone(), material.file.http2);
    let configs = (config(verifier), config(None));
    let failed = |error: rustls::Error| unusable(&material.path, "cipher_suites", format!("{error}; choose others"));
    Ok(Some(ServerConfigs { web: configs.0.map_err(failed)?, webhooks: configs.1.map_err(failed)? }))
}

fn server_config(
    config: &TlsServerConfig,
    provider: &Arc<CryptoProvider>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    certificate: Arc<SingleCertAndKey>,
    http2: bool,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions(config))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_cert_resolver(certificate);
    server.ignore_client_order = config.prefer_server_cipher_suites;
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(server))
}

/// The algorithms that the configuration chooses, in its order.
fn provider(config: &TlsServerConfig) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !config.cipher_suites.is_empty() {
        // As in the toolkit, the list is of TLS 1.2's suites: those of 1.3 are all good, and always on.
        let (mut suites, older): (Vec<_>, Vec<_>) =
            provider.cipher_suites.iter().partition(|suite| suite.tls13().is_some());
        let chosen =
            config.cipher_suites.iter().filter_map(|name| older.iter().find(|suite| suite_name(suite) == *name));
        suites.extend(chosen);
        provider.cipher_suites = suites;
    }
    if !config.curves.is_empty() {
        let find = |name: &&str| provider.kx_groups.iter().find(|group| curve_name(**group) == Some(*name));
        provider.kx_groups = config.curves.iter().filter_map(find).copied().collect();
    }
    provider
}

fn versions(config: &TlsServerConfig) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    if config.max_version == TlsVersion::Tls13 {
        versions.push(&version::TLS13);
    }
    if config.min_version == TlsVersion::Tls12 && config.has_suite_of_tls_1_2() {
        versions.push(&version::TLS12);
    }
    versions
}

/// The name that the format has for a suite: rustls marks those of TLS 1.3.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replacen("TLS13_", "TLS_", 1)
}

/// The name that the format has for a curve.
fn curve_name(group: &dyn SupportedKxGroup) -> Option<&'static str> {
    // rustls may come to know others at any time.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is another's, and open")]
    match group.name() {
        NamedGroup::secp256r1 => Some("CurveP256"),
        NamedGroup::secp384r1 => Some("CurveP384"),
        NamedGroup::X25519 => Some("X25519"),
        _ => None,
    }
}

fn certificate(
    tls: &TlsMaterial,
    provider: &CryptoProvider,
    web_config: &Path,
) -> Result<Arc<SingleCertAndKey>, AccessError> {
    let wrong = |pem: &Pem, problem: &str| unusable(web_config, pem.key, format!("{} {problem}", pem.place()));
    let chain: Option<Vec<_>> = CertificateDer::pem_slice_iter(tls.certificate.bytes()).map(Result::ok).collect();
    let chain = chain.filter(|chain| !chain.is_empty()).ok_or_else(|| {
        wrong(&tls.certificate, "holds no certificate that can be read: it must be PEM, with BEGIN CERTIFICATE lines")
    })?;
    let key = PrivateKeyDer::from_pem_slice(tls.key.bytes()).map_err(|_| {
        wrong(
            &tls.key,
            "holds no private key that can be read: it must be PEM, with BEGIN PRIVATE KEY lines and without a passphrase",
        )
    })?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        if let rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) = error {
            return wrong(&tls.key, "is not the key of the certificate: give the two that belong together");
        }
        if let rustls::Error::InvalidCertificate(problem) = error {
            // What it says of this has no other form than a text.
            if problem.to_string().contains("UnsupportedCertVersion") {
                let what = "holds a certificate of X.509 version 1, which is not served: make it anew, as version 3";
                return wrong(&tls.certificate, what);
            }
            return wrong(&tls.certificate, &format!("cannot be served: {problem}; make the certificate anew"));
        }
        // It has one general error for every key that it does not take.
        wrong(&tls.key, "is a key that is too weak or of a kind that is not spoken: make it anew, RSA of 2048 to 8192 bits, ECDSA or Ed25519")
    })?;
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

fn unusable(web_config: &Path, key: &'static str, problem: String) -> AccessError {
    AccessError::Unusable { web_config: web_config.to_owned(), key, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CIPHER_SUITES, CURVES};
    use std::collections::BTreeSet;

    #[test]
    fn the_names_of_the_configuration_are_exactly_what_is_spoken() {
        let provider = aws_lc_rs::default_provider();
        let suites: BTreeSet<String> = provider.cipher_suites.iter().map(suite_name).collect();
        assert_eq!(suites, CIPHER_SUITES.map(str::to_owned).into());
        let curves: BTreeSet<&str> = provider.kx_groups.iter().filter_map(|group| curve_name(*group)).collect();
        assert_eq!(curves, CURVES.into());
    }
}
