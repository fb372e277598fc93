//! `tls_server_config`: the certificate, who must show one, and how TLS is spoken.

use super::plain;
use crate::config::value::{Problem, Section, Value};
use crate::config::{Secret, TlsVersion};
use std::path::{Path, PathBuf};

/// The cipher suites that are spoken, by the names of the format: those of TLS 1.2 with forward secrecy and authenticated
/// encryption, and those of TLS 1.3, which are always on.
pub const CIPHER_SUITES: [&str; 9] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];
/// The elliptic curves that are spoken, by the names of the format.
pub const CURVES: [&str; 3] = ["CurveP256", "CurveP384", "X25519"];

/// How TLS is spoken with clients.
#[derive(Clone, Debug)]
pub struct TlsServerConfig {
    /// The certificate and those that lead to a root, in PEM.
    pub certificate: Secret,
    /// Its private key, in PEM.
    pub key: Secret,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
    /// The roots that clients' certificates must lead to, in PEM.
    pub client_ca: Option<Secret>,
    /// The names of which a client's certificate must have one; any will do when there are none.
    pub client_allowed_sans: Vec<String>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// The newest version spoken; no older than the oldest.
    pub max_version: TlsVersion,
    /// The cipher suites in the order of preference; all when there are none.
    pub cipher_suites: Vec<&'static str>,
    /// The curves in the order of preference; all when there are none.
    pub curves: Vec<&'static str>,
    /// Whether the order of the server counts, rather than that of the client.
    pub prefer_server_cipher_suites: bool,
}

/// Whether clients are asked for a certificate, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// `NoClientCert`: none is asked for.
    None,
    /// `RequestClientCert`: one is asked for; whatever comes, and nothing, will do.
    Request,
    /// `RequireAnyClientCert`: one must come, and may be anybody's.
    RequireAny,
    /// `VerifyClientCertIfGiven`: one that comes must lead to a root.
    VerifyIfGiven,
    /// `RequireAndVerifyClientCert`: one must come and lead to a root.
    RequireAndVerify,
}

impl ClientAuth {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "NoClientCert" => Some(Self::None),
            "RequestClientCert" => Some(Self::Request),
            "RequireAnyClientCert" | "RequireClientCert" => Some(Self::RequireAny),
            "VerifyClientCertIfGiven" => Some(Self::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Some(Self::RequireAndVerify),
            _ => None,
        }
    }

    /// Whether a certificate that comes must lead to a root.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    /// Whether one must come.
    pub fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

impl TlsServerConfig {
    /// Reads the section; `None` when nothing in it is set. Relative paths are relative to `folder`.
    pub(super) fn read(mut section: Section<'_>, folder: &Path) -> Result<Option<Self>, Problem> {
        let certificate = pem(&mut section, "cert", "cert_file", folder)?;
        let key = pem(&mut section, "key", "key_file", folder)?;
        let client_ca = pem(&mut section, "client_ca", "client_ca_file", folder)?;
        let client_auth = section.set("client_auth_type").filter(|value| value.text() != Some(""));
        let sans = section.set("client_allowed_sans");
        let min_version = version(&mut section, "min_version", TlsVersion::Tls12)?;
        let max_version = version(&mut section, "max_version", TlsVersion::Tls13)?;
        let cipher_suites =
            section.read("cipher_suites", Vec::new(), |value| names(value, "cipher suites", &CIPHER_SUITES))?;
        let prefer_server_cipher_suites =
            section.set("prefer_server_cipher_suites").map_or(Ok(true), |value| plain::boolean(&value))?;
        let curves = section.read("curve_preferences", Vec::new(), |value| names(value, "curves", &CURVES))?;
        let path = |key: &str| section.path(key);
        let missing = |key: &str, inline: &str, what: &str| {
            Problem::new(path(key), format!("missing, name the PEM file with {what} here, or write it in {inline}"))
        };
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => return Err(missing("key_file", "key", "the private key of the certificate")),
            (None, None) if client_ca.is_none() && client_auth.is_none() && sans.is_none() => {
                section.finish()?;
                return Ok(None);
            }
            (None, _) => return Err(missing("cert_file", "cert", "the certificate")),
        };

