//! Checking passwords: bcrypt beside the async threads, and a short way for those that were right before.

use super::places::Places;
use crate::config::PasswordHash;
use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// Passwords checked at once. Each keeps a core busy for 70 ms at the usual cost of 10, and the other cores are for the
/// exporter's own work, however many wrong passwords come.
const AT_ONCE: usize = 1;
/// Passwords that wait to be checked: about the number that are through within a second. More are refused, because those
/// who sent them would have given up by their turn.
const WAITING: usize = 16;
/// Of these, how many one source may have: a quarter, so that it takes four to lock out those whose password is not
/// remembered yet.
const PER_SOURCE: usize = 4;

/// What is known of a user and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is this user's.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// Too many others are being checked.
    Busy,
}

/// Checks passwords and remembers, for each user, the latest that was right: by a digest whose key lives as long as the
/// process, and never the password itself.
pub(super) struct Passwords {
    key: [u8; 32],
    right: Arc<Mutex<BTreeMap<String, [u8; 32]>>>,
    places: Places,
    turns: Arc<Semaphore>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

impl Passwords {
    pub(super) fn new() -> Result<Self, SysError> {
        let mut key = [0; 32];
        SysRng.try_fill_bytes(&mut key)?;
        Ok(Self {
            key,
            right: Arc::default(),
            places: Places::new(AT_ONCE + WAITING, PER_SOURCE),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Forgets the passwords of all other users.
    pub(super) fn retain(&self, is_same: impl Fn(&str) -> bool) {
        self.right.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_same(name));
    }

    pub(super) async fn verify(
        &self,
        users: &BTreeMap<String, PasswordHash>,
        name: &str,
        password: &[u8],
        from: IpAddr,
    ) -> Verdict {
        // Whoever is no user is checked against the dearest hash, so that the time does not tell who is one. Where the costs
        // differ, it does tell who has a cheaper hash: all should have the same cost.
        let (is_user, hash) = match users.get(name) {
            Some(hash) => (true, Some(hash)),
            None => (false, users.values().max_by_key(|hash| hash.cost())),
        };
        let Some(hash) = hash else { return Verdict::Wrong };
        let digest = self.digest(hash, password);
        if is_user && self.was_right(name, &digest) {
            return Verdict::Right;
        }
        let Some(place) = self.places.take(from) else { return Verdict::Busy };
        // It never closes, so it never fails.
        let Ok(turn) = self.turns.clone().acquire_owned().await else { return Verdict::Busy };
        // The one before may have been the same.
        if is_user && self.was_right(name, &digest) {
            return Verdict::Right;
        }
        let (hash, password, name, right) = (hash.clone(), password.to_vec(), name.to_owned(), self.right.clone());
        let check = move || {
            let is_right = bcrypt::verify(password, hash.expose()).unwrap_or(false) && is_user;
            if is_right {
                right.lock().unwrap_or_else(PoisonError::into_inner).insert(name, digest);
            }
            // Whoever asked may have left: the turn ends with the work, and not with the wait for it.
            drop((place, turn));
            is_right
        };
        match tokio::task::spawn_blocking(check).await {
            Ok(true) => Verdict::Right,
            // Only a runtime that is shutting down drops the check.
            Ok(false) | Err(_) => Verdict::Wrong,
        }
    }

    /// The users whose password is remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> Vec<String> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn was_right(&self, name: &str, digest: &[u8; 32]) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(name).is_some_and(|right| right.ct_eq(digest).into())
    }

    /// The digest is of the hash too: a password is right for the hash that it was checked against, and no other.
    fn digest(&self, hash: &PasswordHash, password: &[u8]) -> [u8; 32] {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return [0; 32] };
        mac.chain_update(hash.expose()).chain_update(password).finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WebConfigFile;
    use std::path::Path;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Users by the cost of their hashes; the password of each is its name.
    fn users(costs: &[(&str, u32)]) -> BTreeMap<String, PasswordHash> {
        let lines = costs.iter().map(|(name, cost)| format!("  {name}: {}\n", bcrypt::hash(name, *cost).unwrap()));
        let text = format!("basic_auth_users:\n{}", lines.collect::<String>());
        WebConfigFile::parse(text.as_bytes(), Path::new("web.yaml")).unwrap().users
    }

    #[tokio::test]
    async fn a_password_is_right_for_its_user_alone() {
        let (passwords, users) = (Passwords::new().unwrap(), users(&[("ann", 4), ("bob", 5)]));
        for (name, password, expected) in [
            ("ann", "ann", Verdict::Right),
            ("ann", "ann", Verdict::Right),
            ("ann", "bob", Verdict::Wrong),
            ("bob", "ann", Verdict::Wrong),
            ("bob", "bob", Verdict::Right),
            ("eve", "eve", Verdict::Wrong),
            // What an unknown user is checked against is bob's.
            ("eve", "bob", Verdict::Wrong),
            ("", "", Verdict::Wrong),
        ] {
            let verdict = passwords.verify(&users, name, password.as_bytes(), HERE).await;
            assert_eq!(verdict, expected, "{name} {password}");
        }
        assert_eq!(passwords.right.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_right_password_is_checked_once_and_forgotten_with_its_hash() {
        let (passwords, first, second) = (Passwords::new().unwrap(), users(&[("ann", 4)]), users(&[("ann", 4)]));
        assert_eq!(passwords.verify(&first, "ann", b"ann", HERE).await, Verdict::Right);
        // Nothing can be checked from now on.
        passwords.turns.close();
        assert_eq!(passwords.verify(&first, "ann", b"ann", HERE).await, Verdict::Right);
        assert_eq!(passwords.verify(&first, "ann", b"Ann", HERE).await, Verdict::Busy);
        assert_eq!(passwords.verify(&second, "ann", b"ann", HERE).await, Verdict::Busy);
        passwords.retain(|name| first.get(name) == second.get(name));
        assert_eq!(passwords.verify(&first, "ann", b"ann", HERE).await, Verdict::Busy);
    }

    #[tokio::test]
    async fn a_flood_from_one_address_leaves_places_to_others() {
        let (passwords, users) = (Passwords::new().unwrap(), users(&[("ann", 4)]));
        let turn = passwords.turns.clone().acquire_owned().await.unwrap();
        let mut flood: Vec<_> = (0..24).map(|_| Box::pin(passwords.verify(&users, "ann", b"wrong", HERE))).collect();
        let polled =
            futures_util::future::join_all(flood.iter_mut().map(|one| async { futures_util::poll!(one) })).await;
        let refused = polled.iter().filter(|one| matches!(one, std::task::Poll::Ready(Verdict::Busy))).count();
        assert_eq!(refused, 24 - PER_SOURCE);
        let mut right = Box::pin(passwords.verify(&users, "ann", b"ann", [192, 0, 2, 1].into()));
        assert!(futures_util::poll!(&mut right).is_pending());
        drop((turn, flood));
        assert_eq!(right.await, Verdict::Right);
    }

    #[tokio::test]
    async fn those_who_wait_are_bounded_and_hold_up_nobody_who_was_right_before() {
        let (passwords, users) = (Passwords::new().unwrap(), users(&[("ann", 4)]));
        assert_eq!(passwords.verify(&users, "ann", b"ann", HERE).await, Verdict::Right);
        let turn = passwords.turns.clone().acquire_owned().await.unwrap();
        let wrong = |place: u8| passwords.verify(&users, "ann", b"wrong", [192, 0, 2, place].into());
        let mut flood: Vec<_> = (0..100).map(|place| Box::pin(wrong(place))).collect();
        let polled =
            futures_util::future::join_all(flood.iter_mut().map(|one| async { futures_util::poll!(one) })).await;
        let refused = polled.iter().filter(|one| matches!(one, std::task::Poll::Ready(Verdict::Busy))).count();
        assert_eq!(refused, 100 - AT_ONCE - WAITING);
        assert_eq!(passwords.verify(&users, "ann", b"ann", HERE).await, Verdict::Right);
        drop((turn, flood));
        assert_eq!(passwords.verify(&users, "ann", b"wrong", HERE).await, Verdict::Wrong);
    }
}
