//! Everything through sockets, files and the binary.

mod config;
mod simulator;
