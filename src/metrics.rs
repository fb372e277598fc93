//! Every metric family in one place, and the text in which they are exposed.

mod instruments;

pub use instruments::{BuildInfo, Instruments};
