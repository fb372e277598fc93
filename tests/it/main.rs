//! Everything through sockets, files and the binary.

mod api;
mod cli;
mod config;
mod counting;
mod documents;
mod harness;
mod http;
mod kills;
mod polling;
mod restarts;
mod scale;
mod simulator;
