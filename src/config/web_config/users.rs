//! `basic_auth_users`: names, and bcrypt hashes of their passwords.

use crate::config::value::{Problem, Value};
use bcrypt::HashParts;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The costs that bcrypt knows, up to the one that the toolkit's own document calls slow: each step doubles the time, and
/// at 18 a core is busy with one password for some ten seconds.
const COSTS: RangeInclusive<u32> = 4..=18;
/// What an error says of a hash.
const ALLOWED: &str = "a bcrypt hash of cost 4 to 18, like $2y$10$…: make one with `htpasswd -nBC 10 \"\"`";

/// A bcrypt hash of a password, which is not shown.
#[derive(Clone, Debug)]
pub struct PasswordHash {
    text: SecretString,
    cost: u32,
}

impl PasswordHash {
    /// The hash as it is written, `$2y$10$…`.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// The logarithm, to base 2, of the rounds that checking a password takes.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    fn parse(text: &str) -> Option<Self> {
        // $2x$ marks hashes of an implementation with a known flaw.
        let is_bcrypt = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix));
        let cost = text.parse::<HashParts>().ok()?.get_cost();
        (is_bcrypt && COSTS.contains(&cost)).then(|| Self { text: text.into(), cost })
    }
}

impl PartialEq for PasswordHash {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for PasswordHash {}

pub(super) fn read(value: &Value<'_>) -> Result<BTreeMap<String, PasswordHash>, Problem> {
    let read_one = |(name, value): (&str, Value<'_>)| {
        if name.contains(|c: char| c == ':' || c.is_control()) {
            let text =
                "the name of a user cannot hold a colon or a control character: basic authentication cannot carry it";
            return Err(Problem { at_key: true, ..Problem::new(value.path().clone(), text) });
        }
        let hash = value.text().and_then(PasswordHash::parse).ok_or_else(|| value.wrong_secret(ALLOWED))?;
        Ok((name.to_owned(), hash))
    };
    value.entries()?.into_iter().map(read_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_known_by_its_form_and_never_shown() {
        let rest = "X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
        for kind in ["2a", "2b", "2y"] {
            let hash = PasswordHash::parse(&format!("${kind}$10${rest}")).unwrap();
            assert_eq!(hash.cost(), 10);
            assert!(!format!("{hash:?}").contains(rest));
        }
        for wrong in ["$2x$10$", "$2y$03$", "$2y$19$", "$2y$10", "$1$10$", "", "$2y$10$x"] {
            assert!(PasswordHash::parse(&format!("{wrong}{rest}")).is_none(), "{wrong}");
        }
    }
}
