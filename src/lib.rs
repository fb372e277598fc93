//! x
pub mod clock;
pub mod config;
pub mod simulator;
pub mod task;
pub mod time;
