//! Everything through sockets, files and the binary.

mod api;
mod config;
mod discovery;
mod simulator;
