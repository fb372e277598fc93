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
