//! Following the web config file and the files that it names.

use super::material::Material;
use super::{Access, AccessError, Loaded, Origin, opens};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the files are read again. Reading catches every way in which a file is replaced, also the symlink swap of a
/// Kubernetes secret, which file notifications miss; a few small files each second cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What one look found: what the files hold, or why they can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Files([u8; 32]),
    Problem(String),
}

impl Access {
    /// Follows the files that the rules in force come from, until `cancel`, and puts in force what they come to hold.
    ///
    /// What can't be used, and what would let in somebody who is kept out, is logged once, and what was in force stays.
    pub async fn watch(self, cancel: CancellationToken) {
        let origin = self.rules().origin.clone();
        if let Some(origin) = origin {
            Watch::new(origin, self, cancel).run().await;
        }
    }
}

struct Watch {
    path: PathBuf,
    access: Access,
    cancel: CancellationToken,
    in_force: Seen,
    /// What the look before found: a file that is being written looks different at each.
    before: Seen,
    /// What was found and refused.
    refused: Option<Seen>,
}

impl Watch {
    fn new(origin: Origin, access: Access, cancel: CancellationToken) -> Self {
        let in_force = Seen::Files(origin.digest);
        Self { path: origin.path, access, cancel, before: in_force.clone(), in_force, refused: None }
    }

    async fn run(mut self) {
        while self.cancel.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let path = self.path.clone();
            // Only a runtime that is shutting down drops the look.
            let Ok(found) = tokio::task::spawn_blocking(move || look(&path)).await else { return };
            self.consider(found);
        }
    }

    fn consider(&mut self, (seen, material): (Seen, Result<Material, AccessError>)) {
        let is_settled = seen == self.before;
        self.before = seen.clone();
        if !is_settled || Some(&seen) == self.refused.as_ref() {
            return;
        }
        let path = self.path.display();
        if seen == self.in_force {
            if self.refused.take().is_some() {
                tracing::info!(%path, "the web config file is again what is in force: {path}");
            }
            return;
        }
        match material.map_err(|error| error.to_string()).and_then(|material| self.put_in_force(material)) {
            Ok(()) => {
                tracing::info!(%path, "the web config file, or a file that it names, changed and is in force: {path}");
                self.in_force = seen;
                self.refused = None;
            }
            Err(error) => {
                tracing::warn!(%path, %error, "keeping the last web config: {error}");
                self.refused = Some(seen);
            }
        }
    }

    fn put_in_force(&self, material: Material) -> Result<(), String> {
        let loaded = Loaded::of(material, &self.path).map_err(|error| error.to_string())?;
        self.access.check(&loaded)?;
        if let Some(door) = opens(&self.access.rules().file, &loaded.0.file) {
            return Err(format!(
                "{}: {door}, which lets in more than before and might be a file that is half written: reload by SIGHUP or POST /-/reload if it is meant",
                self.path.display()
            ));
        }
        self.access.replace(loaded, || self.cancel.is_cancelled());
        Ok(())
    }
}

fn look(path: &Path) -> (Seen, Result<Material, AccessError>) {
    let material = Material::read(path);
    let seen = match &material {
        Ok(material) => Seen::Files(material.digest),
        Err(error) => Seen::Problem(error.to_string()),
    };
    (seen, material)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use std::fs;
    use tempfile::TempDir;

    /// A watch of a file with these users, each with its name as the password.
    fn watch(folder: &TempDir, names: &[&str]) -> (Watch, PathBuf) {
        let path = folder.path().join("web.yaml");
        fs::write(&path, users(names)).unwrap();
        let access = Access::new(Loaded::open(Some(&path)).unwrap(), Clock::system()).unwrap();
        let origin = access.rules().origin.clone().unwrap();
        (Watch::new(origin, access, CancellationToken::new()), path)
    }

    fn users(names: &[&str]) -> String {
        let line = |name: &&str| format!("  {name}: {}\n", bcrypt::hash(name, 4).unwrap());
        format!("basic_auth_users:\n{}", names.iter().map(line).collect::<String>())
    }

    fn in_force(watch: &Watch) -> Vec<String> {
        watch.access.rules().file.users.keys().cloned().collect()
    }

    #[test]
    fn a_change_counts_once_two_looks_found_the_same() {
        let folder = TempDir::new().unwrap();
        let (mut watch, path) = watch(&folder, &["ann"]);
        for (text, expected) in [
            (users(&["ann"]), "ann"),
            (users(&["bob"]), "ann"),
            (users(&["eve"]), "ann"),
            ("basic_auth_users: {".to_owned(), "ann"),
        ] {
            fs::write(&path, text).unwrap();
            watch.consider(look(&path));
            assert_eq!(in_force(&watch), [expected]);
            assert_eq!(watch.refused, None);
        }
        fs::write(&path, users(&["eve"])).unwrap();
        watch.consider(look(&path));
        watch.consider(look(&path));
        assert_eq!(in_force(&watch), ["eve"]);
    }

    #[tokio::test]
    async fn the_password_of_a_changed_hash_is_forgotten() {
        let folder = TempDir::new().unwrap();
        let (mut watch, path) = watch(&folder, &["ann", "bob"]);
        for name in ["ann", "bob"] {
            assert_eq!(
                watch.access.verify(name, name.as_bytes(), [127, 0, 0, 1].into()).await,
                crate::access::Verdict::Right
            );
        }
        let text = fs::read_to_string(&path).unwrap();
        let line = text.lines().find(|line| line.contains("bob")).unwrap();
        fs::write(&path, format!("{}{line}\n", users(&["ann"]))).unwrap();
        watch.consider(look(&path));
        watch.consider(look(&path));
        assert_eq!(watch.access.passwords.remembered(), ["bob"]);
    }

    #[test]
    fn a_watch_that_was_overtaken_by_a_reload_changes_nothing() {
        let folder = TempDir::new().unwrap();
        let (mut watch, path) = watch(&folder, &["ann"]);
        fs::write(&path, users(&["bob"])).unwrap();
        watch.cancel.cancel();
        watch.consider(look(&path));
        watch.consider(look(&path));
        assert_eq!(in_force(&watch), ["ann"]);
    }
}
