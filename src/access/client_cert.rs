//! Which certificate of a client will do.

use super::material::Pem;
use crate::config::TlsServerConfig;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// What checks the certificates of clients; `None` where they are not asked for one. An error names its key.
pub(super) fn verifier(
    config: &TlsServerConfig,
    client_ca: Option<&Pem>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, (&'static str, String)> {
    use crate::config::ClientAuth::{None as NoClientCert, Request, RequireAndVerify, RequireAny, VerifyIfGiven};

    let authorities = client_ca.map(certificates).transpose()?.unwrap_or_default();
    let roots =
        Arc::new(client_ca.map(|pem| roots(pem, &authorities)).transpose()?.unwrap_or_else(RootCertStore::empty));
    let (otherwise, listed): (Arc<dyn ClientCertVerifier>, _) = match config.client_auth {
        NoClientCert => return Ok(None),
        Request | RequireAny => {
            let any = AnyCertificate {
                is_required: config.client_auth.requires(),
                hints: roots.subjects(),
                algorithms: provider.signature_verification_algorithms,
            };
            (Arc::new(any), Vec::new())
        }
        VerifyIfGiven | RequireAndVerify => {
            let builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
            let builder = if config.client_auth.requires() { builder } else { builder.allow_unauthenticated() };
            let signed =
                builder.build().map_err(|error| ("client_ca_file", format!("{error}; give the CA of your clients")))?;
            (signed, authorities)
        }
    };
    let allowed_names = config.client_allowed_sans.iter().cloned().collect();
    Ok(Some(Arc::new(Checked { otherwise, listed, allowed_names })))
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, (&'static str, String)> {
    let certificates = CertificateDer::pem_slice_iter(pem.bytes()).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if certificates.is_empty() { Err(no_authority(pem)) } else { Ok(certificates) }
}

fn roots(pem: &Pem, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, (&'static str, String)> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).map_err(|_| no_authority(pem))?;
    }
    Ok(roots)
}

fn no_authority(pem: &Pem) -> (&'static str, String) {
    let what = "holds no CA certificate that can be read: it must be PEM, with BEGIN CERTIFICATE lines";
    (pem.key, format!("{} {what}", pem.place()))
}

/// Takes a certificate that is right otherwise, or is itself among the CA's, and has an allowed name where there are any.
///
/// Most tools make a certificate that signs itself a CA's, which rustls takes from no client, and Go does.
#[derive(Debug)]
struct Checked {
    otherwise: Arc<dyn ClientCertVerifier>,
    listed: Vec<CertificateDer<'static>>,
    allowed_names: BTreeSet<String>,
}

impl ClientCertVerifier for Checked {
    fn client_auth_mandatory(&self) -> bool {
        self.otherwise.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.otherwise.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.listed.contains(certificate) {
            check_alone(certificate, now).map_err(Error::InvalidCertificate)?;
        } else {
            self.otherwise.verify_client_cert(certificate, intermediates, now)?;
        }
        if !self.allowed_names.is_empty() {
            check_names(certificate, &self.allowed_names).map_err(Error::InvalidCertificate)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.otherwise.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.otherwise.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.otherwise.supported_verify_schemes()
    }
}

/// Checks what a certificate says of itself: its time, and that it may be a client's.
fn check_alone(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let (validity, now) = (certificate.validity(), i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    match certificate.extended_key_usage().map_err(|_| CertificateError::BadEncoding)? {
        Some(usage) if !(usage.value.client_auth || usage.value.any) => Err(CertificateError::InvalidPurpose),
        Some(_) | None => Ok(()),
    }
}

/// Checks that a certificate has one of these names.
fn check_names(certificate: &CertificateDer<'_>, allowed: &BTreeSet<String>) -> Result<(), CertificateError> {
    let names = names(certificate);
    if names.iter().any(|name| allowed.contains(name)) {
        return Ok(());
    }
    Err(CertificateError::Other(OtherError(Arc::new(NotAllowed { names }))))
}

/// Takes any certificate whose key the client has.
#[derive(Debug)]
struct AnyCertificate {
    is_required: bool,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// None of these names is allowed.
#[derive(Debug)]
struct NotAllowed {
    names: Vec<String>,
}

impl std::error::Error for NotAllowed {}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = if self.names.is_empty() { "none".to_owned() } else { self.names.join(", ") };
        write!(f, "has none of the names in client_allowed_sans; its subject alternative names are: {names}")
    }
}

/// The names of a certificate as the toolkit compares them: DNS names, e-mail addresses, IP addresses and URIs of its
/// subject alternative names. The common name is none.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = parse_x509_certificate(certificate) else { return Vec::new() };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| ip.to_canonical().to_string()),
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    #[test]
    fn every_kind_of_name_is_compared_as_it_is_written() {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = vec![
            SanType::DnsName("prometheus.example.com".try_into().unwrap()),
            SanType::Rfc822Name("ops@example.com".try_into().unwrap()),
            SanType::URI("spiffe://example.com/prometheus".try_into().unwrap()),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
        ];
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expected = [
            "prometheus.example.com",
            "ops@example.com",
            "spiffe://example.com/prometheus",
            "192.0.2.1",
            "2001:db8::1",
        ];
        assert_eq!(names(certificate.der()), expected);
        let nameless = CertificateParams::new(vec![]).unwrap().self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(names(nameless.der()).is_empty());
    }
}
