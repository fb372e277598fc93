//! Prometheus exporter for asynchronous DragDropDo (D3) file operations.
//!
//! To read the code, follow one answer of the API from the socket to a line of `/metrics`:
//!
//! 1. [`config`] says what to follow and [`discovery`] what else, [`app`] wires the rooms together, [`cli`] is the command
//!    line.
//! 2. [`task`] is the vocabulary, with [`time`] and [`clock`], the one adapter that reads the clock.
//! 3. [`schedule`] says who is polled when, and [`poller`] carries it out within the budget.
//! 4. [`api`] asks, and makes one [`task::Observation`] of whatever variant of the body comes.
//! 5. [`ledger`], the single writer, applies the rules of [`transition`], has [`store`] commit the outcome with the
//!    [`totals`], and only then publishes it in the [`view`].
//! 6. [`metrics`] renders the view, [`web`] serves it over a [`listener`] to those whom [`access`] lets in,
//!    [`health`] tells whether the loops still run, and [`service`] tells the service manager so.
//! 7. [`simulator`] is a D3 API to run against: for the demo, and for the tests.

pub mod access;
pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod discovery;
pub mod health;
pub mod ledger;
pub mod listener;
pub mod metrics;
pub mod poller;
pub mod reload;
pub mod schedule;
pub mod service;
pub mod simulator;
pub mod store;
pub mod task;
pub mod time;
pub mod totals;
pub mod transition;
pub mod view;
pub mod web;
