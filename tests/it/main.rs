//! Everything through sockets, files and the binary.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod api;
mod cli;
mod config;
mod counting;
mod deliveries;
mod discovery;
mod documents;
mod four_ways;
mod harness;
mod http;
mod kills;
mod lifecycle;
mod polling;
mod reload;
mod restarts;
mod scale;
mod simulator;
mod sources;
mod webhooks;
