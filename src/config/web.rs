//! `web`: the listener for scrapes and registrations.

use super::value::{Problem, Section, Value};
use std::path::{Path, PathBuf};

/// The listener for scrapes and registrations.
#[derive(Clone, Debug)]
pub struct WebConfig {
    /// `host:port` to listen on; an empty host listens on all addresses.
    pub listen_address: String,
    /// The web config file: TLS and basic auth. Without it, plain HTTP for everybody.
    pub config_file: Option<PathBuf>,
    /// The file with the bearer token of `POST /api/v1/tasks`; without it that route answers 403.
    pub api_token_file: Option<PathBuf>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { listen_address: "127.0.0.1:10211".to_owned(), config_file: None, api_token_file: None }
    }
}

impl WebConfig {
    /// Reads the section.
    pub(super) fn read(mut section: Section<'_>, folder: &Path) -> Result<Self, Problem> {
        let default = Self::default();
        let listen_address = section.read("listen_address", default.listen_address, listen_address)?;
        let file = |value: Option<Value<'_>>| value.and_then(Value::some).map(|value| value.file(folder)).transpose();
        let config_file = file(section.get("config_file"))?;
        let api_token_file = file(section.get("api_token_file"))?;
        section.finish()?;
        Ok(Self { listen_address, config_file, api_token_file })
    }
}

fn listen_address(value: &Value<'_>) -> Result<String, Problem> {
    match value.text().filter(|text| is_listen_address(text)) {
        Some(text) => Ok(text.to_owned()),
        None => Err(value.wrong(LISTEN_ADDRESS)),
    }
}

/// What an error says of the form of an address to listen on.
pub(super) const LISTEN_ADDRESS: &str =
    "host:port, like 127.0.0.1:10211, localhost:10211, \"[::1]:10211\" in quotes, or :10211 for all addresses";

/// Whether `text` is `host:port` with an IP address (IPv6 in brackets), a host name or nothing as the host.
///
/// A name is not looked up here: checking a configuration contacts nothing.
pub fn is_listen_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port_is_valid = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let host_is_valid = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            host.is_empty()
                || host.parse::<std::net::Ipv4Addr>().is_ok()
                // All digits and dots would be a mistyped IPv4 address, not a name.
                || (host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
                    && host.bytes().any(|byte| byte.is_ascii_alphabetic()))
        }
    };
    port_is_valid && host_is_valid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for text in
            ["127.0.0.1:10211", ":10211", "[::1]:10211", "[::]:0", "localhost:10211", "exporter-1.internal:65535"]
        {
            assert!(is_listen_address(text), "{text}");
        }
        for text in [
            "",
            "10211",
            "localhost",
            "localhost:",
            "localhost:65536",
            "::1:10211",
            "[::1]",
            "[x]:1",
            "256.0.0.1:1",
            "a b:1",
            ":+1",
            "http://h:1",
        ] {
            assert!(!is_listen_address(text), "{text}");
        }
    }
}