        let auth_type = client_auth_type(client_auth.as_ref())?;
        if auth_type == ClientAuth::None && client_ca.is_some() {
            let text = "missing beside a client CA: write RequireAndVerifyClientCert, or VerifyClientCertIfGiven, or remove the CA";
            return Err(Problem::new(path("client_auth_type"), text));
        }
        if auth_type.verifies() && client_ca.is_none() {
            let text = "missing, and without it any certificate of the roots of the system would do: name the PEM file with the CA of your clients here";
            return Err(Problem::new(path("client_ca_file"), text));
        }
        let client_allowed_sans = sans.as_ref().map_or(Ok(Vec::new()), |value| allowed_sans(value, auth_type))?;
        if max_version < min_version {
            let text = "older than min_version, allowed is TLS13; raise it or lower min_version";
            return Err(Problem::new(path("max_version"), text));
        }
        let suites_path = path("cipher_suites");
        section.finish()?;
        let config = Self {
            certificate,
            key,
            client_auth: auth_type,
            client_ca,
            client_allowed_sans,
            min_version,
            max_version,
            cipher_suites,
            curves,
            prefer_server_cipher_suites,
        };
        if max_version == TlsVersion::Tls12 && !config.has_suite_of_tls_1_2() {
            let text = "none of these is a suite of TLS 1.2, the only version allowed by max_version; add one, like TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
            return Err(Problem::new(suites_path, text));
        }
        Ok(Some(config))
    }

    /// Whether a suite of TLS 1.2 is among the cipher suites. Those of TLS 1.3 are always on, as in the toolkit.
    pub fn has_suite_of_tls_1_2(&self) -> bool {
        self.cipher_suites.is_empty() || self.cipher_suites.iter().any(|name| name.contains("_WITH_"))
    }

    /// The files that it names, with their keys.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let parts = [
            ("tls_server_config.cert_file", Some(&self.certificate)),
            ("tls_server_config.key_file", Some(&self.key)),
            ("tls_server_config.client_ca_file", self.client_ca.as_ref()),
        ];
        parts.into_iter().filter_map(|(key, part)| match part {
            Some(Secret::File(path)) => Some((key, path)),
            Some(Secret::Inline(_)) | None => None,
        })
    }
}

/// What is written in PEM, or the file that holds it. As in the toolkit, an empty text is nothing.
fn pem(
    section: &mut Section<'_>,
    inline_key: &'static str,
    file_key: &'static str,
    folder: &Path,
) -> Result<Option<Secret>, Problem> {
    let given = |value: &Value<'_>| value.text() != Some("");
    let inline = section.set(inline_key).filter(given);
    let file = section.set(file_key).filter(given);
    match (inline, file) {
        (Some(inline), Some(file)) => {
            let text = format!("given beside {inline_key}, allowed is one of the two; remove the other");
            Err(Problem::new(file.path().clone(), text).with_other(inline.path().clone()))
        }
        (Some(inline), None) => match inline.text().filter(|text| text.contains("-----BEGIN ")) {
            Some(text) => Ok(Some(Secret::Inline(text.into()))),
            None => Err(inline
                .wrong_secret(&format!("a text in PEM, with BEGIN lines; the path of a file belongs in {file_key}"))),
        },
        (None, Some(file)) => Ok(Some(Secret::File(file.file(folder)?))),
        (None, None) => Ok(None),
    }
}

fn client_auth_type(value: Option<&Value<'_>>) -> Result<ClientAuth, Problem> {
    let Some(value) = value else { return Ok(ClientAuth::None) };
    value.text().and_then(ClientAuth::parse).ok_or_else(|| {
        value.wrong(
            "NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert",
        )
    })
}

