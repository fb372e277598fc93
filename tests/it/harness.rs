//! What the black-box tests share: the real binary, an API that answers as it is told to, and a strict reader of what
//! the exporter shows.
//!
//! ```ignore
//! let api = FakeApi::start().await;
//! api.answers("t1", [operation("queued", &[("in", "queued")]), operation("completed", &[("out", "completed")])]);
//! let setup = Setup::new(&api, "tasks: [t1]");
//! let exporter = setup.start().await;
//! exporter.shows(&[("dragdropdo_files_finished_total{state=completed}", 1.0)]).await;
//! exporter.kill().await;
//! let exporter = setup.start().await; // the same folder, and with it the same database
//! ```
//!
//! Everything has a deadline, waits for conditions and not for times, and ends what it started when it is dropped.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

mod api;
mod exporter;
mod obstacles;
mod scrape;

pub(crate) use api::{Answer, Asked, FakeApi, operation};
pub(crate) use exporter::{Ended, Exporter, Setup, binary, run};
pub(crate) use obstacles::{Holder, Manner, Stubborn, is_read_as_a_pipe, make_full_pipe, make_pipe};
pub(crate) use scrape::Scrape;

use std::time::Duration;

/// Longer than anything here takes on a machine that does a lot else; only a test that fails waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The time between two looks at a condition.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// A number that whoever runs the tests may set.
pub(crate) fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
