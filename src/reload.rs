//! Asking for the configuration to be reloaded.

use tokio::sync::{mpsc, oneshot};

/// Requests that wait: one is being done, and a few may queue up before the rest are told to come again.
const WAITING: usize = 4;

/// A request to reload; the answer says why it failed.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// The way to ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<ReloadRequest>);

impl ReloadHandle {
    /// A way to ask, and where the requests come out.
    pub fn new() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Reloads the configuration; returns when it is in force.
    ///
    /// # Errors
    ///
    /// Why it failed. Nothing has changed then.
    pub async fn reload(&self) -> Result<(), String> {
        let (reply, wait) = oneshot::channel();
        if self.0.try_send(reply).is_err() {
            return Err("other reloads are under way: try again in a moment".to_owned());
        }
        wait.await.unwrap_or_else(|_| Err("the exporter is shutting down".to_owned()))
    }
}