fn allowed_sans(value: &Value<'_>, auth_type: ClientAuth) -> Result<Vec<String>, Problem> {
    const ALLOWED: &str = "at least one DNS name, IP address, e-mail address or URI of the certificate of a client";
    if !auth_type.requires() {
        let text = "given where a client need not show a certificate, allowed is client_auth_type RequireAndVerifyClientCert or RequireAnyClientCert";
        return Err(Problem::new(value.path().clone(), text));
    }
    let read = |entry: Value<'_>| match entry.text().filter(|text| !text.is_empty()) {
        Some(text) => Ok(text.to_owned()),
        None => Err(entry.wrong("a DNS name, IP address, e-mail address or URI")),
    };
    let sans: Vec<String> = value.list("names")?.into_iter().map(read).collect::<Result<_, _>>()?;
    if sans.is_empty() { Err(value.wrong(ALLOWED)) } else { Ok(sans) }
}

fn version(section: &mut Section<'_>, key: &'static str, default: TlsVersion) -> Result<TlsVersion, Problem> {
    let Some(value) = section.set(key) else { return Ok(default) };
    match value.text() {
        Some("TLS12") => Ok(TlsVersion::Tls12),
        Some("TLS13") => Ok(TlsVersion::Tls13),
        Some("TLS10" | "TLS11") => {
            Err(value.wrong("TLS12 or TLS13: older versions are broken and not spoken; write TLS12"))
        }
        Some(_) | None => Err(value.wrong("TLS12 or TLS13")),
    }
}

/// Names out of `known`, in the order in which they are written.
fn names(value: &Value<'_>, what: &str, known: &[&'static str]) -> Result<Vec<&'static str>, Problem> {
    let find = |entry: Value<'_>| {
        let found = known.iter().find(|name| entry.text() == Some(name));
        found.copied().ok_or_else(|| entry.wrong(&known.join(", ")))
    };
    value.list(what)?.into_iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WebConfigFile;

    fn tls(text: &str) -> Result<TlsServerConfig, String> {
        let text = format!("tls_server_config: {{{text}}}");
        let file = WebConfigFile::parse(text.as_bytes(), Path::new("/etc/exporter/web.yaml"));
        Ok(file.map_err(|error| error.to_string())?.tls.unwrap())
    }

    #[test]
    fn what_is_not_written_is_as_in_the_toolkit() {
        let tls = tls("cert_file: c.pem, key_file: /k.pem").unwrap();
        let files: Vec<_> = tls.files().map(|(key, path)| (key, path.to_str().unwrap())).collect();
        assert_eq!(
            files,
            [("tls_server_config.cert_file", "/etc/exporter/c.pem"), ("tls_server_config.key_file", "/k.pem")]
        );
        assert_eq!(
            (tls.client_auth, tls.min_version, tls.max_version),
            (ClientAuth::None, TlsVersion::Tls12, TlsVersion::Tls13)
        );
        assert!(tls.prefer_server_cipher_suites && tls.cipher_suites.is_empty() && tls.curves.is_empty());
    }

    #[test]
    fn every_type_of_client_auth_has_its_name() {
        for (name, expected) in [
            ("''", ClientAuth::None),
            ("NoClientCert", ClientAuth::None),
            ("RequestClientCert", ClientAuth::Request),
            ("RequireClientCert", ClientAuth::RequireAny),
            ("RequireAnyClientCert", ClientAuth::RequireAny),
            ("VerifyClientCertIfGiven, client_ca_file: ca.pem", ClientAuth::VerifyIfGiven),
            ("RequireAndVerifyClientCert, client_ca_file: ca.pem", ClientAuth::RequireAndVerify),
        ] {
            let tls = tls(&format!("cert_file: c, key_file: k, client_auth_type: {name}")).unwrap();
            assert_eq!(tls.client_auth, expected, "{name}");
        }
    }

    #[test]
    fn suites_and_curves_keep_the_order_in_which_they_are_written() {
        let text = "cert_file: c, key_file: k, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256], curve_preferences: [X25519, CurveP256]";
        let tls = tls(text).unwrap();
        assert_eq!(
            tls.cipher_suites,
            ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
        );
        assert_eq!(tls.curves, ["X25519", "CurveP256"]);
    }

    #[test]
    fn an_inline_key_is_never_shown() {
        let tls = tls("cert: '-----BEGIN C', key: '-----BEGIN hunter2'").unwrap();
        assert!(!format!("{tls:?}").contains("hunter2"));
    }
}
