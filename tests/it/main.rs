//! Everything through sockets, files and the binary.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod api;
mod cli;
mod config;
mod counting;
mod discovery;
mod documents;
mod harness;
mod http;
mod kills;
mod polling;
mod restarts;
mod scale;
mod simulator;
