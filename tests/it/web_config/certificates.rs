//! Certificates, and the CAs that make them.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

/// A CA.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Pair {
    /// One with a key that nobody should use any more: openssl still makes it.
    pub(super) fn weak() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:1024", "-nodes", "-days", "2", "-subj", "/CN=weak"])
            .args(["-keyout", "key", "-out", "crt"])
            .current_dir(&folder)
            .output();
        let made = made.unwrap();
        assert!(made.status.success(), "{made:?}");
        let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        Self { certificate: read("crt"), key: read("key") }
    }

    pub(super) fn both(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// A client's certificate that is its own CA's.
    pub(super) fn own(usage: ExtendedKeyUsagePurpose, end_of_time: i32) -> Pair {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "own");
        params.extended_key_usages.push(usage);
        params.not_after = rcgen::date_time_ymd(end_of_time, 1, 1);
        let key = KeyPair::generate().unwrap();
        Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A server's certificate for loopback, with this common name.
    pub(super) fn server(&self, name: &str) -> Pair {
        let names =
            vec![SanType::IpAddress("127.0.0.1".parse().unwrap()), SanType::DnsName("localhost".try_into().unwrap())];
        self.pair(name, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate with these names.
    pub(super) fn client(&self, names: Vec<SanType>) -> Pair {
        self.pair("client", names, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn pair(&self, name: &str, names: Vec<SanType>, usage: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = names;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(usage);
        let key = KeyPair::generate().unwrap();
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}
