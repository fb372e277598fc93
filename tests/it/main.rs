//! Everything through sockets, files and the binary.

mod api;
mod cli;
mod config;
mod counting;
mod deliveries;
mod discovery;
mod documents;
mod exposition;
mod four_ways;
mod harness;
mod http;
mod kills;
mod lifecycle;
mod page;
mod polling;
mod reload;
mod restarts;
mod scale;
mod service;
mod simulator;
mod sources;
mod starting;
mod stopping;
mod web_config;
mod webhooks;
