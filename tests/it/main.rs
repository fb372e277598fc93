//! Everything through sockets, files and the binary.

mod api;
mod config;
mod harness;
mod kills;
mod scale;
mod simulator;
