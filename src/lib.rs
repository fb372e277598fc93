//! x
pub mod api;
pub mod clock;
pub mod config;
pub mod health;
pub mod ledger;
pub mod metrics;
pub mod poller;
pub mod schedule;
pub mod simulator;
pub mod store;
pub mod task;
pub mod time;
pub mod totals;
pub mod transition;
pub mod view;
pub mod web;
