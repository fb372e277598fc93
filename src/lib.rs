//! x
pub mod api;
pub mod clock;
pub mod config;
pub mod task;
pub mod time;
