//! x
pub mod clock;
pub mod task;
pub mod time;
